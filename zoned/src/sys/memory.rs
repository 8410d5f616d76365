//! A guest's memory, from the outside.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
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

/// Writes `bytes` at `at` in process `pid`, heeding the guest's page protections (process_vm_writev(2)). EFAULT when any
/// byte cannot be written. The number may be somebody else's by now: the calling thread is one that reaches nobody but
/// the zone's processes ([`super::credentials`]), and EPERM is what it is told of others.
pub fn write(pid: Pid, at: u64, bytes: &[u8]) -> Result<(), Errno> {
    let len = bytes.len();
    let base = usize::try_from(at).map_err(|_| Errno::EFAULT)?;
    let done = process_vm_writev(pid, &[IoSlice::new(bytes)], &[RemoteIoVec { base, len }])?;
    if done == len { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Has malloc(3) take memory from one place for all threads, and give back at once what is large: by default a thread has
/// a heap of its own, of which it writes 132 KiB when it first asks for much (mallopt(3), glibc 2.36).
pub fn share_heap() {
    for (option, value) in [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, 128 << 10)] {
        // SAFETY: plain integers only. One that is not known changes nothing.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Gives the kernel back what malloc(3) has free (malloc_trim(3)).
pub fn give_back() {
    // SAFETY: a plain integer only.
    unsafe { libc::malloc_trim(0) };
}

/// `struct procmap_query` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct ProcmapQuery {
    size: u64,
    query_flags: u64,
    query_addr: u64,
    vma_start: u64,
    vma_end: u64,
    vma_flags: u64,
    vma_page_size: u64,
    vma_offset: u64,
    inode: u64,
    dev: [u32; 2],
    name_size: u32,
    build_id_size: u32,
    name_addr: u64,
    build_id_addr: u64,
}

mod ioctl {
    #![allow(missing_docs, reason = "the macro makes a bare function of PROCMAP_QUERY, proc_pid_maps(5)")]
    nix::ioctl_readwrite!(procmap_query, b'f', 17, super::ProcmapQuery);
}

/// PROCMAP_QUERY, as a filter sees it.
pub const QUERY: u64 = nix::request_code_readwrite!(b'f', 17, size_of::<ProcmapQuery>());

/// PROCMAP_QUERY_VMA_WRITABLE
const WRITABLE: u64 = 2;

/// The mapping that `at` lies in, begin and end, asked of /proc/PID/maps: one that has all of `flags`. `None` where the
/// kernel cannot be asked (before Linux 6.11).
fn query(maps: BorrowedFd<'_>, at: u64, flags: u64) -> Option<Option<(u64, u64)>> {
    let mut query = ProcmapQuery {
        size: size_of::<ProcmapQuery>() as u64,
        query_flags: flags,
        query_addr: at,
        ..ProcmapQuery::default()
    };
    // SAFETY: `query` is a live procmap_query that states its own size.
    match unsafe { ioctl::procmap_query(maps.as_raw_fd(), &raw mut query) } {
        Ok(_) => Some(Some((query.vma_start, query.vma_end))),
        Err(Errno::ENOENT) => Some(None),
        Err(_) => None,
    }
}

/// Begin and end of the mapping that `at` lies in, asked of /proc/PID/maps; `None` where the kernel cannot be asked
/// (before Linux 6.11).
pub fn mapping(maps: BorrowedFd<'_>, at: u64) -> Option<Option<(u64, u64)>> {
    query(maps, at, 0)
}

/// Whether `len` bytes from `at` lie in writable mappings, asked of /proc/PID/maps; `None` where
/// the kernel cannot be asked (before Linux 6.11).
pub fn is_writable(maps: BorrowedFd<'_>, at: u64, len: u64) -> Option<bool> {
    let Some(end) = at.checked_add(len) else { return Some(false) };
    let mut next = at;
    while next < end {
        match query(maps, next, WRITABLE)? {
            Some((_, stop)) => next = stop,
            None => return Some(false),
        }
    }
    Some(true)
}
