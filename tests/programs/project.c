/* Tries to take a folder and what is made in it out of its project, as root of a zone: by every call that sets one, as it is
 * and in a user namespace below. Says what came of each, and fails where one did it.
 * usage: project FOLDER */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define INHERIT_FLAG 0x20000000 /* FS_PROJINHERIT_FL */

/* file_setattr(2), Linux 6.17 */
struct attributes {
	unsigned long long xflags;
	unsigned extsize, nextents, projid, cowextsize;
};

/* struct if_dqblk: as much of everything as there is */
static char quota[128];

static int failed;

static int tell(const char *how, long ret)
{
	printf("%s: %s\n", how, ret < 0 ? strerror(errno) : "done");
	return ret >= 0;
}

static void look(const char *folder, const char *after)
{
	struct fsxattr now;
	char file[4096];
	snprintf(file, sizeof file, "%s/made", folder);
	int made = open(file, O_CREAT | O_RDWR | O_TRUNC, 0600);
	memset(&now, 0, sizeof now);
	if (made < 0 || ioctl(made, FS_IOC_FSGETXATTR, &now) < 0 || now.fsx_projid == 0) {
		printf("ESCAPED by %s: project %u\n", after, now.fsx_projid);
		failed = 1;
	}
	static unsigned first;
	if (!first)
		first = now.fsx_projid;
	if (now.fsx_projid != first) {
		printf("CHANGED by %s: project %u\n", after, now.fsx_projid);
		failed = 1;
	}
	close(made);
	unlink(file);
}

static void attack(const char *folder)
{
	int dir = open(folder, O_RDONLY | O_DIRECTORY);
	struct fsxattr is, now;
	int flags = 0;
	if (dir < 0 || ioctl(dir, FS_IOC_FSGETXATTR, &is) < 0) {
		perror(folder);
		failed = 1;
		return;
	}
	printf("project %u, flags %x\n", is.fsx_projid, is.fsx_xflags);
	look(folder, "nothing");

	now = is;
	now.fsx_projid = 0;
	tell("project 0", ioctl(dir, FS_IOC_FSSETXATTR, &now));
	look(folder, "project 0");
	now.fsx_projid = is.fsx_projid + 1;
	tell("project of another", ioctl(dir, FS_IOC_FSSETXATTR, &now));
	look(folder, "project of another");
	now = is;
	now.fsx_xflags &= ~FS_XFLAG_PROJINHERIT;
	tell("not to inherit", ioctl(dir, FS_IOC_FSSETXATTR, &now));
	look(folder, "not to inherit");
	if (ioctl(dir, FS_IOC_GETFLAGS, &flags) == 0) {
		flags &= ~INHERIT_FLAG;
		tell("not to inherit, by its flags", ioctl(dir, FS_IOC_SETFLAGS, &flags));
		look(folder, "flags");
	}
	struct attributes set = { is.fsx_xflags & ~FS_XFLAG_PROJINHERIT, 0, 0, 0, 0 };
	tell("file_setattr", syscall(469, AT_FDCWD, folder, &set, sizeof set, 0));
	look(folder, "file_setattr");

	/* Its limit: Q_SETQUOTA and Q_XSETQLIM of projects. */
	failed |= tell("quotactl_fd", syscall(443, dir, 0x800008 << 8 | 2, is.fsx_projid, quota));
	failed |= tell("quotactl_fd of xfs", syscall(443, dir, 0x5804 << 8 | 2, is.fsx_projid, quota));
	close(dir);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	attack(argv[1]);
	/* Root of a namespace below has all capabilities there. */
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		tell("a user namespace below", unshare(CLONE_NEWUSER));
		attack(argv[1]);
		fflush(stdout);
		_exit(failed);
	}
	int status = 1;
	waitpid(child, &status, 0);
	return failed || status != 0;
}
