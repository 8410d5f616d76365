// kernel: 2.0.36 2.2.26 2.4.20 2.6.18 5.10
// abi: i386
// native: any
/*
 * bdflush(2), by which update(8) asked for what the kernel came to do by itself: 0 for root until Linux 5.15 took it
 * away, ENOSYS since (fs/buffer.c, sys_bdflush).
 */
#include "t.h"

int main(void)
{
	expect("bdflush", 0, sc(SYS_bdflush, 0, 0));
	return verdict();
}
