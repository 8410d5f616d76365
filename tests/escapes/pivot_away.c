/* What lies under a root, or over it, is come to by unmounting, pivoting, or entering one's own namespace anew. */
#include "e.h"

static const char *secret;

static int unmounts(void *unused)
{
	(void)unused;
	if (chdir("/") || umount2("/", MNT_DETACH)) return held("umount", errno), verdict();
	reads("umount", AT_FDCWD, secret);
	return climbs("umount-above", AT_FDCWD, secret), verdict();
}

static int pivots(void *unused)
{
	(void)unused;
	mkdir("/tmp/new", 0755);
	if (mount("/tmp/new", "/tmp/new", 0, MS_BIND, 0) || chdir("/tmp/new")) return held("pivot", errno), verdict();
	if (syscall(SYS_pivot_root, ".", ".")) return held("pivot", errno), verdict();
	umount2(".", MNT_DETACH);
	reads("pivot", AT_FDCWD, secret);
	return climbs("pivot-above", AT_FDCWD, secret), verdict();
}

/* setns(2) makes the root of the namespace the caller's root. */
static int enters(void *unused)
{
	(void)unused;
	int own = open("/proc/self/ns/mnt", O_RDONLY);
	long done = own < 0 ? -errno : sc(SYS_setns, own, CLONE_NEWNS);
	if (done < 0) return held("setns", done), verdict();
	return reads("setns", AT_FDCWD, secret), verdict();
}

static int moves(void *unused)
{
	(void)unused;
	mkdir("/tmp/moved", 0755);
	if (mount("/", "/tmp/moved", 0, MS_MOVE, 0)) return held("move", errno), verdict();
	return climbs("move", AT_FDCWD, secret), verdict();
}

static int copies(void *unused)
{
	(void)unused;
	int tree = sc(SYS_open_tree, AT_FDCWD, "/", 1 | 0x8000 /* OPEN_TREE_CLONE, AT_RECURSIVE */);
	if (tree == -ENOSYS) return untried("open_tree", "ENOSYS"), 2;
	if (tree < 0) return held("open_tree", tree), verdict();
	return climbs("open_tree", tree, secret), verdict();
}

int main(int argc, char **argv)
{
	secret = word(argc, argv, 1);
	/* In a namespace of its own, so that one try leaves the next its mounts; the pivot tears up the whole of it. */
	tries(enters, 0);
	tries(copies, 0);
	tries(moves, 0);
	tries(unmounts, 0);
	tries(pivots, 0);
	return verdict();
}
