//! The page of code that a program calls in place of the vsyscall page ([`brands::vsyscall::page`]).
//!
//! A process that needs it maps it itself, by a call that is made in its name where it stands stopped. It is found again
//! by what it holds: fork copies it, and an exec takes it away.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use brands::vsyscall::{self, PAGE, PLACES};
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::sys::ptrace::{self, Registers, Stop};

/// `syscall`
const CALL: [u8; 2] = [0x0f, 0x05];

/// Code segment of 64-bit programs (__USER_CS).
const USER64: u64 = 0x33;

/// More stops than signals come at once that can be neither blocked nor left for later.
const MOST_STOPS: usize = 64;

/// Where the page lies in the memory of a stopped task, which gets it where it has none. The task stands in another stop
/// afterwards, which `stop` tells.
pub(super) fn place(stop: &mut Stop, memory: &File) -> io::Result<u32> {
    let page = vsyscall::page();
    let mut there = [0; PAGE];
    let mut holds = |place: u32| {
        let read = memory.read_exact_at(&mut there, place.into());
        read.is_ok() && there == page
    };
    // A new program has none.
    if !matches!(stop, Stop::Executed(_))
        && let Some(place) = PLACES.into_iter().find(|place| holds(*place))
    {
        return Ok(place);
    }
    let place = map(stop, memory)?;
    // Past its protection; of a process with threads that map something now, another may have one more page.
    memory.write_all_at(&page, place.into())?;
    Ok(place)
}

/// Has the task map a page at one of the places.
fn map(stop: &mut Stop, memory: &File) -> io::Result<u32> {
    let task = stop.task().ok_or(Errno::ESRCH)?;
    if let Stop::Executed(_) = stop {
        let quiet = ptrace::deaf(task)?;
        // Through the rest of execve, which sets registers. No call stands at the first instruction.
        let mapped = to_user(stop).and_then(|()| {
            let at = ptrace::registers(task)?.rip;
            let mut code = CALL;
            memory.read_exact_at(&mut code, at)?;
            memory.write_all_at(&CALL, at)?;
            let mapped = map_at(stop, at);
            memory.write_all_at(&code, at)?;
            mapped
        });
        quiet.restore()?;
        return mapped;
    }
    // Behind the instruction by which it called.
    let at = ptrace::registers(task)?.rip.wrapping_sub(CALL.len() as u64);
    let mut code = [0; CALL.len()];
    memory.read_exact_at(&mut code, at)?;
    if code != CALL {
        return Err(Errno::EFAULT.into());
    }
    if let Stop::Signal(..) = stop {
        // Its handler, where it has one, is set up now, and runs afterwards.
        to_user(stop)?;
    }
    let quiet = ptrace::deaf(task)?;
    let mapped = map_at(stop, at);
    quiet.restore()?;
    mapped
}

/// Lets a task go on to where it is about to run its program.
fn to_user(stop: &mut Stop) -> io::Result<()> {
    for _ in 0..MOST_STOPS {
        let task = stop.task().ok_or(Errno::ESRCH)?;
        ptrace::interrupt(task)?;
        ptrace::go(task, stop.signal())?;
        *stop = ptrace::wait()?;
        if let Stop::Interrupted(_) = stop {
            return Ok(());
        }
    }
    Err(Errno::EINTR.into())
}

/// Has the task make mmap at the instruction `at`, place after place.
fn map_at(stop: &mut Stop, at: u64) -> io::Result<u32> {
    let task = stop.task().ok_or(Errno::ESRCH)?;
    // Refused to a zoned that runs under a filter of its own; then the guest's filters are asked.
    let _ = ptrace::unfiltered(task);
    let before = ptrace::registers(task)?;
    if before.cs != USER64 {
        return Err(Errno::ENOEXEC.into());
    }
    let mapped = PLACES.into_iter().find_map(|place| match map_one(stop, &before, at, place) {
        Ok(false) => None,
        Ok(true) => Some(Ok(place)),
        Err(error) => Some(Err(error)),
    });
    ptrace::set_registers(task, before)?;
    mapped.unwrap_or(Err(Errno::ENOMEM.into()))
}

/// Whether the place was free.
fn map_one(stop: &mut Stop, before: &Registers, at: u64, place: u32) -> io::Result<bool> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let calling = Registers {
        rip: at,
        rax: libc::SYS_mmap as u64,
        // No call that is to be made again.
        orig_rax: u64::MAX,
        rdi: place.into(),
        rsi: PAGE as u64,
        rdx: (libc::PROT_READ | libc::PROT_EXEC) as u64,
        r10: flags as u64,
        r8: u64::MAX,
        r9: 0,
        ..*before
    };
    let task = stop.task().ok_or(Errno::ESRCH)?;
    ptrace::set_registers(task, calling)?;
    to_call(stop)?;
    let task = to_call(stop)?;
    Ok(ptrace::registers(task)?.rax == u64::from(place))
}

/// Lets the task go on to the begin or the end of a call.
fn to_call(stop: &mut Stop) -> io::Result<Pid> {
    for _ in 0..MOST_STOPS {
        let task = stop.task().ok_or(Errno::ESRCH)?;
        ptrace::go_on(task, stop.signal())?;
        *stop = ptrace::wait()?;
        if let Stop::Call(task) = *stop {
            return Ok(task);
        }
    }
    Err(Errno::EINTR.into())
}
