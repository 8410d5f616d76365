//! Processes, threads, clocks, limits and their memory.

use nix::errno::Errno::{EINVAL, EIO, ENOSYS};

use super::{between, flags, from, op, young};
use crate::abi::Abi::X86_64;
use crate::cond::{Cond, int};
use crate::table::Row;

/// SECCOMP_SET_MODE_FILTER with a flag.
macro_rules! filter_flag {
    ($bit:literal) => {
        Cond::All(&[int(0).is(1), int(1).any_of($bit)])
    };
}

/// PTRACE_SETOPTIONS with an option.
macro_rules! trace_option {
    ($bit:literal) => {
        Cond::All(&[int(0).is(0x4200), int(3).any_of($bit)])
    };
}

/// MAP_SHARED_VALIDATE as the type of a mapping.
const SHARED_VALIDATE: Cond = int(3).bits(0xf, 3);

/// CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID and the clocks of other tasks.
const CPU_CLOCK: Cond = Cond::Any(&[int(0).is(2), int(0).is(3), int(0).at_least(0x8000_0000)]);

/// A clock that is a file descriptor.
const FD_CLOCK: Cond = int(0).bits(0x8000_0007, 0x8000_0003);

const ALARMS: Cond = Cond::Any(&[int(0).is(8), int(0).is(9)]);
const COARSE: Cond = Cond::Any(&[int(0).is(5), int(0).is(6)]);

