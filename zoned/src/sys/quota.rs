//! Project quotas of ext4 and xfs: ioctl_fs_setxattr of linux/fs.h, quotactl_fd(2) (Linux 5.14).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::check;
use crate::image::tree::walk;

/// struct fsxattr
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

/// struct if_dqblk
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Quota {
    hard: u64,
    soft: u64,
    used: u64,
    inodes_hard: u64,
    inodes_soft: u64,
    inodes: u64,
    time: u64,
    inodes_time: u64,
    valid: u32,
}

/// FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR.
const GET: libc::c_ulong = 0x801c_581f;
const SET: libc::c_ulong = 0x401c_5820;
/// FS_XFLAG_PROJINHERIT: what is made in the folder is of its project, and statfs(2) tells of that alone.
const INHERIT: u32 = 0x200;
const PROJECT: u32 = 2;
const GET_QUOTA: u32 = 0x80_0007;
const SET_QUOTA: u32 = 0x80_0008;
/// QIF_BLIMITS: the limits of blocks, which are of 1024 bytes.
const LIMITS: u32 = 1;
const BLOCK: u64 = 1024;

/// Whether project quotas are on, on the file system of `folder`.
pub fn is_on(folder: BorrowedFd<'_>) -> bool {
    ask(folder, GET_QUOTA, 0, &mut Quota::default()).is_ok()
}

/// Limits what is of `project` on the file system of `folder` to so many bytes; 0 is no limit.
pub fn limit(folder: BorrowedFd<'_>, project: u32, bytes: u64) -> Result<(), Errno> {
    let mut quota = Quota { hard: bytes.div_ceil(BLOCK), valid: LIMITS, ..Quota::default() };
    ask(folder, SET_QUOTA, project, &mut quota)
}

fn ask(folder: BorrowedFd<'_>, command: u32, project: u32, quota: &mut Quota) -> Result<(), Errno> {
    let command = command << 8 | PROJECT;
    // SAFETY: both commands take an if_dqblk, of which `quota` is a live one.
    let ret = unsafe {
        libc::syscall(libc::SYS_quotactl_fd, folder.as_raw_fd(), command, project, &raw mut *quota)
    };
    check(ret).map(drop)
}

/// Makes all below `folder` of `project`, and what will come below it. Nobody writes to it.
pub fn assign(folder: OwnedFd, project: u32) -> Result<(), Errno> {
    if attributes(folder.as_fd())?.projid == project {
        return Ok(());
    }
    let top = folder.try_clone().map_err(|_| Errno::EMFILE)?;
    let each = &mut |folder: BorrowedFd<'_>, name: &CStr, stat: &Stat| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory | FileType::RegularFile => {
                let file = rustix::fs::openat(folder, name, flags, Mode::empty())?;
                set(file.as_fd(), project).map_err(|e| rustix::io::Errno::from_raw_os_error(e as i32))
            }
            // They take a block at most, and cannot be opened for this.
            _ => Ok(()),
        }
    };
    walk(folder, each).map_err(errno)?;
    // The last: as long as it is not, the work is done again.
    set(top.as_fd(), project)
}

fn attributes(file: BorrowedFd<'_>) -> Result<Attributes, Errno> {
    let mut found = Attributes::default();
    // SAFETY: the request fills an fsxattr, of which `found` is a live one.
    check(unsafe { libc::ioctl(file.as_raw_fd(), GET, &raw mut found) }.into())?;
    Ok(found)
}

fn set(file: BorrowedFd<'_>, project: u32) -> Result<(), Errno> {
    let mut new = attributes(file)?;
    new.projid = project;
    let found = rustix::fs::fstat(file).map_err(errno)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        new.xflags |= INHERIT;
    }
    // SAFETY: the request reads an fsxattr, of which `new` is a live one.
    check(unsafe { libc::ioctl(file.as_raw_fd(), SET, &raw const new) }.into()).map(drop)
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_long_as_the_kernels() {
        assert_eq!(size_of::<Attributes>(), 0x1c);
        assert_eq!(size_of::<Quota>(), 72);
    }
}
