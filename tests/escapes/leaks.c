/* Descriptors, working directories, roots and programs of all that can be seen in /proc. */
#include "e.h"
#include <dirent.h>

static const char *secret;
static int looked, refused;

static void look(const char *path)
{
	char text[128], up[4096];
	int dir = open(path, O_PATH | O_CLOEXEC);
	if (dir < 0) {
		refused += errno == EACCES || errno == EPERM;
		return;
	}
	looked++;
	snprintf(up, sizeof up, "../../../../../../../../../../../../..%s", secret);
	if (is_secret(dir, up, text, sizeof text) || is_secret(AT_FDCWD, path, text, sizeof text))
		escaped(path, "%s", text);
	close(dir);
}

int main(int argc, char **argv)
{
	secret = word(argc, argv, 1);
	DIR *all = opendir("/proc");
	for (struct dirent *one; all && (one = readdir(all));) {
		char path[512];
		if (!strtol(one->d_name, 0, 10)) continue;
		for (const char *const *name = (const char *const[]){ "cwd", "root", "exe", 0 }; *name; name++) {
			snprintf(path, sizeof path, "/proc/%s/%s", one->d_name, *name);
			look(path);
		}
		for (const char *const *name = (const char *const[]){ "fd", "map_files", 0 }; *name; name++) {
			snprintf(path, sizeof path, "/proc/%s/%s", one->d_name, *name);
			DIR *folder = opendir(path);
			if (!folder) refused++;
			for (struct dirent *fd; folder && (fd = readdir(folder));) {
				snprintf(path, sizeof path, "/proc/%s/%s/%.200s", one->d_name, *name, fd->d_name);
				if (fd->d_name[0] != '.') look(path);
			}
			if (folder) closedir(folder);
		}
	}
	if (!looked) untried("proc", "nothing in /proc");
	else if (!escapes_) held("proc", refused ? EACCES : ENOENT);
	return verdict();
}
