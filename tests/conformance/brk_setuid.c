// kernel: 2.0.36 2.2.26
// abi: i386
// native: fails
// cflags: -static -fno-pie -no-pie
/*
 * A program that gains privileges is executed without ADDR_NO_RANDOMIZE (PER_CLEAR_ON_SETID of
 * linux/personality.h), so its break begins at a random place. Up to Linux 2.4 there was nothing random,
 * and libc5 asks for `brk(_end + n)`. See brk_libc5.c for the contract.
 */
#include "t.h"
#include <sys/personality.h>

extern char _end[];
extern char **environ;

/* As its libc left it, which has moved it already. */
static long first_break;

static long raw_brk(long to) { return syscall(SYS_brk, to); }

static int gained(void)
{
	expect("the user that it became", 1234, geteuid());
	first_break = raw_brk(0);
	char what[100];
	snprintf(what, sizeof what, "the break %#lx lies less than 4 MiB after the program's end %p", first_break, _end);
	expect_true(what, first_break - (long)_end >= 0 && first_break - (long)_end < 4 << 20);
	expect_true("no randomisation", personality(0xffffffff) & ADDR_NO_RANDOMIZE);
	expect("growing it", first_break + 70001, raw_brk(first_break + 70001));
	*(char *)(first_break + 70000) = 1;
	/* What it executes in turn begins there too. */
	pid_t pid = fork();
	if (!pid) {
		execl("/proc/self/exe", "brk_setuid", "child", (char *)0);
		_exit(1);
	}
	int status = -1;
	waitpid(pid, &status, 0);
	expect("a program that it executes", 0, status);
	return failures != 0;
}

static int child(void)
{
	long now = raw_brk(0);
	expect_true("a child's break lies after its program", now - (long)_end >= 0 && now - (long)_end < 4 << 20);
	return failures != 0;
}

int main(int argc, char **argv)
{
	if (!strcmp(level(argc, argv), "gained")) return gained();
	if (!strcmp(argv[1], "child")) return child();
	/* A copy of this program, with the set-user-ID bit, where that counts. */
	char path[200];
	static char bytes[4 << 20];
	const char *dir = scratch();
	expect("a file system for it", 0, sc(SYS_mount, "none", dir, "tmpfs", 0, "mode=755"));
	snprintf(path, sizeof path, "%s/setuid", dir);
	int from = open("/proc/self/exe", O_RDONLY), to = open(path, O_WRONLY | O_CREAT | O_EXCL, 0755);
	ssize_t n = read(from, bytes, sizeof bytes);
	expect("the copy", n, write(to, bytes, n));
	expect("chown", 0, sc(SYS_fchown32, to, 1234, 1234));
	expect("chmod", 0, sc(SYS_fchmod, to, 04755));
	close(to);
	/* Several times: a random break may lie near by chance. */
	for (int i = 0; i < 8 && !failures; i++) {
		pid_t pid = fork();
		if (!pid) {
			execl(path, "brk_setuid", "gained", (char *)0);
			_exit(1);
		}
		int status = -1;
		waitpid(pid, &status, 0);
		expect("the program", 0, status);
	}
	return verdict();
}
