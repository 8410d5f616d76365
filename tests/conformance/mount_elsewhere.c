// kernel: 2.6.18
// abi: i386 amd64
// native: any (the kernel refuses a new proc where parts of the present one are covered)
/* A chroot's /proc: proc is mounted elsewhere, shows this process, and tells the level's story too. */
#include "t.h"
#include <sys/mount.h>

int main(int argc, char **argv)
{
	const char *k = level(argc, argv);
	char want[128];
	expect("chdir", 0, chdir(scratch()));
	expect("mkdir", 0, mkdir("proc", 0755));
	expect("mount", 0, sc(SYS_mount, "proc", "proc", "proc", 0, 0));
	char self[32] = { 0 };
	expect_true("self is there", readlink("proc/self", self, sizeof self - 1) > 0);
	expect("self is this process", getpid(), atoi(self));
	expect_text("osrelease there", k, line_of("proc/sys/kernel/osrelease"));
	snprintf(want, sizeof want, "Linux version %s ", k);
	expect_true("version there", !strncmp(line_of("proc/version"), want, strlen(want)));

	expect("mkdir", 0, mkdir("tmp", 0755));
	expect("mount of tmpfs", 0, sc(SYS_mount, "tmpfs", "tmp", "tmpfs", 0, "size=1m"));
	expect("umount of tmpfs", 0, sc(SYS_umount2, "tmp", 0));
	expect("umount of proc", 0, sc(SYS_umount2, "proc", 0));
	return verdict();
}
