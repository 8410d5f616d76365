/* For programs that call into the vsyscall page: SIGSEGV of a host that has none is a verdict. */
#include "t.h"

static void no_page(int signal)
{
	(void)signal;
	static const char text[] = "FAIL: the vsyscall page, expected it or calls of one's own, got SIGSEGV\n";
	if (write(1, text, sizeof text - 1) < 0) _exit(2);
	_exit(1);
}

static inline void fail_without_page(void)
{
	struct sigaction act = { .sa_handler = no_page };
	sigaction(SIGSEGV, &act, 0);
}
