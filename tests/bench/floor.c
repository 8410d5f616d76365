/*
 * The floor of a zone's start: the least that the kernel must be asked for one program with the isolation of a zone, and
 * nothing else. User, pid, mount, net, uts, ipc and cgroup namespaces; one group in each hierarchy that zones use; a
 * root of an overlay over FOLDER; /proc; pivot_root; a filter with a listener; exec; and all of it away again.
 *
 *   floor FOLDER SCRATCH PROGRAM [GROUP...]    GROUP: a folder in a cgroup hierarchy, the v2 one first
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    _exit(125);
}

static void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        die(path);
    close(fd);
}

/* A cpuset of v1 begins empty. */
static void inherit(const char *group, const char *file) {
    char path[512], text[256];
    snprintf(path, sizeof path, "%s/../%s", group, file);
    int fd = strstr(group, "cpuset") ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    text[len > 0 ? len : 0] = 0;
    snprintf(path, sizeof path, "%s/%s", group, file);
    put(path, text);
}

static void child(const char *folder, const char *scratch, char *program, int go, int groups, const int *tasks) {
    char byte, options[512];
    if (read(go, &byte, 1) != 1)
        die("wait");
    for (int i = 0; i < groups; i++)
        if (tasks[i] >= 0 && write(tasks[i], "0", 1) != 1)
            die("join a group");
    if (unshare(CLONE_NEWCGROUP))
        die("unshare the groups");
    if (setresgid(0, 0, 0) || setresuid(0, 0, 0))
        die("become root");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || chdir(scratch))
        die("private mounts");
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=upper,workdir=work,userxattr", folder);
    if (mount("tmpfs", "stage", "tmpfs", 0, NULL) || chdir("stage"))
        die("stage");
    if (mkdir("upper", 0755) || mkdir("work", 0755) || mkdir("root", 0755))
        die("folders");
    if (mount("overlay", "root", "overlay", 0, options) || chdir("root"))
        die("overlay");
    if (syscall(SYS_pivot_root, ".", "."))
        die("pivot_root");
    mkdir("/proc", 0755);
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
        die("proc");
    if (umount2(".", MNT_DETACH) || chdir("/"))
        die("the old root");
    sethostname("floor", 5);
    struct sock_filter insns[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog prog = {1, insns};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog) < 0)
        die("filter");
    char *argv[] = {program, NULL}, *envp[] = {NULL};
    execve(program, argv, envp);
    die(program);
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    struct clone_args args = {.flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC,
                              .exit_signal = SIGCHLD};
    int groups = argc - 4, tasks[16], v2 = -1, go[2], status;
    char path[512], map[] = "0 1073741824 65536\n";
    if (groups > 16)
        return 2;
    for (int i = 0; i < groups; i++) {
        if (mkdir(argv[4 + i], 0755))
            die(argv[4 + i]);
        inherit(argv[4 + i], "cpuset.cpus");
        inherit(argv[4 + i], "cpuset.mems");
        // v1 lets a task move itself; v2 has the child begin there.
        snprintf(path, sizeof path, "%s/tasks", argv[4 + i]);
        tasks[i] = open(path, O_WRONLY | O_CLOEXEC);
        if (tasks[i] < 0 && (v2 = open(argv[4 + i], O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
            die(path);
    }
    if (v2 >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = v2;
    }
    if (pipe2(go, O_CLOEXEC))
        die("pipe");
    pid_t pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid < 0)
        die("clone3");
    if (pid == 0)
        child(argv[1], argv[2], argv[3], go[0], groups, tasks);
    snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
    put(path, map);
    snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
    put(path, map);
    if (write(go[1], "g", 1) != 1)
        die("release");
    if (waitpid(pid, &status, 0) != pid)
        die("wait");
    for (int i = 0; i < groups; i++)
        rmdir(argv[4 + i]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}
