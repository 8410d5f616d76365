/*
 * What a program of 32 bits is told of a file system of 30 TiB whose inodes do not fit 32 bits. Run in a folder
 * with the files `known` (5 bytes, 0640, 7:8, of the year 2001), its other name `other`, `link` to it, `n000` to
 * `n299`, and `closed` with a file, which only its
 * owner 9 may enter. Called with the level.
 *
 * Up to Linux 2.6.18 such inodes were cut to 32 bits, for oldstat(2) to 16 (fs/stat.c, cp_old_stat); since
 * 2.6.19 they are EOVERFLOW (commit afefdbb28a0a). glibc checks what it is given once more.
 */
#include "../conformance/t.h"
#include <dirent.h>
#include <sys/statfs.h>

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

struct oldest { u16 dev, ino, mode, nlink, uid, gid, rdev, pad; u32 size, atime, mtime, ctime, beyond; };
struct narrow {
	u32 dev, ino; u16 mode, nlink, uid, gid; u32 rdev, size, blksize, blocks;
	u32 atime, atime_nsec, mtime, mtime_nsec, ctime, ctime_nsec, unused[2], beyond;
};
struct __attribute__((packed)) large {
	u64 dev; u32 pad, ino32, mode, nlink, uid, gid; u64 rdev; u32 pad3; u64 size; u32 blksize; u64 blocks;
	u32 atime, atime_nsec, mtime, mtime_nsec, ctime, ctime_nsec; u64 ino; u32 beyond;
};
struct narrowfs {
	u32 type, bsize, blocks, bfree, bavail, files, ffree, fsid[2], namelen, frsize, flags, spare[4], beyond;
};

#define CANARY 0xdecade
static u32 inode_of_known;

static void is_known(const char *what, long answer, u32 ino, u32 mode, u32 nlink, u32 uid, u32 gid, u64 size, u32 mtime)
{
	expect(what, 0, answer);
	if (answer) return;
	if (!inode_of_known) inode_of_known = ino;
	expect(what, inode_of_known, ino);
	expect(what, S_IFREG | 0640, mode);
	expect(what, 2, nlink);
	expect(what, 7, uid);
	expect(what, 8, gid);
	expect(what, 5, size);
	expect(what, 1000000000, mtime);
}

static void stats(void)
{
	int fd = open("known", O_RDONLY), dir = open(".", O_RDONLY);
	struct narrow n;
#define NARROW(what, call) do { \
	memset(&n, 0xff, sizeof n); n.beyond = CANARY; \
	long r_n = call; \
	is_known(what, r_n, n.ino, n.mode, n.nlink, n.uid, n.gid, n.size, n.mtime); \
	expect(what " writes no more than it may", CANARY, n.beyond); \
} while (0)
	NARROW("stat", sc(106, "known", &n));
	NARROW("stat of a link", sc(106, "link", &n));
	NARROW("lstat", sc(107, "other", &n));
	NARROW("fstat", sc(108, fd, &n));
	long r = sc(107, "link", &n);
	expect("lstat of a link", 0, r);
	expect_true("lstat of a link is not its target", !r && S_ISLNK(n.mode) && n.ino != inode_of_known);

	struct large l;
