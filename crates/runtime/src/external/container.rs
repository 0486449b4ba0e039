//! A container another runtime made, held by a shim.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio as Io;

use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use sys::spawn::Spawned;

use super::area::{self, AREA};
use super::call::Runtime;
use crate::account;
use crate::cgroup::Cgroups;
use crate::init::{During, Failure, Stdio, inside, program::Program};
use crate::oci::{Process, Spec};
use crate::rules;

/// The runtime's own directory in the instance's.
const STATE: &str = "oci";

/// The handle of a shim on its container.
pub(crate) struct Container {
    runtime: Runtime,
}

impl Container {
    /// Makes the container of `spec` up to the point where its program can be started; its pid 1 is a child of the
    /// caller then.
    pub fn create(
        spec: &Spec,
        program: &str,
        stdio: Stdio,
        cgroups: &Cgroups,
    ) -> Result<(Self, Spawned), Failure> {
        find_program(&spec.process, &spec.root.path)?;
        let (uid, gid) = (spec.process.user.uid, spec.process.user.gid);
        let uid = area::on_host(&spec.linux.uid_mappings, uid);
        let gid = area::on_host(&spec.linux.gid_mappings, gid);
        for fd in stdio.fds() {
            crate::init::command::hand_over(fd, uid, gid)?;
        }
        let runtime = runtime(program)?;
        area::make(spec, &runtime.program, cgroups)?;
        let pid_file = Path::new(AREA).join("pid");
        let args = ["--bundle", AREA, "--pid-file", &pid_file.to_string_lossy()];
        let Stdio {
            stdin,
            stdout,
            stderr,
        } = stdio;
        let made = runtime.call_with(
            "create",
            &args,
            [Io::from(stdin), Io::from(stdout), Io::from(stderr)],
        );
        let container = Self { runtime };
        let init = made.and_then(|()| adopt(&pid_file, spec));
        match init {
            Ok(init) => Ok((container, init)),
            Err(failure) => {
                container.delete();
                Err(failure)
            }
        }
    }

    /// Runs the program.
    pub fn start(&self) -> Result<(), Failure> {
        self.runtime.call("start", &[])
    }

    /// Sends the program a signal.
    pub fn signal(&self, number: i32) -> Result<(), Failure> {
        // The id comes before the signal on this one.
        let id = self.runtime.id.clone();
        let to = Runtime {
            id: number.to_string(),
            ..self.runtime.clone()
        };
        to.call("kill", &[&id])
    }

    /// Removes what the runtime remembers and made; best effort, the groups are removed by their name afterwards.
    pub fn delete(&self) {
        drop(self.runtime.call("delete", &["--force"]));
    }
}

/// The runtime for the instance of the working directory.
pub(super) fn runtime(program: &str) -> Result<Runtime, Failure> {
    let here = std::env::current_dir().during("find the instance's directory")?;
    let id = here.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Runtime {
        program: PathBuf::from(program),
        state: here.join(STATE),
        id: id.ok_or_else(|| Failure::refused("an instance directory without a name"))?,
    })
}

/// The process whose number a runtime wrote down: a child of the caller by now, since the runtime has ended.
pub(super) fn adopt(pid_file: &Path, spec: &Spec) -> Result<Spawned, Failure> {
    let step = "find the container's process";
    let text = fs::read_to_string(pid_file).during(step)?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    let pid =
        pid.ok_or_else(|| Failure::refused(format!("the runtime wrote {text:?} as a process number")))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).during(step)?;
    let own = waitid(
        WaitId::PidFd(pidfd.as_fd()),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
    );
    own.during(format!(
        "be the parent of the container's process of {}",
        spec.linux.cgroups_path
    ))?;
    Ok(Spawned { pid, pidfd })
}

/// Refuses a program the image does not have, in the built-in runtime's words: other runtimes tell it in theirs, some
/// when creating and some when starting.
pub(super) fn find_program(process: &Process, root: &Path) -> Result<(), Failure> {
    let program = Program::new(process)?;
    let root: OwnedFd = account::open_root(root)?;
    let exists = |path: &std::ffi::CString| {
        let path = path.to_string_lossy();
        let path = if path.starts_with('/') {
            path.into_owned()
        } else {
            format!("{}/{path}", process.cwd)
        };
        // Links of /proc lead nowhere yet; what the runtime makes of them is its business.
        path.starts_with("/proc/") || inside::open(root.as_fd(), &path, OFlags::PATH).is_ok()
    };
    if program.candidates().iter().any(exists) {
        return Ok(());
    }
    Err(Failure::NotRun(program.missing()))
}

/// Which runtime the bundle is for, if not the built-in one.
pub(crate) fn named(spec: &Spec) -> Option<&str> {
    spec.annotations.get(rules::RUNTIME).map(String::as_str)
}
