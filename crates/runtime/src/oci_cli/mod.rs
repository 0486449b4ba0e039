//! The command line every OCI runtime has, on the built-in runtime: for engines and their monitors, which drive a
//! container by `create`, `start`, `state`, `kill`, `exec` and `delete` and are the parents of its process.
//!
//! Knows nothing of the daemon and its shims: here the program is pid 1 itself, and what is known of a container is in
//! a directory of its own below `--root`. A part of a bundle that is not supported is refused by its name.
//!
//! Facts: opencontainers/runtime-spec:{runtime,config,config-linux,features-linux}.md; the options are those of runc(8).

use std::ffi::{CString, OsString};
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use base::Clock;
use rustix::fs::{Mode, OFlags, StatVfsMountFlags, fstatvfs};
use rustix::mount::MountAttrFlags;
use sys::mount::{MountChange, change_mount};

use crate::init::{During, Failure, trees};

mod args;
mod bundle;
mod create;
mod exec;
mod features;
mod hooks;
mod inside;
mod life;
mod store;

use args::Line;

/// Where containers are kept when `--root` is not given.
const ROOT: &str = "/run/slipway-runtime";

/// Entry point of the command line: the binary calls it first thing, before any thread exists. `args` are what follows
/// the words that led here, `own` those words, with which the binary can be run again.
pub fn command_main(own: &[&str], args: impl IntoIterator<Item = OsString>) -> ! {
    let args: Vec<OsString> = args.into_iter().collect();
    let words: Option<Vec<String>> = args.iter().map(|arg| arg.to_str().map(str::to_owned)).collect();
    let line = match words
        .ok_or_else(|| Failure::refused("an argument is not UTF-8"))
        .and_then(args::parse)
    {
        Ok(line) => line,
        Err(failure) => {
            eprintln!("{}", base::chain(&failure));
            sys::spawn::exit(2)
        }
    };
    let status = match run(&line, own, &args) {
        Ok(status) => status,
        Err(failure) => {
            let reason = base::chain(&failure);
            log(&line, &reason);
            eprintln!("{reason}");
            1
        }
    };
    sys::spawn::exit(status)
}

fn run(line: &Line, own: &[&str], args: &[OsString]) -> Result<i32, Failure> {
    let root = line
        .global("root")
        .map_or_else(|| PathBuf::from(ROOT), PathBuf::from);
    match line.verb.as_str() {
        "create" | "run" | "exec" => protect_binary(own, args)?,
        _ => {}
    }
    match line.verb.as_str() {
        "create" => create::create(&root, line).map(|_| 0),
        "run" => life::run(&root, line),
        "start" => life::start(&root, line).map(|()| 0),
        "state" => life::state(&root, line).map(|()| 0),
        "kill" => life::kill(&root, line).map(|()| 0),
        "delete" => life::delete(&root, line).map(|()| 0),
        "exec" => exec::exec(&root, line),
        "ps" => life::processes(&root, line).map(|()| 0),
        "features" => features::print().map(|()| 0),
        other => Err(Failure::refused(format!(
            "command {other} is not supported by the built-in runtime"
        ))),
    }
}

/// Runs this binary again from a read-only view of its own file, unless it runs from one.
///
/// Without a user namespace the container's root is the host's: what it may find by `/proc/PID/exe` of a process of
/// ours must not be writable for it (CVE-2019-5736).
fn protect_binary(own: &[&str], args: &[OsString]) -> Result<(), Failure> {
    let step = "run from a read-only view of the own binary";
    let binary = "/proc/self/exe";
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let running = rustix::fs::open(binary, flags, Mode::empty()).during(step)?;
    if fstatvfs(&running)
        .during(step)?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY)
    {
        return Ok(());
    }
    let view = trees::detached(binary, false)?;
    let change = MountChange {
        set: MountAttrFlags::MOUNT_ATTR_RDONLY,
        propagation: None,
        user_namespace: None,
    };
    change_mount(&view, &change).during(step)?;
    let path = CString::new(format!("/proc/self/fd/{}", view.as_raw_fd())).during(step)?;
    let own = own.iter().map(|word| word.as_bytes());
    let argv: Result<Vec<CString>, _> = own
        .chain(args.iter().map(|arg| arg.as_bytes()))
        .map(CString::new)
        .collect();
    let argv = argv.during(step)?;
    Err(sys::exec::exec(&path, &argv, &[])).during(step)
}

/// One line in the log the caller named; it reads the reason there.
fn log(line: &Line, reason: &str) {
    let Some(path) = line.global("log") else {
        return;
    };
    let time = base::SystemClock
        .now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let text = if line.global("log-format") == Some("json") {
        serde_json::json!({ "level": "error", "msg": reason, "time": time.to_string() }).to_string()
    } else {
        format!("time={time} level=error msg={reason:?}")
    };
    let file = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(Path::new(path));
    // The reason is also on the standard error.
    drop(file.and_then(|mut file| writeln!(file, "{text}")));
}
