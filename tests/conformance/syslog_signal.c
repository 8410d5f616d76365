// kernel: 2.0.36 2.6.18
// abi: i386 amd64
// native: fails
/*
 * A klogd that waits in syslog(2) for the next line must see SIGTERM and alarms: the wait ends with EINTR,
 * as syslog(2) says, also where the answer comes from outside the kernel and the wait is only killable.
 */
#include "t.h"

static volatile int alarms;
static void on_alarm(int s) { (void)s; alarms++; alarm(1); }

int main(void)
{
	static char text[1 << 16];
	struct sigaction sa = { .sa_handler = on_alarm };
	sigaction(SIGALRM, &sa, 0);
	alarm(1);
	long n;
	double start = now(CLOCK_MONOTONIC);
	while ((n = sc(SYS_syslog, 2, text, sizeof text)) > 0 && now(CLOCK_MONOTONIC) < start + 5) ;
	expect("syslog(READ) with an alarm under way", -EINTR, n);
	expect_true("the handler ran", alarms >= 1);
	expect_true("within its time", now(CLOCK_MONOTONIC) < start + 3);
	return verdict();
}
