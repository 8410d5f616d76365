/* `injector REPORT WATCH ACT NTH PID SPARE COMMAND...` runs a command while it traces zoned (process PID) and all that zoned makes,
   and acts at the NTH step of the process WATCH, which is before a system call of the list below.

   WATCH is zoned, zygote, monitor, inside (a child of a monitor that is not yet a program) or zonectl (the command).
   ACT is the name of such a process, which is killed then, or of an error, which that call gives in place of being made. The
   steps of an error are the calls that can give it. REPORT has a line `did …` of what was done. Where NTH is 0 nothing is, WATCH is
   all of them, and REPORT has a line for each call: whose, what it can give as the bits below, its name. The monitor SPARE is left
   alone. Ends as the command does. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KILL = 1, SPACE = 2, FILES = 4, MEMORY = 8, IO = 16, FILE_ONLY = 32, PATH1 = 64, PATH2 = 128, MAKES = 256, NO_EVENT = 512 };

/* What changes something, or is heard of by another: between two of these a kill is the same as before the second. */
static const struct call { int number; const char *name; int flags; } CALLS[] = {
#define C(name, flags) { SYS_##name, #name, flags }
	C(openat, KILL | SPACE | FILES | MEMORY | IO | PATH2 | MAKES), C(open, KILL | SPACE | FILES | MEMORY | IO | PATH1 | MAKES),
	C(openat2, FILES | MEMORY | IO | PATH2),
	C(read, IO | FILE_ONLY), C(pread64, IO | FILE_ONLY), C(write, KILL | SPACE | IO | NO_EVENT), C(writev, KILL | SPACE | IO | NO_EVENT),
	C(pwrite64, KILL | SPACE | IO | FILE_ONLY), C(getdents64, IO),
	C(statx, MEMORY | IO | PATH2), C(newfstatat, MEMORY | IO | PATH2), C(readlink, IO | PATH1), C(readlinkat, IO | PATH2),
	C(mkdir, KILL | SPACE | MEMORY | IO | PATH1), C(mkdirat, KILL | SPACE | MEMORY | IO | PATH2),
	C(mknod, KILL | SPACE | IO | PATH1), C(mknodat, KILL | SPACE | IO | PATH2),
	C(rename, KILL | SPACE | MEMORY | IO | PATH1), C(renameat, KILL | SPACE | MEMORY | IO | PATH2),
	C(renameat2, KILL | SPACE | MEMORY | IO | PATH2),
	C(unlink, KILL | MEMORY | IO | PATH1), C(unlinkat, KILL | MEMORY | IO | PATH2), C(rmdir, KILL | MEMORY | IO | PATH1),
	C(link, KILL | SPACE | IO | PATH1), C(linkat, KILL | SPACE | IO | PATH2),
	C(symlink, KILL | SPACE | IO | PATH1), C(symlinkat, KILL | SPACE | IO | PATH1),
	C(fsync, KILL | SPACE | IO), C(fdatasync, KILL | SPACE | IO), C(syncfs, KILL | SPACE | IO),
	C(ftruncate, KILL | SPACE | IO), C(fallocate, KILL | SPACE | IO), C(copy_file_range, KILL | SPACE | IO),
	C(sendfile, KILL | SPACE | IO), C(splice, SPACE | IO), C(ioctl, KILL | FILE_ONLY | IO | MEMORY),
	C(chmod, KILL | IO | PATH1), C(fchmod, KILL | IO), C(fchmodat, KILL | IO | PATH2), C(chown, KILL | SPACE | IO | PATH1),
	C(fchown, KILL | SPACE | IO), C(lchown, KILL | SPACE | IO | PATH1), C(fchownat, KILL | SPACE | IO | PATH2),
	C(setxattr, KILL | SPACE | IO | PATH1), C(fsetxattr, KILL | SPACE | IO), C(lsetxattr, KILL | SPACE | IO | PATH1),
	C(mount, KILL | MEMORY | IO | PATH2), C(umount2, KILL | MEMORY | PATH1), C(open_tree, KILL | FILES | MEMORY | PATH2),
	C(move_mount, KILL | MEMORY | PATH2), C(fsopen, KILL | FILES | MEMORY | PATH1), C(fsconfig, KILL | MEMORY | IO),
	C(fsmount, KILL | FILES | MEMORY), C(mount_setattr, KILL | MEMORY | PATH2), C(pivot_root, KILL | MEMORY | PATH1),
	C(clone, KILL | MEMORY), C(clone3, KILL | MEMORY | FILES), C(fork, KILL | MEMORY), C(vfork, KILL | MEMORY),
	C(execve, KILL | MEMORY | IO | PATH1), C(setns, KILL | MEMORY), C(unshare, KILL | MEMORY | SPACE),
	C(pidfd_open, FILES | MEMORY), C(pidfd_send_signal, KILL), C(kill, KILL), C(seccomp, KILL | MEMORY),
	C(socket, FILES | MEMORY), C(socketpair, FILES | MEMORY), C(accept4, FILES | MEMORY), C(bind, KILL | SPACE | MEMORY),
	C(listen, KILL), C(connect, KILL | MEMORY), C(sendmsg, KILL | MEMORY), C(sendto, KILL | MEMORY), C(recvmsg, KILL | MEMORY),
	C(recvfrom, KILL | MEMORY), C(shutdown, KILL), C(pipe2, FILES), C(eventfd2, FILES), C(epoll_create1, FILES),
	C(epoll_ctl, SPACE | MEMORY), C(memfd_create, FILES | MEMORY), C(timerfd_create, FILES | MEMORY), C(signalfd4, FILES | MEMORY),
	C(inotify_init1, FILES), C(inotify_add_watch, SPACE), C(dup, FILES), C(bpf, KILL | MEMORY | FILES),
	C(sethostname, KILL), C(setgroups, KILL | MEMORY), C(setsid, KILL), C(chroot, KILL), C(chdir, IO | PATH1),
};

