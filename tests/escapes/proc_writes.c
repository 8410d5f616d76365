/* What /proc lets one change that is the whole machine's. */
#include "e.h"

static const char *const files[] = {
	"/proc/sysrq-trigger", "/proc/sys/kernel/panic", "/proc/sys/kernel/sysrq", "/proc/sys/kernel/kptr_restrict",
	"/proc/sys/kernel/randomize_va_space", "/proc/sys/kernel/perf_event_paranoid", "/proc/sys/kernel/printk",
	"/proc/sys/kernel/threads-max", "/proc/sys/kernel/ngroups_max",
	"/proc/sys/kernel/unprivileged_bpf_disabled", "/proc/sys/kernel/kexec_load_disabled", "/proc/sys/kernel/random/boot_id",
	"/proc/sys/kernel/core_uses_pid", "/proc/sys/kernel/tainted", "/proc/sys/kernel/cap_last_cap",
	"/proc/sys/fs/suid_dumpable", "/proc/sys/fs/protected_symlinks", "/proc/sys/fs/file-max", "/proc/sys/fs/nr_open",
	"/proc/sys/vm/drop_caches", "/proc/sys/vm/overcommit_memory", "/proc/sys/vm/mmap_min_addr", "/proc/sys/vm/swappiness",
	"/proc/sys/vm/panic_on_oom", "/proc/sys/dev/tty/ldisc_autoload", "/proc/sys/net/core/rmem_max",
	"/proc/sys/net/core/bpf_jit_enable", "/proc/sys/fs/binfmt_misc/register", "/proc/sys/fs/binfmt_misc/status",
	"/proc/irq/default_smp_affinity", "/proc/mtrr", "/proc/kcore", "/proc/kpageflags", "/proc/kpagecount", "/proc/kmsg",
	"/proc/scsi/scsi", "/proc/acpi/wakeup", "/proc/fs/nfsd/threads", "/proc/timer_list",
};

int main(void)
{
	mount(0, "/proc", 0, MS_REMOUNT, 0);
	mount(0, "/proc/sys", 0, MS_REMOUNT | MS_BIND, 0);
	for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
		/* Its own log, and a way into its own network, are a zone's. */
		if (!strcmp(files[i], "/proc/kmsg")) continue;
		opens(files[i] + 6, AT_FDCWD, files[i]);
	}
	/* The host's memory, to be read. */
	int fd = open("/proc/kcore", O_RDONLY);
	if (fd >= 0) escaped("read-kcore", "opened");
	else if (errno == ENOENT) untried("read-kcore", "there is none");
	else held("read-kcore", errno);
	return verdict();
}
