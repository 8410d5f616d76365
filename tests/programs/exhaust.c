/* `exhaust KIND [MOST]`: takes of a kind until there is no more, prints how many and why, and keeps them to the end of its input.
   `exhaust KIND one`: one, and 0 as its exit status where that worked. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int number;

static int pty(void) { return open("/dev/ptmx", O_RDWR | O_NOCTTY); }

static int notes(void) { return inotify_init(); }

static int key(void)
{
	char name[32];
	snprintf(name, sizeof name, "exhaust-%d-%d", getpid(), number);
	return syscall(SYS_add_key, "user", name, "x", 1, -4 /* KEY_SPEC_USER_KEYRING */) < 0 ? -1 : 0;
}

static int group(void)
{
	char path[64];
	snprintf(path, sizeof path, "/sys/fs/cgroup/exhaust-%d", number);
	return mkdir(path, 0755);
}

/* Full pipes. */
static int pipes(void)
{
	static char bytes[65536];
	int ends[2];
	if (pipe2(ends, O_NONBLOCK)) return -1;
	fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
	while (write(ends[1], bytes, sizeof bytes) > 0);
	return 0;
}

/* Datagrams that nobody reads. */
static int sockets(void)
{
	static char bytes[65536];
	int ends[2], size = 1 << 30;
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends)) return -1;
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	while (send(ends[0], bytes, sizeof bytes, 0) > 0);
	return 0;
}

/* Mounts, twice as many each time: fs.mount-max of proc(5) ends it. */
static int mounts(void)
{
	mkdir("/tmp/exhaust", 0755);
	return mount("/tmp", "/tmp/exhaust", 0, MS_BIND | MS_REC, 0);
}

/* Empty files in memory. */
static int inodes(void)
{
	char path[64];
	snprintf(path, sizeof path, "/dev/shm/exhaust-%d-%d", getpid(), number);
	int file = open(path, O_CREAT | O_WRONLY, 0600);
	return file < 0 ? -1 : close(file);
}

/* Ends with this one. */
static int process(void)
{
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* It may have ended before that. */
		if (getppid() == parent) pause();
		_exit(0);
	}
	return pid < 0 ? -1 : 0;
}

static const struct { const char *name; int (*take)(void); } kinds[] = {
	{ "ptys", pty }, { "inotify", notes }, { "keys", key }, { "groups", group }, { "pipes", pipes }, { "sockets", sockets },
	{ "processes", process }, { "mounts", mounts }, { "inodes", inodes },
};

int main(int argc, char **argv)
{
	int (*take)(void) = 0;
	for (unsigned i = 0; argc > 1 && i < sizeof kinds / sizeof kinds[0]; i++)
		if (!strcmp(kinds[i].name, argv[1])) take = kinds[i].take;
	if (!take) return 2;
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	int most = argc > 2 ? atoi(argv[2]) : 50000;
	if (most == 0) {
		/* It goes with us. */
		if (take == mounts && (unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0))) return perror("unshare"), 1;
		int done = take();
		if (done < 0) perror(argv[1]);
		if (take == inodes) {
			char path[64];
			snprintf(path, sizeof path, "/dev/shm/exhaust-%d-0", getpid());
			unlink(path);
		}
		if (take == group) rmdir("/sys/fs/cgroup/exhaust-0");
		return done < 0;
	}
	char rest[64];
	while (number < most && take() >= 0) number++;
	printf("%d %s\n", number, number < most ? strerror(errno) : "enough");
	fflush(stdout);
	while (read(0, rest, sizeof rest) > 0);
	return 0;
}
