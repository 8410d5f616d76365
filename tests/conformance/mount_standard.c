// kernel: 2.0.36 2.6.18
// abi: i386 amd64
// native: fails
/*
 * rc scripts mount proc, sysfs and devtmpfs on their places. They are there already: the calls succeed, and
 * the files that tell the level's story, and the zone's own /dev, stay in sight.
 */
#include "t.h"
#include <sys/mount.h>

static void still(const char *after, const char *k)
{
	struct stat st;
	char want[128], what[128];
	snprintf(want, sizeof want, "Linux version %s ", k);
	snprintf(what, sizeof what, "/proc/version after %s", after);
	char *version = line_of("/proc/version");
	version[strnlen(version, strlen(want))] = 0;
	expect_text(what, want, version);
	expect_text("osrelease", k, line_of("/proc/sys/kernel/osrelease"));
	expect("/dev/null is there", 0, stat("/dev/null", &st));
	expect("/dev/null has its number", makedev(1, 3), st.st_rdev);
	expect("/dev/mem is not there", -1, stat("/dev/mem", &st));
}

int main(int argc, char **argv)
{
	const char *k = level(argc, argv);
	expect("proc", 0, sc(SYS_mount, "proc", "/proc", "proc", 0, 0));
	still("mount of proc", k);
	expect("none as the source", 0, sc(SYS_mount, "none", "/proc", "proc", 0, 0));
	expect("a slash behind", 0, sc(SYS_mount, "/proc", "/proc/", "proc", 0xc0ed0000 | MS_NOSUID, 0));
	still("further mounts of proc", k);
	expect("sysfs", 0, sc(SYS_mount, "sysfs", "/sys", "sysfs", 0, 0));
	expect("devtmpfs", 0, sc(SYS_mount, "udev", "/dev", "devtmpfs", 0, "mode=0755"));
	still("mount of devtmpfs", k);
	expect("chdir", 0, chdir("/"));
	expect("a relative name", 0, sc(SYS_mount, "proc", "proc", "proc", 0, 0));
	still("a relative mount", k);
	return verdict();
}
