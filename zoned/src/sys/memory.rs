//! A guest's memory, from the outside.

use std::io::IoSliceMut;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// Fills `buf` from `at` in process `pid`, heeding the guest's page protections
/// (process_vm_readv(2)). EFAULT when any byte cannot be read. The caller makes sure afterwards
/// that `pid` was still who it was thought to be.
pub fn read(pid: Pid, at: u64, buf: &mut [u8]) -> Result<(), Errno> {
    let len = buf.len();
    if len == 0 {
        return Ok(());
    }
    let base = usize::try_from(at).map_err(|_| Errno::EFAULT)?;
    let done = process_vm_readv(pid, &mut [IoSliceMut::new(buf)], &[RemoteIoVec { base, len }])?;
    if done == len { Ok(()) } else { Err(Errno::EFAULT) }
}