#define LARGE(what, call) do { \
	memset(&l, 0xff, sizeof l); l.beyond = CANARY; \
	long r_l = call; \
	is_known(what, r_l, l.ino, l.mode, l.nlink, l.uid, l.gid, l.size, l.mtime); \
	if (!r_l) expect(what ": both inodes", l.ino, l.ino32); \
	expect(what " writes no more than it may", CANARY, l.beyond); \
} while (0)
	LARGE("stat64", sc(195, "known", &l));
	LARGE("lstat64", sc(196, "known", &l));
	LARGE("fstat64", sc(197, fd, &l));
	LARGE("fstatat64", sc(300, dir, "link", &l, 0));
	LARGE("fstatat64 of a descriptor", sc(300, fd, "", &l, AT_EMPTY_PATH));
	expect("fstatat64 of no name", -ENOENT, sc(300, dir, "", &l, 0));
	expect("stat64 of nothing", -ENOENT, sc(195, "missing", &l));
	expect("stat64 to nowhere", -EFAULT, sc(195, "known", 8));
	expect("stat64 of a bad name", -EFAULT, sc(195, 8, &l));
	expect("fstat64 of nothing", -EBADF, sc(197, 99, &l));

	struct oldest o;
	memset(&o, 0xff, sizeof o);
	o.beyond = CANARY;
	r = sc(18, "known", &o);
	expect("oldstat", 0, r);
	is_known("oldstat's file", r, inode_of_known, o.mode, o.nlink, o.uid, o.gid, o.size, o.mtime);
	expect("oldstat cuts the inode", (u16)inode_of_known, o.ino);
	expect("oldstat writes no more than it may", CANARY, o.beyond);
	expect("oldlstat", 0, sc(84, "known", &o));
	expect("oldfstat", 0, sc(28, fd, &o));

	struct stat st;
	expect("libc's stat", 0, stat("known", &st) ? -errno : 0);
	expect("libc's inode", inode_of_known, st.st_ino);
	expect("libc's fstat", 0, fstat(fd, &st) ? -errno : 0);
	expect("libc's fstatat", 0, fstatat(dir, "known", &st, AT_SYMLINK_NOFOLLOW) ? -errno : 0);
	close(fd);
	close(dir);
}

/* With the ids of `known`. */
static void as_a_user(void)
{
	struct narrow n;
	if (setgid(8) || setuid(7)) fail("setuid, expected it to work, got errno %d", errno);
	expect("a user's stat", 0, sc(106, "known", &n));
	expect("a user's inode", inode_of_known, n.ino);
	expect("a user's stat in a closed folder", -EACCES, sc(106, "closed/file", &n));
}

/* Where only root's capability leads. */
static void as_root(void)
{
	struct narrow n;
	expect("root's stat in a closed folder", 0, sc(106, "closed/file", &n));
	u32 inode = n.ino;
	expect("from the root", 0, sc(106, "/mnt/closed/file", &n));
	expect("the same inode", inode, n.ino);
	if (chdir("closed")) fail("chdir, expected 0, got errno %d", errno);
	expect("root's stat in it", 0, sc(107, "file", &n));
	expect("the same inode again", inode, n.ino);
	if (chdir("..")) fail("chdir, expected 0, got errno %d", errno);
	expect("a step up through a folder", 0, sc(106, "../mnt/known", &n));
	expect("its inode", inode_of_known, n.ino);
}

/* An entry has the inode that lstat tells. */
static int seen(const char *how, const char *name, u32 ino)
{
	struct narrow n;
	if (!strcmp(name, "..")) return 1;
	long r = sc(107, name, &n);
	if (r || n.ino != ino || !ino) fail("%s of %s, expected inode %u, got %u (lstat %ld)", how, name, n.ino, ino, r);
	return 1;
}

