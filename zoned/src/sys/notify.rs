//! The supervisor's side of seccomp_unotify(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::check;

/// A filter's listener.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

/// One notified call.
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// Cookie of the notification.
    pub id: u64,
    /// Thread that made the call, in our pid namespace.
    pub pid: i32,
    /// AUDIT_ARCH_* of the call.
    pub arch: u32,
    /// Number.
    pub nr: i32,
    /// Instruction pointer.
    pub ip: u64,
    /// Arguments.
    pub args: [u64; 6],
}

/// What a call returns.
#[derive(Debug, Clone, Copy)]
pub enum Response {
    /// This value.
    Value(i64),
    /// This error.
    Error(Errno),
    /// Whatever the kernel says.
    Continue,
}

const MAGIC: u8 = b'!';
const SYNC_WAKE_UP: u64 = 1;

mod ioctl {
    #![allow(missing_docs, reason = "the macros make bare functions of seccomp_unotify(2)")]
    use super::MAGIC;

    nix::ioctl_readwrite!(recv, MAGIC, 0, libc::seccomp_notif);
    nix::ioctl_readwrite!(send, MAGIC, 1, libc::seccomp_notif_resp);
    nix::ioctl_write_ptr!(id_valid, MAGIC, 2, u64);
    nix::ioctl_write_ptr!(addfd, MAGIC, 3, libc::seccomp_notif_addfd);
    nix::ioctl_write_int_bad!(set_flags, nix::request_code_write!(MAGIC, 4, size_of::<u64>()));
}

impl Listener {
    /// Takes over a listener descriptor and asks for synchronous wake-ups where the kernel has
    /// them (Linux 6.6); older ones answer EINVAL and work without.
    pub fn new(fd: OwnedFd) -> Self {
        // SAFETY: the ioctl takes its argument by value; the kernel refuses a descriptor that is
        // no listener.
        let _ = unsafe { ioctl::set_flags(fd.as_raw_fd(), SYNC_WAKE_UP as libc::c_int) };
        Self { fd }
    }

    /// Waits for the next call. ENOENT: the caller died meanwhile, or no task has the filter any
    /// more; poll tells which.
    pub fn receive(&self) -> Result<Notification, Errno> {
        // SAFETY: seccomp_notif is plain integers, for which all zero bytes are valid; the kernel
        // demands zeroes.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: `raw` is a live seccomp_notif of the size that the ioctl number states.
        unsafe { ioctl::recv(self.fd.as_raw_fd(), &raw mut raw) }?;
        Ok(Notification {
            id: raw.id,
            pid: raw.pid as i32,
            arch: raw.data.arch,
            nr: raw.data.nr,
            ip: raw.data.instruction_pointer,
            args: raw.data.args,
        })
    }

    /// Whether the call `id` still waits for its answer.
    pub fn is_valid(&self, id: u64) -> bool {
        // SAFETY: `id` is a live u64, which the ioctl only reads.
        unsafe { ioctl::id_valid(self.fd.as_raw_fd(), &raw const id) }.is_ok()
    }

    /// Answers a call. ENOENT: it is no longer there, which is nobody's fault.
    pub fn respond(&self, id: u64, response: Response) -> Result<(), Errno> {
        let mut raw = libc::seccomp_notif_resp { id, val: 0, error: 0, flags: 0 };
        match response {
            Response::Value(value) => raw.val = value,
            Response::Error(errno) => raw.error = -(errno as i32),
            Response::Continue => raw.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        }
        // SAFETY: `raw` is a live seccomp_notif_resp of the size that the ioctl number states.
        unsafe { ioctl::send(self.fd.as_raw_fd(), &raw mut raw) }?;
        Ok(())
    }

    /// Gives the caller a new descriptor for `file` and answers the call with it, in one step
    /// where the kernel can (Linux 5.14) and in two where it cannot.
    pub fn respond_with_fd(&self, id: u64, file: BorrowedFd<'_>, cloexec: bool) -> Result<(), Errno> {
        let mut raw = libc::seccomp_notif_addfd {
            id,
            flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
            srcfd: file.as_raw_fd() as u32,
            newfd: 0,
            newfd_flags: if cloexec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        // SAFETY: `raw` is a live seccomp_notif_addfd, which the ioctl only reads.
        match unsafe { ioctl::addfd(self.fd.as_raw_fd(), &raw const raw) } {
            Ok(_) => Ok(()),
            Err(Errno::EINVAL) => {
                raw.flags = 0;
                // SAFETY: as above.
                let fd = unsafe { ioctl::addfd(self.fd.as_raw_fd(), &raw const raw) }?;
                self.respond(id, Response::Value(i64::from(fd)))
            }
            Err(e) => Err(e),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether this kernel can make a notified call wait unkillably but for fatal signals once it is
/// received (Linux 5.19): asked with a null program, which a kernel that knows the flag answers
/// with EFAULT.
pub fn has_wait_killable() -> bool {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: a null program is never installed: the kernel refuses it with EFAULT.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::null::<libc::sock_fprog>(),
        )
    };
    matches!(check(ret), Err(Errno::EFAULT))
}
