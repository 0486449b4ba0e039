//! The process that holds one container: it outlives the daemon, owns the container's output, and records how it
//! ended.
//!
//! One thread, one poll loop, no async runtime: a thread would make cloning unsafe, and 250 of these run on a cell.
//!
//! ```text
//! daemon ── spawn ──▶ shim ── clone3 ──▶ pid 1 of the container ── clone ──▶ program
//!    ◀── socket ──────┘ ◀──── control ────┘                    stdout, stderr ──┐
//!                     └─ log segments, exit record  ◀───────────────────────────┘
//! ```

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::cgroup::Cgroups;
use crate::exec::RUNNER;
use crate::external;
use crate::init::{During, Failure, command};
use crate::oci::Spec;
use crate::protocol::Announcement;
use crate::record::{self, names};

mod clients;
mod event;
mod finish;
mod output;
mod setup;

pub(crate) use setup::{await_ready, write_map};

/// The group of all shims: apart from the daemon's, so that stopping the daemon's group spares them.
pub(crate) const SHIMS: &str = "_shims";

/// Entry point of a shim: the binary calls it first thing, before any thread exists. `args` are what follows the
/// shim command: the instance directory; then, to run one more program in the container, the word for that, with the
/// socket to the daemon as standard input.
///
/// The process announces on its standard output that the container is made, or why not, and ends with it.
pub fn shim_main(args: impl IntoIterator<Item = OsString>) -> ! {
    let args: Vec<PathBuf> = args.into_iter().map(PathBuf::from).collect();
    let status = match args.as_slice() {
        [dir] => hold(dir),
        [dir, word] if word.as_os_str() == RUNNER => {
            let ended = detach(dir).and_then(|()| read_bundle()).and_then(command::run);
            ended.unwrap_or_else(|failure| {
                complain(&base::chain(&failure));
                command::NOT_RUN
            })
        }
        _ => {
            complain("usage: shim INSTANCE-DIRECTORY [exec]");
            2
        }
    };
    sys::spawn::exit(status)
}

/// Holds one container to its end; returns the exit status of the shim.
fn hold(dir: &Path) -> i32 {
    match run(dir) {
        Ok(()) => 0,
        Err(failure) => {
            let reason = base::chain(&failure);
            complain(&reason);
            announce(&Announcement {
                pid: None,
                error: Some(reason),
                start_failed: matches!(failure, Failure::NotRun(_)),
            });
            1
        }
    }
}

fn run(dir: &Path) -> Result<(), Failure> {
    detach(dir)?;
    let spec = read_bundle()?;
    let cgroups = Cgroups::detect().map_err(refused)?;
    let path = &spec.linux.cgroups_path.clone();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    cgroups
        .group(&format!("{parent}/{SHIMS}"))
        .create_and_enter(0)
        .map_err(refused)?;
    let listener = UnixListener::bind(names::SOCKET).during("listen on the shim's socket")?;
    listener
        .set_nonblocking(true)
        .during("listen on the shim's socket")?;
    let all = cgroups;
    let cgroups = match external::named(&spec) {
        Some(_) => all.clone().for_others(),
        None => all.clone(),
    };
    let group = cgroups.group(path);
    let made = match setup::make(&spec, &all) {
        Ok(made) => made,
        Err(failure) => {
            if let Err(error) = group.remove() {
                complain(&base::chain(&error));
            }
            return Err(failure);
        }
    };
    announce(&Announcement {
        pid: Some(made.init.pid.as_raw_nonzero().get()),
        error: None,
        start_failed: false,
    });
    // What it takes to make a container is not needed to hold it, for as long as it may run.
    drop(spec);
    leave_standard_output().during("leave the daemon's pipe")?;
    event::Shim::new(made, listener).run(&group)
}

fn read_bundle() -> Result<Spec, Failure> {
    let config = fs::read(names::CONFIG).during("read the bundle")?;
    serde_json::from_slice(&config)
        .map_err(io::Error::from)
        .during("parse the bundle")
}

/// Cuts every tie to the daemon: session, descriptors, directory.
fn detach(dir: &Path) -> Result<(), Failure> {
    sys::spawn::seal_descriptors();
    // Already a leader when started by hand from a shell.
    rustix::process::setsid().ok();
    // The container reads its cgroup directories; the files of the instance have modes of their own.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    std::env::set_current_dir(dir).during(format!("enter {}", dir.display()))?;
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).during("become a reaper of orphans")
}

fn refused(error: crate::cgroup::CgroupError) -> Failure {
    Failure::refused(base::chain(&error))
}

/// One line to the daemon; it may be gone already, then the socket will tell the next one.
fn announce(announcement: &Announcement) {
    if let Ok(mut line) = serde_json::to_vec(announcement) {
        line.push(b'\n');
        drop(io::stdout().write_all(&line).and_then(|()| io::stdout().flush()));
    }
}

/// The daemon waits for the end of the announcement's pipe.
fn leave_standard_output() -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdout(rustix::stdio::stdin())?)
}

/// A word for whoever looks into a failed shim.
fn complain(what: &str) {
    drop(writeln!(io::stderr(), "{what}"));
}

/// Writes the exit record into the working directory, which is the instance's.
fn write_exit(exit: &record::Exit) -> io::Result<()> {
    record::write_exit(Path::new("."), exit)
}
