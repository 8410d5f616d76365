// kernel: 2.0.36 2.2.26 2.6.18 3.10
// abi: i386
// native: any
/*
 * uselib(2) of what is no library: ENOEXEC, when every binary format has said no (fs/exec.c, sys_uselib, from
 * 2.0 on). Later kernels may be built
 * without it, and say ENOSYS.
 */
#include "t.h"

int main(void)
{
	expect("uselib", -ENOEXEC, sc(SYS_uselib, "/proc/self/exe"));
	return verdict();
}
