// kernel: 2.0.36 2.4.37
// abi: i386 amd64
// native: passes
/*
 * A law: a bad pointer is EFAULT, whoever answers: nowhere, the first page, the kernel's half, memory that is
 * unmapped, unreadable or read-only, and a structure of which only the beginning is there.
 */
#include "t.h"

static char *readable, *unmapped, *forbidden;

/* For a call that writes `size` bytes to `p`. */
#define for_each_bad_target(p, size) \
	for (char **b_ = bad_targets(size), *p; (p = *b_) != (char *)-2; b_++)

static char **bad_targets(size_t size)
{
	static char *list[16];
	int n = 0;
	list[n++] = 0;
	list[n++] = (char *)1;
	list[n++] = (char *)-1;
	list[n++] = (char *)-4096;
#ifdef __x86_64__
	list[n++] = (char *)0xffffffff81000000;
	list[n++] = (char *)0x00007ffffffff000;
	list[n++] = (char *)0x8000000000000000;
	list[n++] = (char *)0x0123456789abcdef;
#endif
	list[n++] = unmapped;
	list[n++] = unmapped - 1;
	list[n++] = unmapped - size / 2;
	list[n++] = forbidden;
	list[n++] = readable;
	list[n++] = (char *)-2;
	return list;
}

static void efault(const char *what, const void *p, long got)
{
	if (got != -EFAULT) fail("%s at %p, expected %d, got %ld", what, p, -EFAULT, got);
}

/* For a call that reads a string or structure at `p`: read-only memory is good. */
static char **bad_sources(void)
{
	char **list = bad_targets(1), **end = list;
	while (*end != (char *)-2) end++;
	end[-1] = (char *)-2;
	return list;
}

int main(void)
{
	char *area = mmap(0, 6 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unmapped = area + 4096, forbidden = area + 3 * 4096, readable = area + 5 * 4096;
	memset(area, 'x', 4096);
	munmap(unmapped, 4096);
	mprotect(forbidden, 4096, PROT_NONE);
	mprotect(readable, 4096, PROT_READ);

	for_each_bad_target(p, 390) efault("uname", p, sc(SYS_uname, p));
	for_each_bad_target(p, 64) efault("sysinfo", p, sc(SYS_sysinfo, p));
#ifdef __i386__
	for_each_bad_target(p, 325) efault("olduname", p, sc(SYS_olduname, p));
	for_each_bad_target(p, 45) efault("oldolduname", p, sc(SYS_oldolduname, p));
#endif
	for_each_bad_target(p, 8) {
		if (!p) continue;
		long r = sc(SYS_syslog, 3, p, 8);
		/* An empty log touches nothing; without the right to read, EPERM comes first. */
		if (r != -EFAULT && r != 0 && r != -EPERM) efault("syslog", p, r);
	}

	memset(area, 'x', 4096);
	/* area ends in x up to the unmapped page: a path without an end. */
	for (char **b = bad_sources(); *b != (char *)-2; b++) {
		char *p = *b;
		efault("mknod", p, sc(SYS_mknod, p, S_IFCHR | 0600, (unsigned)makedev(1, 3)));
		efault("mknodat", p, sc(SYS_mknodat, AT_FDCWD, p, S_IFCHR | 0600, (unsigned)makedev(1, 3)));
		efault("mount's target", p, sc(SYS_mount, "proc", p, "proc", 0, 0));
		if (p) efault("mount's type", p, sc(SYS_mount, "proc", "/proc", p, 0, 0));
		if (p) efault("mount's source", p, sc(SYS_mount, p, "/proc", "proc", 0, 0));
	}
	/* A path of 5000 bytes that is all there. */
	char *long_path = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(long_path, 'y', 5000);
	expect("a path too long", -ENAMETOOLONG, sc(SYS_mknod, long_path, S_IFCHR | 0600, (unsigned)makedev(1, 3)));
	expect("an empty path", -ENOENT, sc(SYS_mknod, "", S_IFCHR | 0600, (unsigned)makedev(1, 3)));
	return verdict();
}
