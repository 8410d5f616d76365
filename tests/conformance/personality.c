// kernel: 2.0.36 2.6.18
// abi: i386
// native: fails
/*
 * A pinned personality survives personality(2) and exec.
 *
 * libc5's ld.so.1 calls personality(PER_LINUX) in every program, which takes ADDR_NO_RANDOMIZE, PER_LINUX32
 * and READ_IMPLIES_EXEC away again; the break, `uname -m` and code on the heap break with them. So a set
 * answers 0 without effect, and only the query 0xffffffff tells what is. See personality(2).
 */
#include "t.h"
#include <sys/personality.h>

#define QUERY 0xffffffffUL

int main(int argc, char **argv)
{
	const char *k = level(argc, argv);
	long before = sc(SYS_personality, QUERY);
	if (argc > 2) {
		expect("personality after exec", strtol(argv[2], 0, 0), before);
		return failures != 0;
	}
	expect("PER_LINUX32 of a 32-bit guest", PER_LINUX32, before & PER_MASK);
	if (!strncmp(k, "2.0", 3)) {
		expect("ADDR_NO_RANDOMIZE at 2.0", ADDR_NO_RANDOMIZE, before & ADDR_NO_RANDOMIZE);
		expect("ADDR_COMPAT_LAYOUT at 2.0", ADDR_COMPAT_LAYOUT, before & ADDR_COMPAT_LAYOUT);
		expect("ADDR_LIMIT_3GB at 2.0", ADDR_LIMIT_3GB, before & ADDR_LIMIT_3GB);
	}
	expect("personality(PER_LINUX)", 0, sc(SYS_personality, PER_LINUX));
	expect("query after PER_LINUX", before, sc(SYS_personality, QUERY));
	expect("personality(PER_SVR4)", 0, sc(SYS_personality, PER_SVR4));
	expect("query after PER_SVR4", before, sc(SYS_personality, QUERY));

	char text[32];
	snprintf(text, sizeof text, "0x%lx", before);
	pid_t child = fork();
	if (!child) {
		execl("/proc/self/exe", argv[0], k, text, NULL);
		_exit(127);
	}
	int status;
	waitpid(child, &status, 0);
	expect("status of the program after exec", 0, status);
	return verdict();
}
