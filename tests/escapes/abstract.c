/* A unix socket of the host's that has no file, but a name in its network. */
#include "e.h"

static const char name[] = "\0zones-secret";

int main(int argc, char **argv)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	memcpy(at.sun_path, name, sizeof name - 1);
	socklen_t length = sizeof(sa_family_t) + sizeof name - 1;
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (is_plant(argc, argv)) {
		if (bind(s, (void *)&at, length) || listen(s, 8)) return perror("listen"), 1;
		planted("here");
		return 1;
	}
	if (connect(s, (void *)&at, length)) held("connect", errno);
	else escaped("connect", "@%s", name + 1);
	return verdict();
}
