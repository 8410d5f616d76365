//! Flags, operations and options that are younger than their call: a strict zone answers them as the kernel of
//! its level did. Releases are meant to be those of the calls' man pages (VERSIONS, HISTORY, the flag itself); not
//! every line has been held against its page yet.
//!
//! What old kernels ignored without a word (O_CLOEXEC, O_PATH, MAP_FIXED_NOREPLACE, flags of clone(2)) is not
//! here: the host's kernel does not ignore it, and a program cannot tell either. What stands in memory
//! (socketcall(2), ipc(2), open_how, clone_args) is not looked at. The vDSO answers clock_gettime(2) unseen.

use nix::errno::Errno;

use crate::cond::{Cond, int};
use crate::level::Level;
use crate::table::{Row, Scope, Why, refuse};

/// A row for calls that a kernel before `release` answered with `errno`.
const fn young(name: &'static str, release: (u16, u16, u16), errno: Errno, cond: Cond) -> Row {
    let before = Level::new(release.0, release.1, release.2);
    refuse(name, errno, Why::NotYet).when(cond).before(before).within(Scope::Strict).about(ABOUT)
}

const ABOUT: &str = "a flag or operation that came later";

/// Command, operation or option `n` in argument `at`.
const fn op(at: u8, n: u64) -> Cond {
    int(at).is(n)
}

/// SOL_SOCKET options of getsockopt(2) and setsockopt(2).
macro_rules! socket_option {
    ($n:literal) => {
        Cond::All(&[int(1).is(1), int(2).is($n)])
    };
}

/// SECCOMP_SET_MODE_FILTER with a flag.
macro_rules! filter_flag {
    ($bit:literal) => {
        Cond::All(&[int(0).is(1), int(1).any_of($bit)])
    };
}

/// MAP_SHARED_VALIDATE as the type of a mapping.
const SHARED_VALIDATE: Cond = int(3).bits(0xf, 3);

use Errno::{EAFNOSUPPORT, EINVAL, EIO, EISDIR, ENOPROTOOPT, ENOSYS, EOPNOTSUPP};

