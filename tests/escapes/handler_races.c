/* The calls that the monitor answers, while their paths, pointers and callers change under it: root and folder of the caller,
   links on the way, and the end of who asked. */
#include "e.h"
#include <pthread.h>
#include <sys/utsname.h>
#include <time.h>

static volatile int stop;
static char path[4096];
static long made, refused;

static void *flips(void *unused)
{
	(void)unused;
	static const char *const to[] = { "/tmp/in/node", "/proc/1/root/../node", "/tmp/out/node", "../../../../../node", "/proc/1/cwd/node" };
	for (unsigned i = 0; !stop; i++) {
		strcpy(path, to[i % 5]);
		unlink("/tmp/out");
		if (i & 1) symlink("/proc/1/root/proc/..", "/tmp/out");
		else symlink("/..", "/tmp/out");
	}
	return 0;
}

static void *wanders(void *unused)
{
	(void)unused;
	int top = open("/", O_RDONLY | O_DIRECTORY);
	/* Its own root, apart from the others' of this process. */
	unshare(CLONE_FS);
	for (unsigned i = 0; !stop; i++) {
		if (chroot("/tmp/in")) break;
		sc(SYS_mknodat, AT_FDCWD, "../../../../node", S_IFCHR | 0666, (unsigned)makedev(1, 3));
		if (fchdir(top) || chroot(".")) break;
	}
	return 0;
}

int main(int argc, char **argv)
{
	char text[128], up[4096];
	struct utsname u;
	pthread_t threads[2];
	mkdir("/tmp/in", 0755);
	strcpy(path, "/tmp/in/node");
	pthread_create(threads, 0, flips, 0);
	pthread_create(threads + 1, 0, wanders, 0);
	struct timespec from, now;
	clock_gettime(CLOCK_MONOTONIC, &from);
	do {
		pid_t child = fork();
		if (child == 0) {
			/* Ended in the middle of its calls. */
			for (int i = 0; i < 50; i++) {
				long r = sc(SYS_mknodat, AT_FDCWD, path, S_IFCHR | 0666, (unsigned)makedev(1, 3 + i % 7));
				uname(&u);
				sc(SYS_mount, "proc", path, "proc", 0, 0);
				sc(SYS_umount2, path, MNT_DETACH);
				unlink(path);
				if (i == 49) _exit(r == 0);
			}
		}
		usleep(2000 + (uintptr_t)child % 3000);
		kill(child, SIGKILL);
		waitpid(child, 0, 0);
		long r = sc(SYS_mknodat, AT_FDCWD, path, S_IFCHR | 0666, (unsigned)makedev(1, 3));
		if (r == 0) made++;
		else refused++;
		snprintf(up, sizeof up, "/tmp/out/../../../../..%s", word(argc, argv, 1));
		if (is_secret(AT_FDCWD, up, text, sizeof text)) escaped("race", "%s", text);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (!escapes_ && (now.tv_sec - from.tv_sec) * 1000 + (now.tv_nsec - from.tv_nsec) / 1000000 < 700);
	stop = 1;
	pthread_join(threads[0], 0);
	pthread_join(threads[1], 0);
	if (!escapes_) held("race", ENOENT);
	untried("met", "%ld made, %ld refused", made, refused);
	return verdict();
}
