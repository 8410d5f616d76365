/*
 * What a call costs, in ns: medians of batches. `handlers calls` makes those that a brand answers and belongs
 * into a zone, as does `files FILE`, of a file whose inode does not fit 32 bits; `floor SOCKET` is a notified call that a supervisor of no other work answers, which is `serve SOCKET`;
 * `one-rule` a call that a filter of one rule lets pass. One line each: NAME NS.
 * `crowd COUNT SECONDS` is that many processes that call uname one after the other, `crowd-floor COUNT SECONDS SOCKET` the same of a
 * call that `serve` answers. A line for each length of calls, in ns: LENGTH CALLS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS /* Linux 6.6 */
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV /* Linux 5.19 */
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#define BATCHES 15
#define CALLS 400

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void measure(const char *name, long nr, long a, long b, long c, long d)
{
	double batch[BATCHES];
	for (int i = 0; i < BATCHES; i++) {
		struct timespec from, to;
		clock_gettime(CLOCK_MONOTONIC, &from);
		for (int j = 0; j < CALLS; j++)
			syscall(nr, a, b, c, d);
		clock_gettime(CLOCK_MONOTONIC, &to);
		batch[i] = ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / CALLS;
	}
	qsort(batch, BATCHES, sizeof *batch, by_size);
	printf("%s %.0f\n", name, batch[BATCHES / 2]);
	fflush(stdout);
}

/* A filter with one rule, for call `nr`; the answer is its listener. */
static int filter(int nr)
{
	struct sock_filter rule[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof rule / sizeof *rule, rule };
	long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static void serve(int listener)
{
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	for (;;) {
		struct seccomp_notif call;
		memset(&call, 0, sizeof call);
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call)) {
			if (errno == EINTR)
				continue;
			return;
		}
		struct seccomp_notif_resp answer = { .id = call.id };
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
}

/* A unix socket at `path`, bound or connected. */
static int meet(const char *path, int bound)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	strncpy(at.sun_path, path, sizeof at.sun_path - 1);
	if (bound ? bind(s, (void *)&at, sizeof at) || chmod(path, 0666) || listen(s, 1) : connect(s, (void *)&at, sizeof at)) {
		perror(path);
		exit(1);
	}
	return s;
}

/* Sends descriptor `fd`, or receives one where that is -1. */
static int pass(int s, int fd)
{
	char byte = 0, room[CMSG_SPACE(sizeof fd)] = { 0 };
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (fd < 0) {
		if (recvmsg(s, &message, 0) != 1)
			exit(1);
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
		return fd;
	}
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	if (sendmsg(s, &message, 0) != 1)
		exit(1);
	close(fd);
	return 0;
}

/* Calls of all processes by how long they took, a sixteenth of a power of two each. */
enum { BINS = 64 * 16 };

static int bin_of(unsigned long long ns)
{
	int power = 63 - __builtin_clzll(ns | 16);
	return power * 16 + (ns >> (power - 4) & 15);
}

static double value_of(int bin) { return (double)(16 + bin % 16) * (1ull << (bin / 16)) / 16; }

static unsigned long long clock_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int crowd(int count, double seconds, int nr)
{
	static char buffer[1024];
	struct { unsigned bins[BINS]; unsigned ready, go; } *all =
		mmap(0, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < count; i++) {
		pid_t child = fork();
		if (child < 0) return perror("fork"), 1;
		if (child) continue;
		static unsigned own[BINS];
		__atomic_fetch_add(&all->ready, 1, __ATOMIC_SEQ_CST);
		while (!__atomic_load_n(&all->go, __ATOMIC_SEQ_CST)) usleep(1000);
		unsigned long long now = clock_ns(), end = now + seconds * 1e9;
		while (now < end) {
			syscall(nr, buffer);
			unsigned long long after = clock_ns();
			own[bin_of(after - now)]++;
			now = after;
		}
		for (int at = 0; at < BINS; at++)
			if (own[at]) __atomic_fetch_add(&all->bins[at], own[at], __ATOMIC_SEQ_CST);
		_exit(0);
	}
	while (__atomic_load_n(&all->ready, __ATOMIC_SEQ_CST) < (unsigned)count) usleep(1000);
	__atomic_store_n(&all->go, 1, __ATOMIC_SEQ_CST);
	while (wait(NULL) > 0) {}
	for (int at = 0; at < BINS; at++)
		if (all->bins[at]) printf("%.0f %u\n", value_of(at), all->bins[at]);
	return 0;
}

