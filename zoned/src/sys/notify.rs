//! The supervisor's side of seccomp_unotify(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

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
    received: Instant,
}

/// Numbers of processes are given one after the other: that of one who died meanwhile is nobody's again so soon.
const FRESH: Duration = Duration::from_micros(200);

impl Notification {
    /// Whether the number of its caller may be somebody else's by now. To ask the listener says no more: what it says of
    /// a moment is as old by the time of its use as a call that was just received.
    pub fn is_old(&self) -> bool {
        self.received.elapsed() > FRESH
    }
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

/// The requests of ioctl(2) that a listener takes, as a filter sees them.
pub const REQUESTS: [u64; 5] = [
    nix::request_code_readwrite!(MAGIC, 0, size_of::<libc::seccomp_notif>()),
    nix::request_code_readwrite!(MAGIC, 1, size_of::<libc::seccomp_notif_resp>()),
    nix::request_code_write!(MAGIC, 2, size_of::<u64>()),
    nix::request_code_write!(MAGIC, 3, size_of::<libc::seccomp_notif_addfd>()),
    nix::request_code_write!(MAGIC, 4, size_of::<u64>()),
];

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
            received: Instant::now(),
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

/// Puts the calling thread, and those that it makes, under a filter for good, and has them gain no privileges by exec. The
/// kernel logs what it refuses where that `is_logged` and actions_logged of seccomp(2) has it so.
pub fn filter_thread(program: &[libc::sock_filter], is_logged: bool) -> Result<(), Errno> {
    nix::sys::prctl::set_no_new_privs()?;
    let len = u16::try_from(program.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` is a live sock_fprog whose pointer and length are those of a live slice.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            if is_logged { libc::SECCOMP_FILTER_FLAG_LOG } else { 0 },
            &raw const program,
        )
    };
    check(ret)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use super::*;
    use crate::sys::child::{self, Exec, Plan, Slot, Step, Told};

    fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt, jf, k }
    }

    /// Notifies umask(2), which a shell calls only when it is told to.
    fn filter() -> Vec<libc::sock_filter> {
        vec![
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_umask as u32, 0, 1),
            instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
            instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
        ]
    }

    /// Runs a shell script under the filter; `answer` is called for each of its umask calls. The
    /// answer is what the script wrote.
    fn run(script: &str, mut answer: impl FnMut(&Listener, &Notification)) -> String {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let words = ["sh", "-c", script].map(|w| CString::new(w).unwrap());
        let mut plan = Plan::default();
        plan.then("wait", Step::Receive)
            .then("take streams", Step::Stdio(Slot(0), Slot(0), Slot(0)))
            .then(
                "filter",
                Step::Filter {
                    program: filter(),
                    flags: libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                    listen: true,
                },
            )
            .then("exec", Step::Exec(Exec::new(vec![c"/bin/sh".to_owned()], words.to_vec(), vec![])));
        let mut child = child::spawn(&plan, 0, None).unwrap();
        child.release(&[write.as_fd()]).unwrap();
        drop(write);
        let mut listener = None;
        loop {
            match child.hear() {
                Told::Listener(fd) => listener = Some(Listener::new(fd)),
                Told::Executing => {}
                Told::Through => break,
                told => panic!("{told:?}"),
            }
        }
        let listener = listener.expect("the filter has one");
        while crate::confine::wait_readable(listener.as_fd(), std::time::Duration::from_secs(10)) {
            match listener.receive() {
                Ok(call) => answer(&listener, &call),
                Err(_) => break,
            }
        }
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        crate::sys::process::reap(child.pidfd.as_fd(), true).unwrap();
        text
    }

    #[test]
    fn a_call_returns_what_it_is_answered() {
        let mut calls = 0;
        let text = run("umask; umask 077; umask", |listener, call| {
            calls += 1;
            assert_eq!(i64::from(call.nr), libc::SYS_umask);
            assert!(listener.is_valid(call.id));
            listener.respond(call.id, Response::Value(0o123)).unwrap();
            assert!(!listener.is_valid(call.id));
        });
        assert!(calls >= 3);
        assert!(text.lines().all(|line| line.ends_with("0123") || line.ends_with("123")), "{text}");
    }

    #[test]
    fn a_call_that_goes_on_is_the_kernels() {
        let text = run("umask 022; umask", |listener, call| {
            listener.respond(call.id, Response::Continue).unwrap();
        });
        assert_eq!(text, "0022\n");
    }

    #[test]
    fn a_call_returns_a_descriptor_of_ours() {
        let mut file =
            File::from(nix::sys::memfd::memfd_create(c"gift", nix::sys::memfd::MFdFlags::empty()).unwrap());
        file.write_all(b"given\n").unwrap();
        file.rewind().unwrap();
        let mut given = false;
        let text = run("umask 0; cat <&3", |listener, call| {
            if given {
                listener.respond(call.id, Response::Continue).unwrap();
            } else {
                given = true;
                listener.respond_with_fd(call.id, file.as_fd(), false).unwrap();
            }
        });
        assert_eq!(text, "given\n");
    }
}
