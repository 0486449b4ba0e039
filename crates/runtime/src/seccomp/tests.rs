//! The compiled program is run by a small interpreter and compared with what the rules say.

use super::*;
use crate::rules;

/// Runs `program` on one call as the kernel would.
fn run(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = vec![number, arch, 0, 0];
    data.extend(args.iter().flat_map(|arg| [*arg as u32, (*arg >> 32) as u32]));
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let i = program[at];
        at += 1;
        match i.code {
            0x20 => accumulator = data[i.k as usize / 4],
            0x54 => accumulator &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += usize::from(if accumulator == i.k { i.jt } else { i.jf }),
            0x25 => at += usize::from(if accumulator > i.k { i.jt } else { i.jf }),
            0x35 => at += usize::from(if accumulator >= i.k { i.jt } else { i.jf }),
            0x06 => return i.k,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

fn verdict(name: &str, args: [u64; 6]) -> u32 {
    let program = compile(&rules::seccomp::section()).expect("our own profile compiles");
    run(&program, AUDIT_ARCH, number(name).expect("a known call"), args)
}

const ALLOW: u32 = 0x7FFF_0000;
const EPERM: u32 = 0x0005_0001;

#[test]
fn the_table_is_sorted() {
    assert!(NUMBERS.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

#[test]
fn ordinary_calls_pass_and_dangerous_ones_do_not() {
    for name in [
        "read",
        "openat",
        "execve",
        "chroot",
        "ptrace",
        "setuid",
        "futex",
        "landlock_restrict_self",
    ] {
        assert_eq!(verdict(name, [0; 6]), ALLOW, "{name}");
    }
    for name in [
        "mount",
        "umount2",
        "unshare",
        "setns",
        "keyctl",
        "add_key",
        "bpf",
        "perf_event_open",
        "init_module",
        "kexec_load",
        "reboot",
        "swapon",
        "open_by_handle_at",
        "userfaultfd",
        "io_uring_setup",
        "process_vm_readv",
        "move_mount",
        "open_tree",
        "fsopen",
        "pivot_root",
        "syslog",
        "acct",
        "settimeofday",
        "personality",
    ] {
        assert_eq!(verdict(name, [0xBAD; 6]), EPERM, "{name}");
    }
}

#[test]
fn clone_is_judged_by_its_flags() {
    assert_eq!(verdict("clone", [17, 0, 0, 0, 0, 0]), ALLOW, "fork");
    assert_eq!(verdict("clone", [0x3D_0F00, 0, 0, 0, 0, 0]), ALLOW, "a thread");
    for namespace in [
        0x0002_0000,
        0x0200_0000,
        0x0400_0000,
        0x0800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        assert_eq!(
            verdict("clone", [namespace | 17, 0, 0, 0, 0, 0]),
            EPERM,
            "{namespace:#x}"
        );
    }
    assert_eq!(verdict("clone3", [0; 6]), 0x0005_0000 | ENOSYS);
}

#[test]
fn socket_families_and_personalities_are_judged_by_value() {
    for (family, expected) in [
        (1, ALLOW),
        (2, ALLOW),
        (10, ALLOW),
        (16, ALLOW),
        (15, EPERM),
        (38, EPERM),
        (40, EPERM),
        // The kernel looks at the lower half only.
        (0x1_0000_0026, EPERM),
        (0x1_0000_0002, ALLOW),
    ] {
        assert_eq!(
            verdict("socket", [family, 1, 0, 0, 0, 0]),
            expected,
            "family {family}"
        );
    }
    for (persona, expected) in [(0, ALLOW), (8, ALLOW), (0xFFFF_FFFF, ALLOW), (0x40_0000, EPERM)] {
        assert_eq!(
            verdict("personality", [persona, 0, 0, 0, 0, 0]),
            expected,
            "{persona:#x}"
        );
    }
}

#[test]
fn comparisons_are_of_all_64_bits() {
    let big = 0x1_0000_0005_u64;
    for (op, holds) in [
        ("SCMP_CMP_LT", [true, false, false]),
        ("SCMP_CMP_LE", [true, true, false]),
        ("SCMP_CMP_EQ", [false, true, false]),
        ("SCMP_CMP_NE", [true, false, true]),
        ("SCMP_CMP_GE", [false, true, true]),
        ("SCMP_CMP_GT", [false, false, true]),
    ] {
        let section = Seccomp {
            default_action: "SCMP_ACT_ERRNO".to_owned(),
            syscalls: vec![SeccompRule {
                names: vec!["read".to_owned()],
                action: "SCMP_ACT_ALLOW".to_owned(),
                errno_ret: None,
                args: vec![SeccompArg {
                    index: 2,
                    value: big,
                    value_two: 0,
                    op: op.to_owned(),
                }],
            }],
            ..Seccomp::default()
        };
        let program = compile(&section).expect("compiles");
        let read = number("read").expect("known");
        for (values, holds) in [
            [big - 1, 6, 0xFFFF_FFFF],
            [big; 3],
            [big + 1, 0x2_0000_0000, u64::MAX],
        ]
        .into_iter()
        .zip(holds)
        {
            for value in values {
                let verdict = run(&program, AUDIT_ARCH, read, [0, 0, value, 0, 0, 0]);
                assert_eq!(verdict == ALLOW, holds, "{value:#x} {op}");
            }
        }
    }
}

#[test]
fn what_cannot_be_compiled_is_named() {
    let deny = |name: &str, action: &str| SeccompRule {
        names: vec![name.to_owned()],
        action: action.to_owned(),
        ..SeccompRule::default()
    };
    let section = |rule| Seccomp {
        default_action: "SCMP_ACT_ALLOW".to_owned(),
        syscalls: vec![rule],
        ..Seccomp::default()
    };
    let refused = |section: &Seccomp| compile(section).expect_err("refused").to_string();
    assert!(refused(&section(deny("read", "SCMP_ACT_NOTIFY"))).contains("SCMP_ACT_NOTIFY"));
    assert!(refused(&section(deny("nonsense", "SCMP_ACT_ERRNO"))).contains("nonsense"));
    let flagged = Seccomp {
        flags: vec!["SECCOMP_FILTER_FLAG_LOG".to_owned()],
        ..section(deny("read", "SCMP_ACT_KILL"))
    };
    assert!(refused(&flagged).contains("SECCOMP_FILTER_FLAG_LOG"));
    let foreign = Seccomp {
        architectures: vec!["SCMP_ARCH_S390X".to_owned()],
        ..section(deny("read", "SCMP_ACT_KILL"))
    };
    assert!(refused(&foreign).contains(ARCHITECTURE));
}

#[test]
fn other_architectures_are_killed_and_unknown_numbers_do_not_exist() {
    let program = compile(&rules::seccomp::section()).expect("compiles");
    assert_eq!(run(&program, 0x4000_0003, 1, [0; 6]), KILL);
    assert_eq!(run(&program, AUDIT_ARCH, 9999, [0; 6]), 0x0005_0000 | ENOSYS);
    // x32 numbers carry this bit.
    assert_eq!(
        run(&program, AUDIT_ARCH, 0x4000_0000, [0; 6]),
        0x0005_0000 | ENOSYS
    );
    assert!(
        program.len() < 4096,
        "the kernel takes no more: {}",
        program.len()
    );
}
