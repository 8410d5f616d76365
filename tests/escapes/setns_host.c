/* An accomplice on the host hands over its namespaces; entering them takes a capability over each. */
#include "e.h"

static const char *const names[] = { "mnt", "uts", "ipc", "user", "pid", "net", "cgroup", "time" };
static const int kinds[] = { CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, 0x02000000, 0x80 };
#define COUNT 8

/* NS_GET_USERNS, NS_GET_PARENT of ioctl_ns(2). */
#define GET_USERNS _IO(0xb7, 1)
#define GET_PARENT _IO(0xb7, 2)

union control { struct cmsghdr header; char bytes[CMSG_SPACE(COUNT * sizeof(int))]; };

static int serve(const char *path)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	union control control;
	int fds[COUNT], s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
	unlink(path);
	if (bind(s, (void *)&at, sizeof at) || chmod(path, 0777) || listen(s, 8)) return perror(path), 1;
	for (int i = 0; i < COUNT; i++) {
		char link[64];
		snprintf(link, sizeof link, "/proc/self/ns/%s", names[i]);
		fds[i] = open(link, O_RDONLY | O_CLOEXEC);
		if (fds[i] < 0) fds[i] = dup(0);
	}
	pid_t server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			int c = accept(s, 0, 0);
			struct iovec iov = { "n", 1 };
			struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
			memset(&control, 0, sizeof control);
			control.header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof fds), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
			memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
			if (sendmsg(c, &m, 0) < 0) perror("sendmsg");
			close(c);
		}
	}
	planted("here");
	kill(server, SIGKILL);
	unlink(path);
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "/mnt/setns.sock" };
	if (is_plant(argc, argv)) {
		char path[108];
		snprintf(path, sizeof path, "%.90s/setns.sock", word(argc, argv, 3));
		return serve(path);
	}
	int s = socket(AF_UNIX, SOCK_STREAM, 0), fds[COUNT];
	union control control;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	if (connect(s, (void *)&at, sizeof at)) return untried("accomplice", "connect: %s", strerror(errno)), 2;
	if (recvmsg(s, &m, 0) < 0 || m.msg_controllen < CMSG_LEN(sizeof fds)) return untried("accomplice", "nothing came"), 2;
	memcpy(fds, CMSG_DATA(&control.header), sizeof fds);
	for (int i = 0; i < COUNT; i++) {
		struct stat own, got;
		char link[64], way[64];
		snprintf(link, sizeof link, "/proc/self/ns/%s", names[i]);
		int same = stat(link, &own) || fstat(fds[i], &got) || own.st_ino == got.st_ino;
		if (same) {
			untried(names[i], "it is in that one");
			continue;
		}
		pid_t child = fork();
		if (child == 0) {
			escapes_ = helds_ = 0;
			attempt(names[i], SYS_setns, fds[i], kinds[i]);
			_exit(verdict());
		}
		int status;
		waitpid(child, &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0) escapes_++;
		else helds_++;
		if (kinds[i] != CLONE_NEWUSER) {
			snprintf(way, sizeof way, "%s-owner", names[i]);
			attempt(way, SYS_ioctl, fds[i], GET_USERNS);
		}
	}
	int own = open("/proc/self/ns/user", O_RDONLY);
	attempt("parent", SYS_ioctl, own, GET_PARENT);
	return verdict();
}
