//! What only raw system calls can do. The only module with `unsafe`; each function is a thin, safe
//! face of one call or of one short sequence.

pub mod activation;
pub mod bpf;
pub mod btrfs;
pub mod child;
pub mod credentials;
pub mod files;
pub mod memory;
pub mod mount;
pub mod notify;
pub mod process;
pub mod ptrace;
pub mod quota;
pub mod scm;
pub mod thread;
pub mod tty;

use nix::errno::Errno;

/// The kernel's answer as a `Result`: −1 is errno.
pub(crate) fn check(ret: libc::c_long) -> Result<libc::c_long, Errno> {
    if ret == -1 { Err(Errno::last()) } else { Ok(ret) }
}
