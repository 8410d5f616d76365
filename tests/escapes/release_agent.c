/* The program that the kernel starts when a v1 control group is empty. */
#include "e.h"

#define MARK "/tmp/the-kernel-was-here"

static void at(const char *way, const char *folder, int really)
{
	char path[256];
	snprintf(path, sizeof path, "%s/release_agent", folder);
	if (!really) {
		opens(way, AT_FDCWD, path);
		return;
	}
	unlink(MARK);
	int fd = open("/tmp/helper", O_CREAT | O_TRUNC | O_WRONLY, 0755);
	dprintf(fd, "#!/bin/sh\n/bin/touch " MARK "\n");
	close(fd);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, "/tmp/helper", 11) != 11) return held(way, errno);
	close(fd);
	snprintf(path, sizeof path, "%s/empty", folder);
	mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/empty/notify_on_release", folder);
	fd = open(path, O_WRONLY);
	if (write(fd, "1", 1) != 1) perror(path);
	close(fd);
	pid_t child = fork();
	if (child == 0) {
		snprintf(path, sizeof path, "%s/empty/cgroup.procs", folder);
		fd = open(path, O_WRONLY);
		_exit(write(fd, "0", 1) != 1);
	}
	waitpid(child, 0, 0);
	for (int i = 0; i < 100 && access(MARK, F_OK); i++) usleep(50000);
	if (access(MARK, F_OK) == 0) escaped(way, "the kernel ran a program");
	else held(way, ENOENT);
}

int main(int argc, char **argv)
{
	static const char *const kinds[] = { "none,name=hold", "none,name=systemd", "memory", "rdma", "cpu", "pids", "devices" };
	int really = has_word(argc, argv, "machine");
	mkdir("/tmp/cg", 0755);
	for (int nested = 0; nested < 2; nested++) {
		for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
			if (mount("cgroup", "/tmp/cg", "cgroup", 0, kinds[i])) {
				held(kinds[i], errno);
				continue;
			}
			at(kinds[i], "/tmp/cg", really && i == 0);
			if (mount("cgroup", "/tmp/cg", "cgroup", MS_REMOUNT, "release_agent=/tmp/helper") == 0 && !really)
				escaped(kinds[i], "remounted with an agent");
			umount2("/tmp/cg", MNT_DETACH);
		}
		if (access("/sys/fs/cgroup/systemd/release_agent", F_OK) == 0) at("own", "/sys/fs/cgroup/systemd", 0);
		/* Namespaces of its own do not make it more: CVE-2022-0492. */
		if (really || unshare(CLONE_NEWUSER | CLONE_NEWNS | 0x02000000)) break;
	}
	return verdict();
}
