/* Namespaces and processes by their handles, which need no path at all (nsfs since Linux 6.18, pidfs since 6.14). */
#include "e.h"

#define FD_PIDFS_ROOT -10002
#define FD_NSFS_ROOT -10003
#define FILEID_NSFS 0xf1
#define FILEID_KERNFS_OR_PIDFS 0xfe

static int kinds[] = { CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, 0x02000000 };

int main(int argc, char **argv)
{
	struct { struct file_handle handle; unsigned char bytes[64]; } with;
	static const char *const names[] = { "mnt", "uts", "ipc", "user", "pid", "net", "cgroup" };
	if (is_plant(argc, argv)) {
		/* struct nsfs_file_handle of each of the host's: its id, kind and inode. */
		char text[1024] = "", path[64];
		for (unsigned i = 0; i < 7; i++) {
			snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
			int mount, fd = open(path, O_RDONLY);
			memset(&with, 0, sizeof with);
			with.handle.handle_bytes = 64;
			if (name_to_handle_at(fd, "", &with.handle, &mount, AT_EMPTY_PATH)) continue;
			sprintf(text + strlen(text), "%s%s=%d:", *text ? " " : "", names[i], with.handle.handle_type);
			for (unsigned n = 0; n < with.handle.handle_bytes; n++)
				sprintf(text + strlen(text), "%02x", with.handle.f_handle[n]);
		}
		planted("%s", text);
		return 1;
	}
	if (argc < 3) return untried("nsfs", "this kernel has no handles of namespaces"), 2;
	for (int i = 2; i < argc; i++) {
		char name[16], hex[200];
		int type;
		if (sscanf(argv[i], "%15[a-z]=%d:%199s", name, &type, hex) != 3) continue;
		memset(&with, 0, sizeof with);
		with.handle.handle_type = type;
		with.handle.handle_bytes = strlen(hex) / 2;
		for (unsigned n = 0; n < with.handle.handle_bytes && n < 64; n++) {
			unsigned byte;
			sscanf(hex + 2 * n, "%2x", &byte);
			with.handle.f_handle[n] = byte;
		}
		long fd = sc(SYS_open_by_handle_at, FD_NSFS_ROOT, &with.handle, O_RDONLY);
		if (fd < 0) {
			held(name, fd);
			continue;
		}
		struct stat own, got;
		char path[64];
		snprintf(path, sizeof path, "/proc/self/ns/%s", name);
		if (stat(path, &own) == 0 && fstat(fd, &got) == 0 && own.st_ino == got.st_ino) untried(name, "it is in that one");
		else for (unsigned k = 0; k < 7; k++)
			if (!strcmp(names[k], name)) attempt(name, SYS_setns, (int)fd, kinds[k]);
	}
	return verdict();
}
