// kernel: 2.0.36 2.6.18
// abi: i386 amd64
// native: fails
/*
 * klogd and dmesg find a kernel log of the zone's own: never the host's, and theirs to clear.
 * Without CAP_SYSLOG in the host's user namespace most commands are EPERM. See syslog(2).
 */
#include "t.h"

static char text[1 << 17];

static long klog(int type, char *to, int n) { return sc(SYS_syslog, type, to, n); }

int main(int argc, char **argv)
{
	const char *k = level(argc, argv);
	expect("open", 0, klog(1, 0, 0));
	if (k[0] == '2' && (k[2] == '0' || k[2] == '2')) {
		/* SIZE_UNREAD came with 2.4.10, SIZE_BUFFER with 2.6.6. */
		expect("size unread", -EINVAL, klog(9, 0, 0));
		expect("size of the buffer", -EINVAL, klog(10, 0, 0));
	} else {
		expect_true("size unread", klog(9, 0, 0) >= 0);
		expect_true("size of the buffer", klog(10, 0, 0) > 0);
	}

	long n = klog(3, text, sizeof text - 1);
	expect_true("read all", n >= 0);
	text[n < 0 ? 0 : n] = 0;
	char *version = strstr(text, "Linux version ");
	if (version && strncmp(version + 14, k, strlen(k))) fail("kernel's line, expected %s, got %.40s", k, version);

	expect("console off", 0, klog(6, 0, 0));
	expect("console on", 0, klog(7, 0, 0));
	expect("console level 4", 0, klog(8, 0, 4));
	expect("console level 9", -EINVAL, klog(8, 0, 9));
	expect("clear", 0, klog(5, 0, 0));
	expect("read all after clear", 0, klog(3, text, sizeof text));
	expect("read all without a buffer", -EINVAL, klog(3, 0, 10));
	expect("read all of a negative size", -EINVAL, klog(3, text, -1));
	expect("read all of nothing", 0, klog(3, text, 0));
	expect("unknown command", -EINVAL, klog(11, text, 1));
	expect("close", 0, klog(0, 0, 0));
	return verdict();
}
