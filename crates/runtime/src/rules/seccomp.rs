//! System calls: an allow list equivalent to the one container engines share.
//!
//! Everything not named fails with `EPERM`. `clone3` fails with `ENOSYS` because its flags lie in memory a filter
//! cannot read; programs then use `clone`, which is refused when it asks for new namespaces. Absent on purpose:
//! mount, unshare, setns, keyctl, bpf, perf_event_open, io_uring, userfaultfd, process_vm_*, open_by_handle_at,
//! module and kexec calls. Facts: cloudfoundry/guardian:guardiancmd/seccomp, moby/moby:profiles/seccomp.

use super::owned;
use crate::oci::{Seccomp, SeccompArg, SeccompRule};
use crate::seccomp::ARCHITECTURE;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// `CLONE_NEW*` of clone(2), without the time namespace, whose bit `clone` cannot express.
const NAMESPACE_FLAGS: u64 = 0x7E02_0000;

/// Personalities: Linux, Linux in 32-bit mode, both with UNAME26, and the question for the current one.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];

/// Families an image may open sockets of: unspecified, unix, inet, inet6, netlink, packet (linux/socket.h). The rest
/// is attack surface: kernel crypto (38), the hypervisor (40), and protocols whose modules load on first use.
const FAMILIES: [u64; 6] = [0, 1, 2, 10, 16, 17];

/// The kernel looks at the lower half of an `int` argument only; so must a rule about it.
const INT: u64 = 0xFFFF_FFFF;

#[rustfmt::skip]
const ALLOWED: &[&str] = &[
    "accept", "accept4", "access", "adjtimex", "alarm", "arch_prctl", "bind", "brk", "cachestat", "capget", "capset",
    "chdir", "chmod", "chown", "chroot", "clock_adjtime", "clock_getres", "clock_gettime", "clock_nanosleep", "close",
    "close_range", "connect", "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1",
    "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2",
    "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fallocate", "fanotify_mark",
    "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr", "flistxattr",
    "flock", "fork", "fremovexattr", "fsetxattr", "fstat", "fstatfs", "fsync", "ftruncate", "futex", "futex_requeue",
    "futex_wait", "futex_waitv", "futex_wake", "futimesat", "get_robust_list", "get_thread_area", "getcpu", "getcwd",
    "getdents", "getdents64", "getegid", "geteuid", "getgid", "getgroups", "getitimer", "getpeername", "getpgid",
    "getpgrp", "getpid", "getppid", "getpriority", "getrandom", "getresgid", "getresuid", "getrlimit", "getrusage",
    "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid", "getxattr", "getxattrat",
    "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy",
    "io_getevents", "io_pgetevents", "io_setup", "io_submit", "ioctl", "ioprio_get", "ioprio_set", "kill",
    "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown", "lgetxattr", "link", "linkat",
    "listen", "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat", "madvise",
    "map_shadow_stack", "membarrier", "memfd_create", "memfd_secret", "mincore", "mkdir", "mkdirat", "mknod",
    "mknodat", "mlock", "mlock2", "mlockall", "mmap", "modify_ldt", "mprotect", "mq_getsetattr", "mq_notify",
    "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "mremap", "mseal", "msgctl", "msgget", "msgrcv",
    "msgsnd", "msync", "munlock", "munlockall", "munmap", "nanosleep", "newfstatat", "open", "openat", "openat2",
    "pause", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll",
    "ppoll", "prctl", "pread64", "preadv", "preadv2", "prlimit64", "process_mrelease", "pselect6", "ptrace",
    "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "recvfrom", "recvmmsg",
    "recvmsg", "remap_file_pages", "removexattr", "removexattrat", "rename", "renameat", "renameat2",
    "restart_syscall", "rmdir", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
    "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo",
    "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_setattr", "sched_setparam",
    "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl", "semget", "semop", "semtimedop", "sendfile",
    "sendmmsg", "sendmsg", "sendto", "set_robust_list", "set_thread_area", "set_tid_address", "setfsgid", "setfsuid",
    "setgid", "setgroups", "setitimer", "setpgid", "setpriority", "setregid", "setresgid", "setresuid", "setreuid",
    "setrlimit", "setsid", "setsockopt", "setuid", "setxattr", "setxattrat", "shmat", "shmctl", "shmdt", "shmget",
    "shutdown", "sigaltstack", "signalfd", "signalfd4", "socketpair", "splice", "stat", "statfs", "statx", "symlink",
    "symlinkat", "sync", "sync_file_range", "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create",
    "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime",
    "timerfd_settime", "times", "tkill", "truncate", "umask", "uname", "unlink", "unlinkat", "uretprobe", "utime",
    "utimensat", "utimes", "vfork", "vmsplice", "wait4", "waitid", "write", "writev",
];

/// The seccomp section of every bundle.
pub fn section() -> Seccomp {
    let mut syscalls = vec![
        allow(ALLOWED, Vec::new()),
        SeccompRule {
            names: owned(&["clone3"]),
            action: "SCMP_ACT_ERRNO".to_owned(),
            errno_ret: Some(ENOSYS),
            args: Vec::new(),
        },
        allow(&["clone"], vec![arg("SCMP_CMP_MASKED_EQ", NAMESPACE_FLAGS, 0)]),
    ];
    // One comparison of an argument per rule: with two, runtimes disagree on whether both must hold.
    syscalls.extend(FAMILIES.map(|family| allow(&["socket"], vec![arg("SCMP_CMP_MASKED_EQ", INT, family)])));
    syscalls
        .extend(PERSONALITIES.map(|persona| allow(&["personality"], vec![arg("SCMP_CMP_EQ", persona, 0)])));
    Seccomp {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        default_errno_ret: Some(EPERM),
        architectures: owned(&[ARCHITECTURE]),
        syscalls,
        ..Seccomp::default()
    }
}

fn allow(names: &[&str], args: Vec<SeccompArg>) -> SeccompRule {
    SeccompRule {
        names: owned(names),
        action: "SCMP_ACT_ALLOW".to_owned(),
        errno_ret: None,
        args,
    }
}

/// Compares the first argument with `value`, or its bits under the mask `value` with `second`.
fn arg(op: &str, value: u64, second: u64) -> SeccompArg {
    SeccompArg {
        index: 0,
        value,
        value_two: second,
        op: op.to_owned(),
    }
}
