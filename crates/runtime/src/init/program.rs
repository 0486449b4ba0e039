//! Running the program: from a clone of pid 1 to the image's own code.

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid, openat2};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, ioctl_tiocsctty, set_parent_process_death_signal, setrlimit,
};
use sys::seccomp::Instruction;
use sys::spawn::{Namespaces, Spawned, spawn};

use super::{During, Failure, Stdio, rights};
use crate::oci;

/// Whether a program ends with the process that ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    /// It does.
    ToParent,
    /// It is on its own.
    Nobody,
}

/// A program ready to be run in the caller's namespaces.
pub(crate) struct Program<'a> {
    process: &'a oci::Process,
    /// What is run, for messages.
    name: &'a str,
    /// Files to try, in order.
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl<'a> Program<'a> {
    /// Works out what to run; nothing is run yet.
    pub fn new(process: &'a oci::Process) -> Result<Self, Failure> {
        let name = process
            .args
            .first()
            .ok_or_else(|| Failure::refused("no start command found or specified"))?;
        Ok(Self {
            candidates: strings(&candidates(name, &process.env))?,
            argv: strings(&process.args)?,
            env: strings(&process.env)?,
            process,
            name,
        })
    }

    /// The files it may be, in the order they are tried.
    pub fn candidates(&self) -> &[CString] {
        &self.candidates
    }

    /// Runs it as a child of the caller; returns when its own code runs.
    ///
    /// # Errors
    /// The reason why it could not be run, for the app's developer.
    pub fn spawn(&self, filter: Option<&[Instruction]>, stdio: &Stdio, tie: Tie) -> Result<Spawned, Failure> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).during("make a pipe")?;
        let mut keep = stdio.fds().map(|fd| fd.as_raw_fd()).to_vec();
        keep.push(writer.as_raw_fd());
        let child = spawn(Namespaces::Inherited, &keep, || {
            self.child(filter, stdio, (&writer, tie))
        });
        let child = child.during("start a process")?;
        drop(writer);
        // The pipe closes without a word when the program's own code starts.
        let mut reason = String::new();
        std::fs::File::from(reader)
            .read_to_string(&mut reason)
            .during("hear from the program")?;
        if reason.is_empty() {
            Ok(child)
        } else {
            Err(Failure::refused(reason))
        }
    }

    /// Becomes the program, or reports why not.
    fn child(&self, filter: Option<&[Instruction]>, stdio: &Stdio, (report, tie): (&OwnedFd, Tie)) -> i32 {
        let failure = match self.become_program(filter, stdio, tie) {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        let report = report.as_fd().try_clone_to_owned().map(std::fs::File::from);
        if let Ok(mut report) = report {
            // Without a reader nobody wants to know.
            drop(report.write_all(base::chain(&failure).as_bytes()));
        }
        127
    }

    /// Turns the caller into the program; nothing the caller still holds open may matter to it.
    pub fn become_program(
        &self,
        filter: Option<&[Instruction]>,
        stdio: &Stdio,
        tie: Tie,
    ) -> Result<std::convert::Infallible, Failure> {
        rustix::process::setsid().during("make a session")?;
        rustix::stdio::dup2_stdin(&stdio.stdin).during("set the standard input")?;
        rustix::stdio::dup2_stdout(&stdio.stdout).during("set the standard output")?;
        rustix::stdio::dup2_stderr(&stdio.stderr).during("set the standard error")?;
        if self.process.terminal {
            ioctl_tiocsctty(rustix::stdio::stdin()).during("make the terminal the controlling one")?;
        }
        sys::exec::reset_signals();
        self.process.rlimits.iter().try_for_each(limit)?;
        self.enter_directory()?;
        rustix::process::umask(Mode::from_raw_mode(self.process.user.umask.unwrap_or(0o022)));
        rights::become_user(self.process, filter)?;
        if tie == Tie::ToParent {
            // Changing the user forgot this; a command run later must not outlive who runs it.
            set_parent_process_death_signal(Some(Signal::KILL)).during("tie the program to its parent")?;
        }
        Err(self.exec())
    }

    /// Enters the working directory, made for the user when it is missing.
    fn enter_directory(&self) -> Result<(), Failure> {
        let cwd = self.process.cwd.as_str();
        let step = format!("change to the working directory {cwd}");
        match rustix::process::chdir(cwd) {
            Err(Errno::NOENT) => {
                make_directories(cwd).during(format!("make the working directory {cwd}"))?;
                let (uid, gid) = (
                    Uid::from_raw(self.process.user.uid),
                    Gid::from_raw(self.process.user.gid),
                );
                rustix::fs::chown(cwd, Some(uid), Some(gid)).during(format!("hand over {cwd}"))?;
                rustix::process::chdir(cwd).during(&step)?;
            }
            entered => entered.during(&step)?,
        }
        // A symlink of the image into /proc could lead to a directory outside the root (CVE-2024-21626).
        let here = rustix::process::getcwd(Vec::new()).during(&step)?;
        if here.to_bytes().starts_with(b"/") {
            return Ok(());
        }
        Err(Failure::refused(format!(
            "the working directory {cwd} is outside the container"
        )))
    }

    /// Tries each candidate; returns why none could be run.
    fn exec(&self) -> Failure {
        let name = self.name;
        let mut denied = None;
        for candidate in &self.candidates {
            if is_link_of_proc(candidate) {
                return Failure::refused(format!(
                    "cannot run {name}: it is a link of /proc, or a loop of links"
                ));
            }
            let error = sys::exec::exec(candidate, &self.argv, &self.env);
            match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR) => {}
                Some(Errno::ACCESS) => denied = Some(error),
                Some(Errno::NOEXEC) => {
                    return Failure::refused(format!(
                        "cannot run {name}: exec format error; the file is for another platform, or a script without \
                         its #! line"
                    ));
                }
                _ => {
                    return Failure::Step {
                        step: format!("run {name}"),
                        source: error,
                    };
                }
            }
        }
        match denied {
            Some(_) => Failure::refused(format!(
                "cannot run {name}: permission denied; the file or its directory is not executable for user {}",
                self.process.user.uid
            )),
            None => Failure::refused(self.missing()),
        }
    }

    /// That no candidate exists.
    pub fn missing(&self) -> String {
        let name = self.name;
        if name.contains('/') {
            format!("cannot run {name}: no such file in the image, or the interpreter it needs is not there")
        } else {
            format!("cannot run {name}: executable file not found in the container's PATH")
        }
    }
}

