//! Programs that gain privileges, in zones with a pinned personality.
//!
//! Executing one takes ADDR_NO_RANDOMIZE, ADDR_COMPAT_LAYOUT and more out of the personality
//! (PER_CLEAR_ON_SETID of include/uapi/linux/personality.h), and puts its break at a random place,
//! where libc5 does not find it. Before its first instruction the program is made to set both right
//! by calls of its own. Where its libraries come to lie was decided in the exec, and stays.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::space::Program;
use crate::sys::ptrace::{self, Stop};

/// `int $0x80`
const CALL: [u8; 2] = [0xcd, 0x80];

/// Numbers of i386.
const PRCTL: u64 = 172;
const PERSONALITY: u64 = 136;

const PAGE: u64 = 4096;

/// Gives the program that `task` has just executed the personality `pinned` and a break at its own end,
/// where it lost them. The task stands at PTRACE_EVENT_EXEC, and at its first instruction afterwards.
pub(super) fn repair(task: Pid, pinned: u32) -> io::Result<()> {
    let text = std::fs::read_to_string(format!("/proc/{task}/personality"))?;
    if u32::from_str_radix(text.trim(), 16) == Ok(pinned) {
        return Ok(());
    }
    let quiet = ptrace::quiet(task)?;
    // Through the rest of execve, which sets registers.
    ptrace::interrupt(task)?;
    ptrace::go(task, 0)?;
    if !matches!(ptrace::wait()?, Stop::Interrupted(_)) {
        return Err(Errno::ESRCH.into());
    }
    let registers = ptrace::registers(task)?;
    let done = if ptrace::is_32bit(&registers) { make_calls(task, pinned, &registers) } else { Ok(()) };
    quiet.restore()?;
    done
}

fn make_calls(task: Pid, pinned: u32, registers: &libc::user_regs_struct) -> io::Result<()> {
    let memory = File::options().read(true).write(true).open(format!("/proc/{task}/mem"))?;
    let mut code = CALL;
    memory.read_exact_at(&mut code, registers.rip)?;
    memory.write_all_at(&CALL, registers.rip)?;
    let done = set_right(task, pinned, registers, &memory);
    memory.write_all_at(&code, registers.rip)?;
    ptrace::set_registers(task, *registers)?;
    done
}

fn set_right(task: Pid, pinned: u32, registers: &libc::user_regs_struct, memory: &File) -> io::Result<()> {
    call(task, registers, PERSONALITY, [u64::from(pinned), 0, 0, 0])?;
    let stat = std::fs::read_to_string(format!("/proc/{task}/stat"))?;
    let exe = File::open(format!("/proc/{task}/exe"))?;
    let auxv = || File::open(format!("/proc/{task}/auxv")).map_err(|_| Errno::ESRCH);
    let map = space(&stat, Program::read(&exe)?.end_at(true, auxv)?).ok_or(Errno::EINVAL)?;
    // Below the stack, in pages that exec made for it.
    let at = (registers.rsp - 1024) & !15;
    let bytes: Vec<u8> = map.iter().flat_map(|word| word.to_le_bytes()).collect();
    memory.write_all_at(&bytes, at)?;
    let (set_mm, mm_map) = (libc::PR_SET_MM as u64, libc::PR_SET_MM_MAP as u64);
    call(task, registers, PRCTL, [set_mm, mm_map, at, bytes.len() as u64])?;
    memory.write_all_at(&vec![0; bytes.len()], at)?;
    Ok(())
}

/// `struct prctl_mm_map` of an address space as it is (proc_pid_stat(5)), but for the break, which begins
/// at the page after the program's end.
fn space(stat: &str, program_end: u64) -> Option<[u64; 13]> {
    let rest = stat.rsplit_once(')')?.1;
    let fields: Vec<u64> = rest.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    let field = |n: usize| fields.get(n - 3).copied();
    let start_brk = program_end.checked_next_multiple_of(PAGE)?;
    Some([
        field(26)?, // start_code
        field(27)?, // end_code
        field(45)?, // start_data
        field(46)?, // end_data
        start_brk,
        start_brk,  // brk
        field(28)?, // start_stack
        field(48)?, // arg_start
        field(49)?, // arg_end
        field(50)?, // env_start
        field(51)?, // env_end
        0,          // auxv: as it is
        // auxv_size 0, and in the upper half exe_fd -1: both as they are.
        0xffff_ffff_0000_0000,
    ])
}

/// Has the task make a call of i386 at its instruction pointer.
fn call(task: Pid, registers: &libc::user_regs_struct, nr: u64, args: [u64; 4]) -> io::Result<()> {
    let [rbx, rcx, rdx, rsi] = args;
    let calling = libc::user_regs_struct {
        // No call that is to be made again.
        orig_rax: u64::MAX,
        rax: nr,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi: 0,
        ..*registers
    };
    ptrace::set_registers(task, calling)?;
    ptrace::step(task)?;
    let after = match ptrace::wait()? {
        Stop::Signal(..) | Stop::Call(_) | Stop::Interrupted(_) => ptrace::registers(task)?,
        Stop::Executed(_) | Stop::Ended => return Err(Errno::ESRCH.into()),
    };
    if after.rip != registers.rip + CALL.len() as u64 {
        return Err(Errno::EFAULT.into());
    }
    match after.rax as i32 {
        error @ -4095..0 => Err(Errno::from_raw(-error).into()),
        _ => Ok(()),
    }
}
