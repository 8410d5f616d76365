// kernel: 2.0.36 2.6.18
// abi: i386 amd64
// native: passes
/* A law: adjtimex(2) without modes still tells the clock's rate; tickadj and ntpd read it before they act. */
#include "clock.h"

int main(void)
{
	struct timex tx;
	memset(&tx, 0, sizeof tx);
	long state = sc(SYS_adjtimex, &tx);
	expect_true("adjtimex(0) answers a clock state", state >= TIME_OK && state <= TIME_ERROR);
	expect_true("tick is about 10000 µs", tx.tick >= 9000 && tx.tick <= 11000);
	expect_true("time is now", tx.time.tv_sec >= time(0) - 2 && tx.time.tv_sec <= time(0) + 2);
	return verdict();
}
