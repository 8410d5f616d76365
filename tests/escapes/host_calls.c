/* Calls that change the whole machine. A level answers some with success; then nothing must have changed. */
#include "e.h"
#include <sys/timex.h>
#include <time.h>

static long tick(void)
{
	struct timex t = { 0 };
	return adjtimex(&t) < 0 ? 0 : t.tick;
}

static double now_on(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

enum { HUNG = 250, UNTRIED };

/* What comes of it at a terminal of its own: the error of the call, 0 where nothing else, or one of these. */
static int hang_up(void *unused)
{
	(void)unused;
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	if (master < 0 || unlockpt(master) || (slave = open(ptsname(master), O_RDWR | O_NOCTTY)) < 0) return UNTRIED;
	signal(SIGHUP, SIG_IGN);
	if (setsid() < 0 || ioctl(slave, TIOCSCTTY, 0)) return UNTRIED;
	long r = sc(SYS_vhangup);
	return write(slave, "x", 1) < 0 && errno == EIO ? HUNG : -r;
}

int main(int argc, char **argv)
{
	/* A microsecond in each ten thousand, and back. */
	long before = tick();
	struct timex t = { .modes = ADJ_TICK, .tick = before + 1 };
	long r = sc(SYS_adjtimex, &t);
	if (r < 0) held("adjtimex", r);
	else if (tick() != before) {
		t = (struct timex){ .modes = ADJ_TICK, .tick = before };
		adjtimex(&t);
		escaped("adjtimex", "the clock's tick is another");
	} else held("adjtimex", 0);
	/* In the machine an hour; elsewhere a guard is there, and a second is too little to hurt. */
	int by = has_word(argc, argv, "machine") ? 3600 : 1;
	double ahead = now_on(CLOCK_REALTIME) - now_on(CLOCK_MONOTONIC);
	struct timespec to = { time(0) + by, 0 };
	r = sc(SYS_clock_settime, CLOCK_REALTIME, &to);
	double shift = now_on(CLOCK_REALTIME) - now_on(CLOCK_MONOTONIC) - ahead;
	if (r < 0) held("clock_settime", r);
	else if (shift > 0.3 || shift < -0.3) escaped("clock_settime", "the clock is another");
	else held("clock_settime", 0);
	/* Who may is told that it is none. */
	r = sc(SYS_swapoff, "/tmp");
	if (r == -EINVAL) escaped("swapoff", "EINVAL");
	else held("swapoff", r);
	attempt("acct", SYS_acct, 0);
	attempt("ioperm", SYS_ioperm, 0x80, 1, 1);
	attempt("iopl", SYS_iopl, 3);
	int hung = in_child(hang_up, 0);
	if (hung == HUNG) escaped("vhangup", "its terminal is hung up");
	else if (hung == UNTRIED) untried("vhangup", "it has no terminal");
	else held("vhangup", hung);
	/* Beyond the limits that it was given. */
	struct { uint64_t soft, hard; } wide = { 1 << 30, 1 << 30 };
	sc(SYS_prlimit64, 0, 14, 0, &wide);
	uint64_t hard = wide.hard;
	wide.soft = wide.hard = hard == UINT64_MAX ? hard : hard + 1;
	if (hard == UINT64_MAX) untried("rlimit", "it has none of its own");
	else attempt("rlimit", SYS_prlimit64, 0, 14, &wide, 0);
	int fifo = 1;
	attempt("fifo", SYS_sched_setscheduler, 0, 1, &fifo);
	attempt("nice", SYS_setpriority, 0, 0, -20);
	attempt("ioprio", SYS_ioprio_set, 1, 0, 1 << 13 | 4);
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);
	if (fd < 0 || write(fd, "-1000", 5) < 0) held("oom", errno);
	else escaped("oom", "it is never killed");
	return verdict();
}