/// Links of /proc lead to files of the platform, its own binary first of all (CVE-2019-5736).
fn is_link_of_proc(path: &CString) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    matches!(
        openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS),
        Err(Errno::LOOP)
    )
}

/// The paths `name` may mean: itself with a slash, else one in each directory of `PATH`.
fn candidates(name: &str, env: &[String]) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    let path = env
        .iter()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or("");
    // Relative entries would run what lies in the working directory by accident.
    path.split(':')
        .filter(|dir| dir.starts_with('/'))
        .map(|dir| format!("{dir}/{name}"))
        .collect()
}

fn strings(list: &[String]) -> Result<Vec<CString>, Failure> {
    let one = |text: &String| {
        CString::new(text.as_str()).map_err(|_| Failure::refused("a NUL byte in an argument"))
    };
    list.iter().map(one).collect()
}

/// The caller's root is the container's, so its own symlinks cannot lead out of it.
fn make_directories(path: &str) -> Result<(), Errno> {
    let mut so_far = String::new();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        so_far.push('/');
        so_far.push_str(name);
        match rustix::fs::mkdir(so_far.as_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sets a limit as far as the shim's own hard limit allows: raising that needs rights a cell may lack.
fn limit(wanted: &oci::Rlimit) -> Result<(), Failure> {
    let resource = resource(&wanted.kind)
        .ok_or_else(|| Failure::refused(format!("unknown resource limit {}", wanted.kind)))?;
    let exact = Rlimit {
        current: finite(wanted.soft),
        maximum: finite(wanted.hard),
    };
    match setrlimit(resource, exact) {
        Err(Errno::PERM) => {}
        set => return set.during(format!("set {}", wanted.kind)),
    }
    let ceiling = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit {
        current: finite(wanted.soft.min(ceiling)),
        maximum: finite(wanted.hard.min(ceiling)),
    };
    setrlimit(resource, limit).during(format!("set {}", wanted.kind))
}

fn finite(value: u64) -> Option<u64> {
    Some(value).filter(|value| *value != u64::MAX)
}

/// A resource by its name in a bundle (getrlimit(2)).
pub(crate) fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_STACK" => Resource::Stack,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::candidates;

    #[test]
    fn programs_are_searched_in_absolute_directories_only() {
        let env = ["PATH=/a::rel:.:/b".to_owned()];
        assert_eq!(candidates("x", &env), ["/a/x", "/b/x"]);
        assert_eq!(candidates("./x", &env), ["./x"]);
        assert!(candidates("x", &[]).is_empty());
    }
}
