//! What waits.

use nix::errno::Errno;

use super::{NONE, instead};
use crate::abi::Abi;
use crate::call::{Answered, Call};
use crate::task::Task;

/// Answers epoll_pwait2(2), Linux 5.11.
pub(super) fn epoll_pwait2(task: &mut dyn Task, call: &Call) -> Answered {
    let timeout = if call.ptr(3).is_null() {
        NONE
    } else {
        let mut time = [0; 16];
        task.read(call.ptr(3), &mut time)?;
        milliseconds(call.abi, &time)?
    };
    let [epoll, events, most, _, mask, size] = std::array::from_fn(|i| call.word(i));
    instead(task, "epoll_pwait", &[epoll, events, most, timeout, mask, size])
}

/// A `struct __kernel_timespec` in milliseconds, rounded up as the kernel does for old clocks.
fn milliseconds(abi: Abi, time: &[u8; 16]) -> Result<u64, Errno> {
    let word = |at: usize| i64::from_le_bytes(std::array::from_fn(|i| time[at + i]));
    // 32-bit programs need not clear the upper half of tv_nsec.
    let nanoseconds = if abi == Abi::I386 { word(8) & 0xffff_ffff } else { word(8) };
    if word(0) < 0 || !(0..1_000_000_000).contains(&nanoseconds) {
        return Err(Errno::EINVAL);
    }
    let rounded = (nanoseconds as u64).div_ceil(1_000_000);
    Ok((word(0) as u64).saturating_mul(1000).saturating_add(rounded).min(i32::MAX as u64))
}

/// Answers futex_waitv(2), Linux 5.16.
pub(super) fn futex_waitv(task: &mut dyn Task, call: &Call) -> Answered {
    const WAIT_BITSET: u64 = 9;
    const PRIVATE: u32 = 128;
    const CLOCK_REALTIME: u64 = 256;
    const SIZE_32: u32 = 2;
    let (count, timeout, clock) = (call.int(1) as u32, call.word(3), call.int(4));
    if call.int(2) != 0 || !(1..=128).contains(&count) || timeout != 0 && !(0..=1).contains(&clock) {
        return Err(Errno::EINVAL);
    }
    if count > 1 {
        return Err(Errno::ENOSYS);
    }
    // struct futex_waitv: val, uaddr, flags, __reserved.
    let mut waiter = [0; 24];
    task.read(call.ptr(0), &mut waiter)?;
    let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| waiter[at + i]));
    let int = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| waiter[at + i]));
    if int(16) & !PRIVATE != SIZE_32 || int(20) != 0 {
        return Err(Errno::EINVAL);
    }
    let realtime = if timeout != 0 && clock == 0 { CLOCK_REALTIME } else { 0 };
    let operation = WAIT_BITSET | u64::from(int(16) & PRIVATE) | realtime;
    // The timeout is a 64-bit timespec, which i386's own futex does not read.
    let name = if call.abi == Abi::I386 && timeout != 0 { "futex_time64" } else { "futex" };
    // Woken, it answers 0: the number of the only futex.
    instead(task, name, &[long(8), operation, u64::from(int(0)), timeout, 0, 0xffff_ffff])
}
