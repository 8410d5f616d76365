// kernel: 2.6.18 3.10 host
// abi: i386 amd64
// native: any (whose release it is)
/* A pid namespace made inside: a new proc shows its processes, with the options given, and tells the level's story.
   See pid_namespaces(7), proc(5) and mount(2). */
#include "t.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/utsname.h>

#define PROC(...) sc(SYS_mount, "proc", __VA_ARGS__)

static const char *release;

static int there(const char *path)
{
	return access(path, F_OK) == 0;
}

static void self(const char *proc, int pid)
{
	char path[256], text[32] = { 0 };
	snprintf(path, sizeof path, "%s/self", proc);
	expect_true("self is there", readlink(path, text, sizeof text - 1) > 0);
	expect(path, pid, atoi(text));
}

static int inside(void)
{
	expect("the first of its namespace", 1, getpid());
	expect("private", 0, sc(SYS_mount, "none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	expect("mount over the present one", 0, PROC("/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	self("/proc", 1);
	expect("a second process", 0, there("/proc/2"));
	expect_text("osrelease", release, line_of("/proc/sys/kernel/osrelease"));

	expect("chdir", 0, chdir(scratch()));
	expect("mkdir", 0, mkdir("proc", 0755));
	expect("mount elsewhere", 0, PROC("proc", "proc", 0, NULL));
	self("proc", 1);
	expect_text("osrelease elsewhere", release, line_of("proc/sys/kernel/osrelease"));
	expect("umount elsewhere", 0, sc(SYS_umount2, "proc", 0));
	expect("mount with options", 0, PROC("proc", "proc", 0, "subset=pid"));
	self("proc", 1);
	expect("with processes alone", 0, there("proc/sys"));
	expect("umount of that", 0, sc(SYS_umount2, "proc", 0));
	expect("an option that there is not", -EINVAL, PROC("proc", "proc", 0, "nonsense"));

	expect("umount", 0, sc(SYS_umount2, "/proc", 0));
	expect_true("the zone's again", there("/proc/2"));
	expect_text("osrelease of the zone's", release, line_of("/proc/sys/kernel/osrelease"));
	return failures != 0;
}

int main(int argc, char **argv)
{
	static struct utsname names;
	const char *told = level(argc, argv);
	uname(&names);
	release = strcmp(told, "host") ? told : names.release;
	int status = -1;
	expect("namespaces", 0, unshare(CLONE_NEWNS | CLONE_NEWPID));
	pid_t child = fork();
	if (child == 0) _exit(inside());
	waitpid(child, &status, 0);
	expect("inside", 0, status);
	/* It shares the mounts. */
	self("/proc", getpid());
	return verdict();
}
