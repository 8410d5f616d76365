// kernel: 2.0.36 2.2.26 2.4.20 2.6.18
// abi: i386
// native: fails
/*
 * oldstat(2) has 16 bits for an inode, and up to Linux 2.6.18 cut it to them without a word (fs/stat.c,
 * cp_old_stat); since 2.6.19 a larger one is EOVERFLOW (commit afefdbb28a0a). Since 2.4 a file of 2 GiB is.
 */
#include "t.h"

struct old { unsigned short dev, ino, mode, nlink, uid, gid, rdev, pad; unsigned size, atime, mtime, ctime, beyond; };

static void same(const char *what, long answer, const struct old *o, const struct stat *st)
{
	expect(what, 0, answer);
	if (answer) return;
	expect("inode", (unsigned short)st->st_ino, o->ino);
	expect("mode", st->st_mode, o->mode);
	expect("links", st->st_nlink, o->nlink);
	expect("user", st->st_uid, o->uid);
	expect("group", st->st_gid, o->gid);
	expect("size", st->st_size, o->size);
	expect("modified", st->st_mtime, o->mtime);
	expect("device", (unsigned short)(minor(st->st_dev) & 0xff | major(st->st_dev) << 8), o->dev);
	expect("beyond", 0xabcdef, o->beyond);
}

int main(void)
{
	struct stat st;
	struct old o;
	memset(&o, 0xff, sizeof o);
	o.beyond = 0xabcdef;
	/* tmpfs counts up. Below /tmp may be another. */
	expect("chdir", 0, chdir("/dev/shm") && chdir(scratch()));
	int fd = -1;
	for (int i = 0; i < 200000; i++) {
		fd = open("file", O_RDWR | O_CREAT | O_LARGEFILE, 0640);
		if (fd < 0) return fail("open %d, expected a file, got %d", i, -errno), 1;
		if (fstat(fd, &st) || st.st_ino > 0x10000) break;
		close(fd);
		unlink("file");
	}
	expect_true("an inode above 16 bits", st.st_ino > 0x10000);
	expect("write", 5, write(fd, "12345", 5));
	expect("link", 0, link("file", "other") ? -errno : 0);
	expect("symlink", 0, symlink("file", "link") ? -errno : 0);
	stat("file", &st);
	same("oldstat", sc(18, "file", &o), &o, &st);
	same("oldstat of a link", sc(18, "link", &o), &o, &st);
	same("oldlstat", sc(84, "other", &o), &o, &st);
	same("oldfstat", sc(28, fd, &o), &o, &st);
	lstat("link", &st);
	same("oldlstat of a link", sc(84, "link", &o), &o, &st);
	/* A name that is gone is still open. */
	unlink("file"), unlink("other");
	fstat(fd, &st);
	same("oldfstat of a file without a name", sc(28, fd, &o), &o, &st);
	expect("oldstat of nothing", -ENOENT, sc(18, "file", &o));
	expect("oldfstat of nothing", -EBADF, sc(28, 99, &o));
	expect("oldfstat to nowhere", -EFAULT, sc(28, fd, 8));
	expect("ftruncate", 0, ftruncate(fd, 0x7fffffff) ? -errno : 0);
	expect("oldfstat of 2 GiB less one", 0, sc(28, fd, &o));
	expect("its size", 0x7fffffff, o.size);
	expect("ftruncate64", 0, sc(SYS_ftruncate64, fd, 0xc0000000u, 0));
	expect("oldfstat of 3 GiB", -EOVERFLOW, sc(28, fd, &o));
	return verdict();
}
