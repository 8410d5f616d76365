// kernel: 2.0.36 2.6.18
// abi: i386 amd64
// native: any (depends on who mounted the root)
/*
 * rc scripts remount the root: writable at boot, read-only at shutdown. Both succeed, whatever the root is,
 * and never reach the host's superblock. See mount(2), MS_REMOUNT.
 */
#include "t.h"
#include <sys/mount.h>

int main(void)
{
	expect("remount,rw", 0, sc(SYS_mount, "/dev/root", "/", "ext2", 0xc0ed0000 | MS_REMOUNT, 0));
	expect("remount,ro", 0, sc(SYS_mount, "/dev/root", "/", "ext2", 0xc0ed0000 | MS_REMOUNT | MS_RDONLY, 0));
	expect("remount,rw again", 0, sc(SYS_mount, "rootfs", "/", "", MS_REMOUNT, "errors=remount-ro"));
	expect("remount without a source", 0, sc(SYS_mount, 0, "/", 0, MS_REMOUNT | MS_NOATIME, 0));
	expect("remount of no mount", -EINVAL, sc(SYS_mount, "x", scratch(), "ext2", MS_REMOUNT, 0));
	return verdict();
}
