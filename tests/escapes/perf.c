/* Counters of a whole CPU, and of the kernel: what other zones do. */
#include "e.h"
#include <linux/perf_event.h>

int main(void)
{
	struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof a, .config = PERF_COUNT_SW_CPU_CLOCK };
	attempt("cpu", SYS_perf_event_open, &a, -1, 0, -1, 0);
	a.config = PERF_COUNT_SW_CONTEXT_SWITCHES;
	attempt("switches", SYS_perf_event_open, &a, -1, 0, -1, 0);
	a.sample_period = 1000, a.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID;
	attempt("samples", SYS_perf_event_open, &a, -1, 0, -1, 0);
	attempt("process-0", SYS_perf_event_open, &a, 2, -1, -1, 0);
	return verdict();
}
