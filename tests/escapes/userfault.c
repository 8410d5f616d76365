/* Faults of the kernel itself, held up for as long as one likes: what makes its races easy to win. */
#include "e.h"

int main(void)
{
	char all = '0';
	int setting = open("/proc/sys/vm/unprivileged_userfaultfd", O_RDONLY);
	if (setting >= 0 && read(setting, &all, 1) == 1 && all == '1')
		return untried("kernel-faults", "the host lets everybody: vm.unprivileged_userfaultfd, the default before Linux 5.11"), 2;
	attempt("kernel-faults", SYS_userfaultfd, O_CLOEXEC);
	int fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (fd >= 0) attempt("device", SYS_ioctl, fd, _IO(0xaa, 0), O_CLOEXEC);
	else if (errno == ENOENT) untried("device", "there is no /dev/userfaultfd");
	else held("device", errno);
	return verdict();
}
