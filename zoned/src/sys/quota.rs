//! Project quotas of ext4 and xfs: ioctl_fs_setxattr of linux/fs.h, quotactl_fd(2) (Linux 5.14).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::check;

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

/// struct fs_quota_stat of linux/dqblk_xfs.h, of which only the flags are of interest.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Status {
    version: i8,
    flags: u16,
    rest: [u64; 9],
}

/// FS_IOC_FSGETXATTR and FS_IOC_FSSETXATTR.
const GET: libc::c_ulong = 0x801c_581f;
const SET: libc::c_ulong = 0x401c_5820;
/// FS_XFLAG_PROJINHERIT: what is made in the folder is of its project, and statfs(2) tells of that alone.
const INHERIT: u32 = 0x200;
const PROJECT: u32 = 2;
const SET_QUOTA: u32 = 0x80_0008;
/// Q_XGETQSTAT, which the kernel answers for ext4 too.
const GET_STATUS: u32 = 0x5805;
/// FS_QUOTA_PDQ_ENFD. That usage is counted alone holds nobody to anything: ext4 does without the mount option, xfs with
/// pqnoenforce.
const ENFORCED: u16 = 1 << 5;
/// QIF_BLIMITS: the limits of blocks, which are of 1024 bytes; QIF_ILIMITS.
const LIMITS: u32 = 1 | 4;
const BLOCK: u64 = 1024;
/// Bytes for each file that there may be. Empty ones cost nothing else, and a disk of ext4 has so many and no more.
const FILE: u64 = 4096;

/// Whether project quotas hold, on the file system of `folder`.
pub fn is_on(folder: BorrowedFd<'_>) -> bool {
    let mut status = Status { version: 1, ..Status::default() };
    ask(folder, GET_STATUS, 0, &mut status).is_ok() && status.flags & ENFORCED != 0
}

/// Limits what is of `project` on the file system of `folder` to so many bytes, and to a number of files that goes with
/// them; 0 is no limit.
pub fn limit(folder: BorrowedFd<'_>, project: u32, bytes: u64) -> Result<(), Errno> {
    let mut quota = Quota {
        hard: bytes.div_ceil(BLOCK),
        inodes_hard: bytes.div_ceil(FILE),
        valid: LIMITS,
        ..Quota::default()
    };
    ask(folder, SET_QUOTA, project, &mut quota)
}

/// `argument` is what the command takes.
fn ask<T>(folder: BorrowedFd<'_>, command: u32, project: u32, argument: &mut T) -> Result<(), Errno> {
    let command = command << 8 | PROJECT;
    // SAFETY: SET_QUOTA reads an if_dqblk, GET_STATUS fills an fs_quota_stat: `argument` is a live one of it, or longer.
    let ret = unsafe {
        libc::syscall(libc::SYS_quotactl_fd, folder.as_raw_fd(), command, project, &raw mut *argument)
    };
    check(ret).map(drop)
}

/// The project of a file or folder; 0 is none, which is all that some file systems know.
pub fn project(file: BorrowedFd<'_>) -> u32 {
    attributes(file).map_or(0, |found| found.projid)
}

/// Makes a file or folder of `project`; with `inherits` whatever is made in it is, too.
pub fn set_project(file: BorrowedFd<'_>, project: u32, inherits: bool) -> Result<(), Errno> {
    let mut new = attributes(file)?;
    new.projid = project;
    new.xflags = if inherits { new.xflags | INHERIT } else { new.xflags & !INHERIT };
    // SAFETY: the request reads an fsxattr, of which `new` is a live one.
    check(unsafe { libc::ioctl(file.as_raw_fd(), SET, &raw const new) }.into()).map(drop)
}

fn attributes(file: BorrowedFd<'_>) -> Result<Attributes, Errno> {
    let mut found = Attributes::default();
    // SAFETY: the request fills an fsxattr, of which `found` is a live one.
    check(unsafe { libc::ioctl(file.as_raw_fd(), GET, &raw mut found) }.into())?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_long_as_the_kernels() {
        assert_eq!(size_of::<Attributes>(), 0x1c);
        assert_eq!(size_of::<Quota>(), 72);
        assert_eq!((size_of::<Status>(), std::mem::offset_of!(Status, flags)), (80, 2));
    }
}
