/* A user namespace below the zone's has all capabilities over itself; `bare` tries what they are wanted for without one. */
#include "e.h"

int main(int argc, char **argv)
{
	char text[128];
	int bare = has_word(argc, argv, "bare");
	if (!bare && unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC)) return held("unshare", errno), verdict();
	if (!bare) {
		int fd = open("/proc/self/setgroups", O_WRONLY);
		if (fd >= 0 && write(fd, "deny", 4) < 0) perror("setgroups");
		fd = open("/proc/self/uid_map", O_WRONLY);
		if (fd < 0 || write(fd, "0 0 1", 5) < 0) held("map", errno);
		/* Back up, where it came from. */
		fd = open("/proc/1/ns/user", O_RDONLY);
		if (fd < 0) held("up", errno);
		else attempt("up", SYS_setns, fd, CLONE_NEWUSER);
		/* The name is the zone's, of whose namespace this one has nothing. */
		attempt("hostname", SYS_sethostname, "nested", 6);
	}
	unsigned a = 0, b = 0;
	sscanf(word(argc, argv, 2), "%u:%u", &a, &b);
	unlink("/tmp/nested-node");
	long made = sc(SYS_mknodat, AT_FDCWD, "/tmp/nested-node", S_IFBLK | 0600, (unsigned)makedev(a, b));
	if (made < 0) held("mknod", made);
	else escaped("mknod", "made");
	unlink("/tmp/nested-node");
	opens("core_pattern", AT_FDCWD, "/proc/sys/kernel/core_pattern");
	attempt("iopl", SYS_ioperm, 0x80, 1, 1);
	if (is_secret(AT_FDCWD, word(argc, argv, 1), text, sizeof text)) escaped("secret", "%s", text);
	else held("secret", errno);
	return verdict();
}
