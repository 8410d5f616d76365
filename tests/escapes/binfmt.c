/* An interpreter for files of a kind, which the host would then start. A zone may have kinds of its own (Linux 6.7). */
#include "e.h"

#define MAGIC "ZONESECRET"
#define FOLDER "/tmp/bm"

/* 0 or -1 with errno. */
static int mount_own(void)
{
	mkdir(FOLDER, 0755);
	return mount("binfmt_misc", FOLDER, "binfmt_misc", 0, 0);
}

static int execute(void *unused)
{
	(void)unused;
	execl("/tmp/zones-hold-binfmt", "x", (char *)0);
	_exit(errno == ENOEXEC ? 1 : errno == EACCES || errno == ENOENT ? 2 : 3);
}

static void registers(const char *way, const char *folder)
{
	static const char line[] = ":zones-hold:M::" MAGIC "::/bin/true:";
	char path[256];
	snprintf(path, sizeof path, "%s/register", folder);
	int fd = open(path, O_WRONLY);
	if (fd < 0) return errno == ENOENT ? (void)untried(way, "it is not mounted") : held(way, errno);
	if (write(fd, line, sizeof line - 1) < 0) held(way, errno);
	/* Whose it is, the plant tells. */
	else held(way, 0);
	close(fd);
}

int main(int argc, char **argv)
{
	if (is_plant(argc, argv)) {
		int fd = open("/tmp/zones-hold-binfmt", O_CREAT | O_TRUNC | O_WRONLY, 0755);
		if (write(fd, MAGIC "\n", 11) != 11) return 1;
		close(fd);
		/* The host's kinds last as long as its file system is mounted somewhere, which is here, until the end. A kernel may lack it. */
		if (unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0)) return 1;
		mount_own();
		planted("here");
		int status = in_child(execute, 0);
		if (status == 1) held("host", ENOEXEC);
		else escaped("host", "the host ran the interpreter");
		unlink("/tmp/zones-hold-binfmt");
		/* What the machine was given. */
		fd = open(FOLDER "/zones-hold", O_WRONLY);
		if (fd >= 0 && write(fd, "-1", 2) != 2) perror("unregister");
		if (fd >= 0) close(fd);
		umount2(FOLDER, MNT_DETACH);
		rmdir(FOLDER);
		return verdict();
	}
	registers("host", "/proc/sys/fs/binfmt_misc");
	if (mount_own()) held("mount", errno);
	else registers("own", FOLDER);
	return verdict();
}
