// kernel: 2.6.18
// abi: i386 amd64
// native: passes
/* A law: a guest's own seccomp filter works beside the zone's, and does not take the brand's answers away. */
#include "t.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/utsname.h>

int main(void)
{
	struct utsname before, after;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	expect("uname", 0, uname(&before));
	expect("no_new_privs", 0, sc(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	expect("seccomp", 0, sc(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
	expect("the guest's rule", -EDOM, sc(SYS_getppid));
	expect("uname beside it", 0, uname(&after));
	expect("the same answer", 0, memcmp(&before, &after, sizeof before));
	expect("seccomp by prctl", 0, sc(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0));
	expect("uname beside two", 0, uname(&after));
	return verdict();
}