enum { ZONED, ZYGOTE, SPARE, MONITOR, INSIDE, ZONECTL, OTHER, ALL };
static const char *ROLES[] = { "zoned", "zygote", "spare", "monitor", "inside", "zonectl", "other", "all" };

struct task { pid_t tid, group; int role, known, stopped, in_call, failing; };
static struct task tasks[4096];
static int count;

static FILE *report;
static const char *act;
static int watch, victim = -1, injected, mask, nth, passed, is_done;
static pid_t daemon_pid, spare_pid, command_pid, killed_pid;
static int command_status, command_ended;

static struct task *find(pid_t tid)
{
	for (int i = 0; i < count; i++) if (tasks[i].tid == tid) return &tasks[i];
	return NULL;
}

static struct task *add(pid_t tid)
{
	if (count == 4096) exit(3);
	tasks[count] = (struct task){ .tid = tid };
	return &tasks[count++];
}

static void forget(pid_t tid)
{
	struct task *task = find(tid);
	if (task) *task = tasks[--count];
}

static int slurp(char *text, int size, const char *format, int pid)
{
	char path[64];
	snprintf(path, sizeof path, format, pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC), length = fd < 0 ? -1 : (int)read(fd, text, size - 1);
	if (fd >= 0) close(fd);
	text[length < 0 ? 0 : length] = 0;
	return length;
}

static int field(int pid, const char *key)
{
	char text[8192];
	slurp(text, sizeof text, "/proc/%d/status", pid);
	char *at = strstr(text, key);
	return at ? atoi(at + strlen(key)) : -1;
}

static int is_zygote(int pid)
{
	char words[4096];
	int length = slurp(words, sizeof words, "/proc/%d/cmdline", pid);
	for (int i = 0; i < length; i++) if (!strncmp(words + i, "zygote", 6)) return 1;
	return 0;
}

