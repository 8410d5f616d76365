// kernel: 2.6.18
// abi: i386 amd64
// native: fails
/*
 * One listener for each chain of filters: with the brand's there, a guest's SECCOMP_FILTER_FLAG_NEW_LISTENER
 * is EBUSY, and the brand goes on. See seccomp(2), seccomp_unotify(2).
 */
#include "t.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/utsname.h>

int main(int argc, char **argv)
{
	struct utsname u;
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { 1, &allow };
	expect("no_new_privs", 0, sc(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	expect("a second listener", -EBUSY,
	       sc(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
	expect("uname afterwards", 0, uname(&u));
	expect_text("release afterwards", level(argc, argv), u.release);
	return verdict();
}
