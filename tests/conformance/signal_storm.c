// kernel: 2.6.18
// abi: i386 amd64
// native: passes
/* A law: signals during an emulated call neither fail it with EINTR nor get lost; uname(2) knows no EINTR. */
#include "t.h"
#include <sys/time.h>
#include <sys/utsname.h>

static volatile unsigned alarms;
static void on_alarm(int s) { (void)s; alarms++; }

int main(void)
{
	struct utsname first, u;
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };
	expect("uname", 0, uname(&first));
	sigaction(SIGALRM, &sa, 0);
	setitimer(ITIMER_REAL, &often, 0);
	double end = now(CLOCK_MONOTONIC) + 2;
	unsigned long calls = 0;
	while (now(CLOCK_MONOTONIC) < end && failures < 5) {
		memset(&u, '#', sizeof u);
		expect("uname under signals", 0, sc(SYS_uname, &u));
		expect("what it wrote", 0, memcmp(&u, &first, sizeof u.sysname + sizeof u.nodename + sizeof u.release));
		calls++;
	}
	setitimer(ITIMER_REAL, &never, 0);
	expect_true("signals came", alarms > 100);
	expect_true("calls went on", calls > 100);
	return verdict();
}