#[rustfmt::skip]
pub(super) static ROWS: &[Row] = &[
    // futex(2): the operation in the low seven bits, then FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME.
    young("futex", (5, 14, 0), ENOSYS, int(1).bits(0x7f, 13)),
    young("futex", (2, 6, 31), ENOSYS, Cond::Any(&[int(1).bits(0x7f, 11), int(1).bits(0x7f, 12)])),
    young("futex", (2, 6, 28), ENOSYS, int(1).any_of(0x100)),
    young("futex", (2, 6, 25), ENOSYS, Cond::Any(&[int(1).bits(0x7f, 9), int(1).bits(0x7f, 10)])),
    young("futex", (2, 6, 22), ENOSYS, int(1).any_of(0x80)),
    young("futex", (2, 6, 18), ENOSYS,
        Cond::Any(&[int(1).bits(0x7f, 6), int(1).bits(0x7f, 7), int(1).bits(0x7f, 8)])),
    young("futex", (2, 6, 14), ENOSYS, int(1).bits(0x7f, 5)),
    young("futex", (2, 6, 7), ENOSYS, int(1).bits(0x7f, 4)),
    // socket(2): SOCK_NONBLOCK and SOCK_CLOEXEC; AF_ALG, AF_VSOCK, AF_XDP.
    young("socket", (2, 6, 27), EINVAL, int(1).any_of(0x80800)),
    young("socket", (4, 18, 0), EAFNOSUPPORT, op(0, 44)),
    young("socket", (3, 9, 0), EAFNOSUPPORT, op(0, 40)),
    young("socket", (2, 6, 38), EAFNOSUPPORT, op(0, 38)),
    young("socketpair", (2, 6, 27), EINVAL, int(1).any_of(0x80800)),
    // socket(7): SO_PEERPIDFD, SO_ZEROCOPY, SO_ATTACH_BPF, SO_INCOMING_CPU, SO_BUSY_POLL, SO_LOCK_FILTER,
    // SO_REUSEPORT, SO_PEEK_OFF.
    young("getsockopt", (6, 5, 0), ENOPROTOOPT, socket_option!(77)),
    young("setsockopt", (4, 14, 0), ENOPROTOOPT, socket_option!(60)),
    young("setsockopt", (3, 19, 0), ENOPROTOOPT, socket_option!(50)),
    young("getsockopt", (3, 19, 0), ENOPROTOOPT, socket_option!(49)),
    young("setsockopt", (3, 11, 0), ENOPROTOOPT, socket_option!(46)),
    young("setsockopt", (3, 9, 0), ENOPROTOOPT, socket_option!(44)),
    young("setsockopt", (3, 9, 0), ENOPROTOOPT, socket_option!(15)),
    young("setsockopt", (3, 4, 0), ENOPROTOOPT, socket_option!(42)),
    // fcntl(2): F_DUPFD_QUERY, F_GET_RW_HINT to F_SET_FILE_RW_HINT, seals, F_OFD_*, F_SETPIPE_SZ and
    // F_GETPIPE_SZ, F_SETOWN_EX and F_GETOWN_EX, F_DUPFD_CLOEXEC.
    young("fcntl", (6, 10, 0), EINVAL, op(1, 1027)),
    young("fcntl", (4, 13, 0), EINVAL, Cond::All(&[int(1).at_least(1035), int(1).below(1039)])),
    young("fcntl", (3, 17, 0), EINVAL, Cond::Any(&[op(1, 1033), op(1, 1034)])),
    young("fcntl", (3, 15, 0), EINVAL, Cond::All(&[int(1).at_least(36), int(1).below(39)])),
    young("fcntl", (2, 6, 35), EINVAL, Cond::Any(&[op(1, 1031), op(1, 1032)])),
    young("fcntl", (2, 6, 32), EINVAL, Cond::Any(&[op(1, 15), op(1, 16)])),
    young("fcntl", (2, 6, 24), EINVAL, op(1, 1030)),
    young("fcntl64", (6, 10, 0), EINVAL, op(1, 1027)),
    young("fcntl64", (4, 13, 0), EINVAL, Cond::All(&[int(1).at_least(1035), int(1).below(1039)])),
    young("fcntl64", (3, 17, 0), EINVAL, Cond::Any(&[op(1, 1033), op(1, 1034)])),
    young("fcntl64", (3, 15, 0), EINVAL, Cond::All(&[int(1).at_least(36), int(1).below(39)])),
    young("fcntl64", (2, 6, 35), EINVAL, Cond::Any(&[op(1, 1031), op(1, 1032)])),
    young("fcntl64", (2, 6, 32), EINVAL, Cond::Any(&[op(1, 15), op(1, 16)])),
    young("fcntl64", (2, 6, 24), EINVAL, op(1, 1030)),
    // madvise(2): MADV_GUARD_*, COLLAPSE, DONTNEED_LOCKED, POPULATE_*, COLD and PAGEOUT, WIPEONFORK, FREE,
    // DONTDUMP, HUGEPAGE, MERGEABLE, REMOVE, DONTFORK.
    young("madvise", (6, 13, 0), EINVAL, Cond::Any(&[op(2, 102), op(2, 103)])),
    young("madvise", (6, 1, 0), EINVAL, op(2, 25)),
    young("madvise", (5, 18, 0), EINVAL, op(2, 24)),
    young("madvise", (5, 14, 0), EINVAL, Cond::Any(&[op(2, 22), op(2, 23)])),
    young("madvise", (5, 4, 0), EINVAL, Cond::Any(&[op(2, 20), op(2, 21)])),
    young("madvise", (4, 14, 0), EINVAL, Cond::Any(&[op(2, 18), op(2, 19)])),
    young("madvise", (4, 5, 0), EINVAL, op(2, 8)),
    young("madvise", (3, 4, 0), EINVAL, Cond::Any(&[op(2, 16), op(2, 17)])),
    young("madvise", (2, 6, 38), EINVAL, Cond::Any(&[op(2, 14), op(2, 15)])),
    young("madvise", (2, 6, 32), EINVAL, Cond::Any(&[op(2, 12), op(2, 13)])),
    young("madvise", (2, 6, 16), EINVAL, Cond::Any(&[op(2, 9), op(2, 10), op(2, 11)])),
    // prctl(2): PR_SET_MDWE, PR_SET_VMA, SCHED_CORE, SYSCALL_USER_DISPATCH, IO_FLUSHER, SPECULATION_CTRL,
    // CAP_AMBIENT, THP_DISABLE, NO_NEW_PRIVS and TID_ADDRESS, CHILD_SUBREAPER, SET_MM, MCE_KILL, TIMERSLACK,
    // SECUREBITS, CAPBSET, SECCOMP, NAME.
    young("prctl", (6, 3, 0), EINVAL, Cond::Any(&[op(0, 65), op(0, 66)])),
    young("prctl", (5, 17, 0), EINVAL, op(0, 0x5356_4d41)),
    young("prctl", (5, 14, 0), EINVAL, op(0, 62)),
    young("prctl", (5, 11, 0), EINVAL, op(0, 59)),
    young("prctl", (5, 6, 0), EINVAL, Cond::Any(&[op(0, 57), op(0, 58)])),
    young("prctl", (4, 17, 0), EINVAL, Cond::Any(&[op(0, 52), op(0, 53)])),
    young("prctl", (4, 3, 0), EINVAL, op(0, 47)),
    young("prctl", (3, 15, 0), EINVAL, Cond::Any(&[op(0, 41), op(0, 42)])),
    young("prctl", (3, 5, 0), EINVAL, Cond::Any(&[op(0, 38), op(0, 39), op(0, 40)])),
    young("prctl", (3, 4, 0), EINVAL, Cond::Any(&[op(0, 36), op(0, 37)])),
    young("prctl", (3, 3, 0), EINVAL, op(0, 35)),
    young("prctl", (2, 6, 32), EINVAL, Cond::Any(&[op(0, 33), op(0, 34)])),
    young("prctl", (2, 6, 28), EINVAL, Cond::Any(&[op(0, 29), op(0, 30)])),
    young("prctl", (2, 6, 26), EINVAL, Cond::Any(&[op(0, 27), op(0, 28)])),
    young("prctl", (2, 6, 25), EINVAL, Cond::Any(&[op(0, 23), op(0, 24)])),
    young("prctl", (2, 6, 23), EINVAL, Cond::Any(&[op(0, 21), op(0, 22)])),
    young("prctl", (2, 6, 11), EINVAL, op(0, 16)),
    young("prctl", (2, 6, 9), EINVAL, op(0, 15)),
    // clock_getres(2): CLOCK_TAI, the alarms, BOOTTIME, the coarse ones, MONOTONIC_RAW.
    young("clock_gettime", (3, 10, 0), EINVAL, op(0, 11)),
    young("clock_gettime", (3, 0, 0), EINVAL, Cond::Any(&[op(0, 8), op(0, 9)])),
    young("clock_gettime", (2, 6, 39), EINVAL, op(0, 7)),
    young("clock_gettime", (2, 6, 32), EINVAL, Cond::Any(&[op(0, 5), op(0, 6)])),
    young("clock_gettime", (2, 6, 28), EINVAL, op(0, 4)),
    young("clock_getres", (3, 10, 0), EINVAL, op(0, 11)),
    young("clock_getres", (3, 0, 0), EINVAL, Cond::Any(&[op(0, 8), op(0, 9)])),
    young("clock_getres", (2, 6, 39), EINVAL, op(0, 7)),
    young("clock_getres", (2, 6, 32), EINVAL, Cond::Any(&[op(0, 5), op(0, 6)])),
    young("clock_getres", (2, 6, 28), EINVAL, op(0, 4)),
    young("timerfd_create", (3, 11, 0), EINVAL, Cond::Any(&[op(0, 8), op(0, 9)])),
    young("timerfd_create", (3, 15, 0), EINVAL, op(0, 7)),
    // open(2): O_TMPFILE was a folder opened for writing.
    young("open", (3, 11, 0), EISDIR, int(1).any_of(0x40_0000)),
    young("openat", (3, 11, 0), EISDIR, int(2).any_of(0x40_0000)),
    // unshare(2): CLONE_NEWTIME, NEWCGROUP, NEWUSER and NEWPID, NEWNET, NEWUTS and NEWIPC.
    young("unshare", (5, 6, 0), EINVAL, int(0).any_of(0x80)),
    young("unshare", (4, 6, 0), EINVAL, int(0).any_of(0x0200_0000)),
    young("unshare", (3, 8, 0), EINVAL, int(0).any_of(0x3000_0000)),
    young("unshare", (2, 6, 24), EINVAL, int(0).any_of(0x4000_0000)),
    young("unshare", (2, 6, 19), EINVAL, int(0).any_of(0x0c00_0000)),
    // AT_EMPTY_PATH and AT_NO_AUTOMOUNT of the calls with a flags argument.
    young("newfstatat", (2, 6, 39), EINVAL, int(3).any_of(0x1000)),
    young("newfstatat", (2, 6, 38), EINVAL, int(3).any_of(0x800)),
    young("fstatat64", (2, 6, 39), EINVAL, int(3).any_of(0x1000)),
    young("fstatat64", (2, 6, 38), EINVAL, int(3).any_of(0x800)),
    young("linkat", (2, 6, 39), EINVAL, int(4).any_of(0x1000)),
    young("linkat", (2, 6, 18), EINVAL, int(4).any_of(0x400)),
    young("fchownat", (2, 6, 39), EINVAL, int(4).any_of(0x1000)),
    // fallocate(2): FALLOC_FL_UNSHARE_RANGE, INSERT_RANGE, COLLAPSE_RANGE and ZERO_RANGE, PUNCH_HOLE.
    young("fallocate", (4, 8, 0), EOPNOTSUPP, int(1).any_of(0x40)),
    young("fallocate", (4, 1, 0), EOPNOTSUPP, int(1).any_of(0x20)),
    young("fallocate", (3, 15, 0), EOPNOTSUPP, int(1).any_of(0x18)),
    young("fallocate", (2, 6, 38), EOPNOTSUPP, int(1).any_of(0x02)),
    // RWF_APPEND of preadv2(2); RENAME_WHITEOUT; flags of memfd_create(2), getrandom(2), mremap(2), pipe2(2),
    // close_range(2), pidfd_open(2), eventfd2(2), timerfd_settime(2), umount2(2).
    young("pwritev2", (4, 16, 0), EOPNOTSUPP, int(5).any_of(0x10)),
    young("renameat2", (3, 18, 0), EINVAL, int(4).any_of(0x4)),
    young("memfd_create", (6, 3, 0), EINVAL, int(1).any_of(0x18)),
    young("memfd_create", (4, 14, 0), EINVAL, int(1).any_of(0x4)),
    young("getrandom", (5, 6, 0), EINVAL, int(2).any_of(0x4)),
    young("mremap", (5, 7, 0), EINVAL, int(3).any_of(0x4)),
    young("pipe2", (3, 4, 0), EINVAL, int(1).any_of(0x4000)),
    young("close_range", (5, 11, 0), EINVAL, int(2).any_of(0x4)),
    young("pidfd_open", (6, 9, 0), EINVAL, int(1).any_of(0x80)),
    young("pidfd_open", (5, 10, 0), EINVAL, int(1).any_of(0x800)),
    young("eventfd2", (2, 6, 30), EINVAL, int(1).any_of(0x1)),
    young("timerfd_settime", (3, 0, 0), EINVAL, int(1).any_of(0x2)),
    young("umount2", (2, 6, 34), EINVAL, int(1).any_of(0x8)),
    // mmap(2): MAP_SHARED_VALIDATE; P_PIDFD of waitid(2).
    young("mmap", (4, 15, 0), EINVAL, SHARED_VALIDATE).on(crate::abi::Abi::X86_64),
    young("mmap2", (4, 15, 0), EINVAL, SHARED_VALIDATE),
    young("waitid", (5, 4, 0), EINVAL, op(0, 3)),
    // seccomp(2): SECCOMP_GET_NOTIF_SIZES, GET_ACTION_AVAIL; flags of a filter.
    young("seccomp", (5, 0, 0), EINVAL, op(0, 3)),
    young("seccomp", (4, 14, 0), EINVAL, op(0, 2)),
    young("seccomp", (5, 19, 0), EINVAL, filter_flag!(0x20)),
    young("seccomp", (5, 7, 0), EINVAL, filter_flag!(0x10)),
    young("seccomp", (5, 0, 0), EINVAL, filter_flag!(0x8)),
    young("seccomp", (4, 17, 0), EINVAL, filter_flag!(0x4)),
    young("seccomp", (4, 14, 0), EINVAL, filter_flag!(0x2)),
    // membarrier(2): registrations, rseq, the expedited and core-serialising ones.
    young("membarrier", (6, 3, 0), EINVAL, int(0).any_of(0x200)),
    young("membarrier", (5, 10, 0), EINVAL, int(0).any_of(0x180)),
    young("membarrier", (4, 16, 0), EINVAL, int(0).any_of(0x66)),
    young("membarrier", (4, 14, 0), EINVAL, int(0).any_of(0x18)),
    // sched_setscheduler(2): SCHED_IDLE, SCHED_BATCH.
    young("sched_setscheduler", (2, 6, 23), EINVAL, op(1, 5)),
    young("sched_setscheduler", (2, 6, 16), EINVAL, op(1, 3)),
    // ptrace(2): PTRACE_GET_SYSCALL_INFO, PEEKSIGINFO, SEIZE with INTERRUPT and LISTEN, the register sets.
    young("ptrace", (5, 3, 0), EIO, op(0, 0x420e)),
    young("ptrace", (3, 10, 0), EIO, op(0, 0x4209)),
    young("ptrace", (3, 4, 0), EIO, Cond::All(&[int(0).at_least(0x4206), int(0).below(0x4209)])),
    young("ptrace", (2, 6, 34), EIO, Cond::Any(&[op(0, 0x4204), op(0, 0x4205)])),
];
