/* Goes beyond a limit and tells what came of it, or serves requests beside those who do.
 *
 *   exceed processes | threads    makes them until it cannot, says how many and the errno
 *   exceed memory MIB             touches so much
 *   exceed locked                 locks pages until it cannot, says how many KiB and the errno
 *   exceed cpu MILLISECONDS       says how many milliseconds of CPU time it had in that time
 *   exceed disk FILE WRITES       writes so many blocks of 64 KiB past the cache, says the milliseconds
 *   exceed hog bomb|memory|cpu|disk FILE      does so for ever
 *   exceed storm MILLISECONDS     forks on and on for so long, and ends
 *   exceed serve MILLISECONDS WORK    answers requests over a socket, a millisecond after each other, each of which takes
 *                                 so many microseconds of CPU time; says the times in microseconds
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (64 << 10)

static int64_t now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static int processes(void)
{
	static pid_t made[100000];
	int count = 0, error;
	while (count < 100000 && (made[count] = fork()) >= 0) {
		if (made[count] == 0) {
			pause();
			_exit(0);
		}
		count++;
	}
	error = errno;
	for (int i = 0; i < count; i++) {
		kill(made[i], 9);
		waitpid(made[i], NULL, 0);
	}
	printf("%d %s\n", count, strerror(error));
	return 0;
}

static void *sleeper(void *unused)
{
	pause();
	return unused;
}

static int threads(void)
{
	pthread_attr_t small;
	pthread_t thread;
	int count = 0, error;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	while (!(error = pthread_create(&thread, &small, sleeper, NULL)))
		count++;
	printf("%d %s\n", count, strerror(error));
	return 0;
}

static int memory(size_t mib)
{
	char *at = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return 2;
	for (size_t i = 0; i < mib << 20; i += 4096)
		at[i] = 1;
	printf("touched\n");
	return 0;
}

static int locked(void)
{
	int kib = 0;
	for (;;) {
		void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (at == MAP_FAILED || mlock(at, 4096))
			break;
		kib += 4;
	}
	printf("%d %s\n", kib, strerror(errno));
	return 0;
}

static int cpu(int64_t milliseconds)
{
	int64_t end = now(CLOCK_MONOTONIC) + milliseconds * 1000;
	while (now(CLOCK_MONOTONIC) < end)
		;
	printf("%lld\n", (long long)(now(CLOCK_PROCESS_CPUTIME_ID) / 1000));
	return 0;
}

static int write_blocks(const char *path, int count)
{
	void *block;
	int64_t start = now(CLOCK_MONOTONIC);
	int fd = open(path, O_CREAT | O_WRONLY | O_DIRECT, 0600);
	if (fd < 0 || posix_memalign(&block, 4096, BLOCK))
		return -1;
	memset(block, 1, BLOCK);
	for (int i = 0; i < count; i++)
		if (pwrite(fd, block, BLOCK, (off_t)(i % 256) * BLOCK) != BLOCK)
			return -1;
	close(fd);
	return (int)((now(CLOCK_MONOTONIC) - start) / 1000);
}

static int disk(const char *path, int count)
{
	int took = write_blocks(path, count);
	if (took < 0) {
		perror(path);
		return 2;
	}
	printf("%d\n", took);
	return 0;
}

static int storm(int64_t milliseconds)
{
	int64_t end = now(CLOCK_MONOTONIC) + milliseconds * 1000;
	while (now(CLOCK_MONOTONIC) < end)
		fork();
	while (wait(NULL) > 0)
		;
	return 0;
}

static int hog(const char *kind, const char *path)
{
	if (!strcmp(kind, "bomb"))
		for (;;)
			fork();
	if (!strcmp(kind, "cpu"))
		for (int i = 0; i < 16; i++)
			if (fork() == 0)
				for (;;)
					;
	while (!strcmp(kind, "memory")) {
		if (fork() == 0)
			_exit(memory(1024));
		wait(NULL);
	}
	while (!strcmp(kind, "disk") && write_blocks(path, 256) >= 0)
		;
	pause();
	return 0;
}

static void work(int64_t microseconds)
{
	int64_t end = now(CLOCK_THREAD_CPUTIME_ID) + microseconds;
	while (now(CLOCK_THREAD_CPUTIME_ID) < end)
		;
}

static int serve(int64_t milliseconds, int64_t each)
{
	int ends[2];
	char byte = 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends))
		return 2;
	pid_t server = fork();
	if (server == 0) {
		close(ends[0]);
		while (read(ends[1], &byte, 1) == 1) {
			work(each);
			if (write(ends[1], &byte, 1) != 1)
				break;
		}
		_exit(0);
	}
	close(ends[1]);
	int64_t end = now(CLOCK_MONOTONIC) + milliseconds * 1000;
	while (now(CLOCK_MONOTONIC) < end) {
		struct timespec pause = { 0, 1000000 };
		int64_t start = now(CLOCK_MONOTONIC);
		if (write(ends[0], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1)
			return 2;
		printf("%lld\n", (long long)(now(CLOCK_MONOTONIC) - start));
		nanosleep(&pause, NULL);
	}
	close(ends[0]);
	waitpid(server, NULL, 0);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *one = argc > 2 ? argv[2] : "0";
	if (!strcmp(what, "processes"))
		return processes();
	if (!strcmp(what, "threads"))
		return threads();
	if (!strcmp(what, "memory"))
		return memory(strtoul(one, NULL, 10));
	if (!strcmp(what, "locked"))
		return locked();
	if (!strcmp(what, "cpu"))
		return cpu(atoll(one));
	if (!strcmp(what, "disk") && argc > 3)
		return disk(one, atoi(argv[3]));
	if (!strcmp(what, "hog"))
		return hog(one, argc > 3 ? argv[3] : "");
	if (!strcmp(what, "storm"))
		return storm(atoll(one));
	if (!strcmp(what, "serve"))
		return serve(atoll(one), argc > 3 ? atoll(argv[3]) : 0);
	fprintf(stderr, "see the head of exceed.c\n");
	return 64;
}
