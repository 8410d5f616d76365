//! sigaltstack(2): a stack that held a signal's frame once, and with the registers of today's CPUs does not.

use crate::abi::Abi;
use crate::call::{Answered, Call, GuestPtr, Reply};
use crate::task::Task;

const SS_ONSTACK: u32 = 1;
const SS_DISABLE: u32 = 2;
const SS_AUTODISARM: u32 = 1 << 31;

/// Below it every kernel says ENOMEM.
const MINSIGSTKSZ: u64 = 2048;

/// What the frames of then, about 1 KiB, left of [`MINSIGSTKSZ`] to the handler.
const HANDLER: u64 = 1024;

/// Accepts a stack that is too small for the frame and a handler, and does not install it: signals are
/// delivered on the stack that there is, instead of killing the program.
pub(super) fn sigaltstack(task: &mut dyn Task, call: &Call) -> Answered {
    let Some((flags, size)) = read(task, call.abi, call.ptr(0)) else { return Ok(Reply::Continue) };
    let is_small = (MINSIGSTKSZ..task.signal_frame() + HANDLER).contains(&size);
    if flags & !(SS_ONSTACK | SS_AUTODISARM) != 0 || !is_small {
        return Ok(Reply::Continue);
    }
    if !call.ptr(1).is_null() {
        // sp, flags and size: nobody but the kernel knows the one before.
        let none = match call.abi {
            Abi::I386 => [0, SS_DISABLE, 0].into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>(),
            Abi::X86_64 => [0, u64::from(SS_DISABLE), 0].into_iter().flat_map(u64::to_le_bytes).collect(),
        };
        task.write(call.ptr(1), &none)?;
    }
    Ok(Reply::Value(0))
}

/// Flags and size of a `stack_t`.
fn read(task: &mut dyn Task, abi: Abi, at: GuestPtr) -> Option<(u32, u64)> {
    let mut bytes = [0; 24];
    let len = if abi == Abi::I386 { 12 } else { 24 };
    task.read(at, &mut bytes[..len]).ok()?;
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Some(match abi {
        Abi::I386 => (word(4), word(8).into()),
        Abi::X86_64 => (word(8), u64::from(word(16)) | u64::from(word(20)) << 32),
    })
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::fake::{Fake, call};

    fn fake(abi: Abi, flags: u32, size: u64) -> Fake {
        let mut fake = Fake::linux(Some("2.6.18"), None);
        fake.map(0x6000, 4096);
        match abi {
            Abi::I386 => {
                let words = [0x8000, flags, size as u32];
                fake.put(0x5000, &words.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>());
            }
            Abi::X86_64 => {
                let words = [0x8000, u64::from(flags), size];
                fake.put(0x5000, &words.into_iter().flat_map(u64::to_le_bytes).collect::<Vec<_>>());
            }
        }
        fake
    }

    #[test]
    fn a_small_stack_is_accepted() {
        for (abi, none) in [
            (Abi::I386, &[0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0xff][..]),
            (Abi::X86_64, &[0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]),
        ] {
            for (size, flags) in [(2048, 0), (4096, SS_AUTODISARM), (4399, SS_ONSTACK)] {
                let mut fake = fake(abi, flags, size);
                fake.put(0x6000, &[0xff; 32]);
                let both = call(abi, "sigaltstack", &[0x5000, 0x6000]);
                assert_eq!(sigaltstack(&mut fake, &both), Ok(Reply::Value(0)), "{abi} {size}");
                assert_eq!(fake.get(0x6000, none.len()), none);
                let one = call(abi, "sigaltstack", &[0x5000, 0]);
                assert_eq!(sigaltstack(&mut fake, &one), Ok(Reply::Value(0)));
            }
        }
    }

    #[test]
    fn others_are_the_kernels() {
        for abi in Abi::ALL {
            for (size, flags) in
                [(2047, 0), (4400, 0), (1 << 31, 0), (0, SS_DISABLE), (2048, SS_DISABLE), (2048, 4)]
            {
                let reply = sigaltstack(&mut fake(abi, flags, size), &call(abi, "sigaltstack", &[0x5000, 0]));
                assert_eq!(reply, Ok(Reply::Continue), "{abi} {size} {flags}");
            }
        }
    }

    #[test]
    fn bad_pointers() {
        let mut fake = fake(Abi::I386, 0, 2048);
        let reply = sigaltstack(&mut fake, &call(Abi::I386, "sigaltstack", &[0x99_0000, 0]));
        assert_eq!(reply, Ok(Reply::Continue));
        let reply = sigaltstack(&mut fake, &call(Abi::I386, "sigaltstack", &[0x5000, 0x99_0000]));
        assert_eq!(reply, Err(Errno::EFAULT));
    }
}
