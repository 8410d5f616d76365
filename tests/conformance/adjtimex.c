// kernel: 2.0.36 2.6.18
// abi: i386 amd64
// native: fails
/*
 * ntpdate and hwclock slew the clock by adjtimex(2). It answers a clock state (TIME_OK to TIME_ERROR, 0 to 5)
 * and the clock keeps its rate. clock_adjtime(2): Linux 2.6.39; it takes the same structure.
 */
#include "clock.h"

static void in_range(const char *what, long got)
{
	if (got < TIME_OK || got > TIME_ERROR) fail("%s, expected 0 to 5, got %ld", what, got);
}

int main(void)
{
	double before = offset();
	struct timex tx = { .modes = ADJ_FREQUENCY | ADJ_TICK, .freq = 500 << 16, .tick = 10500 };
	in_range("adjtimex(ADJ_FREQUENCY)", sc(SYS_adjtimex, &tx));

	tx = (struct timex){ .modes = ADJ_SETOFFSET, .time = { SHIFT, 0 } };
	in_range("adjtimex(ADJ_SETOFFSET)", sc(SYS_adjtimex, &tx));
	expect_unmoved("adjtimex(ADJ_SETOFFSET)", before);

	tx = (struct timex){ .modes = ADJ_OFFSET_SINGLESHOT, .offset = 400000 };
	in_range("adjtimex(ADJ_OFFSET_SINGLESHOT)", sc(SYS_adjtimex, &tx));

	tx = (struct timex){ .modes = ADJ_FREQUENCY, .freq = 1 << 16 };
	in_range("clock_adjtime", sc(SYS_clock_adjtime, CLOCK_REALTIME, &tx));
#ifdef __i386__
	uint32_t tx64[64] = { ADJ_FREQUENCY };
	in_range("clock_adjtime64", sc(405, CLOCK_REALTIME, tx64));
#endif
	expect_unmoved("all of them", before);
	return verdict();
}
