/* Users and groups that the zone has not. */
#include "e.h"

#define OTHER 70000

static int maps_others(void *unused)
{
	(void)unused;
	if (unshare(CLONE_NEWUSER)) return held("nested-map", errno), 1;
	int fd = open("/proc/self/uid_map", O_WRONLY);
	long n = fd < 0 ? -errno : write(fd, "0 70000 1\n", 10) < 0 ? -errno : 0;
	if (n == 0) return escaped("nested-map", "mapped"), 0;
	return held("nested-map", n), 1;
}

/* Numbers of the calls that take ids of 32 bits. */
#ifdef SYS_setresuid32
#define RESUID SYS_setresuid32
#define RESGID SYS_setresgid32
#define GROUPS SYS_setgroups32
#else
#define RESUID SYS_setresuid
#define RESGID SYS_setresgid
#define GROUPS SYS_setgroups
#endif

static int becomes(void *with)
{
	const char *way = with;
	gid_t group = OTHER;
	if (!strcmp(way, "setgroups")) attempt(way, GROUPS, 1, &group);
	else attempt(way, !strcmp(way, "setresuid") ? RESUID : RESGID, OTHER, OTHER, OTHER);
	return verdict();
}

int main(void)
{
	tries(becomes, "setresuid");
	tries(becomes, "setresgid");
	tries(becomes, "setgroups");
	int fd = open("/tmp/mine", O_CREAT | O_RDWR, 0755);
	if (fchown(fd, OTHER, OTHER) == 0) escaped("chown", "done");
	else held("chown", errno);
	/* Files of the host's, which nobody of the zone owns. */
	if (chmod("/proc/sys/kernel/core_pattern", 0666) == 0) escaped("chmod", "done");
	else held("chmod", errno);
	tries(maps_others, 0);
	return verdict();
}
