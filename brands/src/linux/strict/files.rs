//! Descriptors, files, mounts and what is made of them.

use nix::errno::Errno::{EINVAL, EISDIR, ENOTTY, EOPNOTSUPP};

use super::{between, flags, op, young, younger};
use crate::cond::{Cond, int};
use crate::table::Row;

/// O_TMPFILE in argument `$at`, to be written: O_DIRECTORY is in it.
macro_rules! tmpfile {
    ($at:literal) => {
        Cond::All(&[int($at).bits(0x41_0000, 0x41_0000), int($at).any_of(0x3)])
    };
}

/// F_GET_RW_HINT to F_SET_FILE_RW_HINT.
const RW_HINTS: Cond = Cond::All(&[int(1).at_least(1035), int(1).below(1039)]);
/// F_OFD_GETLK to F_OFD_SETLKW.
const OFD_LOCKS: Cond = Cond::All(&[int(1).at_least(36), int(1).below(39)]);
/// F_ADD_SEALS and F_GET_SEALS.
const SEALS: Cond = Cond::Any(&[int(1).is(1033), int(1).is(1034)]);
/// F_SETPIPE_SZ and F_GETPIPE_SZ.
const PIPE_SIZES: Cond = Cond::Any(&[int(1).is(1031), int(1).is(1032)]);
/// F_SETOWN_EX and F_GETOWN_EX.
const OWNERS: Cond = Cond::Any(&[int(1).is(15), int(1).is(16)]);

/// A mode of fallocate(2) without FALLOC_FL_KEEP_SIZE.
macro_rules! mode {
    ($bit:literal) => {
        Cond::All(&[int(1).bits(0x1, 0), int(1).any_of($bit)])
    };
}

/// SEEK_DATA and SEEK_HOLE.
const SEEKS: Cond = Cond::Any(&[int(2).is(3), int(2).is(4)]);

/// FICLONE, FICLONERANGE, FIDEDUPERANGE.
const CLONES: Cond = Cond::Any(&[int(1).is(0x4004_9409), int(1).is(0x4020_940d), int(1).is(0xc018_9436)]);
/// TIOCGPKT, TIOCGPTLCK, TIOCGEXCL.
const TTY_STATES: Cond = Cond::Any(&[int(1).is(0x8004_5438), int(1).is(0x8004_5439), int(1).is(0x8004_5440)]);