static const char *name_of(int pid)
{
	static char name[32];
	slurp(name, sizeof name, "/proc/%d/comm", pid);
	name[strcspn(name, "\n")] = 0;
	return name;
}

static void go(struct task *task, int signal)
{
	task->stopped = 0;
	/* What nobody looks at runs at its own speed to its next event. */
	int plain = is_done || (task->role != watch && watch != ALL);
	if (task->role == INSIDE || (task->role == SPARE && !is_done)) plain = 0;
	ptrace(plain && !task->failing ? PTRACE_CONT : PTRACE_SYSCALL, task->tid, 0, signal);
}

static void release(struct task *task, int signal)
{
	ptrace(PTRACE_DETACH, task->tid, 0, signal);
	forget(task->tid);
}

#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC)

static void seize(pid_t group, int role)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/task", group);
	DIR *dir = opendir(path);
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		pid_t tid = atoi(entry->d_name);
		if (!tid || find(tid) || ptrace(PTRACE_SEIZE, tid, 0, OPTIONS)) continue;
		struct task *task = add(tid);
		*task = (struct task){ .tid = tid, .group = group, .role = role, .known = 1 };
		/* It shows itself by a stop; from then on its calls are seen. */
		ptrace(PTRACE_INTERRUPT, tid, 0, 0);
	}
	if (dir) closedir(dir);
}

static void seize_all(void)
{
	seize(daemon_pid, ZONED);
	DIR *dir = opendir("/proc");
	for (struct dirent *entry; (entry = readdir(dir));) {
		pid_t pid = atoi(entry->d_name);
		if (!pid || pid == spare_pid || field(pid, "PPid:\t") != daemon_pid) continue;
		const char *name = name_of(pid);
		if (!strcmp(name, "zone-monitor")) seize(pid, MONITOR);
		else if (!strcmp(name, "zone-zygote")) {
			char stat[1024];
			slurp(stat, sizeof stat, "/proc/%d/stat", pid);
			int group = 0;
			sscanf(strrchr(stat, ')') ? strrchr(stat, ')') + 1 : "", " %*c %*d %d", &group);
			seize(pid, group == pid ? ZYGOTE : SPARE);
		}
	}
	closedir(dir);
}

/* What a new task is follows from who made it. */
static void settle(struct task *task, const struct task *parent)
{
	pid_t group = field(task->tid, "Tgid:\t");
	task->known = 1;
	task->group = group;
	if (group == parent->group) task->role = parent->role;
	else if (parent->role == ZYGOTE || parent->role == SPARE) task->role = SPARE;
	else if (parent->role == MONITOR || parent->role == INSIDE) task->role = INSIDE;
	else task->role = OTHER;
}

static void text_at(pid_t tid, unsigned long at, char *text, int size)
{
	memset(text, 0, size);
	for (int done = 0; done < size - 1;) {
		struct iovec here = { text + done, 1 }, there = { (void *)(at + done), 1 };
		if (process_vm_readv(tid, &here, 1, &there, 1, 0) != 1 || !text[done]) break;
		done++;
	}
	for (char *c = text; *c; c++) if (!isprint((unsigned char)*c)) *c = '?';
}

