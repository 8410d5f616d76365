/* Nodes of the host's devices: made, or found. The disk that the secret is on is read by its first bytes. */
#include "e.h"

static dev_t disk;

static void opened(const char *way, const char *path)
{
	unsigned char byte[2];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) return held(way, errno);
	if (pread(fd, byte, 2, 1080) == 2) escaped(way, "read %02x%02x of %s", byte[0], byte[1], path);
	else escaped(way, "opened %s", path);
	close(fd);
}

static void makes(const char *way, const char *folder, mode_t kind, dev_t device)
{
	char path[256];
	snprintf(path, sizeof path, "%s/hold-node", folder);
	unlink(path);
	long made = sc(SYS_mknodat, AT_FDCWD, path, kind | 0666, (unsigned)device);
	if (made < 0) return held(way, made);
	opened(way, path);
	unlink(path);
}

int main(int argc, char **argv)
{
	if (is_plant(argc, argv)) {
		struct stat st;
		if (stat(word(argc, argv, 2), &st)) return perror("stat"), 1;
		planted("%u:%u", major(st.st_dev), minor(st.st_dev));
		return 1;
	}
	unsigned a = 0, b = 0;
	sscanf(word(argc, argv, 2), "%u:%u", &a, &b);
	disk = makedev(a, b);
	mkdir("/tmp/nodes", 0755);
	mount("nodes", "/tmp/nodes", "tmpfs", 0, 0);
	static const char *const folders[] = { "/", "/tmp/nodes", "/dev", "/dev/shm" };
	for (unsigned i = 0; i < 4; i++) {
		char way[64];
		snprintf(way, sizeof way, "disk-in-%s", folders[i]);
		makes(way, folders[i], S_IFBLK, disk);
		snprintf(way, sizeof way, "mem-in-%s", folders[i]);
		makes(way, folders[i], S_IFCHR, makedev(1, 1));
		snprintf(way, sizeof way, "kmsg-in-%s", folders[i]);
		makes(way, folders[i], S_IFCHR, makedev(1, 11));
	}
	static const char *const there[] = { "/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/loop-control",
		"/dev/fuse", "/dev/net/tun", "/dev/kvm", "/dev/mapper/control", "/dev/cpu/0/msr", "/dev/hpet", "/dev/rtc0", "/dev/vhost-vsock",
		"/dev/snapshot", "/dev/btrfs-control", "/dev/vcs", "/dev/tty0", "/dev/uinput", "/dev/cuse" };
	for (unsigned i = 0; i < sizeof there / sizeof there[0]; i++) {
		struct stat st;
		if (stat(there[i], &st) || !(S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode))) continue;
		/* The zone's console has the names of a PC's screens, and is nothing where a program has pipes. */
		if (major(st.st_rdev) == 136 || st.st_rdev == makedev(1, 3)) continue;
		opened(there[i], there[i]);
	}
	return verdict();
}
