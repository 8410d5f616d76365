//! The stat family of i386, for files whose numbers do not fit: inodes fold instead of EOVERFLOW. What fits is
//! left to the host's kernel.

use nix::errno::Errno;

use crate::call::{Answered, Call, Reply};
use crate::file::{Statx, Which};
use crate::task::{At, Task};

const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: i32 = 0x100;
const AT_NO_AUTOMOUNT: i32 = 0x800;
const AT_EMPTY_PATH: i32 = 0x1000;
/// AT_STATX_FORCE_SYNC and AT_STATX_DONT_SYNC, by which no zone's files differ.
const AT_STATX_SYNC_TYPE: i32 = 0x6000;

const STATX_BASIC_STATS: u32 = 0x7ff;
const STATX_RESERVED: u32 = 1 << 31;

/// PATH_MAX of linux/limits.h.
const PATH_MAX: usize = 4096;

/// Largest size that programs without large files may meet (MAX_NON_LFS of linux/fs.h).
const MAX_NON_LFS: u64 = 0x7fff_ffff;

/// An inode number in 32 bits: the same where it fits, never 0, and the same for stat and readdir. XFS counts
/// anew in each group and puts the group's number above: the upper half is spread over all bits (as Knuth
/// hashes), so that groups do not fall on one another.
pub(super) fn fold(inode: u64) -> u32 {
    match inode as u32 ^ ((inode >> 32) as u32).wrapping_mul(0x9e37_79b1) {
        0 if inode != 0 => u32::MAX,
        folded => folded,
    }
}

/// Whether the host's kernel can tell an inode number to a 32-bit program.
pub(super) fn fits(inode: u64) -> bool {
    inode <= u64::from(u32::MAX)
}

/// A device's numbers in 32 bits (new_encode_dev of linux/kdev_t.h). Its low half is what 16 bits held:
/// larger numbers fold.
fn device((major, minor): (u32, u32)) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

/// The descriptor or working directory that a path is relative to.
pub(super) fn base(fd: i32) -> At {
    if fd == AT_FDCWD { At::Cwd } else { At::Fd(fd) }
}

/// A path of the guest that names something by itself.
pub(super) fn path(task: &mut dyn Task, call: &Call, arg: usize) -> Option<Vec<u8>> {
    let path = task.read_cstr(call.ptr(arg), PATH_MAX).ok()?;
    (!path.is_empty()).then_some(path)
}

fn named(task: &mut dyn Task, call: &Call, follow: bool) -> Option<Statx> {
    let path = path(task, call, 0)?;
    task.statx(Which::Path { at: At::Cwd, path: &path, follow }, STATX_BASIC_STATS)
}

fn open(task: &mut dyn Task, call: &Call) -> Option<Statx> {
    task.statx(Which::Open(call.int(0)), STATX_BASIC_STATS)
}

/// A file as fstatat(2) and statx(2) name it, in arguments 0 and 1.
fn at(task: &mut dyn Task, call: &Call, flags: i32, mask: u32) -> Option<Statx> {
    let at = base(call.int(0));
    let path = task.read_cstr(call.ptr(1), PATH_MAX).ok()?;
    let which = match at {
        _ if !path.is_empty() => Which::Path { at, path: &path, follow: flags & AT_SYMLINK_NOFOLLOW == 0 },
        _ if flags & AT_EMPTY_PATH == 0 => return None,
        At::Fd(fd) => Which::Open(fd),
        At::Cwd => Which::Path { at, path: b".", follow: true },
    };
    task.statx(which, mask)
}

/// What a form of the structure makes of a file; `None` where the host's kernel does it as well.
type Form = fn(&Statx) -> Result<Option<Vec<u8>>, Errno>;

fn answer(task: &mut dyn Task, call: &Call, arg: usize, found: Option<Statx>, form: Form) -> Answered {
    match found.map(|stat| form(&stat)).transpose()?.flatten() {
        None => Ok(Reply::Continue),
        Some(bytes) => {
            task.write(call.ptr(arg), &bytes)?;
            Ok(Reply::Value(0))
        }
    }
}

