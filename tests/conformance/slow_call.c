// kernel: 2.6.18
// abi: i386 amd64
// native: fails
// cflags: -pthread
/*
 * One guest that waits in an emulated call (syslog(2) READ on an empty log) holds up nobody: neither another
 * process nor another thread of its own; and it can be killed while it waits.
 */
#include "t.h"
#include <pthread.h>
#include <sys/utsname.h>

static char text[1 << 16];

static void *wait_in_syslog(void *unused)
{
	while (sc(SYS_syslog, 2, text, sizeof text) > 0) ;
	return unused;
}

static void busy(const char *what)
{
	struct utsname u;
	double start = now(CLOCK_MONOTONIC);
	for (int i = 0; i < 1000; i++) expect("uname", 0, sc(SYS_uname, &u));
	double took = now(CLOCK_MONOTONIC) - start;
	if (took > 30) fail("1000 uname beside %s, expected less than 30 s, got %f", what, took);
}

int main(void)
{
	int status;
	pid_t child = fork();
	if (!child) {
		wait_in_syslog(0);
		_exit(1);
	}
	usleep(200000);
	expect("the other process waits", 0, waitpid(child, &status, WNOHANG));
	busy("a process that waits");
	expect("it waits still", 0, waitpid(child, &status, WNOHANG));
	kill(child, SIGKILL);
	double start = now(CLOCK_MONOTONIC);
	expect("it can be killed", child, waitpid(child, &status, 0));
	expect("by the signal", SIGKILL, WTERMSIG(status));
	expect_true("at once", now(CLOCK_MONOTONIC) - start < 2);

	pthread_t thread;
	expect("pthread_create", 0, pthread_create(&thread, 0, wait_in_syslog, 0));
	usleep(100000);
	busy("a thread that waits");
	int v = verdict();
	fflush(stdout);
	_exit(v);
}
