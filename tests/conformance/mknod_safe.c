// kernel: 2.0.36 2.6.18
// abi: i386 amd64
// native: fails
/*
 * MAKEDEV and package scripts make the harmless nodes, and use them. In a user namespace mknod(2) is EPERM,
 * and a node on a filesystem mounted there cannot be opened.
 */
#include "t.h"

static const char *dir;

static char *at(const char *where, const char *name)
{
	static char path[256];
	snprintf(path, sizeof path, "%s/%s", where, name);
	return path;
}

static int make(const char *path, mode_t mode, int major_, int minor_)
{
	struct stat st;
	dev_t dev = makedev(major_, minor_);
	long r = sc(SYS_mknod, path, S_IFCHR | mode, (unsigned)dev);
	if (r) return fail("mknod %s, expected 0, got %ld", path, r), 0;
	if (stat(path, &st)) return fail("stat %s, expected 0, got %d", path, -errno), 0;
	expect("type of the node", S_IFCHR, st.st_mode & S_IFMT);
	/* A console is the zone's own, whose number is that of its terminal. */
	if (dev != makedev(5, 1)) expect("number of the node", dev, st.st_rdev);
	return 1;
}

static void use(const char *where)
{
	char b[64] = "text";
	int fd;
	if (make(at(where, "t-zero"), 0666, 1, 5)) {
		fd = open(at(where, "t-zero"), O_RDWR);
		expect_true("zero opens", fd >= 0);
		expect("read of zero", 64, read(fd, b, 64));
		expect("what zero gives", 0, b[0] | b[63]);
		expect("write to zero", 64, write(fd, b, 64));
		close(fd);
	}
	if (make(at(where, "t-null"), 0666, 1, 3)) {
		fd = open(at(where, "t-null"), O_RDWR);
		expect("read of null", 0, read(fd, b, 64));
		expect("write to null", 64, write(fd, b, 64));
		close(fd);
	}
	if (make(at(where, "t-full"), 0666, 1, 7)) {
		fd = open(at(where, "t-full"), O_WRONLY);
		expect("write to full", -1, write(fd, b, 64));
		expect("error of full", ENOSPC, errno);
		close(fd);
	}
	for (int minor_ = 8; minor_ <= 9; minor_++) {
		char *path = at(where, minor_ == 8 ? "t-random" : "t-urandom");
		if (make(path, 0666, 1, minor_)) {
			fd = open(path, O_RDONLY);
			expect("read of random", 16, read(fd, b, 16));
			close(fd);
		}
	}
	make(at(where, "t-tty"), 0666, 5, 0);
	if (make(at(where, "t-console"), 0600, 5, 1)) {
		fd = open(at(where, "t-console"), O_WRONLY | O_NOCTTY);
		expect("write to the console", 1, write(fd, "", 1));
		close(fd);
	}
	if (make(at(where, "t-ptmx"), 0666, 5, 2)) {
		struct stat st;
		expect("stat of ptmx", 0, stat(at(where, "t-ptmx"), &st));
	}
}

int main(void)
{
	dir = scratch();
	umask(0);
	use(dir);
	use("/dev");

	umask(022);
	if (make(at(dir, "masked"), 0666, 1, 3)) {
		struct stat st;
		stat(at(dir, "masked"), &st);
		expect("umask holds", 0644, st.st_mode & 0777);
	}
	expect("a name that is there", -EEXIST, sc(SYS_mknod, at(dir, "masked"), S_IFCHR | 0666, (unsigned)makedev(1, 3)));
	expect("a folder that is not there", -ENOENT, sc(SYS_mknod, at(dir, "no/node"), S_IFCHR | 0666, (unsigned)makedev(1, 3)));
	expect("a file for a folder", -ENOTDIR, sc(SYS_mknod, "/proc/version/x", S_IFCHR | 0666, (unsigned)makedev(1, 3)));
	expect("a name that is a folder's", -ENOENT, sc(SYS_mknod, at(dir, "slash/"), S_IFCHR | 0666, (unsigned)makedev(1, 3)));

	int fd = open(dir, O_RDONLY | O_DIRECTORY);
	expect("mknodat from a folder", 0, sc(SYS_mknodat, fd, "by-fd", S_IFCHR | 0600, (unsigned)makedev(1, 3)));
	struct stat st;
	expect("what mknodat made", 0, fstatat(fd, "by-fd", &st, 0));
	expect("chdir", 0, chdir(dir));
	expect("mknodat from here", 0, sc(SYS_mknodat, AT_FDCWD, "by-cwd", S_IFCHR | 0600, (unsigned)makedev(1, 3)));
	expect("mknod of a relative name", 0, sc(SYS_mknod, "relative", S_IFCHR | 0600, (unsigned)makedev(1, 3)));
	expect("what it made", 0, stat("relative", &st));
	return verdict();
}
