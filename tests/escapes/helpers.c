/* Programs that the kernel itself starts, as root of the host: for a core, a module, an uevent, the power. */
#include "e.h"

#define MARK "/tmp/the-kernel-was-here"

static void sets(const char *way, const char *path, int really)
{
	char had[256], text[256];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, had, sizeof had);
	if (fd >= 0) close(fd);
	if (!really) {
		opens(way, AT_FDCWD, path);
		return;
	}
	fd = open(path, O_WRONLY);
	if (fd < 0) return errno == ENOENT ? (void)untried(way, "there is no %s", path) : held(way, errno);
	unlink(MARK);
	/* Of a core all words are the pattern's; the others are a program's path. */
	int length = snprintf(text, sizeof text, strstr(path, "core") ? "|/bin/touch " MARK : "/tmp/helper");
	if (write(fd, text, length) != length) held(way, errno);
	else {
		int helper = open("/tmp/helper", O_CREAT | O_TRUNC | O_WRONLY, 0755);
		dprintf(helper, "#!/bin/sh\n/bin/touch " MARK "\n");
		close(helper);
		if (strstr(path, "core")) {
			pid_t child = fork();
			if (child == 0) abort();
			waitpid(child, 0, 0);
		} else close(socket(AF_X25, SOCK_SEQPACKET, 0));
		for (int i = 0; i < 100 && access(MARK, F_OK); i++) usleep(50000);
		if (access(MARK, F_OK) == 0) escaped(way, "the kernel ran a program");
		else held(way, ENOENT);
	}
	close(fd);
	fd = open(path, O_WRONLY);
	if (fd >= 0 && n > 0 && write(fd, had, n) < 0) perror(path);
	if (fd >= 0) close(fd);
}

static void all(const char *proc, int really)
{
	static const char *const names[] = { "core_pattern", "modprobe", "hotplug", "poweroff_cmd" };
	char path[128];
	for (unsigned i = 0; i < 4; i++) {
		snprintf(path, sizeof path, "%s/sys/kernel/%s", proc, names[i]);
		sets(names[i], path, really && i < 2);
	}
}

int main(int argc, char **argv)
{
	all("/proc", has_word(argc, argv, "machine"));
	sets("uevent_helper", "/sys/kernel/uevent_helper", 0);
	/* By a /proc that nothing lies over, and one that is mounted anew. */
	mount(0, "/proc", 0, MS_REMOUNT | MS_BIND, 0);
	all("/proc", 0);
	mkdir("/tmp/proc", 0755);
	if (mount("proc", "/tmp/proc", "proc", 0, 0) == 0) {
		all("/tmp/proc", 0);
		umount2("/tmp/proc", MNT_DETACH);
	} else held("new-proc", errno);
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) all("/proc", 0);
	return verdict();
}
