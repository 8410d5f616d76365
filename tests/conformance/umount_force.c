// kernel: 2.0.36 2.6.18 2.6.32 3.10 host
// abi: i386 amd64
// native: fails (the kernel takes MNT_FORCE of what root of the host mounted from root of the host alone)
/* umount -f, as rc scripts end a system: of what nobody uses 0, and the mistakes of umount(2). Without a server to cut off it is umount. */
#include "t.h"
#include <sys/mount.h>

int main(void)
{
	expect("chdir", 0, chdir(scratch()));
	expect("mkdir", 0, mkdir("tmp", 0755));
	expect("mount", 0, sc(SYS_mount, "tmpfs", "tmp", "tmpfs", 0, "size=1m"));
	int fd = open("tmp/file", O_CREAT | O_RDWR, 0644);
	expect_true("a file in it", fd >= 0);
	expect("two that exclude each other", -EINVAL, sc(SYS_umount2, "tmp", MNT_FORCE | MNT_EXPIRE));
	expect("in use", -EBUSY, sc(SYS_umount2, "tmp", MNT_FORCE));
	close(fd);
	expect("of nobody's", 0, sc(SYS_umount2, "tmp", MNT_FORCE));
	expect("no more a mount", -EINVAL, sc(SYS_umount2, "tmp", MNT_FORCE));
	expect("nothing there", -ENOENT, sc(SYS_umount2, "none", MNT_FORCE));
	expect("no address", -EFAULT, sc(SYS_umount2, 1, MNT_FORCE));
	/* A part of a file system that was mounted outside of the zone. */
	expect("bind", 0, sc(SYS_mount, "/mnt", "tmp", 0, MS_BIND, 0));
	expect("of the host's", 0, sc(SYS_umount2, "tmp", MNT_FORCE));
	expect("as others", 0, setuid(1));
	expect("not for them", -EPERM, sc(SYS_umount2, "/", MNT_FORCE));
	return verdict();
}
