// kernel: 2.6.18 4.18
// abi: i386 amd64
// native: passes
// cflags: -pthread
/*
 * Many open a file of /proc that changes and read it by sendfile(2), which goes through the page cache: none waits for
 * another for ever. Who opens it anew has the cache emptied and filled, which waits for pages that others are reading
 * (invalidate_inode_pages2_range, mm/truncate.c), and those for whoever serves the file.
 */
#include "t.h"
#include <pthread.h>
#include <sys/sendfile.h>
#include <time.h>

/* Whichever comes first: an emulated machine takes tens of milliseconds for a round. */
enum { READERS = 4, ROUNDS = 250, SECONDS = 8 };

static void *reads(void *unused)
{
	long wrong = 0;
	int null = open("/dev/null", O_WRONLY);
	time_t end = time(NULL) + SECONDS;
	for (int i = 0; i < ROUNDS && time(NULL) < end; i++) {
		int fd = open("/proc/meminfo", O_RDONLY);
		if (fd < 0) return (void *)-1L;
		for (int again = 0; again < 3; again++) {
			off_t at = 0;
			while (sendfile(null, fd, &at, 65536) > 0) {}
			wrong += at == 0;
		}
		close(fd);
	}
	close(null);
	return (void *)wrong;
}

int main(int argc, char **argv)
{
	level(argc, argv);
	/* Ends this program where nothing else is amiss. */
	alarm(120);
	pthread_t readers[READERS];
	for (int i = 0; i < READERS; i++) pthread_create(&readers[i], NULL, reads, NULL);
	for (int i = 0; i < READERS; i++) {
		void *wrong = NULL;
		pthread_join(readers[i], &wrong);
		expect("readings without a byte", 0, (long)wrong);
	}
	return verdict();
}