#[rustfmt::skip]
pub(in super::super) static ROWS: &[Row] = &[
    // futex(2): the operation in the low seven bits, then FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME. FUTEX_WAIT
    // took that one from 4.5 on; today's kernels refuse it again, with the same error.
    young("futex", (5, 14, 0), ENOSYS, int(1).bits(0x7f, 13)),
    young("futex", (2, 6, 31), ENOSYS, Cond::Any(&[int(1).bits(0x7f, 11), int(1).bits(0x7f, 12)])),
    young("futex", (2, 6, 28), ENOSYS, flags(1, 0x100)),
    young("futex", (2, 6, 25), ENOSYS, Cond::Any(&[int(1).bits(0x7f, 9), int(1).bits(0x7f, 10)])),
    young("futex", (2, 6, 22), ENOSYS, flags(1, 0x80)),
    young("futex", (2, 6, 18), ENOSYS,
        Cond::Any(&[int(1).bits(0x7f, 6), int(1).bits(0x7f, 7), int(1).bits(0x7f, 8)])),
    young("futex", (2, 6, 14), ENOSYS, int(1).bits(0x7f, 5)),
    young("futex", (2, 6, 7), ENOSYS, int(1).bits(0x7f, 4)),
    young("futex_time64", (5, 14, 0), ENOSYS, int(1).bits(0x7f, 13)),
    // madvise(2): MADV_GUARD_*, COLLAPSE, DONTNEED_LOCKED, POPULATE_*, COLD and PAGEOUT, WIPEONFORK, FREE,
    // DONTDUMP, HUGEPAGE, SOFT_OFFLINE, HWPOISON, MERGEABLE, REMOVE, DONTFORK.
    young("madvise", (6, 13, 0), EINVAL, Cond::Any(&[op(2, 102), op(2, 103)])),
    young("madvise", (6, 1, 0), EINVAL, op(2, 25)),
    young("madvise", (5, 18, 0), EINVAL, op(2, 24)),
    young("madvise", (5, 14, 0), EINVAL, Cond::Any(&[op(2, 22), op(2, 23)])),
    young("madvise", (5, 4, 0), EINVAL, Cond::Any(&[op(2, 20), op(2, 21)])),
    young("madvise", (4, 14, 0), EINVAL, Cond::Any(&[op(2, 18), op(2, 19)])),
    young("madvise", (4, 5, 0), EINVAL, op(2, 8)),
    young("madvise", (3, 4, 0), EINVAL, Cond::Any(&[op(2, 16), op(2, 17)])),
    young("madvise", (2, 6, 38), EINVAL, Cond::Any(&[op(2, 14), op(2, 15)])),
    young("madvise", (2, 6, 33), EINVAL, op(2, 101)),
    young("madvise", (2, 6, 32), EINVAL, Cond::Any(&[op(2, 12), op(2, 13), op(2, 100)])),
    young("madvise", (2, 6, 16), EINVAL, Cond::Any(&[op(2, 9), op(2, 10), op(2, 11)])),
    // prctl(2), each page of its own: PR_TIMER_CREATE_RESTORE_IDS (strace), SET_MEMORY_MERGE (strace) and GET_AUXV,
    // MDWE, SET_VMA, SCHED_CORE (strace), SYSCALL_USER_DISPATCH, IO_FLUSHER, SPECULATION_CTRL, CAP_AMBIENT,
    // THP_DISABLE, NO_NEW_PRIVS with TID_ADDRESS and SECCOMP_MODE_FILTER, CHILD_SUBREAPER and SET_PTRACER, SET_MM,
    // MCE_KILL, TASK_PERF_EVENTS, TIMERSLACK, TSC and SECUREBITS, CAPBSET, SECCOMP, NAME.
    young("prctl", (6, 15, 0), EINVAL, op(0, 77)),
    young("prctl", (6, 4, 0), EINVAL, Cond::Any(&[op(0, 67), op(0, 68), op(0, 0x4155_5856)])),
    young("prctl", (6, 3, 0), EINVAL, Cond::Any(&[op(0, 65), op(0, 66)])),
    young("prctl", (5, 17, 0), EINVAL, op(0, 0x5356_4d41)),
    young("prctl", (5, 14, 0), EINVAL, op(0, 62)),
    young("prctl", (5, 11, 0), EINVAL, op(0, 59)),
    young("prctl", (5, 6, 0), EINVAL, Cond::Any(&[op(0, 57), op(0, 58)])),
    young("prctl", (4, 17, 0), EINVAL, Cond::Any(&[op(0, 52), op(0, 53)])),
    young("prctl", (4, 3, 0), EINVAL, op(0, 47)),
    young("prctl", (3, 15, 0), EINVAL, Cond::Any(&[op(0, 41), op(0, 42)])),
    young("prctl", (3, 5, 0), EINVAL, Cond::Any(&[op(0, 38), op(0, 39), op(0, 40)])),
    young("prctl", (3, 5, 0), EINVAL, Cond::All(&[op(0, 22), op(1, 2)])),
    young("prctl", (3, 4, 0), EINVAL, Cond::Any(&[op(0, 36), op(0, 37), op(0, 0x5961_6d61)])),
    young("prctl", (3, 3, 0), EINVAL, op(0, 35)),
    young("prctl", (2, 6, 32), EINVAL, Cond::Any(&[op(0, 33), op(0, 34)])),
    young("prctl", (2, 6, 31), EINVAL, Cond::Any(&[op(0, 31), op(0, 32)])),
    young("prctl", (2, 6, 28), EINVAL, Cond::Any(&[op(0, 29), op(0, 30)])),
    young("prctl", (2, 6, 26), EINVAL, Cond::Any(&[op(0, 25), op(0, 26), op(0, 27), op(0, 28)])),
    young("prctl", (2, 6, 25), EINVAL, Cond::Any(&[op(0, 23), op(0, 24)])),
    young("prctl", (2, 6, 23), EINVAL, Cond::Any(&[op(0, 21), op(0, 22)])),
    young("prctl", (2, 6, 11), EINVAL, op(0, 16)),
    young("prctl", (2, 6, 9), EINVAL, op(0, 15)),
    // arch_prctl(2) and strace: ARCH_SHSTK_*, ARCH_GET_UNTAG_MASK to ARCH_FORCE_TAGGED_SVA, ARCH_*_XCOMP_*,
    // ARCH_GET_CPUID.
    young("arch_prctl", (6, 6, 0), EINVAL, Cond::All(&[from(0, 0x5001), int(0).below(0x5006)])),
    young("arch_prctl", (6, 4, 0), EINVAL, Cond::All(&[from(0, 0x4001), int(0).below(0x4005)])),
    young("arch_prctl", (5, 16, 0), EINVAL, Cond::All(&[from(0, 0x1021), int(0).below(0x1024)])),
    young("arch_prctl", (4, 12, 0), EINVAL, Cond::Any(&[op(0, 0x1011), op(0, 0x1012)])),
    // clock_getres(2): CLOCK_TAI, the alarms, BOOTTIME and dynamic clocks, the coarse ones, MONOTONIC_RAW, CPU time.
    young("clock_gettime", (3, 10, 0), EINVAL, op(0, 11)),
    young("clock_gettime", (3, 0, 0), EINVAL, ALARMS),
    young("clock_gettime", (2, 6, 39), EINVAL, op(0, 7)),
    young("clock_gettime", (2, 6, 39), EINVAL, FD_CLOCK),
    young("clock_gettime", (2, 6, 32), EINVAL, COARSE),
    young("clock_gettime", (2, 6, 28), EINVAL, op(0, 4)),
    young("clock_gettime", (2, 6, 12), EINVAL, CPU_CLOCK),
    young("clock_getres", (3, 10, 0), EINVAL, op(0, 11)),
    young("clock_getres", (3, 0, 0), EINVAL, ALARMS),
    young("clock_getres", (2, 6, 39), EINVAL, op(0, 7)),
    young("clock_getres", (2, 6, 39), EINVAL, FD_CLOCK),
    young("clock_getres", (2, 6, 32), EINVAL, COARSE),
    young("clock_getres", (2, 6, 28), EINVAL, op(0, 4)),
    young("clock_getres", (2, 6, 12), EINVAL, CPU_CLOCK),
    // clock_nanosleep(2) and timer_create(2), of the same clocks.
    young("clock_nanosleep", (3, 10, 0), EINVAL, op(0, 11)),
    young("clock_nanosleep", (3, 0, 0), EINVAL, ALARMS),
    young("clock_nanosleep", (2, 6, 39), EINVAL, op(0, 7)),
    young("clock_nanosleep", (2, 6, 12), EINVAL, CPU_CLOCK),
    young("timer_create", (3, 10, 0), EINVAL, op(0, 11)),
    young("timer_create", (3, 0, 0), EINVAL, ALARMS),
    young("timer_create", (2, 6, 39), EINVAL, op(0, 7)),
    young("timer_create", (2, 6, 12), EINVAL, CPU_CLOCK),
    // timerfd_create(2): clocks, and flags; timerfd_settime(2): TFD_TIMER_CANCEL_ON_SET. 2.6.31 has EINVAL for it;
    // what the releases between 2.6.25 and that said is not known here.
    young("timerfd_create", (3, 15, 0), EINVAL, op(0, 7)),
    young("timerfd_create", (3, 11, 0), EINVAL, ALARMS),
    young("timerfd_create", (2, 6, 27), EINVAL, int(1).is_not(0)),
    between("timerfd_settime", (2, 6, 31), (3, 0, 0), EINVAL, flags(1, 0x2)),
    // getrlimit(2): RLIMIT_RTTIME, NICE and RTPRIO, SIGPENDING and MSGQUEUE, LOCKS.
    young("getrlimit", (2, 6, 25), EINVAL, op(0, 15)),
    young("getrlimit", (2, 6, 12), EINVAL, Cond::Any(&[op(0, 13), op(0, 14)])),
    young("getrlimit", (2, 6, 8), EINVAL, Cond::Any(&[op(0, 11), op(0, 12)])),
    young("ugetrlimit", (2, 6, 25), EINVAL, op(0, 15)),
    young("ugetrlimit", (2, 6, 12), EINVAL, Cond::Any(&[op(0, 13), op(0, 14)])),
    young("ugetrlimit", (2, 6, 8), EINVAL, Cond::Any(&[op(0, 11), op(0, 12)])),
    young("setrlimit", (2, 6, 25), EINVAL, op(0, 15)),
    young("setrlimit", (2, 6, 12), EINVAL, Cond::Any(&[op(0, 13), op(0, 14)])),
    young("setrlimit", (2, 6, 8), EINVAL, Cond::Any(&[op(0, 11), op(0, 12)])),
    // getrusage(2): RUSAGE_THREAD.
    young("getrusage", (2, 6, 26), EINVAL, op(0, 1)),
    // sched(7): SCHED_EXT (strace), SCHED_DEADLINE, SCHED_IDLE, SCHED_BATCH; SCHED_RESET_ON_FORK of
    // sched_setscheduler(2).
    young("sched_setscheduler", (2, 6, 32), EINVAL, flags(1, 0x4000_0000)),
    young("sched_setscheduler", (2, 6, 23), EINVAL, op(1, 5)),
    young("sched_setscheduler", (2, 6, 16), EINVAL, op(1, 3)),
    young("sched_get_priority_max", (6, 12, 0), EINVAL, op(0, 7)),
    young("sched_get_priority_max", (3, 14, 0), EINVAL, op(0, 6)),
    young("sched_get_priority_max", (2, 6, 23), EINVAL, op(0, 5)),
    young("sched_get_priority_max", (2, 6, 16), EINVAL, op(0, 3)),
    young("sched_get_priority_min", (6, 12, 0), EINVAL, op(0, 7)),
    young("sched_get_priority_min", (3, 14, 0), EINVAL, op(0, 6)),
    young("sched_get_priority_min", (2, 6, 23), EINVAL, op(0, 5)),
    young("sched_get_priority_min", (2, 6, 16), EINVAL, op(0, 3)),
    // unshare(2): CLONE_NEWTIME, NEWCGROUP, NEWUSER and NEWPID, NEWNET, NEWUTS and NEWIPC.
    young("unshare", (5, 6, 0), EINVAL, flags(0, 0x80)),
    young("unshare", (4, 6, 0), EINVAL, flags(0, 0x0200_0000)),
    young("unshare", (3, 8, 0), EINVAL, flags(0, 0x3000_0000)),
    young("unshare", (2, 6, 24), EINVAL, flags(0, 0x4000_0000)),
    young("unshare", (2, 6, 19), EINVAL, flags(0, 0x0c00_0000)),
    // setns(2): the same names as the kind that is asked for. The page has CLONE_NEWTIME from 5.8 on.
    young("setns", (5, 6, 0), EINVAL, flags(1, 0x80)),
    young("setns", (4, 6, 0), EINVAL, flags(1, 0x0200_0000)),
    young("setns", (3, 8, 0), EINVAL, flags(1, 0x3002_0000)),
    // wait(2): P_PIDFD; __WALL, __WCLONE and __WNOTHREAD of waitid(2).
    young("waitid", (5, 4, 0), EINVAL, op(0, 3)),
    young("waitid", (4, 7, 0), EINVAL, flags(3, 0xe000_0000)),
    // pidfd_open(2), pidfd_send_signal(2), execveat(2): AT_EXECVE_CHECK.
    young("pidfd_open", (6, 9, 0), EINVAL, flags(1, 0x80)),
    young("pidfd_open", (5, 10, 0), EINVAL, flags(1, 0x800)),
    young("pidfd_send_signal", (6, 9, 0), EINVAL, flags(3, 0x7)),
    young("execveat", (6, 14, 0), EINVAL, flags(4, 0x1_0000)),
    // mmap(2): MAP_DROPPABLE, MAP_SHARED_VALIDATE; mremap(2), mlockall(2), memfd_create(2).
    young("mmap", (6, 11, 0), EINVAL, int(3).bits(0xf, 8)).on(X86_64),
    young("mmap", (4, 15, 0), EINVAL, SHARED_VALIDATE).on(X86_64),
    young("mmap2", (6, 11, 0), EINVAL, int(3).bits(0xf, 8)),
    young("mmap2", (4, 15, 0), EINVAL, SHARED_VALIDATE),
    young("mremap", (5, 7, 0), EINVAL, flags(3, 0x4)),
    young("mlockall", (4, 4, 0), EINVAL, flags(0, 0x4)),
    young("memfd_create", (6, 3, 0), EINVAL, flags(1, 0x18)),
    young("memfd_create", (4, 14, 0), EINVAL, flags(1, 0x4)),
    // set_mempolicy(2): MPOL_WEIGHTED_INTERLEAVE, MPOL_PREFERRED_MANY, MPOL_F_NUMA_BALANCING, MPOL_LOCAL,
    // MPOL_F_STATIC_NODES and RELATIVE_NODES; mbind(2): the same, MPOL_MF_MOVE and MOVE_ALL;
    // get_mempolicy(2): MPOL_F_MEMS_ALLOWED.
    young("set_mempolicy", (6, 9, 0), EINVAL, int(0).bits(0x1fff, 6)),
    young("set_mempolicy", (5, 15, 0), EINVAL, int(0).bits(0x1fff, 5)),
    young("set_mempolicy", (5, 12, 0), EINVAL, flags(0, 0x2000)),
    young("set_mempolicy", (3, 8, 0), EINVAL, int(0).bits(0x1fff, 4)),
    young("set_mempolicy", (2, 6, 26), EINVAL, flags(0, 0xc000)),
    young("mbind", (6, 9, 0), EINVAL, int(2).bits(0x1fff, 6)),
    young("mbind", (5, 15, 0), EINVAL, int(2).bits(0x1fff, 5)),
    young("mbind", (3, 8, 0), EINVAL, int(2).bits(0x1fff, 4)),
    young("mbind", (2, 6, 26), EINVAL, flags(2, 0xc000)),
    young("mbind", (2, 6, 16), EINVAL, flags(5, 0x6)),
    young("get_mempolicy", (2, 6, 24), EINVAL, flags(4, 0x4)),
    // seccomp(2): SECCOMP_GET_NOTIF_SIZES, GET_ACTION_AVAIL; flags of a filter.
    young("seccomp", (5, 0, 0), EINVAL, op(0, 3)),
    young("seccomp", (4, 14, 0), EINVAL, op(0, 2)),
    young("seccomp", (5, 19, 0), EINVAL, filter_flag!(0x20)),
    young("seccomp", (5, 7, 0), EINVAL, filter_flag!(0x10)),
    young("seccomp", (5, 0, 0), EINVAL, filter_flag!(0x8)),
    young("seccomp", (4, 17, 0), EINVAL, filter_flag!(0x4)),
    young("seccomp", (4, 14, 0), EINVAL, filter_flag!(0x2)),
    // membarrier(2): registrations, MEMBARRIER_CMD_FLAG_CPU (strace) and rseq, the global expedited and
    // core-serialising ones, the private expedited ones.
    young("membarrier", (6, 3, 0), EINVAL, flags(0, 0x200)),
    young("membarrier", (5, 10, 0), EINVAL, Cond::Any(&[flags(0, 0x180), flags(1, 0x1)])),
    young("membarrier", (4, 16, 0), EINVAL, flags(0, 0x66)),
    young("membarrier", (4, 14, 0), EINVAL, flags(0, 0x18)),
    // ptrace(2): SET_SYSCALL_INFO, *_SYSCALL_USER_DISPATCH_CONFIG (strace), GET_RSEQ_CONFIGURATION (musl),
    // GET_SYSCALL_INFO, SECCOMP_GET_METADATA (musl), SECCOMP_GET_FILTER, *SIGMASK, PEEKSIGINFO, SEIZE with INTERRUPT
    // and LISTEN (3.1 to 3.3 wanted PTRACE_SEIZE_DEVEL with it), the register sets, SINGLEBLOCK (2.6.24's headers
    // lack it, 2.6.31's have it), SYSEMU; options, which were EINVAL.
    young("ptrace", (6, 16, 0), EIO, op(0, 0x4212)),
    young("ptrace", (6, 4, 0), EIO, Cond::Any(&[op(0, 0x4210), op(0, 0x4211)])),
    young("ptrace", (5, 13, 0), EIO, op(0, 0x420f)),
    young("ptrace", (5, 3, 0), EIO, op(0, 0x420e)),
    young("ptrace", (4, 16, 0), EIO, op(0, 0x420d)),
    young("ptrace", (4, 4, 0), EIO, op(0, 0x420c)),
    young("ptrace", (3, 11, 0), EIO, Cond::Any(&[op(0, 0x420a), op(0, 0x420b)])),
    young("ptrace", (3, 10, 0), EIO, op(0, 0x4209)),
    young("ptrace", (3, 4, 0), EIO, Cond::All(&[from(0, 0x4206), int(0).below(0x4209)])),
    young("ptrace", (2, 6, 34), EIO, Cond::Any(&[op(0, 0x4204), op(0, 0x4205)])),
    young("ptrace", (2, 6, 25), EIO, op(0, 33)),
    young("ptrace", (2, 6, 14), EIO, Cond::Any(&[op(0, 31), op(0, 32)])),
    young("ptrace", (4, 3, 0), EINVAL, trace_option!(0x20_0000)),
    young("ptrace", (3, 8, 0), EINVAL, trace_option!(0x10_0000)),
    young("ptrace", (3, 5, 0), EINVAL, trace_option!(0x80)),
];
