// kernel: 2.6.18
// abi: amd64
// native: fails
/* 64-bit code may issue `int 0x80` and then speaks i386: the zone's i386 table answers it. See syscall(2). */
#include "t.h"
#include <sys/utsname.h>

static long int80(long nr, long a, long b, long c)
{
	long r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
	return (int)r;
}

int main(int argc, char **argv)
{
	char *low = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (low == MAP_FAILED) return fail("memory below 4 GiB, expected some, got %d", -errno), 1;
	long at = (long)low;
	struct utsname *u = (void *)low;

	expect("getpid", getpid(), int80(20, 0, 0, 0));
	expect("uname", 0, int80(122, at, 0, 0));
	expect_text("release", level(argc, argv), u->release);
	expect("olduname", 0, int80(109, at, 0, 0));
	expect_text("olduname's release", level(argc, argv), low + 2 * 65);

	double before = now(CLOCK_REALTIME) - now(CLOCK_MONOTONIC);
	*(int *)low = time(0) + 7;
	expect("stime", 0, int80(25, at, 0, 0));
	double moved = now(CLOCK_REALTIME) - now(CLOCK_MONOTONIC) - before;
	expect_true("stime moves no clock", moved < 1 && moved > -1);
	expect("init_module", -ENOSYS, int80(128, 0, 0, 0));
	expect("an unknown number", -ENOSYS, int80(5000, 0, 0, 0));
	expect("uname to nowhere", -EFAULT, int80(122, 16, 0, 0));
	return verdict();
}
