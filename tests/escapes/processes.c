/* Processes outside by their numbers there: to trace, read, signal and take descriptors from. */
#include "e.h"
#include <sys/ptrace.h>
#include <sys/uio.h>

#ifdef __x86_64__
#define PROGRAM 0x400000
#else
#define PROGRAM 0x8048000
#endif

static int all(void *with)
{
	int pid = *(int *)with;
	char path[64], byte;
	/* Where a static program begins. */
	struct iovec mine = { &byte, 1 }, theirs = { (void *)(uintptr_t)PROGRAM, 1 };
	attempt("kill", SYS_kill, pid, 0);
	attempt("tgkill", SYS_tgkill, pid, pid, 0);
	attempt("sched_setaffinity", SYS_sched_setaffinity, pid, 8, "\1\0\0\0\0\0\0");
	attempt("prlimit", SYS_prlimit64, pid, 7, 0, 0);
	long fd = attempt("pidfd_open", SYS_pidfd_open, pid, 0);
	if (fd >= 0) attempt("pidfd_getfd", SYS_pidfd_getfd, fd, 0, 0);
	attempt("kcmp", SYS_kcmp, getpid(), pid, 0, 0, 0);
	attempt("getpgid", SYS_getpgid, pid);
	attempt("process_vm_readv", SYS_process_vm_readv, pid, &mine, 1, &theirs, 1, 0);
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	fd = open(path, O_RDWR);
	if (fd >= 0) escaped("mem", "%s", path);
	else held("mem", errno);
	attempt("ptrace", SYS_ptrace, PTRACE_SEIZE, pid, 0, 0);
	/* Signals by way of files: whoever owns one is sent SIGIO. */
	int pipes[2];
	if (pipe(pipes) == 0) attempt("F_SETOWN", SYS_fcntl, pipes[0], F_SETOWN, pid);
	return verdict();
}

int main(int argc, char **argv)
{
	if (is_plant(argc, argv)) {
		planted("%d", getpid());
		return 1;
	}
	for (int i = 2; i < argc; i++) {
		int pid = atoi(argv[i]);
		if (pid > 1) tries(all, &pid);
	}
	return verdict();
}
