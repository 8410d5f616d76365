//! What is done with files, other than by path.

use nix::errno::Errno;

use super::{CWD, O_CLOEXEC, O_NOFOLLOW, O_PATH, instead, is_error, perform};
use crate::abi::Abi;
use crate::call::{Answered, Call, GuestPtr, Reply};
use crate::task::Task;

/// Answers statx(2), Linux 4.11. The guest's own buffer is larger than `struct stat`, and takes it first.
pub(super) fn statx(task: &mut dyn Task, call: &Call) -> Answered {
    const NOFOLLOW_AUTOMOUNT_EMPTY: u32 = 0x100 | 0x800 | 0x1000;
    const SYNC: u32 = 0x6000;
    let (flags, mask, to) = (call.int(2) as u32, call.int(3) as u32, call.ptr(4));
    if flags & !(NOFOLLOW_AUTOMOUNT_EMPTY | SYNC) != 0 || flags & SYNC == SYNC || mask >> 31 != 0 {
        return Err(Errno::EINVAL);
    }
    let name = if call.abi == Abi::I386 { "fstatat64" } else { "newfstatat" };
    let flags = u64::from(flags & NOFOLLOW_AUTOMOUNT_EMPTY);
    let answer = perform(task, name, &[call.word(0), call.word(1), to.0, flags])?;
    if answer != 0 {
        return Ok(Reply::Value(answer));
    }
    let mut stat = [0; 144];
    let stat = match call.abi {
        Abi::I386 => &mut stat[..96],
        Abi::X86_64 => &mut stat[..],
    };
    task.read(to, stat)?;
    task.write(to, &of_stat(call.abi, stat))?;
    Ok(Reply::Value(0))
}

/// `struct statx` from `struct stat` of x86_64 or `struct stat64` of i386 (asm/stat.h).
fn of_stat(abi: Abi, stat: &[u8]) -> [u8; 256] {
    const BASIC_STATS: u32 = 0x7ff;
    let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| stat[at + i]));
    let int = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| stat[at + i]));
    // Offsets of dev, ino, nlink, mode, uid, gid, rdev, size, blksize, blocks.
    let [dev, ino, nlink, mode, uid, gid, rdev, size, blksize, blocks] = match abi {
        Abi::X86_64 => [0, 8, 16, 24, 28, 32, 40, 48, 56, 64],
        Abi::I386 => [0, 88, 20, 16, 24, 28, 32, 44, 52, 56],
    };
    let time = |i: usize| match abi {
        Abi::X86_64 => (long(72 + 16 * i) as i64, long(80 + 16 * i) as u32),
        Abi::I386 => (i64::from(int(64 + 8 * i) as i32), int(68 + 8 * i)),
    };
    let mut out = [0; 256];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &BASIC_STATS.to_le_bytes());
    put(4, &int(blksize).to_le_bytes());
    put(16, &int(nlink).to_le_bytes());
    put(20, &int(uid).to_le_bytes());
    put(24, &int(gid).to_le_bytes());
    put(28, &(int(mode) as u16).to_le_bytes());
    for (at, from) in [(32, ino), (40, size), (48, blocks)] {
        put(at, &long(from).to_le_bytes());
    }
    // atime, mtime and ctime of stat; btime stands second in statx.
    for (at, (seconds, nanoseconds)) in [(64, time(0)), (112, time(1)), (96, time(2))] {
        put(at, &seconds.to_le_bytes());
        put(at + 8, &nanoseconds.to_le_bytes());
    }
    for (at, dev) in [(128, long(rdev)), (136, long(dev))] {
        // new_decode_dev of linux/kdev_t.h.
        put(at, &((dev as u32 & 0xf_ff00) >> 8).to_le_bytes());
        put(at + 4, &(dev as u32 & 0xff | (dev as u32 >> 12) & 0xf_ff00).to_le_bytes());
    }
    out
}

