// kernel: 2.6.18
// abi: i386 amd64
// native: passes
/* A law: a number that no kernel has is ENOSYS; never EPERM, on which libc would not fall back; never a kill. */
#include "t.h"

int main(void)
{
	static const long numbers[] = { 5000, 1000, 700, -1, -2, 0x7fffffff, 0x3fffffff };
	for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		char what[40];
		snprintf(what, sizeof what, "number %ld", numbers[i]);
		expect(what, -ENOSYS, sc(numbers[i], 0, 0, 0, 0, 0, 0));
	}
	return verdict();
}
