//! A guest's system call as the kernel reported it, and what a brand answers.

use nix::errno::Errno;

use crate::abi::Abi;

/// One system call of a guest, copied from `struct seccomp_data` (seccomp(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Calling convention that the guest used.
    pub abi: Abi,
    /// Number in that convention.
    pub nr: u32,
    /// Arguments as the kernel saw them; a 32-bit guest's are zero-extended.
    pub args: [u64; 6],
    /// Address of the instruction after the call.
    pub ip: u64,
}

impl Call {
    /// Argument `i` as a pointer into the guest.
    pub fn ptr(&self, i: usize) -> GuestPtr {
        GuestPtr(self.word(i))
    }

    /// Argument `i` as the guest's `int`.
    pub fn int(&self, i: usize) -> i32 {
        self.args[i] as u32 as i32
    }

    /// Argument `i` as the guest's `unsigned long`: 32 bits wide on i386.
    pub fn word(&self, i: usize) -> u64 {
        match self.abi {
            Abi::X86_64 => self.args[i],
            Abi::I386 => self.args[i] & 0xffff_ffff,
        }
    }
}

/// An address in a guest's memory. Never dereferenced here; see [`crate::task::Task::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestPtr(pub u64);

impl GuestPtr {
    /// Whether the guest passed NULL.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address `bytes` further on; wraps, and then faults when used.
    pub fn offset(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

/// What becomes of a notified call when no error is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The call returns this value.
    Value(i64),
    /// The host kernel performs the call. Never a security decision: the guest may have changed
    /// its memory since we read it.
    Continue,
    /// The host kernel performs the call; when it is done and before the guest goes on, the monitor makes
    /// what it brought fit for the zone ([`crate::vsyscall`], a pinned personality).
    Watch(Watch),
    /// The call returns a new descriptor in the guest for a file that the task holds open,
    /// sent by SECCOMP_IOCTL_NOTIF_ADDFD.
    Fd {
        /// Which of the task's files.
        file: FileId,
        /// Whether the descriptor is closed on exec.
        cloexec: bool,
    },
}

/// What a watched call brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// A program and its interpreter: execve(2).
    Program,
    /// A file: mmap(2).
    Mapping,
    /// An instance of proc(5), which gets the zone's own forms of files: mount(2).
    Proc,
}

/// A file that a [`crate::task::Task`] opened for a handler; meaningless outside that call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId(pub u32);

/// What a handler returns: an errno is what the guest sees in `errno`.
pub type Answered = Result<Reply, Errno>;
