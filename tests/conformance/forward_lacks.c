// kernel: host
// abi: i386 amd64
// native: any (what the host lacks itself is missing there as well)
// options: host-kernel=5.10
/* What the host does not have and nothing else can do is ENOSYS, never EPERM; what it has is there. */
#include "t.h"

int main(void)
{
	/* landlock_create_ruleset 5.13, cachestat 6.5, mseal 6.10: each would be another error. */
	expect("landlock_create_ruleset", -ENOSYS, sc(444, 0, 0, 1));
	expect("cachestat", -ENOSYS, sc(451, 0, 0, 0, 0));
	expect("mseal", -ENOSYS, sc(462, 0, 0, ~0UL));
	expect("futex_waitv of two", -ENOSYS, sc(449, 0, 2, 0, 0, 0));
	expect_true("openat2, which 5.10 has, is there", sc(437, -1, 0, 0, 0) == -EINVAL);
	return verdict();
}
