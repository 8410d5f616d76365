//! Sockets that the service manager opened for us: sd_listen_fds(3).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The first one passed, if any. To be called once, before there are threads: it takes the variables out
/// of the environment.
///
/// # Errors
/// The variables make no sense, or the descriptor that they name is not open.
pub fn listening_socket() -> io::Result<Option<OwnedFd>> {
    let Some(descriptor) = sd_notify::listen_fds()?.next() else { return Ok(None) };
    // SAFETY: LISTEN_PID named this process, so the descriptor was opened for it by its parent; listen_fds
    // set FD_CLOEXEC on it, which fails unless it is open. Nothing else here knows its number, and a
    // second call finds no variables, so it gets one owner.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}
