// kernel: host
// abi: amd64
// native: passes
// options: host-kernel=3.2
/* What registers a call leaves alone are those that it was made with. */
#include "t.h"
#include <linux/openat2.h>

int main(void)
{
	struct open_how how = {.flags = O_PATH};
	register long r10 __asm__("r10") = sizeof how;
	register long r8 __asm__("r8") = 0x1234;
	long rax = SYS_openat2, rdi = AT_FDCWD, rsi = (long)".", rdx = (long)&how;
	__asm__ volatile("syscall"
		: "+a"(rax), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r10), "+r"(r8) :: "rcx", "r11", "memory");
	long ten = r10, eight = r8;
	expect_true("it opens", rax >= 0);
	expect("rdi", AT_FDCWD, rdi);
	expect_true("rsi and rdx", rsi == (long)"." && rdx == (long)&how);
	expect("r10", sizeof how, ten);
	expect("r8", 0x1234, eight);
	return verdict();
}
