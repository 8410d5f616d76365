// kernel: 2.6.18
// abi: i386 amd64
// native: fails
/* MAKEDEV removes a node before it makes it again, and chmods, chowns and renames it; all as on any file. */
#include "t.h"

int main(void)
{
	struct stat st;
	unsigned null = makedev(1, 3);
	umask(0);
	expect("chdir", 0, chdir(scratch()));
	for (int i = 0; i < 3; i++) {
		long r = sc(SYS_mknod, "node", S_IFCHR | 0600, null);
		if (r) return fail("mknod, expected 0, got %ld", r), verdict();
		expect("chmod", 0, sc(SYS_chmod, "node", 0622));
		expect("chown", 0, sc(SYS_chown, "node", 0, 5));
		expect("stat", 0, stat("node", &st));
		expect("mode", S_IFCHR | 0622, st.st_mode);
		expect("group", 5, st.st_gid);
		expect("rename", 0, sc(SYS_rename, "node", "other"));
		expect("stat of the new name", 0, stat("other", &st));
		expect("number under the new name", null, st.st_rdev);
		expect("unlink", 0, sc(SYS_unlink, "other"));
	}
	/* One program's node is there for the next. */
	expect("mknod", 0, sc(SYS_mknod, "node", S_IFCHR | 0666, null));
	pid_t child = fork();
	if (!child) {
		int fd = open("node", O_WRONLY);
		_exit(fd < 0 || write(fd, "x", 1) != 1);
	}
	int status;
	waitpid(child, &status, 0);
	expect("another process writes to it", 0, status);
	return verdict();
}