static void listings(int count)
{
	char buf[512] __attribute__((aligned(8)));
	long r;
	for (unsigned size = 20; size <= sizeof buf; size += 123) {
		int fd = open(".", O_RDONLY | O_DIRECTORY), all = 0;
		while ((r = sc(141, fd, buf, size)) > 0)
			for (char *p = buf; p < buf + r; p += *(u16 *)(p + 8)) all += seen("getdents", p + 10, *(u32 *)p);
		expect("getdents", 0, r);
		expect("entries of getdents", count, all);
		close(fd);
	}
	int fd = open(".", O_RDONLY | O_DIRECTORY), all = 0;
	expect("getdents with no room", -EINVAL, sc(141, fd, buf, 8));
	expect("getdents to nowhere", -EFAULT, sc(141, fd, 8, 512));
	expect("getdents64 with no room", -EINVAL, sc(220, fd, buf, 8));
	while ((r = sc(220, fd, buf, sizeof buf)) > 0)
		for (char *p = buf; p < buf + r; p += *(u16 *)(p + 16)) {
			expect("upper half of getdents64's inode", 0, *(u32 *)(p + 4));
			all += seen("getdents64", p + 19, *(u32 *)p);
		}
	expect("getdents64", 0, r);
	expect("entries of getdents64", count, all);
	lseek(fd, 0, SEEK_SET);
	/* readdir(2): each with its own offset, at which it is found again. */
	struct { u32 ino, off; u16 len; char name[256]; } one, again = {0, 0, 0, ""};
	u32 middle = 0;
	for (all = 0; (r = sc(89, fd, &one, 1)) > 0; all++) {
		seen("readdir", one.name, one.ino);
		expect("readdir's length", strlen(one.name), one.len);
		if (all == count / 2) middle = one.off, again = one;
	}
	expect("readdir", 0, r);
	expect("entries of readdir", count, all);
	lseek(fd, middle, SEEK_SET);
	r = sc(89, fd, &one, 1);
	if (r == 1) expect_text("readdir after lseek", again.name, one.name);
	close(fd);
	expect("getdents of no descriptor", -EBADF, sc(141, 99, buf, 512));

	DIR *dir = opendir(".");
	long places[1024];
	char names[1024][16];
	int n = 0;
	struct dirent *e;
	for (errno = 0; n < 1024 && (places[n] = telldir(dir), e = readdir(dir)); n++)
		snprintf(names[n], sizeof names[n], "%.15s", e->d_name);
	expect("libc's readdir", 0, -errno);
	expect("entries of libc's readdir", count, n);
	for (int i = n - 1; i >= 0; i -= 37) {
		seekdir(dir, places[i]);
		e = readdir(dir);
		expect_text("readdir after seekdir", names[i], e ? e->d_name : "nothing");
	}
	closedir(dir);
}

static void space(const char *level)
{
	struct narrowfs f;
	memset(&f, 0xff, sizeof f);
	f.beyond = CANARY;
	long r = sc(99, ".", &f);
	expect("statfs", 0, r);
	if (r) return;
	u64 tib = (u64)f.blocks * f.frsize >> 40, free = (u64)f.bfree * f.bsize >> 40;
	int old = !strncmp(level, "2.0", 3) || !strncmp(level, "2.2", 3);
	expect("TiB of the file system", old ? 1 : 29, tib);
	expect("TiB of it free", old ? 1 : 29, free);
	expect("its type", 0x58465342, f.type);
	expect("its longest name", 255, f.namelen);
	expect("its preferred size is that of its blocks", f.frsize, f.bsize);
	if (old) expect_true("KiB in a long", (u64)f.blocks * (f.bsize / 1024) <= 0x7fffffff);
	expect("statfs writes no more than it may", CANARY, f.beyond);
	u32 blocks = f.blocks;
	int fd = open(".", O_RDONLY);
	expect("fstatfs", 0, sc(100, fd, &f));
	expect("its blocks again", blocks, f.blocks);
	expect("statfs of nothing", -ENOENT, sc(99, "missing", &f));
	expect("fstatfs of nothing", -EBADF, sc(100, 99, &f));
	struct statfs libcs;
	expect("libc's statfs", 0, statfs(".", &libcs) ? -errno : 0);
}

/* What stands in proc is the caller's own. */
static void magic(void)
{
	struct narrow n;
	char own[32];
	expect("stat of /dev/stdin", 0, sc(106, "/dev/stdin", &n));
	expect("stat of /proc/self/maps", 0, sc(106, "/proc/self/maps", &n));
	u32 self = sc(106, "/proc/self", &n) ? 0 : n.ino;
	snprintf(own, sizeof own, "/proc/%d", getpid());
	expect("stat of /proc/PID", 0, sc(106, own, &n));
	expect("/proc/self", n.ino, self);
	expect("lstat of /proc/self/exe", 0, sc(107, "/proc/self/exe", &n));
	expect_true("it is a link", S_ISLNK(n.mode));
}

int main(int argc, char **argv)
{
	stats();
	listings(306);
	space(level(argc, argv));
	magic();
	as_root();
	int pid = fork(), status = -1;
	if (!pid) {
		failures = 0;
		as_a_user();
		fflush(stdout);
		_exit(failures != 0);
	}
	waitpid(pid, &status, 0);
	expect("the user's part", 0, status);
	return verdict();
}
