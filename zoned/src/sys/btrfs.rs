//! Subvolumes of btrfs (ioctl_btrfs(2), linux/btrfs.h).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
        for (request, number) in [(SNAPSHOT, 23), (CREATE, 24)] {
            assert_eq!(request, 1 << 30 | 4096 << 16 | 0x94 << 8 | number);
        }
    }
}
