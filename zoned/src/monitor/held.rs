//! A caller that performs other calls in place of the one that it made.
//!
//! It is traced from its notification to the end of the last of these calls, and runs no instruction of its own
//! in between: it is stopped on its way back to its program, set on the system call instruction again with other
//! registers, and stopped at the end of that call. What registers a call leaves alone are put back.

use std::sync::atomic::{AtomicUsize, Ordering};

use brands::abi::Abi;
use brands::call::{Answered, Reply};
use nix::errno::Errno;
use nix::unistd::Pid;

use super::trace::Turn;
use crate::sys::credentials::Tracing;
use crate::sys::notify::{Listener, Notification, Response};
use crate::sys::ptrace::{self, Registers, Stop};

/// Most callers of a zone that have a thread of the monitor to themselves at once.
const MOST: usize = 512;

/// A caller that has a thread to itself, for as long as its call waits for what others bring.
#[derive(Debug)]
pub(super) struct Apart<'a>(&'a AtomicUsize);

impl<'a> Apart<'a> {
    /// One more of those that `count` counts; none where there are too many.
    pub(super) fn begin(count: &'a AtomicUsize) -> Option<Self> {
        // Dropped, it is not counted.
        let apart = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < MOST).then_some(apart)
    }
}

impl Drop for Apart<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `syscall`, `int 0x80` and what sysenter returns behind are all two bytes long.
const INSTRUCTION: u64 = 2;

const EINTR: i64 = -(libc::EINTR as i64);

/// EINTR when a handler runs, and the call once more when none does (linux/errno.h).
const ERESTARTNOHAND: i64 = 514;

#[derive(Debug)]
enum State {
    /// It waits for its answer, with registers as its own call left them.
    Held(Box<Registers>),
    /// It went on by itself.
    Free,
    /// It was killed.
    Ended,
}

/// A caller, stopped.
#[derive(Debug)]
pub struct Held<'a> {
    task: Pid,
    abi: Abi,
    state: State,
    _apart: Apart<'a>,
    _turn: Turn,
}

impl<'a> Held<'a> {
    /// Stops the caller behind a notification; that the notification then has an answer is seen by nobody.
    /// ENOSYS when the caller cannot be traced.
    pub fn take(
        listener: &Listener,
        call: &Notification,
        abi: Abi,
        count: &'a AtomicUsize,
    ) -> Result<Self, Errno> {
        let apart = Apart::begin(count).ok_or(Errno::ENOSYS)?;
        let task = Pid::from_raw(call.pid);
        let turn = Turn::take(task);
        // EPERM: a debugger has it.
        Tracing::begin().and_then(|_tracing| ptrace::seize(task)).map_err(|_| Errno::ENOSYS)?;
        let mut held = Self { task, abi, state: State::Ended, _apart: apart, _turn: turn };
        match stop(listener, call) {
            Err(_) => {}
            Ok((task, before)) => {
                held.task = task;
                // Else the number of a caller that was killed is somebody else's, and nothing is touched.
                let caller = before.orig_rax as u32 == call.nr as u32 && before.rip == call.ip;
                held.state = if caller { State::Held(Box::new(before)) } else { State::Ended };
            }
        }
        Ok(held)
    }

    /// Has the caller perform call `nr`, and gives the kernel's answer.
    pub fn perform(&mut self, nr: u32, args: [u64; 6]) -> Result<i64, Errno> {
        let State::Held(before) = &self.state else { return Err(Errno::ESRCH) };
        let before = **before;
        let mut registers = again(&before, nr);
        let r = &mut registers;
        let places = match self.abi {
            Abi::X86_64 => [&mut r.rdi, &mut r.rsi, &mut r.rdx, &mut r.r10, &mut r.r8, &mut r.r9],
            Abi::I386 => [&mut r.rbx, &mut r.rcx, &mut r.rdx, &mut r.rsi, &mut r.rdi, &mut r.rbp],
        };
        for (place, arg) in places.into_iter().zip(args) {
            *place = arg;
        }
        self.run(&before, &registers).inspect_err(|_| {
            if let State::Held(_) = self.state {
                self.state = State::Ended;
            }
        })
    }

