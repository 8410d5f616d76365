/* A root is entered as a zone's is: ATTEMPT SECRET ROOT. With the word `late` the host's is still there when the first path of the
   guest's is followed, which is a link /proc that leads to "/..". */
#include "e.h"

int main(int argc, char **argv)
{
	char path[4096];
	const char *root = word(argc, argv, 2);
	if (unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0)) return perror("unshare"), 3;
	if (mount(root, root, 0, MS_BIND, 0) || chdir(root) || syscall(SYS_pivot_root, ".", ".")) return perror(root), 3;
	if (!has_word(argc, argv, "late") && umount2(".", MNT_DETACH)) return perror("umount2"), 3;
	snprintf(path, sizeof path, "/proc%s", word(argc, argv, 1));
	reads("link", AT_FDCWD, path);
	return verdict();
}
