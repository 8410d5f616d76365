/* The zone's own limits, where its control groups can be reached: as they are mounted, and mounted anew. */
#include "e.h"

static const char *const v2[] = { "memory.max", "memory.swap.max", "pids.max", "cpu.max", "cpuset.cpus", "io.max", "cpu.weight",
	"cgroup.max.descendants", "cgroup.max.depth", "cgroup.freeze", "cgroup.kill" };
static const struct { const char *kind, *file; } v1[] = {
	{ "memory", "memory.limit_in_bytes" }, { "pids", "pids.max" }, { "cpu", "cpu.cfs_quota_us" }, { "cpuset", "cpuset.cpus" },
	{ "devices", "devices.allow" }, { "blkio", "blkio.bfq.weight" }, { "freezer", "freezer.state" },
};

/* Whether the host has it mounted as v1: to mount it then takes it from nobody. */
static int is_v1(const char *kind)
{
	char line[256], name[64];
	int hierarchy = 0, found = 0;
	FILE *file = fopen("/proc/cgroups", "r");
	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "%63s %d", name, &hierarchy) == 2 && !strcmp(name, kind)) found = hierarchy > 0;
	if (file) fclose(file);
	return found;
}

int main(int argc, char **argv)
{
	char path[256];
	int bare = has_word(argc, argv, "bare");
	mkdir("/tmp/cg", 0755);
	for (int again = 0; again < 2; again++) {
		/* Outside, that of a group below the first. */
		const char *top = !again ? "/sys/fs/cgroup" : bare ? "/tmp/cg/hold-limits" : "/tmp/cg";
		if (again && mount("cgroup2", "/tmp/cg", "cgroup2", 0, 0)) {
			held("mount-v2", errno);
			break;
		}
		if (again && bare) mkdir(top, 0755);
		for (unsigned i = 0; i < sizeof v2 / sizeof v2[0]; i++) {
			snprintf(path, sizeof path, "%s/%s", top, v2[i]);
			opens(v2[i], AT_FDCWD, path);
		}
		/* A group beside it, or above: what is there is told by what can be listed. */
		snprintf(path, sizeof path, "%s/../cgroup.procs", top);
		opens("above", AT_FDCWD, path);
		if (again && bare) rmdir(top);
	}
	umount2("/tmp/cg", MNT_DETACH);
	for (unsigned i = 0; i < sizeof v1 / sizeof v1[0]; i++) {
		if (bare && !is_v1(v1[i].kind)) continue;
		if (mount("cgroup", "/tmp/cg", "cgroup", 0, v1[i].kind)) {
			held(v1[i].kind, errno);
			continue;
		}
		snprintf(path, sizeof path, "/tmp/cg/%s", v1[i].file);
		opens(v1[i].kind, AT_FDCWD, path);
		umount2("/tmp/cg", MNT_DETACH);
	}
	return verdict();
}
