//! `create`: everything up to the program.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use sys::spawn::{Namespaces, Spawned, spawn};

use super::args::Line;
use super::inside::Inside;
use super::store::{Container, Place, START, began};
use super::{bundle, hooks};
use crate::cgroup::{Cgroups, Kind};
use crate::external::on_host;
use crate::init::channel::{self, ToInit};
use crate::init::trees::{Trees, detached};
use crate::init::{During, Failure, Stdio};
use crate::oci::{Namespace, Spec};
use crate::rules;
use crate::shim::{await_ready, write_map};
use crate::signal::Signal;

/// Where the groups of bundles are that name none.
pub const GROUPS: &str = "/slipway-runtime";

/// Makes the container; its process is left to whoever adopts orphans.
pub fn create(root: &Path, line: &Line) -> Result<Spawned, Failure> {
    let id = line.id()?;
    if line.option("preserve-fds").is_some_and(|count| count != "0") {
        return Err(Failure::refused(
            "--preserve-fds is not supported by the built-in runtime",
        ));
    }
    let dir = line
        .option("bundle")
        .map_or_else(std::env::current_dir, |dir| fs::canonicalize(Path::new(dir)));
    let dir = dir.during("find the bundle")?;
    let mut spec = bundle::read(&dir)?;
    let cgroups = Cgroups::detect().map_err(|error| Failure::refused(base::chain(&error)))?;
    if spec.linux.cgroups_path.is_empty() {
        spec.linux.cgroups_path = format!("{GROUPS}/{id}");
    }
    spec.linux.cgroups_path = format!("/{}", spec.linux.cgroups_path.trim_start_matches('/'));
    // What every container has, whatever its bundle forbids.
    spec.linux.resources.devices.extend(rules::usual_devices());
    let console = connect_console(line, &spec)?;
    let place = Place::of(root, id);
    place.make(id)?;
    let made = make(
        &spec,
        &cgroups,
        &place,
        Wishes {
            id,
            dir: &dir,
            line,
            console,
        },
    );
    if made.is_err() {
        let group = cgroups.group(&spec.linux.cgroups_path);
        if let Err(error) = group.remove() {
            eprintln!("{}", base::chain(&error));
        }
        place.remove()?;
    }
    made
}

struct Wishes<'a> {
    id: &'a str,
    dir: &'a Path,
    line: &'a Line,
    console: Option<OwnedFd>,
}

/// The socket that gets the terminal; with a terminal there must be one, without there must not.
pub fn connect_console(line: &Line, spec: &Spec) -> Result<Option<OwnedFd>, Failure> {
    match (line.option("console-socket"), spec.process.terminal) {
        (Some(path), true) => Ok(Some(
            UnixStream::connect(path)
                .during(format!("connect to {path}"))?
                .into(),
        )),
        (None, true) => Err(Failure::refused("process.terminal needs --console-socket")),
        (Some(_), false) => Err(Failure::refused("--console-socket needs process.terminal")),
        (None, false) => Ok(None),
    }
}

fn make(spec: &Spec, cgroups: &Cgroups, place: &Place, mut wishes: Wishes<'_>) -> Result<Spawned, Failure> {
    let filter = crate::seccomp::of(spec).map_err(|error| Failure::refused(base::chain(&error)))?;
    place.save_bundle(spec)?;
    let group = cgroups.group(&spec.linux.cgroups_path);
    let refused = |error: crate::cgroup::CgroupError| Failure::refused(base::chain(&error));
    group.create(&spec.linux.resources).map_err(refused)?;
    let mut trees = Trees::open(spec)?;
    if !spec.linux.has("cgroup") {
        trees.groups = Some(own_groups(cgroups, &spec.linux.cgroups_path)?);
    }
    let stdio = inherited(spec)?;
    std::env::set_current_dir(&place.0).during("enter the container's directory")?;
    let listener = UnixListener::bind(START).during("listen for the start")?;
    let (control, theirs) = channel::pair().during("make a pair of sockets")?;
    let inside = Inside {
        spec,
        filter: filter.as_deref(),
        hierarchies: cgroups.hierarchies(),
        control: theirs,
        listener: listener.into(),
        console: wishes.console.take(),
        trees,
        stdio,
        keep_keyring: wishes.line.has("no-new-keyring"),
    };
    join(&spec.linux.namespaces)?;
    let keep = inside.keep();
    let child = spawn(Namespaces::New(new_namespaces(spec)), &keep, move || inside.run());
    let child = child.during("clone into new namespaces")?;
    match bring_up((&child, &control), spec, &group, (place, &wishes)) {
        Ok(()) => match wishes.line.option("pid-file") {
            Some(path) => {
                let pid = child.pid.as_raw_nonzero().to_string();
                let written = crate::record::write_whole(&PathBuf::from(path), pid.as_bytes());
                written.during(format!("write {path}")).map(|()| child)
            }
            None => Ok(child),
        },
        Err(failure) => {
            drop(sys::exec::send_signal(child.pidfd.as_fd(), Signal::KILL.number()));
            Err(failure)
        }
    }
}

