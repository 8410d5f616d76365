//! The facts: which release brought which calls, and which took them away.
//!
//! Written from the tables of the kernel's own tree (arch/i386/kernel/entry.S, include/asm-x86_64/unistd.h,
//! arch/x86/entry/syscalls/syscall_{32,64}.tbl) and the VERSIONS of the calls' man pages; numbers stand in
//! [`crate::abi`]. `tests/tables.rs` holds them against the tables of real kernels, `tests/history.rs` compares releases with syscalls(2) of man-pages, and numbers with the
//! headers of linux-libc-dev and the `syscalls` crate; where this table differs it says there why.
//!
//! A call that came in a development series (2.5.44) is dated by the stable series that follows (2.6.0). What
//! x86_64 was born with is as old as the call itself: a zone of that ABI at 2.2 is told of a port that 2.2 did
//! not have. Backports of distributions are not here.

use crate::level::Level;

/// Calls that came with one release, on both ABIs or, after an `@`, on one.
pub(super) struct Born {
    /// The release.
    pub(super) since: Level,
    /// Their names.
    pub(super) names: &'static str,
    /// Who says so.
    pub(super) source: &'static str,
}

/// Calls that a release took away; as in [`Born`], an `@` names the only ABI.
pub(super) struct Gone {
    /// The first release that answers ENOSYS.
    pub(super) until: Level,
    /// Their names.
    pub(super) names: &'static str,
    /// Who says so.
    pub(super) source: &'static str,
}

const fn born(since: Level, source: &'static str, names: &'static str) -> Born {
    Born { since, names, source }
}

const fn gone(until: Level, source: &'static str, names: &'static str) -> Gone {
    Gone { until, names, source }
}

const fn v(a: u16, b: u16, c: u16) -> Level {
    Level::new(a, b, c)
}

const PAGE: &str = "syscalls(2)";
const TABLE: &str = "arch/x86/entry/syscalls";
const PORT: &str = "include/asm-x86_64/unistd.h";
const ENTRY: &str = "arch/i386/kernel/entry.S";

/// Numbers that were set aside and never answered anything but ENOSYS: x86_64 sets its segments by arch_prctl(2).
pub(super) const NEVER: &str = "break stty gtty ftime prof lock mpx ulimit profil getpmsg putpmsg afs_syscall \
    vserver tuxcall security epoll_ctl_old epoll_wait_old \
    set_thread_area@x86_64 get_thread_area@x86_64";

/// Why.
pub(super) const NEVER_SOURCE: &str = "unimplemented(2)";