    fn run(&mut self, before: &Registers, registers: &Registers) -> Result<i64, Errno> {
        ptrace::set_registers(self.task, *registers)?;
        ptrace::go_on(self.task, 0)?;
        match self.wait()? {
            Stop::Call(_) => {}
            // A handler of the guest's comes first: its call begins anew behind it.
            Stop::Signal(_, signal) => return self.begin_anew(before, signal),
            _ => return self.begin_anew(before, 0),
        }
        ptrace::go_on(self.task, 0)?;
        match self.wait()? {
            Stop::Call(_) => Ok(ptrace::registers(self.task)?.rax as i64),
            Stop::Executed(_) => {
                // Another program already, and no caller of ours.
                ptrace::detach(self.task, 0)?;
                self.state = State::Free;
                Ok(0)
            }
            Stop::Signal(_, signal) => self.begin_anew(before, signal),
            _ => self.begin_anew(before, 0),
        }
    }

    fn wait(&mut self) -> Result<Stop, Errno> {
        let stop = ptrace::wait()?;
        match stop {
            // Another number than before, when a thread that was not the first executed a program.
            Stop::Executed(task) | Stop::Call(task) | Stop::Signal(task, _) | Stop::Interrupted(task) => {
                self.task = task;
            }
            Stop::Ended => return Err(Errno::ESRCH),
        }
        Ok(stop)
    }

    fn begin_anew(&mut self, before: &Registers, signal: i32) -> Result<i64, Errno> {
        ptrace::set_registers(self.task, again(before, before.orig_rax as u32))?;
        ptrace::detach(self.task, signal)?;
        self.state = State::Free;
        Err(Errno::EINTR)
    }

    /// Lets the caller go with this answer. False when it was killed: then this thread must end, which lets go
    /// what it traces, so that the caller's own parent can collect it.
    pub fn finish(mut self, answered: &Answered) -> bool {
        let value = match answered {
            // Signals that are ignored wake a task that is traced (sig_ignored of kernel/signal.c), and no
            // other. Whether one of the guest's handlers is to run, the kernel finds out now.
            Ok(Reply::Value(EINTR)) => -ERESTARTNOHAND,
            Ok(Reply::Value(value)) => *value,
            Err(errno) => -(*errno as i64),
            // Too late for these.
            Ok(Reply::Continue | Reply::Fd { .. } | Reply::Watch(_)) => -(Errno::ENOSYS as i64),
        };
        if let State::Held(before) = &self.state {
            // The number of its own call, which is to be restarted when the kernel says so in `value`.
            let registers = Registers { rax: value as u64, ..**before };
            let done =
                ptrace::set_registers(self.task, registers).and_then(|()| ptrace::detach(self.task, 0));
            self.state = if done.is_ok() { State::Free } else { State::Ended };
        }
        matches!(self.state, State::Free)
    }
}

/// Registers of a task that is about to make call `nr`. No number of a past call tells the kernel to restart that
/// one.
fn again(before: &Registers, nr: u32) -> Registers {
    let rip = before.rip.wrapping_sub(INSTRUCTION);
    Registers { rip, rax: nr.into(), orig_rax: u64::MAX, ..*before }
}

fn stop(listener: &Listener, call: &Notification) -> Result<(Pid, Registers), Errno> {
    let task = Pid::from_raw(call.pid);
    ptrace::interrupt(task)?;
    // Where only a fatal signal ends the wait for an answer (Linux 5.19), the answer ends it, and else it has
    // ended. Either way the caller stops on its way back.
    let _ = listener.respond(call.id, Response::Error(Errno::ENOSYS));
    match ptrace::wait()? {
        Stop::Interrupted(task) => Ok((task, ptrace::registers(task)?)),
        _ => Err(Errno::ESRCH),
    }
}
