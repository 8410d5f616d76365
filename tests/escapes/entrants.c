/*
 * Programs of the host on their way into the zone: for a moment they are inside, and still the host's. For as long as it runs
 * it looks into each new process, until it saw as many as wanted. `badly PID` enters the zone of a process as one should not, and waits there.
 */
#include "e.h"
#include <dirent.h>
#include <sys/ptrace.h>
#include <time.h>

static const char *secret;

static void look(int pid)
{
	char path[64], text[128], up[4096];
	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	DIR *fds = opendir(path);
	for (struct dirent *one; fds && (one = readdir(fds));) {
		int fd = openat(dirfd(fds), one->d_name, O_PATH | O_CLOEXEC);
		if (fd < 0) continue;
		snprintf(up, sizeof up, "../../../../../../../../..%s", secret);
		if (is_secret(fd, up, text, sizeof text) || is_secret(fd, secret + 1, text, sizeof text)) escaped("fd", "%s", text);
		close(fd);
	}
	if (fds) closedir(fds);
	for (const char *const *name = (const char *const[]){ "cwd", "root", 0 }; *name; name++) {
		snprintf(up, sizeof up, "/proc/%d/%s/../../../../../../../..%s", pid, *name, secret);
		if (is_secret(AT_FDCWD, up, text, sizeof text)) escaped(*name, "%s", text);
		snprintf(up, sizeof up, "/proc/%d/%s%s", pid, *name, secret);
		if (is_secret(AT_FDCWD, up, text, sizeof text)) escaped(*name, "%s", text);
	}
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0) {
		/* A guest's own program may be. Ours is told by its name. */
		char name[32] = "";
		snprintf(path, sizeof path, "/proc/%d/comm", pid);
		int fd = open(path, O_RDONLY);
		if (read(fd, name, sizeof name - 1) > 0 && !strncmp(name, "zoned", 5)) escaped("ptrace", "%d %s", pid, name);
		if (fd >= 0) close(fd);
		ptrace(PTRACE_INTERRUPT, pid, 0, 0);
		waitpid(pid, 0, __WALL);
		ptrace(PTRACE_DETACH, pid, 0, 0);
	}
}

static int badly(const char *pid)
{
	int top = open("/", O_RDONLY | O_DIRECTORY);
	int zone = sc(SYS_pidfd_open, atoi(pid), 0);
	(void)top;
	if (setns(zone, CLONE_NEWPID) || setns(zone, CLONE_NEWUSER | CLONE_NEWNS)) return perror("setns"), 1;
	pid_t child = fork();
	if (child == 0) {
		if (setresgid(0, 0, 0) || setresuid(0, 0, 0) || prctl(PR_SET_DUMPABLE, 1)) _exit(1);
		sleep(2);
		_exit(0);
	}
	waitpid(child, 0, 0);
	return 0;
}

int main(int argc, char **argv)
{
	struct timespec from, now;
	int seen = 0;
	if (argc > 2 && !strcmp(argv[1], "badly")) return badly(argv[2]);
	secret = word(argc, argv, 1);
	int milliseconds = atoi(word(argc, argv, 2)), wanted = atoi(word(argc, argv, 3)), last = getpid();
	clock_gettime(CLOCK_MONOTONIC, &from);
	do {
		/* Numbers are given one after the other. */
		for (int pid = last - 2; pid < last + 20; pid++) {
			if (pid <= 1 || pid == getpid() || kill(pid, 0)) continue;
			if (pid > last) last = pid, seen++;
			look(pid);
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (!escapes_ && seen < wanted && (now.tv_sec - from.tv_sec) * 1000 + (now.tv_nsec - from.tv_nsec) / 1000000 < milliseconds);
	if (!escapes_) held("look", EACCES);
	untried("seen", "%d", seen);
	return verdict();
}
