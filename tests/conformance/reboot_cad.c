// kernel: 2.0.36 2.6.18
// abi: i386 amd64
// native: fails
/*
 * Every init turns Ctrl-Alt-Del off (or on) when it starts. In a pid namespace the kernel knows only the
 * commands that stop it (reboot_pid_ns, since 3.4) and answers EINVAL; without CAP_SYS_BOOT, EPERM.
 * See reboot(2). Commands that stop a zone are for the scenarios.
 */
#include "t.h"
#include <linux/reboot.h>

int main(void)
{
	expect("CAD_OFF", 0, sc(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_CAD_OFF, 0));
	expect("CAD_ON", 0, sc(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_CAD_ON, 0));
	expect("wrong magic", -EINVAL, sc(SYS_reboot, 1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_CAD_OFF, 0));
	expect("unknown command", -EINVAL, sc(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, 0x77, 0));
	return verdict();
}
