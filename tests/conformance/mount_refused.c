// kernel: 2.6.18
// abi: i386 amd64
// native: passes
/* A law: what mount(2) refuses, it refuses with the kernel's own errors. */
#include "t.h"
#include <sys/mount.h>

int main(void)
{
	expect("chdir", 0, chdir(scratch()));
	mkdir("here", 0755);
	expect("no such filesystem", -ENODEV, sc(SYS_mount, "none", "here", "nosuchfs", 0, 0));
	expect("no such folder", -ENOENT, sc(SYS_mount, "none", "nowhere", "tmpfs", 0, 0));
	expect("proc on no folder", -ENOENT, sc(SYS_mount, "proc", "nowhere", "proc", 0, 0));
	expect("proc on a file", -ENOTDIR, sc(SYS_mount, "proc", "/proc/version", "proc", 0, 0));
	expect("ext4 from no privilege", -1, sc(SYS_mount, "/dev/vda", "here", "ext4", 0, 0) < 0 ? -1 : 0);
	expect("umount of no mount", -EINVAL, sc(SYS_umount2, "here", 0));
	return verdict();
}
