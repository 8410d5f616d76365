/* The socket by which zoned talks to a monitor, shown in a zone: whoever is no root of the host is hung up on. */
#include "e.h"
#include <poll.h>

int main(int argc, char **argv)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	snprintf(at.sun_path, sizeof at.sun_path, "%s", word(argc, argv, 1));
	int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(s, (void *)&at, sizeof at)) return held("connect", errno), verdict();
	struct pollfd p = { .fd = s };
	if (poll(&p, 1, 1000) > 0 && p.revents & POLLHUP) held("talk", EPIPE);
	else escaped("talk", "it listens");
	return verdict();
}
