//! Terminals by their master.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

mod ioctl {
    #![allow(missing_docs, reason = "the macro makes a bare function of ioctl_tty(2)")]
    nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, libc::winsize);
}

/// Sets the size of a terminal in rows and columns; its foreground processes get SIGWINCH.
pub fn set_size(master: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` is a live winsize, which the ioctl only reads.
    unsafe { ioctl::set_size(master.as_raw_fd(), &raw const size) }?;
    Ok(())
}

/// Opens the other side of a master, whatever mount namespace it lives in (TIOCGPTPEER,
/// Linux 4.13).
pub fn open_peer(master: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the ioctl takes its argument by value.
    let fd = super::check(unsafe {
        libc::syscall(libc::SYS_ioctl, master.as_raw_fd(), libc::TIOCGPTPEER, flags)
    })?;
    // SAFETY: the call has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
