/* For programs that try to set the clock: by how much CLOCK_REALTIME moved against CLOCK_MONOTONIC. */
#include "t.h"
#include <sys/time.h>
#include <sys/timex.h>

/* Seconds that a program tries to move the clock by: enough to be seen, little should it succeed. */
#define SHIFT 7

static inline double offset(void) { return now(CLOCK_REALTIME) - now(CLOCK_MONOTONIC); }

#define expect_unmoved(what, since) do { \
	double moved_ = offset() - (since); \
	if (moved_ > 1 || moved_ < -1) fail("%s, expected an unmoved clock, got %f s", what, moved_); \
} while (0)