/// A name with an ABI behind it goes before the same name without.
pub(super) static BORN: &[Born] = &[
    born(
        v(1, 0, 0),
        PAGE,
        "read write open close stat fstat lstat lseek mmap mprotect munmap brk ioctl access pipe select dup dup2 \
         pause getitimer alarm setitimer getpid clone fork execve exit wait4 kill uname fcntl fsync truncate \
         ftruncate chdir fchdir rename mkdir rmdir creat link unlink symlink readlink chmod fchmod fchown lchown \
         umask gettimeofday getrlimit getrusage sysinfo times ptrace getuid syslog getgid setuid setgid geteuid \
         getegid setpgid getppid getpgrp setsid setreuid setregid getgroups setgroups getpgid utime mknod uselib \
         ustat statfs fstatfs getpriority setpriority vhangup modify_ldt adjtimex setrlimit chroot sync acct \
         settimeofday mount swapon swapoff reboot sethostname setdomainname iopl ioperm create_module init_module \
         delete_module get_kernel_syms quotactl time waitpid oldstat umount stime oldfstat nice signal oldolduname \
         sigaction sgetmask ssetmask sigsuspend sigpending oldlstat readdir socketcall olduname vm86old ipc \
         sigreturn sigprocmask",
    ),
    born(v(1, 0, 0), ENTRY, "idle"),
    born(v(1, 2, 0), PAGE, "setfsuid setfsgid personality sysfs bdflush _llseek"),
    born(
        v(2, 0, 0),
        PAGE,
        "readv writev sched_yield mremap msync shmget shmat shmctl nanosleep socket connect accept sendto recvfrom \
         sendmsg recvmsg shutdown bind listen getsockname getpeername socketpair setsockopt getsockopt semget semop \
         semctl shmdt msgget msgsnd msgrcv msgctl flock fdatasync getdents getsid sched_setparam sched_getparam \
         sched_setscheduler sched_getscheduler sched_get_priority_max sched_get_priority_min \
         sched_rr_get_interval mlock munlock mlockall munlockall _sysctl _newselect",
    ),
    born(v(2, 0, 28), PAGE, "vm86"),
    born(
        v(2, 2, 0),
        PAGE,
        "rt_sigaction rt_sigprocmask rt_sigreturn sendfile vfork getcwd chown setresuid getresuid setresgid \
         getresgid capget capset rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack prctl \
         umount2 query_module nfsservctl utimes poll",
    ),
    born(v(2, 2, 0), ENTRY, "pread64 pwrite64"),
    born(
        v(2, 4, 0),
        PAGE,
        "mincore madvise pivot_root getdents64 ugetrlimit mmap2 truncate64 ftruncate64 stat64 lstat64 fstat64 \
         lchown32 getuid32 getgid32 geteuid32 getegid32 setreuid32 setregid32 getgroups32 setgroups32 fchown32 \
         setresuid32 getresuid32 setresgid32 getresgid32 chown32 setuid32 setgid32 setfsuid32 setfsgid32 fcntl64",
    ),
    born(v(2, 4, 11), PAGE, "gettid"),
    born(v(2, 4, 13), PAGE, "readahead"),
    born(
        v(2, 4, 18),
        PAGE,
        "setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr \
         lremovexattr fremovexattr",
    ),
    born(v(2, 4, 19), PAGE, "sendfile64"),
    born(v(2, 4, 19), "tkill(2)", "tkill"),
    born(v(2, 4, 20), PORT, "arch_prctl@x86_64"),
    born(v(2, 4, 22), PAGE, "semtimedop"),
    born(
        v(2, 6, 0),
        PAGE,
        "futex sched_setaffinity sched_getaffinity set_thread_area io_setup io_destroy io_getevents io_submit \
         io_cancel get_thread_area lookup_dcookie epoll_create remap_file_pages set_tid_address restart_syscall \
         fadvise64 timer_create timer_settime timer_gettime timer_getoverrun timer_delete clock_settime \
         clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill statfs64 fstatfs64 \
         fadvise64_64",
    ),
    born(v(2, 6, 0), ENTRY, "utimes@i386"),
    born(v(2, 6, 6), PAGE, "mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr"),
    born(v(2, 6, 7), "mbind(2)", "mbind set_mempolicy get_mempolicy"),
    born(v(2, 6, 9), "waitid(2)", "waitid"),
    born(v(2, 6, 10), PAGE, "add_key request_key keyctl"),
    born(
        v(2, 6, 13),
        PAGE,
        "kexec_load ioprio_set ioprio_get inotify_init inotify_add_watch inotify_rm_watch",
    ),
    born(v(2, 6, 13), ENTRY, "set_zone_reclaim"),
    born(
        v(2, 6, 16),
        PAGE,
        "migrate_pages openat mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat symlinkat \
         readlinkat fchmodat faccessat pselect6 ppoll unshare fstatat64",
    ),
    born(v(2, 6, 17), PAGE, "set_robust_list get_robust_list splice tee sync_file_range vmsplice"),
    born(v(2, 6, 18), PAGE, "move_pages"),
    born(v(2, 6, 19), PAGE, "epoll_pwait getcpu"),
    born(v(2, 6, 19), PORT, "pselect6@x86_64 ppoll@x86_64"),
    born(v(2, 6, 22), PAGE, "utimensat signalfd eventfd"),
    born(v(2, 6, 22), PORT, "epoll_pwait@x86_64"),
    born(v(2, 6, 23), PAGE, "fallocate"),
    born(v(2, 6, 25), PAGE, "timerfd_create timerfd_settime timerfd_gettime"),
    born(v(2, 6, 27), PAGE, "signalfd4 eventfd2 epoll_create1 dup3 pipe2 inotify_init1"),
    born(v(2, 6, 28), PAGE, "accept4"),
    born(v(2, 6, 30), PAGE, "preadv pwritev"),
    born(v(2, 6, 31), PAGE, "rt_tgsigqueueinfo perf_event_open"),
    born(v(2, 6, 33), PAGE, "recvmmsg"),
    born(v(2, 6, 36), PAGE, "prlimit64"),
    born(v(2, 6, 37), PAGE, "fanotify_init fanotify_mark"),
    born(v(2, 6, 39), PAGE, "name_to_handle_at open_by_handle_at clock_adjtime syncfs"),
    born(v(3, 0, 0), PAGE, "sendmmsg setns"),
    born(v(3, 1, 0), PORT, "getcpu@x86_64"),
    born(v(3, 2, 0), PAGE, "process_vm_readv process_vm_writev"),
    born(v(3, 5, 0), PAGE, "kcmp"),
    born(v(3, 8, 0), PAGE, "finit_module"),
    born(v(3, 14, 0), PAGE, "sched_setattr sched_getattr"),
    born(v(3, 15, 0), PAGE, "renameat2"),
    born(v(3, 17, 0), PAGE, "seccomp getrandom memfd_create kexec_file_load"),
    born(v(3, 18, 0), PAGE, "bpf"),
    born(v(3, 19, 0), PAGE, "execveat"),
    born(v(4, 3, 0), PAGE, "userfaultfd"),
    born(v(4, 3, 0), "membarrier(2)", "membarrier"),
    // Before, i386 had them in socketcall(2) only.
    born(
        v(4, 3, 0),
        TABLE,
        "socket@i386 socketpair@i386 bind@i386 connect@i386 listen@i386 accept4@i386 getsockopt@i386 \
         setsockopt@i386 getsockname@i386 getpeername@i386 sendto@i386 sendmsg@i386 recvfrom@i386 recvmsg@i386 \
         shutdown@i386",
    ),
    born(v(4, 4, 0), PAGE, "mlock2"),
    born(v(4, 5, 0), PAGE, "copy_file_range"),
    born(v(4, 6, 0), PAGE, "preadv2 pwritev2"),
    born(v(4, 9, 0), "pkeys(7)", "pkey_mprotect pkey_alloc pkey_free"),
    born(v(4, 11, 0), PAGE, "statx"),
    born(v(4, 12, 0), "arch_prctl(2)", "arch_prctl@i386"),
    born(v(4, 18, 0), PAGE, "io_pgetevents rseq"),
    born(v(5, 1, 0), PAGE, "pidfd_send_signal io_uring_setup io_uring_enter io_uring_register"),
    // Before, i386 had them in ipc(2) only; it has no semop and no semtimedop of its own.
    born(
        v(5, 1, 0),
        TABLE,
        "semget@i386 semctl@i386 shmget@i386 shmctl@i386 shmat@i386 shmdt@i386 msgget@i386 msgsnd@i386 \
         msgrcv@i386 msgctl@i386",
    ),
    // 32-bit calls with 64-bit times.
    born(
        v(5, 1, 0),
        TABLE,
        "clock_gettime64 clock_settime64 clock_adjtime64 clock_getres_time64 clock_nanosleep_time64 \
         timer_gettime64 timer_settime64 timerfd_gettime64 timerfd_settime64 utimensat_time64 pselect6_time64 \
         ppoll_time64 io_pgetevents_time64 recvmmsg_time64 mq_timedsend_time64 mq_timedreceive_time64 \
         semtimedop_time64 rt_sigtimedwait_time64 futex_time64 sched_rr_get_interval_time64",
    ),
    born(v(5, 2, 0), PAGE, "open_tree move_mount fsopen fsconfig fsmount fspick"),
    born(v(5, 3, 0), PAGE, "pidfd_open clone3"),
    born(v(5, 6, 0), PAGE, "openat2 pidfd_getfd"),
    born(v(5, 8, 0), PAGE, "faccessat2"),
    born(v(5, 9, 0), PAGE, "close_range"),
    born(v(5, 10, 0), PAGE, "process_madvise"),
    born(v(5, 11, 0), PAGE, "epoll_pwait2"),
    born(v(5, 12, 0), "mount_setattr(2)", "mount_setattr"),
    born(v(5, 13, 0), PAGE, "landlock_create_ruleset landlock_add_rule landlock_restrict_self"),
    born(v(5, 14, 0), PAGE, "quotactl_fd memfd_secret"),
    born(v(5, 15, 0), TABLE, "process_mrelease"),
    born(v(5, 16, 0), TABLE, "futex_waitv"),
    born(v(5, 17, 0), TABLE, "set_mempolicy_home_node"),
    born(v(6, 5, 0), TABLE, "cachestat"),
    born(v(6, 6, 0), TABLE, "fchmodat2 map_shadow_stack"),
    born(v(6, 7, 0), TABLE, "futex_wake futex_wait futex_requeue"),
    born(v(6, 8, 0), TABLE, "statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules"),
    born(v(6, 10, 0), TABLE, "mseal"),
    born(v(6, 11, 0), TABLE, "uretprobe"),
    born(v(6, 13, 0), TABLE, "setxattrat getxattrat listxattrat removexattrat"),
    born(v(6, 15, 0), TABLE, "open_tree_attr"),
    born(v(6, 17, 0), TABLE, "file_getattr file_setattr"),
    born(v(6, 19, 0), TABLE, "listns"),
    born(v(7, 0, 0), TABLE, "rseq_slice_yield"),
];

/// Calls of today that a program of the level still had.
pub(super) static GONE: &[Gone] = &[
    gone(v(2, 4, 0), ENTRY, "idle"),
    gone(v(2, 6, 0), "query_module(2)", "create_module get_kernel_syms query_module"),
    // 2.6.9 has it, 2.6.22 has sys_ni_syscall.
    gone(v(2, 6, 22), PORT, "uselib@x86_64"),
    gone(v(2, 6, 16), ENTRY, "set_zone_reclaim"),
    gone(v(3, 1, 0), "nfsservctl(2)", "nfsservctl"),
    gone(v(5, 5, 0), "_sysctl(2)", "_sysctl"),
    gone(v(5, 15, 0), "bdflush(2)", "bdflush"),
    // The call stayed in the tables until 6.7, with nothing behind it.
    gone(v(5, 12, 0), "fs/dcookies.c", "lookup_dcookie"),
    gone(v(6, 16, 0), TABLE, "uselib"),
];