int main(int argc, char **argv)
{
	static char buffer[1024];
	static struct { int *name; int nlen; int *pad; void *oldval; size_t *oldlenp; void *newval; size_t newlen; } wanted;
	static int names[] = { 1, 2 }; /* CTL_KERN, KERN_OSRELEASE */
	static size_t length = sizeof buffer;
	const char *what = argc > 1 ? argv[1] : "";
	long at = (long)buffer;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (!strcmp(what, "serve") && argc == 3) {
		serve(pass(accept(meet(argv[2], 1), NULL, NULL), -1));
		return 0;
	}
	if (!strcmp(what, "floor") && argc == 3) {
		int s = meet(argv[2], 0);
		pass(s, filter(SYS_getppid));
		measure("floor", SYS_getppid, 0, 0, 0, 0);
		return 0;
	}
	if (!strcmp(what, "crowd") && argc == 4) return crowd(atoi(argv[2]), atof(argv[3]), SYS_uname);
	if (!strcmp(what, "crowd-floor") && argc == 5) {
		int s = meet(argv[4], 0);
		pass(s, filter(SYS_getppid));
		return crowd(atoi(argv[2]), atof(argv[3]), SYS_getppid);
	}
	if (!strcmp(what, "one-rule")) {
		filter(SYS_umask);
		measure("getppid", SYS_getppid, 0, 0, 0, 0);
		return 0;
	}
#ifdef __i386__
	if (!strcmp(what, "files") && argc == 3) {
		long file = (long)argv[2], fd = open(argv[2], O_RDONLY);
		measure("oldstat", 18, file, at, 0, 0);
		measure("stat64", SYS_stat64, file, at, 0, 0);
		measure("lstat64", SYS_lstat64, file, at, 0, 0);
		measure("fstat64", SYS_fstat64, fd, at, 0, 0);
		measure("statfs64", SYS_statfs64, file, 84, at, 0);
		return 0;
	}
#endif
	if (strcmp(what, "calls"))
		return 2;
	wanted.name = names;
	wanted.nlen = 2;
	wanted.oldval = buffer;
	wanted.oldlenp = &length;
	measure("getppid", SYS_getppid, 0, 0, 0, 0);
	measure("uname", SYS_uname, at, 0, 0, 0);
	measure("sysinfo", SYS_sysinfo, at, 0, 0, 0);
	measure("syslog", SYS_syslog, 10, 0, 0, 0);
	memset(buffer, 0, sizeof buffer);
	measure("adjtimex", SYS_adjtimex, at, 0, 0, 0);
	measure("clock_adjtime", SYS_clock_adjtime, 0, at, 0, 0);
	measure("settimeofday", SYS_settimeofday, 0, 0, 0, 0);
	measure("umount2", SYS_umount2, (long)"/nothing", 0, 0, 0);
	measure("mknod", SYS_mknod, (long)"/dev/null", S_IFCHR | 0600, 0x103, 0);
#ifdef __i386__
	measure("stime", SYS_stime, at, 0, 0, 0);
	measure("brk", SYS_brk, 0, 0, 0, 0);
	measure("_sysctl", 149, (long)&wanted, 0, 0, 0);
	measure("query_module", 167, 0, 0, 0, 0);
#else
	measure("_sysctl", 156, (long)&wanted, 0, 0, 0);
	measure("query_module", 178, 0, 0, 0, 0);
#endif
	measure("sethostname", SYS_sethostname, 0, -1, 0, 0);
	measure("personality", SYS_personality, 0, 0, 0, 0);
	return 0;
}
