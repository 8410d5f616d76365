// kernel: 2.0.36 2.2.26 2.4.37 2.6.18 2.6.32 3.10
// abi: i386 amd64
// native: fails
/*
 * uname(2), its two older forms and the files of /proc tell one story, that of the level.
 *
 * Release checks of installers and old libcs stumble over today's release. Fields: uname(2); the old forms
 * as in kernel/sys.c of Linux 2.6: olduname has 65 bytes a field and no domain, oldolduname has 9.
 */
#include "t.h"
#include <sys/utsname.h>

#ifdef __i386__
static long int80(long nr, void *p)
{
	long r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(p) : "memory");
	return r;
}

static void old_forms(struct utsname *u)
{
	struct { char field[5][65]; } old;
	struct { char field[5][9]; } older;
	const char *now[5] = { u->sysname, u->nodename, u->release, u->version, u->machine };

	memset(&old, '#', sizeof old);
	expect("olduname", 0, int80(109, &old));
	for (int i = 0; i < 5; i++) expect_text("olduname's field", now[i], old.field[i]);

	memset(&older, '#', sizeof older);
	expect("oldolduname", 0, int80(59, &older));
	for (int i = 0; i < 5; i++) {
		char cut[9] = { 0 };
		memcpy(cut, now[i], strnlen(now[i], 8));
		expect_text("oldolduname's field", cut, older.field[i]);
	}
}
#endif

int main(int argc, char **argv)
{
	const char *k = level(argc, argv);
	struct utsname u;
	char want[256];

	expect("uname", 0, sc(SYS_uname, &u));
	expect_text("sysname", "Linux", u.sysname);
	expect_text("release", k, u.release);
	expect_text("osrelease", k, line_of("/proc/sys/kernel/osrelease"));
	expect_text("ostype", "Linux", line_of("/proc/sys/kernel/ostype"));
	expect_text("/proc/sys/kernel/version", u.version, line_of("/proc/sys/kernel/version"));
	expect_text("hostname", u.nodename, line_of("/proc/sys/kernel/hostname"));

	char *version = line_of("/proc/version");
	snprintf(want, sizeof want, "Linux version %s ", k);
	if (strncmp(version, want, strlen(want))) fail("/proc/version, expected '%s…', got '%s'", want, version);
	if (!strstr(version, u.version)) fail("/proc/version, expected …'%s', got '%s'", u.version, version);

#ifdef __i386__
	old_forms(&u);
	if (u.machine[0] != 'i' || strcmp(u.machine + 2, "86")) fail("machine, expected i?86, got '%s'", u.machine);
#else
	expect_text("machine", "x86_64", u.machine);
#endif
	return verdict();
}