/// Answers renameat2(2), Linux 3.15.
pub(super) fn renameat2(task: &mut dyn Task, call: &Call) -> Answered {
    const NOREPLACE: i32 = 1;
    let [from, old, to, new] = std::array::from_fn(|i| call.word(i));
    match call.int(4) {
        0 => instead(task, "renameat", &[from, old, to, new]),
        NOREPLACE => {
            let linked = perform(task, "linkat", &[from, old, to, new, 0])?;
            if linked == 0 {
                return instead(task, "unlinkat", &[from, old, 0]);
            }
            // A folder, or a file system without links.
            let refused = [Errno::EPERM, Errno::EMLINK, Errno::EOPNOTSUPP, Errno::ENOSYS];
            if !refused.iter().any(|&errno| linked == -(errno as i64)) {
                return Ok(Reply::Value(linked));
            }
            let there = perform(task, "openat", &[to, new, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0])?;
            if there == -(Errno::ENOENT as i64) {
                return instead(task, "renameat", &[from, old, to, new]);
            }
            if is_error(there) {
                return Ok(Reply::Value(there));
            }
            perform(task, "close", &[there as u64])?;
            Err(Errno::EEXIST)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// Answers getrandom(2), Linux 3.17.
pub(super) fn getrandom(task: &mut dyn Task, call: &Call) -> Answered {
    const RANDOM_INSECURE: i32 = 2 | 4;
    /// The most that a call of getrandom(2) gives.
    const MOST: u64 = 33_554_431;
    let flags = call.int(2);
    if flags & !7 != 0 || flags & RANDOM_INSECURE == RANDOM_INSECURE {
        return Err(Errno::EINVAL);
    }
    let len = call.word(1).min(MOST);
    let mut chunk = [0; 4096];
    let mut done = 0;
    while done < len {
        let now = (len - done).min(chunk.len() as u64) as usize;
        task.random(&mut chunk[..now])?;
        match task.write(call.ptr(0).offset(done), &chunk[..now]) {
            Ok(()) => done += now as u64,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(Reply::Value(done as i64))
}

/// Answers copy_file_range(2), Linux 4.5.
pub(super) fn copy_file_range(task: &mut dyn Task, call: &Call) -> Answered {
    /// As much as a monitor's thread shall be busy with; the guest asks again.
    const MOST: u64 = 16 << 20;
    if call.int(5) != 0 {
        return Err(Errno::EINVAL);
    }
    let (from, to) = (offset_of(task, call.ptr(1))?, offset_of(task, call.ptr(3))?);
    let len = call.word(4).min(MOST);
    let copied = task.copy_range((call.int(0), from), (call.int(2), to), len)?;
    for (at, offset) in [(call.ptr(1), from), (call.ptr(3), to)] {
        if let Some(offset) = offset {
            task.write(at, &(offset + copied as i64).to_le_bytes())?;
        }
    }
    Ok(Reply::Value(copied as i64))
}

/// A `loff_t` of the guest's; `None` where it passed NULL.
fn offset_of(task: &mut dyn Task, at: GuestPtr) -> Result<Option<i64>, Errno> {
    if at.is_null() {
        return Ok(None);
    }
    let mut bytes = [0; 8];
    task.read(at, &mut bytes)?;
    match i64::from_le_bytes(bytes) {
        0.. => Ok(Some(i64::from_le_bytes(bytes))),
        _ => Err(Errno::EINVAL),
    }
}

const RWF_HIPRI: i32 = 1;
const RWF_DSYNC: i32 = 2;
const RWF_SYNC: i32 = 4;

/// Answers preadv2(2), Linux 4.6.
pub(super) fn preadv2(task: &mut dyn Task, call: &Call) -> Answered {
    // What is written through has nothing to do with reading, and polling for an end is a hint.
    if call.int(5) & !(RWF_HIPRI | RWF_DSYNC | RWF_SYNC) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    transfer(task, call, "readv", "preadv").map(Reply::Value)
}

/// Answers pwritev2(2), Linux 4.6.
pub(super) fn pwritev2(task: &mut dyn Task, call: &Call) -> Answered {
    let flags = call.int(5);
    if flags & !(RWF_HIPRI | RWF_DSYNC | RWF_SYNC) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let written = transfer(task, call, "writev", "pwritev")?;
    if written > 0 && flags & (RWF_DSYNC | RWF_SYNC) != 0 {
        let name = if flags & RWF_SYNC != 0 { "fsync" } else { "fdatasync" };
        let synced = perform(task, name, &[call.word(0)])?;
        // EINVAL: a pipe or a socket, where there is nothing to write through.
        if is_error(synced) && synced != -(Errno::EINVAL as i64) {
            return Ok(Reply::Value(synced));
        }
    }
    Ok(Reply::Value(written))
}

/// An offset of −1 means the file's own.
fn transfer(task: &mut dyn Task, call: &Call, plain: &str, at: &str) -> Result<i64, Errno> {
    let [fd, vector, count, low, high] = std::array::from_fn(|i| call.word(i));
    let own = match call.abi {
        Abi::X86_64 => low == u64::MAX,
        Abi::I386 => (low, high) == (0xffff_ffff, 0xffff_ffff),
    };
    if own {
        perform(task, plain, &[fd, vector, count])
    } else {
        perform(task, at, &[fd, vector, count, low, high])
    }
}

/// What [`CWD`] and a path stand for, opened without following a last symbolic link.
pub(super) fn open_path(task: &mut dyn Task, at: u64, path: u64, follow: bool) -> Result<i64, Errno> {
    let follow = if follow { 0 } else { O_NOFOLLOW };
    perform(
        task,
        "openat",
        &[if at as u32 == CWD as u32 { CWD } else { at }, path, O_PATH | O_CLOEXEC | follow, 0],
    )
}