/// Lets the process behind `child` come up; remembers it when it is ready.
fn bring_up(
    (child, control): (&Spawned, &OwnedFd),
    spec: &Spec,
    group: &crate::cgroup::Group<'_>,
    (place, wishes): (&Place, &Wishes<'_>),
) -> Result<(), Failure> {
    let pid = child.pid.as_raw_nonzero().get();
    if spec.linux.makes("user") {
        write_map(pid, "uid_map", &spec.linux.uid_mappings)?;
        write_map(pid, "gid_map", &spec.linux.gid_mappings)?;
    }
    if let Some(score) = spec.process.oom_score_adj {
        fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string())
            .during("set process.oomScoreAdj")?;
    }
    group
        .enter(pid)
        .map_err(|error| Failure::refused(base::chain(&error)))?;
    let container = Container {
        id: wishes.id.to_owned(),
        bundle: wishes.dir.to_owned(),
        pid,
        began: began(pid).ok_or_else(|| Failure::refused("the container's process ended"))?,
        cgroups_path: spec.linux.cgroups_path.clone(),
        started: false,
    };
    let state = container.state(spec, "creating");
    hooks::run("prestart", &spec.hooks.prestart, &state)?;
    hooks::run("createRuntime", &spec.hooks.create_runtime, &state)?;
    channel::order(control.as_fd(), &ToInit::Mapped).during("speak to the container's process")?;
    await_ready(control)?;
    place.save(&container)
}

/// Enters the namespaces that are named by path; children are in them then.
fn join(namespaces: &[Namespace]) -> Result<(), Failure> {
    for namespace in namespaces {
        let Some(path) = &namespace.path else {
            continue;
        };
        let kind = match namespace.kind.as_str() {
            "pid" => LinkNameSpaceType::ProcessID,
            "network" => LinkNameSpaceType::Network,
            "ipc" => LinkNameSpaceType::InterProcessCommunication,
            "uts" => LinkNameSpaceType::HostNameAndNISDomainName,
            "cgroup" => LinkNameSpaceType::ControlGroup,
            other => return Err(Failure::refused(format!("namespace {other} cannot be joined"))),
        };
        let step = || format!("join the {} namespace {}", namespace.kind, path.display());
        let file = fs::File::open(path).during(step())?;
        move_into_link_name_space(file.as_fd(), Some(kind)).during(step())?;
    }
    Ok(())
}

/// All new ones but that of control groups, which is made when the process is in its group.
fn new_namespaces(spec: &Spec) -> UnshareFlags {
    let kinds = [
        ("user", UnshareFlags::NEWUSER),
        ("pid", UnshareFlags::NEWPID),
        ("mount", UnshareFlags::NEWNS),
        ("network", UnshareFlags::NEWNET),
        ("ipc", UnshareFlags::NEWIPC),
        ("uts", UnshareFlags::NEWUTS),
    ];
    let made = kinds.into_iter().filter(|(kind, _)| spec.linux.makes(kind));
    made.fold(UnshareFlags::empty(), |all, (_, flag)| all | flag)
}

/// The container's own directory in each hierarchy it is limited by.
fn own_groups(cgroups: &Cgroups, path: &str) -> Result<Vec<(String, OwnedFd)>, Failure> {
    let mixed = cgroups.are_mixed();
    let shown = cgroups
        .hierarchies()
        .iter()
        .filter(|one| !mixed || one.kind != Kind::V2);
    let open = |one: &crate::cgroup::Hierarchy| {
        let dir = one.mount.join(path.trim_start_matches('/'));
        let name = if one.kind == Kind::V2 {
            String::new()
        } else {
            name_of(&one.mount)
        };
        Ok((name, detached(&dir.to_string_lossy(), false)?))
    };
    shown.map(open).collect()
}

fn name_of(mount: &Path) -> String {
    mount
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The caller's standard descriptors, pipes among them given to the container's user. Nodes of the host keep their
/// owner.
fn inherited(spec: &Spec) -> Result<Stdio, Failure> {
    if spec.process.terminal {
        // Whoever reads from the caller's pipes waits for their end, and the program gets the terminal.
        let null = fs::File::options().read(true).write(true).open("/dev/null");
        return Stdio::all(null.during("open /dev/null")?.into());
    }
    let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().during("copy a standard descriptor");
    let stdio = Stdio {
        stdin: copy(rustix::stdio::stdin())?,
        stdout: copy(rustix::stdio::stdout())?,
        stderr: copy(rustix::stdio::stderr())?,
    };
    let user = &spec.process.user;
    let uid = Uid::from_raw(on_host(&spec.linux.uid_mappings, user.uid));
    let gid = Gid::from_raw(on_host(&spec.linux.gid_mappings, user.gid));
    for fd in stdio.fds() {
        let stat = fstat(fd).during("look at a standard descriptor")?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo {
            fchown(fd, Some(uid), Some(gid)).during("hand over a pipe")?;
        }
    }
    Ok(stdio)
}
