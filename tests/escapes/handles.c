/* A file by its handle needs no path to it, only some file of its file system: open_by_handle_at(2). */
#include "e.h"

static void try(const char *way, const char *folder, struct file_handle *handle)
{
	int mount = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mount < 0) {
		untried(way, "no %s", folder);
		return;
	}
	long fd = sc(SYS_open_by_handle_at, mount, handle, O_RDONLY);
	char path[32];
	snprintf(path, sizeof path, "/proc/self/fd/%ld", fd);
	if (fd < 0) held(way, fd);
	else reads(way, AT_FDCWD, path);
	if (fd >= 0) close(fd);
	close(mount);
}

int main(int argc, char **argv)
{
	struct { struct file_handle handle; unsigned char bytes[128]; } with = { .handle.handle_bytes = 128 };
	int mount;
	const char *hex = word(argc, argv, 3);
	if (is_plant(argc, argv)) {
		/* The secret stands where the attempts' folder does, and that is shown in the zone. */
		const char *secret = word(argc, argv, 2);
		if (name_to_handle_at(AT_FDCWD, secret, &with.handle, &mount, 0)) return perror(secret), 1;
		char text[300];
		for (unsigned i = 0; i < with.handle.handle_bytes; i++) sprintf(text + 2 * i, "%02x", with.handle.f_handle[i]);
		planted("%d %s", with.handle.handle_type, text);
		return 1;
	}
	with.handle.handle_type = atoi(word(argc, argv, 2));
	with.handle.handle_bytes = strlen(hex) / 2;
	if (!with.handle.handle_bytes || with.handle.handle_bytes > 128) return untried("handle", "none was given"), 2;
	for (unsigned i = 0; i < with.handle.handle_bytes; i++) {
		unsigned byte;
		sscanf(hex + 2 * i, "%2x", &byte);
		with.handle.f_handle[i] = byte;
	}
	try("root", "/", &with.handle);
	try("bind", "/mnt", &with.handle);
	try("memory", "/tmp", &with.handle);
	/* As the owner of more namespaces. */
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
		try("nested-root", "/", &with.handle);
		try("nested-bind", "/mnt", &with.handle);
	}
	return verdict();
}
