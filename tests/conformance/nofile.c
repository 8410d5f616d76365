// kernel: 2.6.18 2.6.32
// abi: i386 amd64
// native: fails
/*
 * yum, rpm, python2 and MySQL 5 close every descriptor up to RLIMIT_NOFILE, which systemd 240 raised to a
 * billion. Linux 2.6 began with 1024 (INR_OPEN); distributions had 1024:4096. See getrlimit(2).
 */
#include "t.h"
#include <sys/resource.h>

int main(void)
{
	struct rlimit r;
	expect("getrlimit", 0, getrlimit(RLIMIT_NOFILE, &r));
	expect("soft", 1024, r.rlim_cur);
	expect("hard", 4096, r.rlim_max);
	int last = -1, fd;
	while ((fd = open("/", O_RDONLY)) >= 0) last = fd;
	expect("error at the limit", EMFILE, errno);
	expect("last descriptor", 1023, last);
	return verdict();
}
