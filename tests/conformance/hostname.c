// kernel: 2.0.36 2.6.18
// abi: i386 amd64
// native: passes
/* A law: uname(2) shows the host name as it is now, in every form, and in the program's own UTS namespace. */
#include "t.h"
#include <sys/utsname.h>

int main(void)
{
	struct utsname u;
	for (const char **name = (const char *[]){ "weathervane", "a", "lantern.example.org", 0 }; *name; name++) {
		expect("sethostname", 0, sc(SYS_sethostname, *name, strlen(*name)));
		expect("uname", 0, sc(SYS_uname, &u));
		expect_text("nodename", *name, u.nodename);
		expect_text("/proc/sys/kernel/hostname", *name, line_of("/proc/sys/kernel/hostname"));
#ifdef __i386__
		struct { char field[5][65]; } old;
		expect("olduname", 0, sc(109, &old));
		expect_text("olduname's nodename", *name, old.field[1]);
#endif
	}
	expect("setdomainname", 0, sc(SYS_setdomainname, "example.org", 11));
	expect("uname", 0, sc(SYS_uname, &u));
	expect_text("domainname", "example.org", u.domainname);
	return verdict();
}
