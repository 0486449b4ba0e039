/* What a hostile program tries: `probe DEED [ARGUMENT…]` prints "ok" or the name of the errno. Static, for any image. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int say(long result) {
    if (result >= 0) puts("ok");
    else printf("%s\n", strerrorname_np(errno));
    return 0;
}

/* A system call by name with three arguments of no use; filters answer before the kernel looks at them. */
static const struct { const char *name; long number; } CALLS[] = {
#define CALL(name) { #name, SYS_##name },
    CALL(mount) CALL(umount2) CALL(fsopen) CALL(fsmount) CALL(open_tree) CALL(move_mount) CALL(mount_setattr)
    CALL(pivot_root) CALL(setns) CALL(unshare) CALL(bpf) CALL(userfaultfd) CALL(perf_event_open) CALL(io_uring_setup)
    CALL(keyctl) CALL(add_key) CALL(request_key) CALL(open_by_handle_at) CALL(init_module) CALL(finit_module)
    CALL(delete_module) CALL(kexec_load) CALL(kexec_file_load) CALL(reboot) CALL(swapon) CALL(acct) CALL(syslog)
    CALL(settimeofday) CALL(clock_settime) CALL(sethostname) CALL(process_vm_readv) CALL(process_vm_writev) CALL(kcmp)
    CALL(pidfd_getfd) CALL(quotactl) CALL(name_to_handle_at) CALL(fanotify_init) CALL(vhangup) CALL(clone3)
#ifdef __x86_64__
    CALL(iopl) CALL(ioperm)
#endif
};

static int call(const char *name) {
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++)
        if (!strcmp(CALLS[i].name, name)) return say(syscall(CALLS[i].number, 0, 0, 0, 0, 0, 0));
    return 2;
}

static int try_write(const char *path, int flags) {
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags);
    if (fd < 0) return say(fd);
    return say(write(fd, "1\n", 2));
}

static int connect_abstract(const char *name) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
    return say(connect(fd, (struct sockaddr *)&address, size));
}

/* The oldest trick: a directory held open from outside a second root. */
static int break_chroot(const char *dir) {
    mkdir(dir, 0755);
    int out = open("/", O_RDONLY | O_DIRECTORY);
    if (chroot(dir) || fchdir(out)) return say(-1);
    for (int i = 0; i < 100; i++)
        if (chdir("..")) return say(-1);
    if (chroot(".")) return say(-1);
    return execl("/bin/busybox", "ls", "/", NULL);
}

static int make_node(const char *path, const char *kind, int major_number, int minor_number) {
    mode_t mode = 0666 | (*kind == 'b' ? S_IFBLK : S_IFCHR);
    if (mknod(path, mode, makedev(major_number, minor_number))) return say(-1);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) return say(-1);
    puts("opened");
    return 0;
}

/* Opens what every process runs for writing until the input ends: the platform's own program would be a prize. */
static int hunt(void) {
    static char seen[1 << 16][64];
    size_t count = 0;
    fcntl(0, F_SETFL, O_NONBLOCK);
    puts("hunting");
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) != 0) {
        for (int pid = 1; pid < 400; pid++) {
            char path[64], target[PATH_MAX];
            if (pid == getpid()) continue;
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            if (fd < 0) continue;
            ssize_t length = readlink(path, target, sizeof target - 1);
            close(fd);
            if (length <= 0) continue;
            target[length] = 0;
            int found = !strncmp(target, "/bin/", 5);
            for (size_t i = 0; i < count; i++) found |= !strncmp(seen[i], target, 63);
            if (found || count == 1 << 16) continue;
            strncpy(seen[count++], target, 63);
            fd = open(path, O_WRONLY | O_CLOEXEC);
            printf("%s %s\n", target, fd >= 0 ? "writable" : strerrorname_np(errno));
            fflush(stdout);
            if (fd >= 0) close(fd);
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    const char *deed = argc > 1 ? argv[1] : "", *argument = argc > 2 ? argv[2] : "";
    if (!strcmp(deed, "call")) return call(argument);
    if (!strcmp(deed, "write")) return try_write(argument, 0);
    if (!strcmp(deed, "create")) return try_write(argument, O_CREAT);
    if (!strcmp(deed, "open")) return say(open(argument, O_RDONLY | O_NONBLOCK));
    if (!strcmp(deed, "abstract")) return connect_abstract(argument);
    if (!strcmp(deed, "trace")) return say(ptrace(PTRACE_ATTACH, atoi(argument), 0, 0));
    if (!strcmp(deed, "socket") && argc > 4)
        return say(syscall(SYS_socket, strtoul(argument, 0, 0), strtoul(argv[3], 0, 0), strtoul(argv[4], 0, 0)));
    if (!strcmp(deed, "clone")) return say(syscall(SYS_clone, strtoul(argument, 0, 0), 0, 0, 0, 0));
    if (!strcmp(deed, "node") && argc > 5) return make_node(argument, argv[3], atoi(argv[4]), atoi(argv[5]));
    if (!strcmp(deed, "chroot")) return break_chroot(argument);
    if (!strcmp(deed, "kill")) return say(kill(atoi(argument), 0));
    if (!strcmp(deed, "euid")) return printf("%d\n", geteuid()) < 0;
    if (!strcmp(deed, "hunt")) return hunt();
    return 2;
}
