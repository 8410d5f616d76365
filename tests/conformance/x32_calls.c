// kernel: 2.6.18
// abi: amd64
// native: any (a host with CONFIG_X86_X32_ABI answers them)
/* x32 numbers (bit 30, Linux 3.4) are ENOSYS: the brand does not speak x32, and must not be passed by. */
#include "t.h"

int main(void)
{
	expect("x32 getpid", -ENOSYS, sc(0x40000000 + SYS_getpid));
	expect("x32 uname", -ENOSYS, sc(0x40000000 + SYS_uname, 0));
	expect("x32 settimeofday", -ENOSYS, sc(0x40000000 + SYS_settimeofday, 0, 0));
	expect("x32 rt_sigaction", -ENOSYS, sc(0x40000000 + 512, 0, 0, 0, 0));
	expect("x32 beyond", -ENOSYS, sc(0x40000000 + 5000));
	return verdict();
}
