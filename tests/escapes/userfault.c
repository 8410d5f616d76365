/* Faults of the kernel itself, held up for as long as one likes: what makes its races easy to win. */
#include "e.h"

int main(void)
{
	attempt("kernel-faults", SYS_userfaultfd, O_CLOEXEC);
	int fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (fd >= 0) attempt("device", SYS_ioctl, fd, _IO(0xaa, 0), O_CLOEXEC);
	else if (errno == ENOENT) untried("device", "there is no /dev/userfaultfd");
	else held("device", errno);
	return verdict();
}
