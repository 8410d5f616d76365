/* File systems that show or change more than the zone's, and links in the way of a mount. */
#include "e.h"
#include <pthread.h>
#include <sys/vfs.h>

static const char *secret;

static void mounts(const char *kind, const char *source, const char *data, const char *file)
{
	mkdir("/tmp/fs", 0755);
	if (mount(source, "/tmp/fs", kind, 0, data)) return held(kind, errno);
	int dir = open("/tmp/fs", O_RDONLY | O_DIRECTORY);
	struct statfs fs;
	/* A level shows an empty one in the place of some. */
	if (fstatfs(dir, &fs) == 0 && fs.f_type == 0x01021994 /* TMPFS_MAGIC */) held(kind, 0);
	else if (faccessat(dir, file, F_OK, 0) == 0) escaped(kind, "%s", file);
	else held(kind, 0);
	close(dir);
	umount2("/tmp/fs", MNT_DETACH);
}

static volatile int stop;

static void *flips(void *unused)
{
	(void)unused;
	static const char *const to[] = { "/..", "/proc/1/root/..", "/proc/self/cwd", "/dev", "/proc/1/cwd" };
	for (unsigned i = 0; !stop; i++) {
		if (symlink(to[i % 5], "/tmp/link")) continue;
		syscall(SYS_renameat2, AT_FDCWD, "/tmp/link", AT_FDCWD, "/tmp/place", 2 /* RENAME_EXCHANGE */);
		syscall(SYS_renameat2, AT_FDCWD, "/tmp/link", AT_FDCWD, "/tmp/place", 2);
		unlink("/tmp/link");
	}
	return 0;
}

int main(int argc, char **argv)
{
	secret = word(argc, argv, 1);
	mounts("debugfs", "debugfs", 0, ".");
	mounts("tracefs", "tracefs", 0, ".");
	mounts("securityfs", "securityfs", 0, ".");
	mounts("configfs", "configfs", 0, ".");
	mounts("efivarfs", "efivarfs", 0, ".");
	mounts("bdev", "bdev", 0, ".");
	mounts("devtmpfs", "devtmpfs", 0, "kmsg");
	mounts("ext4", "/dev/vda", 0, ".");
	mounts("xfs", "/dev/vda", 0, ".");
	mounts("nfs", "10.0.0.1:/", "addr=10.0.0.1", ".");
	/* Links come and go where it mounts. */
	pthread_t thread;
	int done = 0, met = 0;
	mkdir("/tmp/place", 0755);
	pthread_create(&thread, 0, flips, 0);
	for (int i = 0; i < 400; i++) {
		if (mount("tmpfs", "/tmp/place", "tmpfs", 0, "size=4k") == 0) done++;
		else met++;
		if (mount("/", "/tmp/place", 0, MS_BIND, 0) == 0) done++;
		char text[128], up[4096];
		snprintf(up, sizeof up, "/tmp/place/../../../../..%s", secret);
		if (is_secret(AT_FDCWD, up, text, sizeof text)) escaped("race", "%s", text);
		if (escapes_) break;
	}
	stop = 1;
	pthread_join(thread, 0);
	if (!escapes_) held("race", ENOENT);
	untried("race-met", "%d mounts, %d refused", done, met);
	return verdict();
}
