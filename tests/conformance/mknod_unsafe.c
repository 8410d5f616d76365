// kernel: 2.0.36 2.6.18
// abi: i386 amd64
// native: passes
/* A law: no node reaches the host's memory or disks, and what needs no privilege works. See mknod(2). */
#include "t.h"

int main(void)
{
	static const struct { mode_t type; int major, minor; const char *what; } unsafe[] = {
		{ S_IFCHR, 1, 1, "mem" }, { S_IFCHR, 1, 2, "kmem" }, { S_IFCHR, 1, 4, "port" },
		{ S_IFCHR, 1, 11, "kmsg" }, { S_IFCHR, 10, 237, "loop-control" }, { S_IFCHR, 10, 232, "kvm" },
		{ S_IFCHR, 4, 0, "tty0" }, { S_IFBLK, 8, 0, "sda" }, { S_IFBLK, 254, 0, "vda" },
		{ S_IFBLK, 7, 0, "loop0" }, { S_IFBLK, 1, 3, "a block device with null's number" },
	};
	struct stat st;
	expect("chdir", 0, chdir(scratch()));
	for (unsigned i = 0; i < sizeof unsafe / sizeof *unsafe; i++) {
		unsigned dev = makedev(unsafe[i].major, unsafe[i].minor);
		expect(unsafe[i].what, -EPERM, sc(SYS_mknod, unsafe[i].what, unsafe[i].type | 0600, dev));
		expect("and by mknodat", -EPERM, sc(SYS_mknodat, AT_FDCWD, unsafe[i].what, unsafe[i].type | 0600, dev));
		expect("what is there then", -1, lstat(unsafe[i].what, &st));
	}
	expect("fifo", 0, sc(SYS_mknod, "fifo", S_IFIFO | 0600, 0));
	expect("socket", 0, sc(SYS_mknod, "socket", S_IFSOCK | 0600, 0));
	expect("file", 0, sc(SYS_mknod, "file", S_IFREG | 0600, 0));
	expect("file by no type", 0, sc(SYS_mknod, "plain", 0600, 0));
	expect("whiteout", 0, sc(SYS_mknod, "whiteout", S_IFCHR, 0));
	expect("folder", -EPERM, sc(SYS_mknod, "folder", S_IFDIR | 0700, 0));
	expect("nonsense", -EINVAL, sc(SYS_mknod, "nonsense", 0170000, 0));
	return verdict();
}