/// `struct __old_kernel_stat` of asm/stat.h. The inode and the devices were cut to 16 bits without a word, and
/// since 2.4 a large file was EOVERFLOW (fs/stat.c, cp_old_stat). Since 2.6.19 the inode is EOVERFLOW (commit
/// afefdbb28a0a), and on a 64-bit kernel the size is cut.
fn oldest(stat: &Statx) -> Result<Option<Vec<u8>>, Errno> {
    if stat.size() > MAX_NON_LFS {
        return Err(Errno::EOVERFLOW);
    }
    let (inode, Ok(links)) = (stat.inode(), u16::try_from(stat.links())) else { return Ok(None) };
    if inode <= u64::from(u16::MAX) {
        return Ok(None);
    }
    let halves = [
        device(stat.device()) as u16,
        fold(inode) as u16,
        stat.mode(),
        links,
        id16(stat.uid()),
        id16(stat.gid()),
        device(stat.device_of_node()) as u16,
        0,
    ];
    let mut out: Vec<u8> = halves.into_iter().flat_map(u16::to_le_bytes).collect();
    let [atime, mtime, ctime] = stat.times().map(|(seconds, _)| seconds as u32);
    out.extend([stat.size() as u32, atime, mtime, ctime].into_iter().flat_map(u32::to_le_bytes));
    Ok(Some(out))
}

/// An id in 16 bits; larger ones are overflowuid (proc_sys_kernel(5)).
fn id16(id: u32) -> u16 {
    u16::try_from(id).unwrap_or(65534)
}

/// Accessed, modified, changed: seconds and nanoseconds in 32 bits.
fn times(stat: &Statx) -> [u32; 6] {
    let [a, m, c] = stat.times();
    [a.0 as u32, a.1, m.0 as u32, m.1, c.0 as u32, c.1]
}

/// `struct stat` of asm/stat.h for i386.
fn narrow(stat: &Statx) -> Result<Option<Vec<u8>>, Errno> {
    let Ok(links) = u16::try_from(stat.links()) else { return Ok(None) };
    if fits(stat.inode()) || stat.size() > MAX_NON_LFS {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(64);
    out.extend([device(stat.device()), fold(stat.inode())].into_iter().flat_map(u32::to_le_bytes));
    let halves = [stat.mode(), links, id16(stat.uid()), id16(stat.gid())];
    out.extend(halves.into_iter().flat_map(u16::to_le_bytes));
    let words = [device(stat.device_of_node()), stat.size() as u32, stat.block_size(), stat.blocks() as u32];
    out.extend(words.into_iter().chain(times(stat)).flat_map(u32::to_le_bytes));
    out.resize(64, 0);
    Ok(Some(out))
}

/// `struct stat64` of asm/stat.h for i386. Its own inode has 64 bits, but libc hands it to programs that have
/// 32, and then says EOVERFLOW itself.
fn large(stat: &Statx) -> Result<Option<Vec<u8>>, Errno> {
    if fits(stat.inode()) {
        return Ok(None);
    }
    let inode = fold(stat.inode());
    let device = |numbers| u64::from(device(numbers)).to_le_bytes();
    let mut out = Vec::with_capacity(96);
    out.extend(device(stat.device()));
    let words = [0, inode, u32::from(stat.mode()), stat.links(), stat.uid(), stat.gid()];
    out.extend(words.into_iter().flat_map(u32::to_le_bytes));
    out.extend(device(stat.device_of_node()));
    out.extend([0; 4]);
    out.extend(stat.size().to_le_bytes());
    out.extend(stat.block_size().to_le_bytes());
    out.extend(stat.blocks().to_le_bytes());
    out.extend(times(stat).into_iter().flat_map(u32::to_le_bytes));
    out.extend(u64::from(inode).to_le_bytes());
    Ok(Some(out))
}

/// `struct statx`, by which later libcs answer the calls above.
fn extended(stat: &Statx) -> Result<Option<Vec<u8>>, Errno> {
    if fits(stat.inode()) {
        return Ok(None);
    }
    let mut stat = *stat;
    stat.set_inode(fold(stat.inode()).into());
    Ok(Some(stat.0.to_vec()))
}

/// Answers oldstat(2).
pub(super) fn oldstat(task: &mut dyn Task, call: &Call) -> Answered {
    let found = named(task, call, true);
    answer(task, call, 1, found, oldest)
}

/// Answers oldlstat(2).
pub(super) fn oldlstat(task: &mut dyn Task, call: &Call) -> Answered {
    let found = named(task, call, false);
    answer(task, call, 1, found, oldest)
}

/// Answers oldfstat(2).
pub(super) fn oldfstat(task: &mut dyn Task, call: &Call) -> Answered {
    let found = open(task, call);
    answer(task, call, 1, found, oldest)
}

/// Answers stat(2).
pub(super) fn stat(task: &mut dyn Task, call: &Call) -> Answered {
    let found = named(task, call, true);
    answer(task, call, 1, found, narrow)
}

/// Answers lstat(2).
pub(super) fn lstat(task: &mut dyn Task, call: &Call) -> Answered {
    let found = named(task, call, false);
    answer(task, call, 1, found, narrow)
}

/// Answers fstat(2).
pub(super) fn fstat(task: &mut dyn Task, call: &Call) -> Answered {
    let found = open(task, call);
    answer(task, call, 1, found, narrow)
}

/// Answers stat64(2).
pub(super) fn stat64(task: &mut dyn Task, call: &Call) -> Answered {
    let found = named(task, call, true);
    answer(task, call, 1, found, large)
}

/// Answers lstat64(2).
pub(super) fn lstat64(task: &mut dyn Task, call: &Call) -> Answered {
    let found = named(task, call, false);
    answer(task, call, 1, found, large)
}

/// Answers fstat64(2).
pub(super) fn fstat64(task: &mut dyn Task, call: &Call) -> Answered {
    let found = open(task, call);
    answer(task, call, 1, found, large)
}

/// Answers fstatat64(2).
pub(super) fn fstatat64(task: &mut dyn Task, call: &Call) -> Answered {
    let flags = call.int(3);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH) != 0 {
        return Ok(Reply::Continue);
    }
    let found = at(task, call, flags, STATX_BASIC_STATS);
    answer(task, call, 2, found, large)
}

