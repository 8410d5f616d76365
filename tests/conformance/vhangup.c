// kernel: 2.0.36 2.6.18 2.6.32 3.10
// abi: i386 amd64
// native: any (whether root is the host's)
/*
 * vhangup(2) of root, by which getty takes a terminal from whoever had it: 0 (fs/open.c, sys_vhangup). The kernel wants
 * CAP_SYS_TTY_CONFIG of the host's for it.
 */
#include "t.h"

int main(void)
{
	expect("vhangup", 0, sc(SYS_vhangup));
	return verdict();
}
