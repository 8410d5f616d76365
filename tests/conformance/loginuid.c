// kernel: 2.6.18 2.6.32
// abi: i386 amd64
// native: any (depends on who started zoned, and on the host's audit)
/*
 * pam_loginuid of sshd and cron: "Cannot make/remove an entry for the specified session" where loginuid is
 * set already. It starts unset (4294967295) and may be set. See proc_pid_loginuid in proc(5).
 */
#include "t.h"

int main(void)
{
	expect_text("loginuid at the start", "4294967295", line_of("/proc/self/loginuid"));
	int fd = open("/proc/self/loginuid", O_WRONLY | O_TRUNC);
	if (fd < 0) return fail("open for writing, expected a descriptor, got %d", -errno), 1;
	expect("write", 1, write(fd, "0", 1));
	expect("close", 0, close(fd));
	expect_text("loginuid afterwards", "0", line_of("/proc/self/loginuid"));
	return verdict();
}
