/* A second chroot takes the first away: whoever keeps a folder open that lies above the new root climbs from there. */
#include "e.h"

static const char *secret;

static int with_folder(void *unused)
{
	(void)unused;
	int top = open("/", O_RDONLY | O_DIRECTORY);
	mkdir("/tmp/below", 0755);
	if (chroot("/tmp/below") || fchdir(top)) return held("fchdir", errno), verdict();
	return climbs("fchdir", AT_FDCWD, secret), verdict();
}

static int without_chdir(void *unused)
{
	(void)unused;
	mkdir("/tmp/below", 0755);
	if (chdir("/") || chroot("/tmp/below")) return held("no-chdir", errno), verdict();
	return climbs("no-chdir", AT_FDCWD, secret), verdict();
}

static int above(void *unused)
{
	(void)unused;
	if (chdir("/")) return 2;
	return climbs("dotdot", AT_FDCWD, secret), verdict();
}

/* A folder that is moved out from under a root is above it from then on. */
static int renamed(void *unused)
{
	(void)unused;
	mkdir("/tmp/jail", 0755), mkdir("/tmp/jail/a", 0755), mkdir("/tmp/jail/a/b", 0755);
	int inner = open("/tmp/jail/a/b", O_RDONLY | O_DIRECTORY), top = open("/", O_RDONLY | O_DIRECTORY);
	if (chroot("/tmp/jail/a") || fchdir(inner)) return held("rename", errno), verdict();
	if (renameat(top, "tmp/jail/a/b", top, "tmp/b")) return held("rename", errno), verdict();
	return climbs("rename", AT_FDCWD, secret), verdict();
}

int main(int argc, char **argv)
{
	secret = word(argc, argv, 1);
	tries(above, 0);
	tries(with_folder, 0);
	tries(without_chdir, 0);
	tries(renamed, 0);
	return verdict();
}
