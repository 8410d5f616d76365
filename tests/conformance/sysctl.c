// kernel: 2.0.36 2.2.26 2.4.37
// abi: i386 amd64
// native: fails
/*
 * _sysctl(2), gone since Linux 5.5: LinuxThreads asks it for KERN_VERSION to learn whether the kernel is SMP,
 * and glibc 2.0 to 2.3 for others of CTL_KERN. Linux 2.x answers with text that ends in a zero byte.
 */
#include "t.h"
#include <sys/utsname.h>

struct args { int *name; int nlen; void *old; size_t *oldlen; void *new; size_t newlen; unsigned long unused[4]; };

static char value[256];

static long ask(int ctl, int which, size_t *len)
{
	int name[2] = { ctl, which };
	struct args a = { name, 2, value, len, 0, 0, { 0 } };
	memset(value, '#', sizeof value);
	return sc(SYS__sysctl, &a);
}

static void text(const char *what, int which, const char *want)
{
	size_t len = sizeof value;
	long r = ask(1, which, &len);
	expect(what, 0, r);
	if (r) return;
	value[sizeof value - 1] = 0;
	expect_text(what, want, value);
	expect_true("its length, with or without the zero byte", len == strlen(want) || len == strlen(want) + 1);
}

int main(int argc, char **argv)
{
	struct utsname u;
	size_t len;
	uname(&u);
	text("KERN_OSTYPE", 1, "Linux");
	text("KERN_OSRELEASE", 2, level(argc, argv));
	text("KERN_VERSION", 4, u.version);
	text("KERN_NODENAME", 7, u.nodename);

	len = 3;
	expect("a short buffer", 0, ask(1, 2, &len));
	/* Linux 2.4 put the zero byte behind what it copied, 2.6.24 within. */
	expect_true("is not overrun", value[4] == '#');
	expect("a length alone", 0, sc(SYS__sysctl, &(struct args){ (int[]){ 1, 1 }, 2, 0, &len, 0, 0, { 0 } }));
	len = sizeof value;
	expect("no such name", -ENOTDIR, ask(1, 9999, &len));
	expect("no such class", -ENOTDIR, ask(9999, 1, &len));
	struct args a = { (int[]){ 1 }, 0, 0, 0, 0, 0, { 0 } };
	expect("no name", -ENOTDIR, sc(SYS__sysctl, &a));
	expect("no arguments", -EFAULT, sc(SYS__sysctl, 0));
	return verdict();
}
