// kernel: 2.0.36 2.6.18
// abi: i386 amd64
// native: fails
/*
 * rc scripts of every old system set the clock and the time zone at boot, and stop or complain where they
 * may not. The calls succeed and the host's clock stays. See settimeofday(2), stime(2), clock_settime(2).
 */
#include "clock.h"

int main(void)
{
	double before = offset();
	struct timeval tv = { time(0) + SHIFT, 0 };
	struct timezone tz = { 60, 0 };
	expect("settimeofday(tv)", 0, sc(SYS_settimeofday, &tv, 0));
	expect_unmoved("settimeofday(tv)", before);
	expect("settimeofday(tz)", 0, sc(SYS_settimeofday, 0, &tz));
	expect("settimeofday(tv, tz)", 0, sc(SYS_settimeofday, &tv, &tz));
	expect_unmoved("settimeofday(tv, tz)", before);

	long ts[2] = { time(0) + SHIFT, 0 };
	expect("clock_settime", 0, sc(SYS_clock_settime, CLOCK_REALTIME, ts));
	expect_unmoved("clock_settime", before);
#ifdef __i386__
	long when = time(0) + SHIFT;
	expect("stime", 0, sc(SYS_stime, &when));
	expect_unmoved("stime", before);
	long long ts64[2] = { time(0) + SHIFT, 0 };
	expect("clock_settime64", 0, sc(404, CLOCK_REALTIME, ts64));
	expect_unmoved("clock_settime64", before);
#endif
	return verdict();
}
