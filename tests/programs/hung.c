/* `hung DIR`: a file system at DIR whose server takes what is asked of it and answers nothing but that it is there. Prints a
   line once it is mounted; at the end of its input it is gone, with an error to all who wait. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char request[1 << 20];
	char options[128];
	if (argc < 2) return 2;
	int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
	if (device < 0 || mount("hung", argv[1], "fuse", 0, options)) return perror("mount fuse"), 1;
	struct pollfd wait[] = { { .fd = device, .events = POLLIN }, { .fd = 0, .events = POLLIN } };
	for (int is_told = 0;;) {
		if (poll(wait, 2, -1) < 0) break;
		if (wait[1].revents) break;
		ssize_t length = read(device, request, sizeof request);
		if (length < 0) {
			if (errno == EINTR || errno == ENOENT || errno == EAGAIN) continue;
			break;
		}
		const struct fuse_in_header *in = (const void *)request;
		if (in->opcode != FUSE_INIT) continue;
		struct { struct fuse_out_header head; struct fuse_init_out init; } out = {
			.head = { .len = sizeof out, .unique = in->unique },
			.init = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096, .max_background = 8 },
		};
		if (write(device, &out, sizeof out) != sizeof out) return perror("answer"), 1;
		if (!is_told++) puts("hung"), fflush(stdout);
	}
	umount2(argv[1], MNT_DETACH);
	return 0;
}