#[rustfmt::skip]
pub(in super::super) static ROWS: &[Row] = &[
    // fcntl(2): F_CREATED_QUERY (strace), F_DUPFD_QUERY (strace), hints, seals, locks, F_GETOWNER_UIDS (3.5 lacks it, 3.6 has it), sizes of pipes,
    // owners, F_DUPFD_CLOEXEC. i386 has two calls.
    young("fcntl", (6, 12, 0), EINVAL, op(1, 1028)),
    young("fcntl", (6, 10, 0), EINVAL, op(1, 1027)),
    young("fcntl", (4, 13, 0), EINVAL, RW_HINTS),
    young("fcntl", (3, 17, 0), EINVAL, SEALS),
    young("fcntl", (3, 15, 0), EINVAL, OFD_LOCKS),
    young("fcntl", (3, 6, 0), EINVAL, op(1, 17)),
    young("fcntl", (2, 6, 35), EINVAL, PIPE_SIZES),
    young("fcntl", (2, 6, 32), EINVAL, OWNERS),
    young("fcntl", (2, 6, 24), EINVAL, op(1, 1030)),
    young("fcntl64", (6, 12, 0), EINVAL, op(1, 1028)),
    young("fcntl64", (6, 10, 0), EINVAL, op(1, 1027)),
    young("fcntl64", (4, 13, 0), EINVAL, RW_HINTS),
    young("fcntl64", (3, 17, 0), EINVAL, SEALS),
    young("fcntl64", (3, 15, 0), EINVAL, OFD_LOCKS),
    young("fcntl64", (3, 6, 0), EINVAL, op(1, 17)),
    young("fcntl64", (2, 6, 35), EINVAL, PIPE_SIZES),
    young("fcntl64", (2, 6, 32), EINVAL, OWNERS),
    young("fcntl64", (2, 6, 24), EINVAL, op(1, 1030)),
    // open(2): O_TMPFILE was a folder opened for writing.
    young("open", (3, 11, 0), EISDIR, tmpfile!(1)).gap(TMPFILE),
    young("openat", (3, 11, 0), EISDIR, tmpfile!(2)).gap(TMPFILE),
    // lseek(2).
    young("lseek", (3, 1, 0), EINVAL, SEEKS),
    young("_llseek", (3, 1, 0), EINVAL, Cond::Any(&[op(4, 3), op(4, 4)])),
    // AT_EMPTY_PATH and AT_NO_AUTOMOUNT of the calls with a flags argument.
    young("newfstatat", (2, 6, 39), EINVAL, flags(3, 0x1000)),
    young("newfstatat", (2, 6, 38), EINVAL, flags(3, 0x800)),
    young("fstatat64", (2, 6, 39), EINVAL, flags(3, 0x1000)),
    young("fstatat64", (2, 6, 38), EINVAL, flags(3, 0x800)),
    young("linkat", (2, 6, 39), EINVAL, flags(4, 0x1000)),
    young("linkat", (2, 6, 18), EINVAL, flags(4, 0x400)),
    young("fchownat", (2, 6, 39), EINVAL, flags(4, 0x1000)),
    young("utimensat", (5, 8, 0), EINVAL, flags(3, 0x1000)),
    young("utimensat_time64", (5, 8, 0), EINVAL, flags(3, 0x1000)),
    young("renameat2", (3, 18, 0), EINVAL, flags(4, 0x4)),
    // name_to_handle_at(2): AT_HANDLE_CONNECTABLE, AT_HANDLE_MNT_ID_UNIQUE, AT_HANDLE_FID.
    young("name_to_handle_at", (6, 13, 0), EINVAL, flags(4, 0x2)),
    young("name_to_handle_at", (6, 12, 0), EINVAL, flags(4, 0x1)),
    young("name_to_handle_at", (6, 5, 0), EINVAL, flags(4, 0x200)),
    // fallocate(2): FALLOC_FL_WRITE_ZEROES, UNSHARE_RANGE (strace), INSERT_RANGE, COLLAPSE_RANGE and ZERO_RANGE.
    // Before 2.6.38 other modes were looked at only without FALLOC_FL_KEEP_SIZE, so PUNCH_HOLE was no error.
    young("fallocate", (6, 17, 0), EOPNOTSUPP, flags(1, 0x80)),
    between("fallocate", (2, 6, 38), (4, 9, 0), EOPNOTSUPP, flags(1, 0x40)),
    between("fallocate", (2, 6, 38), (4, 1, 0), EOPNOTSUPP, flags(1, 0x20)),
    between("fallocate", (2, 6, 38), (3, 15, 0), EOPNOTSUPP, flags(1, 0x18)),
    younger("fallocate", (2, 6, 38), EOPNOTSUPP, mode!(0x40), (4, 9, 0)),
    younger("fallocate", (2, 6, 38), EOPNOTSUPP, mode!(0x20), (4, 1, 0)),
    younger("fallocate", (2, 6, 38), EOPNOTSUPP, mode!(0x18), (3, 15, 0)),
    young("fallocate", (2, 6, 38), EOPNOTSUPP, mode!(0x2)),
    // preadv2(2): RWF_NOSIGNAL (strace), DONTCACHE, ATOMIC, NOAPPEND, APPEND, NOWAIT, DSYNC and SYNC; 4.6 had
    // RWF_HIPRI. 4.12 has EINVAL for what it does not know, 4.15 EOPNOTSUPP.
    between("preadv2", (4, 14, 0), (6, 18, 0), EOPNOTSUPP, flags(5, 0x100)),
    between("preadv2", (4, 14, 0), (6, 14, 0), EOPNOTSUPP, flags(5, 0x80)),
    between("preadv2", (4, 14, 0), (6, 11, 0), EOPNOTSUPP, flags(5, 0x40)),
    between("preadv2", (4, 14, 0), (6, 9, 0), EOPNOTSUPP, flags(5, 0x20)),
    between("preadv2", (4, 14, 0), (4, 16, 0), EOPNOTSUPP, flags(5, 0x10)),
    younger("preadv2", (4, 14, 0), EINVAL, flags(5, 0x100), (6, 18, 0)),
    younger("preadv2", (4, 14, 0), EINVAL, flags(5, 0x80), (6, 14, 0)),
    younger("preadv2", (4, 14, 0), EINVAL, flags(5, 0x40), (6, 11, 0)),
    younger("preadv2", (4, 14, 0), EINVAL, flags(5, 0x20), (6, 9, 0)),
    younger("preadv2", (4, 14, 0), EINVAL, flags(5, 0x10), (4, 16, 0)),
    young("preadv2", (4, 14, 0), EINVAL, flags(5, 0x8)),
    young("preadv2", (4, 7, 0), EINVAL, flags(5, 0x6)),
    between("pwritev2", (4, 14, 0), (6, 18, 0), EOPNOTSUPP, flags(5, 0x100)),
    between("pwritev2", (4, 14, 0), (6, 14, 0), EOPNOTSUPP, flags(5, 0x80)),
    between("pwritev2", (4, 14, 0), (6, 11, 0), EOPNOTSUPP, flags(5, 0x40)),
    between("pwritev2", (4, 14, 0), (6, 9, 0), EOPNOTSUPP, flags(5, 0x20)),
    between("pwritev2", (4, 14, 0), (4, 16, 0), EOPNOTSUPP, flags(5, 0x10)),
    younger("pwritev2", (4, 14, 0), EINVAL, flags(5, 0x100), (6, 18, 0)),
    younger("pwritev2", (4, 14, 0), EINVAL, flags(5, 0x80), (6, 14, 0)),
    younger("pwritev2", (4, 14, 0), EINVAL, flags(5, 0x40), (6, 11, 0)),
    younger("pwritev2", (4, 14, 0), EINVAL, flags(5, 0x20), (6, 9, 0)),
    younger("pwritev2", (4, 14, 0), EINVAL, flags(5, 0x10), (4, 16, 0)),
    young("pwritev2", (4, 14, 0), EINVAL, flags(5, 0x8)),
    young("pwritev2", (4, 7, 0), EINVAL, flags(5, 0x6)),
    // pipe(2): O_DIRECT; close_range(2); eventfd(2).
    young("pipe2", (3, 4, 0), EINVAL, flags(1, 0x4000)),
    young("close_range", (5, 11, 0), EINVAL, flags(2, 0x4)),
    young("eventfd2", (2, 6, 30), EINVAL, flags(1, 0x1)),
    // fsconfig(2): FSCONFIG_CMD_CREATE_EXCL; move_mount(2): MOVE_MOUNT_BENEATH, MOVE_MOUNT_SET_GROUP.
    young("fsconfig", (6, 6, 0), EOPNOTSUPP, op(1, 8)),
    young("move_mount", (6, 5, 0), EINVAL, flags(4, 0x200)),
    young("move_mount", (5, 15, 0), EINVAL, flags(4, 0x100)),
    // fanotify_init(2): FAN_REPORT_MNT (strace), FD_ERROR, TARGET_FID, PIDFD, DIR_FID and NAME, FID, TID, AUDIT.
    young("fanotify_init", (6, 15, 0), EINVAL, flags(0, 0x4000)),
    young("fanotify_init", (6, 13, 0), EINVAL, flags(0, 0x2000)),
    young("fanotify_init", (5, 17, 0), EINVAL, flags(0, 0x1000)),
    young("fanotify_init", (5, 15, 0), EINVAL, flags(0, 0x80)),
    young("fanotify_init", (5, 9, 0), EINVAL, flags(0, 0xc00)),
    young("fanotify_init", (5, 1, 0), EINVAL, flags(0, 0x200)),
    young("fanotify_init", (4, 20, 0), EINVAL, flags(0, 0x100)),
    young("fanotify_init", (4, 15, 0), EINVAL, flags(0, 0x40)),
    // fanotify_mark(2): FAN_MARK_IGNORE, EVICTABLE, FILESYSTEM.
    young("fanotify_mark", (6, 0, 0), EINVAL, flags(1, 0x400)),
    young("fanotify_mark", (5, 19, 0), EINVAL, flags(1, 0x200)),
    young("fanotify_mark", (4, 20, 0), EINVAL, flags(1, 0x100)),
    // ioctl(2): PROCMAP_QUERY (strace), FS_IOC_GETFSUUID and GETFSSYSFSPATH with EPIOCSPARAMS and EPIOCGPARAMS
    // (ioctl_epoll(2)), PAGEMAP_SCAN, NS_GET_NSTYPE and OWNER_UID, NS_GET_USERNS and PARENT, clones,
    // FS_IOC_FIEMAP (2.6.24's headers lack it, 2.6.31's have it).
    young("ioctl", (6, 11, 0), ENOTTY, op(1, 0xc068_6611)),
    young("ioctl", (6, 9, 0), ENOTTY, Cond::Any(&[
        op(1, 0x8011_1500), op(1, 0x8081_1501), op(1, 0x4008_8a01), op(1, 0x8008_8a02)])),
    young("ioctl", (6, 7, 0), ENOTTY, op(1, 0xc060_6610)),
    young("ioctl", (4, 11, 0), ENOTTY, Cond::Any(&[op(1, 0xb703), op(1, 0xb704)])),
    young("ioctl", (4, 9, 0), ENOTTY, Cond::Any(&[op(1, 0xb701), op(1, 0xb702)])),
    young("ioctl", (4, 5, 0), ENOTTY, CLONES).gap("btrfs had them before under names of its own"),
    young("ioctl", (2, 6, 28), ENOTTY, op(1, 0xc020_660b)),
    // TIOCGPTPEER; TIOCGPKT, TIOCGPTLCK and TIOCGEXCL; TCGETS2 to TCSETSF2. What terminals do not know is ENOTTY in
    // 3.8, and EINVAL in 3.6 and before.
    between("ioctl", (3, 7, 0), (4, 13, 0), ENOTTY, op(1, 0x5441)),
    between("ioctl", (3, 7, 0), (3, 8, 0), ENOTTY, TTY_STATES),
    younger("ioctl", (3, 7, 0), EINVAL, op(1, 0x5441), (4, 13, 0)),
    younger("ioctl", (3, 7, 0), EINVAL, TTY_STATES, (3, 8, 0)),
    young("ioctl", (2, 6, 20), EINVAL, Cond::Any(&[
        op(1, 0x802c_542a), op(1, 0x402c_542b), op(1, 0x402c_542c), op(1, 0x402c_542d)])),
];

const TMPFILE: &str = "a path that is not there, or no folder, is not told ENOENT and ENOTDIR";
