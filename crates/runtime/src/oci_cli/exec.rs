//! `exec`: one more program in a container that runs.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::args::Line;
use super::bundle;
use super::create::connect_console;
use super::inside::with_home;
use super::store::{Place, Status};
use crate::account;
use crate::cgroup::Cgroups;
use crate::init::command::await_end;
use crate::init::program::{Program, Tie};
use crate::init::{During, Failure, Stdio, become_root, leave_keyring, terminal};
use crate::oci::{Process, Spec};

/// Runs the program; returns its status, or 128 + its signal; at once when detached.
pub fn exec(root: &Path, line: &Line) -> Result<i32, Failure> {
    let id = line.id()?;
    let (container, mut spec) = Place::of(root, id).load(id)?;
    let (Status::Running, Some(init)) = container.status() else {
        return Err(Failure::refused(format!("container {id} is not running")));
    };
    spec.process = process(line, &spec)?;
    let filter = crate::seccomp::of(&spec).map_err(|error| Failure::refused(base::chain(&error)))?;
    let console = connect_console(line, &spec)?;
    let pid_file = line
        .option("pid-file")
        .map(|path| File::create(path).during(format!("make {path}")));
    let pid_file = pid_file.transpose()?;
    let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().during("copy a standard descriptor");
    let inherited = Stdio {
        stdin: copy(rustix::stdio::stdin())?,
        stdout: copy(rustix::stdio::stdout())?,
        stderr: copy(rustix::stdio::stderr())?,
    };
    sys::exec::set_title("exec").during("set the process title")?;
    let refused = |error: crate::cgroup::CgroupError| Failure::refused(base::chain(&error));
    let cgroups = Cgroups::detect().map_err(refused)?;
    cgroups.group(&container.cgroups_path).enter(0).map_err(refused)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during("become untraceable")?;
    move_into_thread_name_spaces(init.as_fd(), namespaces(&spec)).during("enter the container")?;
    become_root()?;
    leave_keyring()?;
    let process = with_home(&spec.process)?;
    let stdio = match &console {
        Some(console) => {
            let root = account::open_root("/".as_ref())?;
            let pair = terminal::open(root.as_fd(), process.user.uid, process.console_size)?;
            terminal::send(console.as_fd(), &pair.master)?;
            Stdio::all(pair.slave)?
        }
        None => inherited,
    };
    let detached = line.has("detach");
    let tie = if detached { Tie::Nobody } else { Tie::ToParent };
    let child = Program::new(&process)?.spawn(filter.as_deref(), &stdio, tie)?;
    if let Some(mut file) = pid_file {
        write!(file, "{}", child.pid.as_raw_nonzero()).during("write the process number")?;
    }
    drop(stdio);
    if detached { Ok(0) } else { await_end(child.pid) }
}

/// The namespaces of the container that are not the caller's.
fn namespaces(spec: &Spec) -> ThreadNameSpaceType {
    use ThreadNameSpaceType as Kind;
    let kinds = [
        ("user", Kind::USER),
        ("pid", Kind::PROCESS_ID),
        ("network", Kind::NETWORK),
        ("ipc", Kind::INTER_PROCESS_COMMUNICATION),
        ("uts", Kind::HOST_NAME_AND_NIS_DOMAIN_NAME),
        ("cgroup", Kind::CONTROL_GROUP),
    ];
    let entered = kinds.into_iter().filter(|(kind, _)| spec.linux.has(kind));
    entered.fold(Kind::MOUNT, |all, (_, kind)| all | kind)
}

/// The process to run: a file's, or the container's own with what the line changes.
fn process(line: &Line, spec: &Spec) -> Result<Process, Failure> {
    if line.option("preserve-fds").is_some_and(|count| count != "0") {
        return Err(Failure::refused(
            "--preserve-fds is not supported by the built-in runtime",
        ));
    }
    let mut process = match line.option("process") {
        Some(path) => bundle::read_process(Path::new(path))?,
        None => {
            let args = line.rest.get(1..).filter(|args| !args.is_empty());
            let args = args.ok_or_else(|| Failure::refused("no command to run"))?;
            Process {
                args: args.to_vec(),
                terminal: false,
                ..spec.process.clone()
            }
        }
    };
    process.terminal |= line.has("tty");
    process.env.extend(line.all("env").iter().cloned());
    if let Some(cwd) = line.option("cwd") {
        cwd.clone_into(&mut process.cwd);
    }
    if let Some(user) = line.option("user") {
        let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
        let number = |text: &str| {
            let wrong = |_| Failure::refused(format!("--user {user} is not UID[:GID]"));
            text.parse::<u32>().map_err(wrong)
        };
        (process.user.uid, process.user.gid) = (number(uid)?, number(gid)?);
        process.user.additional_gids.clear();
    }
    Ok(process)
}