static int flags_of(const struct call *call, const struct user_regs_struct *regs, pid_t tid, char *what, int size)
{
	int flags = call->flags;
	*what = 0;
	if (flags & PATH1) text_at(tid, regs->rdi, what, size);
	else if (flags & PATH2) text_at(tid, regs->rsi, what, size);
	else if (call->number != SYS_clone && call->number != SYS_clone3 && call->number != SYS_socket) {
		char path[64];
		snprintf(path, sizeof path, "/proc/%d/fd/%d", tid, (int)regs->rdi);
		int length = readlink(path, what, size - 1);
		what[length < 0 ? 0 : length] = 0;
		int is_file = *what == '/' && strncmp(what, "/dev/", 5);
		if ((flags & FILE_ONLY) && !is_file) return 0;
		if (!is_file) flags &= ~(flags & NO_EVENT ? SPACE | IO : 0);
		if ((flags & NO_EVENT) && strstr(what, "anon_inode")) return 0;
		/* zoned's log is no state. */
		if (strstr(what, "zoned.log") || strstr(what, "/dev/null")) return 0;
	}
	if (flags & MAKES) {
		int how = call->number == SYS_open ? (int)regs->rsi : (int)regs->rdx;
		if (!(how & O_CREAT)) flags &= ~(SPACE | ((how & O_ACCMODE) == O_RDONLY ? KILL : 0));
	}
	return flags;
}

static void finish(void)
{
	fflush(report);
	is_done = 1;
}

static int is_over(pid_t pid)
{
	char stat[1024];
	if (slurp(stat, sizeof stat, "/proc/%d/stat", pid) <= 0) return 1;
	char *at = strrchr(stat, ')');
	return !at || at[2] == 'Z' || at[2] == 'X';
}

static void tell(const struct task *task, const struct call *call, const char *what)
{
	fprintf(report, "did %s before %s's %s %s\n", act, ROLES[task->role], call->name, what);
}

/* Before a call that is a step. */
static void step(struct task *task, struct user_regs_struct *regs, const struct call *call, const char *what)
{
	if (++passed != nth) return;
	if (victim >= 0) {
		killed_pid = victim == ZONED ? daemon_pid : victim == ZONECTL ? command_pid : 0;
		if (victim == watch) killed_pid = task->group;
		for (int i = 0; i < count && !killed_pid; i++)
			if (tasks[i].role == victim) killed_pid = tasks[i].group;
		if (killed_pid) kill(killed_pid, SIGKILL), tell(task, call, what);
		finish();
		return;
	}
	regs->orig_rax = -1;
	ptrace(PTRACE_SETREGS, task->tid, 0, regs);
	task->failing = injected;
	tell(task, call, what);
	finish();
}

static int is_begin(pid_t tid)
{
	struct __ptrace_syscall_info info = { 0 };
	ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info);
	return info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

static void at_call(struct task *task)
{
	struct user_regs_struct regs;
	if (ptrace(PTRACE_GETREGS, task->tid, 0, &regs)) return;
	if (task->failing) {
		regs.rax = -(long)task->failing;
		task->failing = 0;
		ptrace(PTRACE_SETREGS, task->tid, 0, &regs);
		return;
	}
	if (!is_begin(task->tid) || is_done) return;
	int is_new_spare = task->role == SPARE && !strcmp(name_of(task->group), "zone-monitor");
	if (is_new_spare)
		for (int i = 0; i < count; i++) if (tasks[i].group == task->group) tasks[i].role = MONITOR;
	if (task->role != watch && watch != ALL) return;
	for (unsigned i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
		if (CALLS[i].number != (int)regs.orig_rax) continue;
		char what[512];
		int flags = flags_of(&CALLS[i], &regs, task->tid, what, sizeof what);
		if (watch == ALL) fprintf(report, "%s %d %s %s\n", ROLES[task->role], flags & 31, CALLS[i].name, what);
		else if (flags & mask) step(task, &regs, &CALLS[i], what);
		return;
	}
}

