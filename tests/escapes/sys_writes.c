/* Every file of /sys that can be opened for writing, once it is no longer mounted read-only. The devices of the zone's own
   network are its own. */
#include "e.h"
#include <ftw.h>

static int seen, refused[2];

static int look(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
	(void)walk;
	if (kind == FTW_D && (!strcmp(path, "/sys/fs/cgroup") || !strcmp(path, "/sys/kernel/debug") || !strcmp(path, "/sys/kernel/tracing")))
		return FTW_SKIP_SUBTREE;
	if (kind == FTW_D && (strstr(path, "/net/") || !strcmp(path, "/sys/module") || !strcmp(path, "/sys/kernel/slab"))) return FTW_SKIP_SUBTREE;
	if (kind != FTW_F || !(st->st_mode & 0222)) return FTW_CONTINUE;
	seen++;
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0) {
		if (escapes_ < 5) escaped("sys", "%s can be written", path);
		close(fd);
	} else refused[errno == EROFS]++;
	/* All of a machine's is many; what one kind of file does, all do. */
	return seen > 3000 || escapes_ >= 5 ? FTW_STOP : FTW_CONTINUE;
}

int main(void)
{
	int free = mount(0, "/sys", 0, MS_REMOUNT | MS_BIND, 0) == 0;
	if (mount(0, "/sys", 0, MS_REMOUNT, 0) == 0) free = 1;
	if (!free) untried("remount", "%s", strerror(errno));
	nftw("/sys", look, 16, FTW_PHYS | FTW_ACTIONRETVAL);
	/* One of its own making. */
	mkdir("/tmp/sys", 0755);
	if (mount("sysfs", "/tmp/sys", "sysfs", 0, 0)) held("new-sysfs", errno);
	else opens("new-sysfs", AT_FDCWD, "/tmp/sys/kernel/profiling"), opens("new-sysfs", AT_FDCWD, "/tmp/sys/kernel/mm/transparent_hugepage/enabled");
	if (!seen) untried("sys", "nothing to write in /sys");
	else if (!escapes_) held("sys", refused[0] ? EACCES : EROFS);
	return verdict();
}
