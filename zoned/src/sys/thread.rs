//! What one thread of the monitor may change about itself alone.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::mount::MsFlags;

use super::{check, process};

/// Gives the calling thread its own root, working directory and umask, and moves it into the
/// mount namespace of `pidfd`. Meant for a thread that ends afterwards.
pub fn enter_mounts(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: unshare takes a plain integer; CLONE_FS separates this thread's own state.
    check(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_FS) })?;
    process::set_namespace(pidfd, libc::CLONE_NEWNS)
}

/// Moves the calling thread into a mount namespace of its own, a copy of its present one whose root
/// is `top`. What it mounts there nobody else sees. Meant for a thread that ends afterwards.
pub fn own_mounts(top: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: unshare takes a plain integer; CLONE_FS separates this thread's own state.
    check(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_FS) })?;
    // From the top, because propagation is changed at the root of a mount only.
    set_root(top, top)?;
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_unshare, libc::CLONE_NEWNS) })?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
}

/// Makes `root` the calling thread's root and `cwd` its working directory.
pub fn set_root(root: BorrowedFd<'_>, cwd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: plain integers only.
    check(unsafe { libc::syscall(libc::SYS_fchdir, root.as_raw_fd()) })?;
    // SAFETY: the path is a static string.
    check(unsafe { libc::syscall(libc::SYS_chroot, c".".as_ptr()) })?;
    // SAFETY: plain integers only.
    check(unsafe { libc::syscall(libc::SYS_fchdir, cwd.as_raw_fd()) })?;
    Ok(())
}

/// Ids that the calling thread meets the file system with: setgroups(2), setfsgid(2) and
/// setfsuid(2), raw so that no other thread changes with it. A user other than 0 also takes the
/// file capabilities away, and 0 gives them back (capabilities(7)).
pub fn set_fs_ids(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the pointer and length are those of a live slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: plain integers only; the call cannot fail, it answers the previous id.
    unsafe { libc::syscall(libc::SYS_setfsgid, gid) };
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_setfsuid, uid) };
    Ok(())
}

/// `struct timex` as adjtimex(2) with `modes` 0 fills it, and its answer.
pub fn read_timex() -> Result<(i32, libc::timex), Errno> {
    // SAFETY: timex is plain integers, for which all zero bytes are valid.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `timex` is live and modes is 0, so nothing is set.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 { Err(Errno::last()) } else { Ok((state, timex)) }
}