static void at_stop(pid_t tid, int status)
{
	struct task *task = find(tid);
	if (!task) {
		task = add(tid);
		task->stopped = 1;
		return;
	}
	if (!task->known) {
		task->stopped = 1;
		return;
	}
	int signal = WSTOPSIG(status), event = status >> 16;
	if (event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK) {
		unsigned long made = 0;
		ptrace(PTRACE_GETEVENTMSG, tid, 0, &made);
		struct task *child = find(made);
		int is_here = child && child->stopped;
		if (!child) child = add(made), task = find(tid);
		settle(child, task);
		if (is_here) go(child, 0);
		return go(find(tid), 0);
	}
	if (event == PTRACE_EVENT_EXEC) {
		if (task->role == OTHER && is_zygote(tid)) task->role = ZYGOTE;
		else if (task->role == OTHER || task->role == INSIDE) return release(task, 0);
		return go(task, 0);
	}
	if (event == PTRACE_EVENT_STOP) {
		if (signal == SIGTRAP) return go(task, 0);
		ptrace(PTRACE_LISTEN, tid, 0, 0);
		return;
	}
	if (signal == (SIGTRAP | 0x80)) {
		at_call(task);
		struct user_regs_struct regs;
		/* A monitor traces the program that it starts. */
		if (task->role == INSIDE && !task->failing && !ptrace(PTRACE_GETREGS, tid, 0, &regs) &&
		    is_begin(tid) && (regs.orig_rax == SYS_execve || regs.orig_rax == SYS_execveat))
			return release(task, 0);
		return go(task, 0);
	}
	go(task, signal);
}

static double now(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec + at.tv_nsec / 1e9;
}

static int role(const char *name)
{
	for (int i = 0; i <= ALL; i++) if (!strcmp(ROLES[i], name)) return i;
	return -1;
}

int main(int argc, char **argv)
{
	if (argc < 8) return 2;
	static const struct { const char *name; int number, flag; } ERRORS[] = {
		{ "ENOSPC", ENOSPC, SPACE }, { "EMFILE", EMFILE, FILES }, { "ENOMEM", ENOMEM, MEMORY }, { "EIO", EIO, IO },
	};
	report = fopen(argv[1], "we");
	watch = role(argv[2]);
	act = argv[3];
	victim = role(act);
	mask = KILL;
	for (int i = 0; i < 4; i++) if (!strcmp(ERRORS[i].name, argv[3])) injected = ERRORS[i].number, mask = ERRORS[i].flag;
	nth = atoi(argv[4]);
	daemon_pid = atoi(argv[5]);
	spare_pid = atoi(argv[6]);
	if (!report || watch < 0 || (watch != ALL && victim < 0 && !injected)) return 2;
	sigset_t set;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (watch != ZONECTL) seize_all();
	int gate[2];
	if (pipe2(gate, O_CLOEXEC)) return 2;
	command_pid = fork();
	if (!command_pid) {
		char byte;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(gate[1]);
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		if (read(gate[0], &byte, 1) < 0) _exit(2);
		execv(argv[7], argv + 7);
		_exit(127);
	}
	close(gate[0]);
	if (watch == ZONECTL || watch == ALL) seize(command_pid, ZONECTL);
	/* Only then it begins. */
	int is_open = 0;
	double until = 0, end = now() + 30;
	for (;;) {
		int status;
		pid_t pid;
		while ((pid = waitpid(-1, &status, __WALL | WNOHANG)) > 0) {
			if (WIFSTOPPED(status)) {
				at_stop(pid, status);
				continue;
			}
			forget(pid);
			if (pid == command_pid) command_status = status, command_ended = 1;
		}
		if (!is_open) close(gate[1]), is_open = 1;
		/* What is done after the answer has a moment. */
		if (command_ended && !until) until = now() + 0.05;
		if (command_ended && (now() > until || is_done) && !(killed_pid && !is_over(killed_pid) && now() < until + 5)) break;
		if (now() > end) return fputs("it does not end\n", stderr), 124;
		struct pollfd wait = { .fd = signals, .events = POLLIN };
		poll(&wait, 1, 10);
		struct signalfd_siginfo info;
		while (read(signals, &info, sizeof info) > 0) {}
	}
	fclose(report);
	if (WIFSIGNALED(command_status)) signal(WTERMSIG(command_status), SIG_DFL), raise(WTERMSIG(command_status));
	/* All that is traced goes its way with this process. */
	return WEXITSTATUS(command_status);
}
