//! ptrace(2) by one thread of tasks that it seized. A tracer is a thread: what one seizes, no other
//! can wait for, work on or let go.

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::unistd::Pid;

use super::check;

/// What a seized task came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// PTRACE_EVENT_EXEC: it is a new program, and has not run yet. The task is the leader of its
    /// thread group now, whichever thread called.
    Executed(Pid),
    /// It is about to take this signal.
    Signal(Pid, i32),
    /// It begins or ends a call.
    Call(Pid),
    /// It stands on its way back to user mode, or is stopped by job control.
    Interrupted(Pid),
    /// It is no more, and was not collected.
    Ended,
}

impl Stop {
    /// The task that stopped; none when it is no more.
    pub fn task(self) -> Option<Pid> {
        match self {
            Self::Executed(task) | Self::Signal(task, _) | Self::Call(task) | Self::Interrupted(task) => {
                Some(task)
            }
            Self::Ended => None,
        }
    }

    /// The signal that it is about to take, or 0.
    pub fn signal(self) -> i32 {
        if let Self::Signal(_, signal) = self { signal } else { 0 }
    }
}

/// Becomes the tracer of a task, which goes on with what it does. EPERM: it has one already.
pub fn seize(task: Pid) -> Result<(), Errno> {
    ptrace::seize(task, Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACESYSGOOD)
}

/// Makes a seized task stop on its way back to user mode.
pub fn interrupt(task: Pid) -> Result<(), Errno> {
    ptrace::interrupt(task)
}

/// Waits for the next stop or end of a task that the calling thread seized.
pub fn wait() -> Result<Stop, Errno> {
    // An end is left to be collected by the task's own parent.
    let wanted = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: siginfo_t is plain data, for which all zero bytes are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `info` is a live siginfo_t.
        match check(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, wanted) }.into()) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        // SAFETY: waitid has filled in what SIGCHLD has.
        let pid = Pid::from_raw(unsafe { info.si_pid() });
        // SAFETY: as above.
        let status = unsafe { info.si_status() };
        if matches!(info.si_code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED) {
            return Ok(Stop::Ended);
        }
        return Ok(match status >> 8 {
            libc::PTRACE_EVENT_EXEC => Stop::Executed(pid),
            0 if status == libc::SIGTRAP | 0x80 => Stop::Call(pid),
            0 => Stop::Signal(pid, status),
            _ => Stop::Interrupted(pid),
        });
    }
}

/// Lets a stopped task go, with the signal that it was about to take, or 0. A task that job control
/// stopped stays so.
pub fn detach(task: Pid, signal: i32) -> Result<(), Errno> {
    resume(libc::PTRACE_DETACH, task, signal)
}

/// Has the calling thread's stopped tracee make system calls without its filters, and without taking
/// signals, until it is let go or `restore` is called. See [`unfiltered`].
pub fn quiet(task: Pid) -> Result<Quiet, Errno> {
    unfiltered(task)?;
    deaf(task)
}

/// Has the calling thread's stopped tracee take no signals but SIGKILL, SIGSTOP and what is forced on it, until
/// `restore` is called.
pub fn deaf(task: Pid) -> Result<Quiet, Errno> {
    let mut mask = 0u64;
    // SAFETY: `mask` is a live sigset of the kernel's, whose size is given.
    check(unsafe { libc::ptrace(GETSIGMASK, task.as_raw(), size_of::<u64>(), &raw mut mask) })?;
    // The trap that follows a single step is forced, and would lose its handler were it blocked.
    set_mask(task, !(1 << (libc::SIGTRAP - 1)))?;
    Ok(Quiet { task, mask })
}

/// Has the calling thread's stopped tracee make system calls without its filters until it is let go.
///
/// PTRACE_O_SUSPEND_SECCOMP is of Linux 4.3; EPERM where the tracer has a filter itself.
pub fn unfiltered(task: Pid) -> Result<(), Errno> {
    let options = Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACESYSGOOD;
    let options = options.bits() | SUSPEND_SECCOMP;
    // SAFETY: PTRACE_SETOPTIONS takes plain integers.
    check(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, task.as_raw(), 0usize, options as usize) })?;
    Ok(())
}

/// PTRACE_O_SUSPEND_SECCOMP of linux/ptrace.h.
const SUSPEND_SECCOMP: i32 = 1 << 21;

/// What [`deaf`] changed.
#[derive(Debug)]
pub struct Quiet {
    task: Pid,
    mask: u64,
}

impl Quiet {
    /// Gives the task its signals back.
    pub fn restore(self) -> Result<(), Errno> {
        set_mask(self.task, self.mask)
    }
}

const GETSIGMASK: libc::c_uint = 0x420a;
const SETSIGMASK: libc::c_uint = 0x420b;

fn set_mask(task: Pid, mask: u64) -> Result<(), Errno> {
    // SAFETY: `mask` is a live sigset of the kernel's, whose size is given.
    check(unsafe { libc::ptrace(SETSIGMASK, task.as_raw(), size_of::<u64>(), &raw const mask) })?;
    Ok(())
}

/// Lets a stopped task run to its next stop, with the signal that it was about to take, or 0.
pub fn go(task: Pid, signal: i32) -> Result<(), Errno> {
    resume(libc::PTRACE_CONT, task, signal)
}

/// Lets a stopped task go on to the begin or the end of a call (PTRACE_SYSCALL), with the signal that it was about to
/// take, or 0.
pub fn go_on(task: Pid, signal: i32) -> Result<(), Errno> {
    resume(libc::PTRACE_SYSCALL, task, signal)
}

fn resume(how: libc::c_uint, task: Pid, signal: i32) -> Result<(), Errno> {
    // SAFETY: these requests take plain integers.
    check(unsafe { libc::ptrace(how, task.as_raw(), 0usize, signal as usize) })?;
    Ok(())
}

/// Lets a stopped task execute one instruction.
pub fn step(task: Pid) -> Result<(), Errno> {
    ptrace::step(task, None)
}

/// Registers, in their 64-bit form for 32-bit tasks too.
pub type Registers = libc::user_regs_struct;

/// A stopped task's registers.
pub fn registers(task: Pid) -> Result<Registers, Errno> {
    ptrace::getregs(task)
}

/// Sets a stopped task's registers.
pub fn set_registers(task: Pid, registers: Registers) -> Result<(), Errno> {
    ptrace::setregs(task, registers)
}

/// Whether these are a 32-bit program's: by its code segment, __USER32_CS.
pub fn is_32bit(registers: &Registers) -> bool {
    registers.cs == 0x23
}
