//! The process that unpacks one layer, which is hostile, and ends.
//!
//! It is the platform's own binary, started anew for each layer with the draft directory as its working directory,
//! the blob on standard input and standard output for its one report. Before it looks at the first byte it gives up
//! everything but this directory: see [`confine`]. What it reports is believed as far as its shape goes; whoever
//! takes the process over can spoil this one layer, and nothing else.
//!
//! ```text
//! blob ─▶ [inflate] ─chunks─┬─▶ [tar, files] ─▶ draft directory
//!                           └─▶ [digest]     ─▶ report
//! ```

mod calls;
mod confine;
mod pipeline;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::UnpackLimits;
use crate::error::UnpackError;
use crate::report::{self, Outcome};
use pipeline::Crew;

/// Allowance for headers, names and padding per entry of a tar, bytes.
const OVERHEAD_PER_ENTRY: u64 = 4096;
/// Allowance for the padding at the end of a tar, bytes.
const OVERHEAD: u64 = 1 << 20;

/// What the daemon asks for, as arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    /// An open user namespace to live in, as a path below `/proc`.
    pub(crate) namespace: PathBuf,
    /// The process to die with.
    pub(crate) parent: u32,
    pub(crate) limits: UnpackLimits,
    /// Bytes that must stay free on the disk.
    pub(crate) reserve: u64,
}

impl Orders {
    /// The form on the command line.
    pub(crate) fn args(&self) -> [OsString; 5] {
        let UnpackLimits {
            max_bytes,
            max_entries,
        } = self.limits;
        [
            self.namespace.clone().into(),
            self.parent.to_string().into(),
            max_bytes.to_string().into(),
            max_entries.to_string().into(),
            self.reserve.to_string().into(),
        ]
    }

    fn parse(args: &[OsString]) -> Option<Self> {
        let [namespace, parent, max_bytes, max_entries, reserve] = args else {
            return None;
        };
        let number = |word: &OsString| word.to_str()?.parse::<u64>().ok();
        Some(Self {
            namespace: namespace.into(),
            parent: u32::try_from(number(parent)?).ok()?,
            limits: UnpackLimits {
                max_bytes: number(max_bytes)?,
                max_entries: number(max_entries)?,
            },
            reserve: number(reserve)?,
        })
    }

    /// Most bytes a layer may decompress to.
    fn stream_limit(&self) -> u64 {
        let headers = self.limits.max_entries.saturating_mul(OVERHEAD_PER_ENTRY);
        self.limits
            .max_bytes
            .saturating_add(headers)
            .saturating_add(OVERHEAD)
    }

    /// Seconds of CPU time that are plenty: 10 MB and 1,000 entries a second, ten times less than seen.
    fn cpu_secs(&self) -> u64 {
        60 + self.limits.max_bytes / 10_000_000 + self.limits.max_entries / 1_000
    }
}

/// Where a thread of this process panicked.
static PANICKED_AT: OnceLock<String> = OnceLock::new();

/// Entry point of the process that unpacks: the binary calls it first thing, before any thread exists. `args` are
/// what follows the command given to [`crate::Unpacker::new`].
pub fn unpack_main(args: impl IntoIterator<Item = OsString>) -> ! {
    sys::spawn::close_inherited();
    // The place only: a message may quote the layer.
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let _ = PANICKED_AT.set(place);
    }));
    let args: Vec<OsString> = args.into_iter().collect();
    let outcome = match Orders::parse(&args) {
        Some(orders) => catch_unwind(AssertUnwindSafe(|| unpack(&orders))).unwrap_or_else(|_| panicked()),
        None => Err(UnpackError::Worker {
            how: "was started with arguments it does not know".to_owned(),
        }),
    };
    let sent = send(&report::encode(&outcome));
    sys::spawn::exit(i32::from(sent.is_err()))
}

fn unpack(orders: &Orders) -> Outcome {
    let root = confine::enter(orders)?;
    // Threads cannot be made once the filter is there, and must have their rights taken before they are made.
    let crew = Crew::muster(root, orders)?;
    confine::seal(orders.parent)?;
    crew.unpack(std::io::stdin().lock(), orders.stream_limit())
}

fn panicked() -> Outcome {
    let place = PANICKED_AT.get().map_or("an unknown place", String::as_str);
    Err(UnpackError::Worker {
        how: format!("panicked at {place}"),
    })
}

fn send(mut report: &[u8]) -> rustix::io::Result<()> {
    while !report.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(rustix::stdio::stdout(), report))?;
        report = report.get(written..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_the_command_line() {
        let orders = Orders {
            namespace: "/proc/7/fd/9".into(),
            parent: 7,
            limits: UnpackLimits {
                max_bytes: u64::MAX,
                max_entries: 3,
            },
            reserve: 1 << 29,
        };
        let args = orders.args();
        assert_eq!(Orders::parse(&args).as_ref(), Some(&orders));
        assert!(args.iter().all(|arg| !arg.is_empty()));
        assert_eq!(Orders::parse(&args[1..]), None);
        assert_eq!(orders.stream_limit(), u64::MAX);
        let mut strange = args.clone();
        strange[4] = "-1".into();
        assert_eq!(Orders::parse(&strange), None);
    }
}
