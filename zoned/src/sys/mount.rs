//! The mount calls that libc has no functions for: open_tree(2), move_mount(2), mount_setattr(2),
//! fsopen(2) and its kin.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::check;

pub use libc::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};

fn owned(ret: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = check(ret)? as i32;
    // SAFETY: the call that gave `ret` has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A detached copy of the mount that `path` lies on, beginning at `path`; with `recursive`, of
/// the mounts below it too. Before Linux 6.15 that mount must be attached, in the mount namespace
/// of the caller.
pub fn clone_tree(dir: BorrowedFd<'_>, path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    if recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })
}

/// Sets attributes (MOUNT_ATTR_*) of a mount and, with `userns`, maps its ids into that user
/// namespace. `recursive` takes the mounts below along.
pub fn set_attributes(
    tree: impl AsFd,
    set: u64,
    userns: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> Result<(), Errno> {
    let attr = libc::mount_attr {
        attr_set: set | if userns.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 },
        attr_clr: 0,
        propagation: 0,
        userns_fd: userns.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `attr` is a live mount_attr of the size given; the path is a static string.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Adds `flags` (MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC of mount(2)) to the mount at `path`, which keeps those
/// that it has. Allocates nothing.
pub fn restrict(path: &CStr, flags: libc::c_ulong) -> Result<(), Errno> {
    // SAFETY: statvfs is plain integers, for which all zero bytes are valid.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a NUL-terminated string and `found` a live statvfs.
    check(unsafe { libc::statvfs(path.as_ptr(), &raw mut found) }.into())?;
    // ST_* of statvfs(3) are MS_* for these four.
    let kept = found.f_flag & (libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC);
    let flags = kept | flags | libc::MS_REMOUNT | libc::MS_BIND;
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: the path is a NUL-terminated string; a remount of a mount's flags takes no other words.
    check(unsafe { libc::mount(null, path.as_ptr(), null, flags, null.cast()) }.into())?;
    Ok(())
}

/// Attaches a detached mount at `path` below `dir`.
pub fn attach(tree: impl AsFd, dir: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are NUL-terminated strings that outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
        )
    })?;
    Ok(())
}

/// A new, detached file system: `kind` with `options`, its mount with `attributes`. An option without
/// a value is a flag.
pub fn make(kind: &CStr, options: &[(&CStr, &CStr)], attributes: u64) -> Result<OwnedFd, Errno> {
    const FSOPEN_CLOEXEC: u32 = 1;
    const FSCONFIG_SET_FLAG: u32 = 0;
    const FSCONFIG_SET_STRING: u32 = 1;
    const FSCONFIG_CMD_CREATE: u32 = 6;
    const FSMOUNT_CLOEXEC: u32 = 1;
    // SAFETY: `kind` is a NUL-terminated string that outlives the call.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    for (key, value) in options {
        let (command, value) = match value.is_empty() {
            true => (FSCONFIG_SET_FLAG, std::ptr::null()),
            false => (FSCONFIG_SET_STRING, value.as_ptr()),
        };
        // SAFETY: key and value are NUL-terminated strings that outlive the call; a flag has no value.
        check(unsafe {
            libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key.as_ptr(), value, 0)
        })?;
    }
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: FSCONFIG_CMD_CREATE takes no key and no value; both are null.
    check(unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, null, null, 0)
    })?;
    // SAFETY: plain integers only.
    owned(unsafe {
        libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes as u32)
    })
}

/// Whether `fd` is the root of a mount (statx(2), STATX_ATTR_MOUNT_ROOT, Linux 5.8).
pub fn is_root(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(look(fd)?.stx_attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0)
}

/// Number of the mount that `fd` lies on (statx(2), STATX_MNT_ID, Linux 5.8).
pub fn id(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    Ok(look(fd)?.stx_mnt_id)
}

fn look(fd: BorrowedFd<'_>) -> Result<libc::statx, Errno> {
    // SAFETY: statx is plain integers, for which all zero bytes are valid.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let mask = libc::STATX_TYPE | libc::STATX_MNT_ID;
    // SAFETY: the path is a static string and `found` a live statx.
    let ret = unsafe { libc::statx(fd.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, mask, &raw mut found) };
    check(libc::c_long::from(ret))?;
    Ok(found)
}
