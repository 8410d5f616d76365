//! Subvolumes of btrfs (ioctl_btrfs(2), linux/btrfs.h).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;

/// BTRFS_SUPER_MAGIC of linux/magic.h.
const MAGIC: u32 = 0x9123_683e;
/// Number of every subvolume's topmost folder (BTRFS_FIRST_FREE_OBJECTID).
const TOP: u64 = 256;

/// struct btrfs_ioctl_vol_args_v2.
#[repr(C)]
struct Arguments {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

const SNAPSHOT: libc::c_ulong = 0x5000_9417;
const CREATE: libc::c_ulong = 0x5000_9418;

/// Whether `path` lies on a btrfs.
pub fn is_btrfs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u32 == MAGIC)
}

/// Whether `path` is the topmost folder of a subvolume.
pub fn is_subvolume(path: &Path) -> bool {
    is_btrfs(path) && std::fs::metadata(path).is_ok_and(|found| found.is_dir() && found.ino() == TOP)
}

/// Makes an empty subvolume at `path`. Like a folder, it is removed by rmdir(2) once it is empty (Linux 4.18).
///
/// # Errors
/// As the call has them.
pub fn make_subvolume(path: &Path) -> io::Result<()> {
    ask(path, CREATE, None)
}

/// Makes `to` a copy of the subvolume `from`, as it is now.
///
/// # Errors
/// As the call has them.
pub fn snapshot(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::fd::AsFd;
    ask(to, SNAPSHOT, Some(File::open(from)?.as_fd()))
}

/// struct btrfs_ioctl_qgroup_limit_args
#[repr(C)]
struct Limit {
    group: u64,
    flags: u64,
    referenced: u64,
    exclusive: u64,
    reserved: [u64; 2],
}

/// struct btrfs_ioctl_quota_ctl_args
#[repr(C)]
struct Control {
    command: u64,
    status: u64,
}

const LIMIT: libc::c_ulong = 0x8030_942b;
const CONTROL: libc::c_ulong = 0xc010_9428;
const ENABLE: u64 = 1;
const WAIT_FOR_COUNT: libc::c_ulong = 0x942e;
/// BTRFS_QGROUP_LIMIT_MAX_RFER
const REFERENCED: u64 = 1;

/// Limits what the subvolume at `path` refers to; none is no limit. Quotas are turned on where they are not, which counts
/// what is there first.
///
/// # Errors
/// As the calls have them.
pub fn limit(path: &Path, bytes: Option<u64>) -> io::Result<()> {
    let folder = File::open(path)?;
    // Group 0 is the subvolume's own.
    let limit = Limit {
        group: 0,
        flags: REFERENCED,
        referenced: bytes.unwrap_or(u64::MAX),
        exclusive: 0,
        reserved: [0; 2],
    };
    // SAFETY: the request reads a btrfs_ioctl_qgroup_limit_args, of which `limit` is a live one.
    let set = || super::check(unsafe { libc::ioctl(folder.as_raw_fd(), LIMIT, &raw const limit) }.into());
    match (set(), bytes) {
        (Err(Errno::ENOTCONN), None) => return Ok(()),
        (Err(Errno::ENOTCONN), Some(_)) => {}
        (done, _) => return Ok(done.map(drop)?),
    }
    let mut control = Control { command: ENABLE, status: 0 };
    // SAFETY: the request takes a btrfs_ioctl_quota_ctl_args, of which `control` is a live one.
    super::check(unsafe { libc::ioctl(folder.as_raw_fd(), CONTROL, &raw mut control) }.into())?;
    // SAFETY: the request takes no argument.
    super::check(unsafe { libc::ioctl(folder.as_raw_fd(), WAIT_FOR_COUNT) }.into())?;
    Ok(set().map(drop)?)
}

/// struct btrfs_ioctl_fs_info_args, and struct btrfs_ioctl_ino_lookup_args after its first numbers.
#[repr(C)]
struct Info {
    numbers: [u64; 2],
    rest: [u8; 4080],
}

const LOOK_UP: libc::c_ulong = 0xd000_9412;
const FS_INFO: libc::c_ulong = 0x8400_941f;

/// What a subvolume refers to, and what it may at most: files of sysfs (Linux 5.9).
#[derive(Debug)]
pub struct Usage {
    referenced: File,
    most: File,
}

impl Usage {
    /// That of the subvolume at `path`.
    ///
    /// # Errors
    /// When nothing counts it, or this kernel does not tell.
    pub fn of(path: &Path) -> io::Result<Self> {
        let folder = File::open(path)?;
        let get = |request, numbers| {
            let mut info = Info { numbers, rest: [0; 4080] };
            // SAFETY: both requests take a structure that is no longer than `info`, which is live.
            super::check(unsafe { libc::ioctl(folder.as_raw_fd(), request, &raw mut info) }.into())?;
            Ok::<_, Errno>(info)
        };
        // Tree 0 is the folder's own.
        let subvolume = get(LOOK_UP, [0, TOP])?.numbers[0];
        let id = uuid::Uuid::from_slice(&get(FS_INFO, [0, 0])?.rest[..16]).map_err(io::Error::other)?;
        let group = format!("/sys/fs/btrfs/{id}/qgroups/0_{subvolume}");
        let open = |name| File::open(format!("{group}/{name}"));
        Ok(Self { referenced: open("referenced")?, most: open("max_referenced")? })
    }

    /// Bytes that it refers to, as of the last commit, and those that it may; none where it has no limit, or is gone.
    pub fn get(&self) -> Option<(u64, u64)> {
        let most = number(&self.most).filter(|most| *most > 0 && *most < u64::MAX)?;
        Some((number(&self.referenced)?, most))
    }
}

fn number(file: &File) -> Option<u64> {
    use std::os::unix::fs::FileExt;
    let mut text = [0; 32];
    let length = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(text.get(..length)?).ok()?.trim().parse().ok()
}

fn ask(path: &Path, request: libc::c_ulong, from: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let mut arguments = Arguments {
        fd: from.map_or(0, |fd| fd.as_raw_fd().into()),
        transid: 0,
        flags: 0,
        unused: [0; 4],
        name: [0; 4040],
    };
    let name = name.as_bytes();
    // The last byte stays zero.
    if name.len() >= arguments.name.len() {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    arguments.name[..name.len()].copy_from_slice(name);
    let parent = File::open(parent)?;
    // SAFETY: both requests take a btrfs_ioctl_vol_args_v2, of which `arguments` is a live one with its name ended by a
    // zero byte.
    super::check(unsafe { libc::ioctl(parent.as_raw_fd(), request, &raw const arguments) }.into())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_header() {
        // _IOW(0x94, 23 and 24, struct btrfs_ioctl_vol_args_v2)
        assert_eq!(size_of::<Arguments>(), 4096);
        assert_eq!((size_of::<Limit>(), size_of::<Control>()), (48, 16));
        assert_eq!(LIMIT, 2 << 30 | 48 << 16 | 0x94 << 8 | 43);
        assert_eq!(CONTROL, 3 << 30 | 16 << 16 | 0x94 << 8 | 40);
        for (request, number) in [(SNAPSHOT, 23), (CREATE, 24)] {
            assert_eq!(request, 1 << 30 | 4096 << 16 | 0x94 << 8 | number);
        }
    }
}