/// Answers statx(2).
pub(super) fn statx(task: &mut dyn Task, call: &Call) -> Answered {
    let (flags, mask) = (call.int(2), call.int(3) as u32);
    let known = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE;
    if flags & !known != 0 || flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE || mask & STATX_RESERVED != 0 {
        return Ok(Reply::Continue);
    }
    let found = at(task, call, flags, mask);
    answer(task, call, 4, found, extended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Abi;
    use crate::fake::{Fake, call};

    const AT: u64 = 0x5000;
    const WIDE: u64 = 0x12_3456_789a;
    const FOLDED: u32 = 0x3456_789a ^ 0x12u32.wrapping_mul(0x9e37_79b1);

    /// A file with every field of its own.
    fn fake(inode: u64, size: u64) -> Fake {
        let mut fake = Fake::linux(Some("2.2.26"), None);
        let mut stat = Statx([0; 256]);
        let mut put = |at: usize, bytes: &[u8]| stat.0[at..at + bytes.len()].copy_from_slice(bytes);
        put(4, &4096u32.to_le_bytes());
        put(16, &3u32.to_le_bytes());
        put(28, &0o100_644u16.to_le_bytes());
        put(32, &inode.to_le_bytes());
        put(40, &size.to_le_bytes());
        put(48, &77u64.to_le_bytes());
        for (at, seconds) in [(64, 1u64), (96, 3), (112, 2)] {
            put(at, &seconds.to_le_bytes());
            put(at + 8, &(seconds as u32 + 10).to_le_bytes());
        }
        for (at, number) in [(128, 4u32), (132, 5), (136, 8), (140, 300)] {
            put(at, &number.to_le_bytes());
        }
        stat.set_ids(1000, 100);
        fake.statx = Some(stat);
        fake.map(AT, 4096);
        fake.put(0x7000, b"/some/file\0");
        fake.put(0x7100, b"\0");
        fake
    }

    fn words(fake: &Fake, count: usize) -> Vec<u32> {
        let bytes = fake.get(AT, 4 * count);
        bytes.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect()
    }

    #[test]
    fn folding_is_stable_and_never_zero() {
        assert_eq!([0, 1, 0xffff_ffff].map(fold), [0, 1, 0xffff_ffff]);
        assert_eq!(fold(WIDE), FOLDED);
        assert_eq!(fold(1 << 32 | 0x9e37_79b1), u32::MAX);
    }

    #[test]
    fn groups_of_xfs_do_not_fall_on_one_another() {
        // 30 groups of 1 TiB, each with the same 100 000 inodes of 512 bytes.
        let all = (0..30u64).flat_map(|group| (128..100_128).map(move |inode| fold(group << 31 | inode)));
        let mut all: Vec<u32> = all.collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 3_000_000);
    }

    #[test]
    fn oldstat_cuts_to_16_bits() {
        let mut fake = fake(0x12345, 999);
        let reply = oldstat(&mut fake, &call(Abi::I386, "oldstat", &[0x7000, AT]));
        assert_eq!(reply, Ok(Reply::Value(0)));
        let halves: Vec<u16> = words(&fake, 4).iter().flat_map(|&w| [w as u16, (w >> 16) as u16]).collect();
        assert_eq!(halves, [0x82c, 0x2345, 0o100_644, 3, 1000, 100, 0x405, 0]);
        assert_eq!(words(&fake, 9)[4..], [999, 1, 2, 3, 0]);
    }

    #[test]
    fn oldstat_of_what_fits_is_the_kernels_and_of_large_files_overflows() {
        let small = oldlstat(&mut fake(0xffff, 9), &call(Abi::I386, "oldlstat", &[0x7000, AT]));
        assert_eq!(small, Ok(Reply::Continue));
        let large = oldfstat(&mut fake(5, 1 << 31), &call(Abi::I386, "oldfstat", &[3, AT]));
        assert_eq!(large, Err(Errno::EOVERFLOW));
    }

    #[test]
    fn stat_folds() {
        let mut fake = fake(WIDE, 999);
        let reply = stat(&mut fake, &call(Abi::I386, "stat", &[0x7000, AT]));
        assert_eq!(reply, Ok(Reply::Value(0)));
        let wanted = [0x10_082c, FOLDED, 3 << 16 | 0o100_644, 100 << 16 | 1000, 0x405, 999, 4096, 77];
        assert_eq!(words(&fake, 8), wanted);
        assert_eq!(words(&fake, 16)[8..], [1, 11, 2, 12, 3, 13, 0, 0]);
        assert_eq!(fake.asked, [(At::Cwd, b"/some/file".to_vec(), true)]);
    }

    #[test]
    fn stat_of_what_fits_or_overflows_otherwise_is_the_kernels() {
        for (inode, size) in [(5, 5), (WIDE, 1 << 31)] {
            let reply = lstat(&mut fake(inode, size), &call(Abi::I386, "lstat", &[0x7000, AT]));
            assert_eq!(reply, Ok(Reply::Continue));
        }
        let mut nothing = fake(WIDE, 5);
        nothing.statx = None;
        let reply = fstat(&mut nothing, &call(Abi::I386, "fstat", &[3, AT]));
        assert_eq!(reply, Ok(Reply::Continue));
    }

    #[test]
    fn stat64_folds_both_numbers() {
        let mut fake = fake(WIDE, 3 << 30);
        let cwd = u64::from(AT_FDCWD as u32);
        let by_path = |at| (at, b"/some/file".to_vec());
        let cases: [(crate::table::Handler, &str, &[u64], _, bool); 6] = [
            (stat64, "stat64", &[0x7000, AT], by_path(At::Cwd), true),
            (lstat64, "lstat64", &[0x7000, AT], by_path(At::Cwd), false),
            (fstat64, "fstat64", &[3, AT], (At::Fd(3), vec![]), true),
            (fstatat64, "fstatat64", &[9, 0x7000, AT, 0x100], by_path(At::Fd(9)), false),
            (fstatat64, "fstatat64", &[9, 0x7100, AT, 0x1000], (At::Fd(9), vec![]), true),
            (fstatat64, "fstatat64", &[cwd, 0x7100, AT, 0x1000], (At::Cwd, b".".to_vec()), true),
        ];
        for (handler, name, args, (at, path), follow) in cases {
            assert_eq!(handler(&mut fake, &call(Abi::I386, name, args)), Ok(Reply::Value(0)));
            assert_eq!(fake.asked.pop(), Some((at, path, follow)));
            let head =
                [0x10_082c, 0, 0, FOLDED, 0o100_644, 3, 1000, 100, 0x405, 0, 0, 3 << 30, 0, 4096, 77, 0];
            assert_eq!(words(&fake, 16), head);
            assert_eq!(words(&fake, 24)[16..], [1, 11, 2, 12, 3, 13, FOLDED, 0]);
            fake.put(AT, &[0; 96]);
        }
        for flags in [0, 1] {
            let reply = fstatat64(&mut fake, &call(Abi::I386, "fstatat64", &[9, 0x7100, AT, flags]));
            assert_eq!(reply, Ok(Reply::Continue));
        }
    }

    #[test]
    fn statx_folds() {
        let mut fake = fake(WIDE, 5);
        let reply = statx(&mut fake, &call(Abi::I386, "statx", &[9, 0x7000, 0, 0xfff, AT]));
        assert_eq!(reply, Ok(Reply::Value(0)));
        assert_eq!(fake.get(AT + 32, 8), u64::from(FOLDED).to_le_bytes());
        assert_eq!(fake.get(AT + 40, 8), 5u64.to_le_bytes());
        let reserved = call(Abi::I386, "statx", &[9, 0x7000, 0, 1 << 31, AT]);
        assert_eq!(statx(&mut fake, &reserved), Ok(Reply::Continue));
    }

    #[test]
    fn a_bad_pointer_faults() {
        let reply = stat(&mut fake(WIDE, 5), &call(Abi::I386, "stat", &[0x7000, 0x99_0000]));
        assert_eq!(reply, Err(Errno::EFAULT));
        let reply = stat(&mut fake(WIDE, 5), &call(Abi::I386, "stat", &[0x99_0000, AT]));
        assert_eq!(reply, Ok(Reply::Continue));
    }
}
