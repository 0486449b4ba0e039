//! Compiling the seccomp section of a bundle into a classic BPF program, without any foreign library.
//!
//! Shape of the program: check the architecture, load the number, walk a balanced tree of number ranges, end in the
//! rules of that range. Any architecture but the native one kills the process: the 32-bit tables of the kernel are
//! attack surface no image for this platform needs. Numbers above all we know answer `ENOSYS`, so that programs fall
//! back to what exists, as they do on an old kernel.

use std::collections::BTreeMap;

use sys::seccomp::Instruction;

use crate::oci::{Seccomp, SeccompArg, SeccompRule};

mod assembler;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
use aarch64::NUMBERS;
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64::NUMBERS;

/// The architecture's name in a bundle.
#[cfg(target_arch = "x86_64")]
pub const ARCHITECTURE: &str = "SCMP_ARCH_X86_64";
/// The architecture's name in a bundle.
#[cfg(target_arch = "aarch64")]
pub const ARCHITECTURE: &str = "SCMP_ARCH_AARCH64";

/// `AUDIT_ARCH_*` of linux/audit.h.
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xC000_00B7;

const ENOSYS: u32 = 38;

/// A section of a bundle this compiler does not understand.
#[derive(Debug, thiserror::Error)]
#[error("the bundle's seccomp section is not usable: {0}")]
pub struct Unusable(String);

/// What becomes of a call: `SECCOMP_RET_*` of seccomp(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Allow,
    Errno(u32),
    KillThread,
    KillProcess,
    Trap,
    Log,
}

impl Action {
    fn value(self) -> u32 {
        match self {
            Self::Allow => 0x7FFF_0000,
            Self::Errno(errno) => 0x0005_0000 | (errno & 0xFFFF),
            Self::KillThread => 0,
            Self::KillProcess => KILL,
            Self::Trap => 0x0003_0000,
            Self::Log => 0x7FFC_0000,
        }
    }

    fn parse(name: &str, errno: Option<u32>) -> Result<Self, Unusable> {
        match name {
            "SCMP_ACT_ALLOW" => Ok(Self::Allow),
            "SCMP_ACT_ERRNO" => Ok(Self::Errno(errno.unwrap_or(1))),
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(Self::KillThread),
            "SCMP_ACT_KILL_PROCESS" => Ok(Self::KillProcess),
            "SCMP_ACT_TRAP" => Ok(Self::Trap),
            "SCMP_ACT_LOG" => Ok(Self::Log),
            other => Err(Unusable(format!("action {other}"))),
        }
    }

    /// Whether the call is made.
    fn lets_pass(self) -> bool {
        matches!(self, Self::Allow | Self::Log)
    }
}

/// `SECCOMP_RET_KILL_PROCESS` of seccomp(2).
const KILL: u32 = 0x8000_0000;

/// A comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    index: u32,
    test: Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    Masked { mask: u64, value: u64 },
}

/// The rules of one call: the first whose conditions all hold decides, else the default.
type Rules = Vec<(Vec<Condition>, Action)>;

/// The number of a call on this architecture.
fn number(name: &str) -> Option<u32> {
    NUMBERS
        .binary_search_by_key(&name, |entry| entry.0)
        .ok()
        .and_then(|at| NUMBERS.get(at))
        .map(|entry| entry.1)
}

/// The filter of a bundle, if it asks for one.
///
/// # Errors
/// As [`compile`].
pub fn of(spec: &crate::oci::Spec) -> Result<Option<Vec<Instruction>>, Unusable> {
    spec.linux.seccomp.as_ref().map(compile).transpose()
}

/// Compiles `section`. Names this architecture does not have are skipped, so one list serves all architectures, unless
/// skipping one would allow what the section means to refuse.
///
/// All comparisons of a rule must hold; a rule without any outweighs the others of its call, as in libseccomp. Calls
/// of other architectures kill the process even when the section names these: their tables are not compiled.
///
/// # Errors
/// An architecture, flag, action, operator or argument index that is not supported.
pub fn compile(section: &Seccomp) -> Result<Vec<Instruction>, Unusable> {
    if !section.architectures.is_empty() && !section.architectures.iter().any(|name| name == ARCHITECTURE) {
        return Err(Unusable(format!("architectures without {ARCHITECTURE}")));
    }
    // The filter is installed by the only thread there is, which makes this flag true without a word.
    if let Some(flag) = section
        .flags
        .iter()
        .find(|flag| *flag != "SECCOMP_FILTER_FLAG_TSYNC")
    {
        return Err(Unusable(format!("flag {flag}")));
    }
    let default = Action::parse(&section.default_action, section.default_errno_ret)?;
    let mut calls: BTreeMap<u32, Rules> = BTreeMap::new();
    for rule in &section.syscalls {
        let action = Action::parse(&rule.action, rule.errno_ret)?;
        let conditions = conditions(rule)?;
        if let Some(name) = rule.names.iter().find(|name| number(name).is_none())
            && default.lets_pass()
            && !action.lets_pass()
        {
            return Err(Unusable(format!("call {name}, to be refused, is not known here")));
        }
        for number in rule.names.iter().filter_map(|name| number(name)) {
            calls
                .entry(number)
                .or_default()
                .push((conditions.clone(), action));
        }
    }
    let known = NUMBERS.iter().map(|entry| entry.1).max().unwrap_or(0);
    Ok(assembler::program(
        AUDIT_ARCH,
        &ranges(&calls, default, known),
        default,
    ))
}

fn conditions(rule: &SeccompRule) -> Result<Vec<Condition>, Unusable> {
    rule.args.iter().map(condition).collect()
}

fn condition(arg: &SeccompArg) -> Result<Condition, Unusable> {
    if arg.index > 5 {
        return Err(Unusable(format!("argument {}", arg.index)));
    }
    let test = match arg.op.as_str() {
        "SCMP_CMP_EQ" => Test::Equal(arg.value),
        "SCMP_CMP_NE" => Test::NotEqual(arg.value),
        "SCMP_CMP_LT" => Test::Less(arg.value),
        "SCMP_CMP_LE" => Test::LessOrEqual(arg.value),
        "SCMP_CMP_GT" => Test::Greater(arg.value),
        "SCMP_CMP_GE" => Test::GreaterOrEqual(arg.value),
        "SCMP_CMP_MASKED_EQ" => Test::Masked {
            mask: arg.value,
            value: arg.value_two,
        },
        other => return Err(Unusable(format!("operator {other}"))),
    };
    Ok(Condition {
        index: arg.index,
        test,
    })
}

/// Numbers from `first` to the next range's first share one fate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    fate: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Plain(Action),
    Ruled(Rules),
}

/// Cuts all numbers into ranges of equal fate, in order, from 0.
fn ranges(calls: &BTreeMap<u32, Rules>, default: Action, known: u32) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    let mut push = |first: u32, fate: Fate| match ranges.last() {
        Some(last) if last.fate == fate => {}
        _ => ranges.push(Range { first, fate }),
    };
    for number in 0..=known {
        let fate = match calls.get(&number) {
            None => Fate::Plain(default),
            Some(rules) => match rules.iter().find(|(conditions, _)| conditions.is_empty()) {
                Some((_, action)) => Fate::Plain(*action),
                None => Fate::Ruled(rules.clone()),
            },
        };
        push(number, fate);
    }
    // A section that allows what it does not name allows these, too.
    let unknown = if default.lets_pass() {
        default
    } else {
        Action::Errno(ENOSYS)
    };
    push(known + 1, Fate::Plain(unknown));
    ranges
}

#[cfg(test)]
mod tests;
