//! adjtimex(2) and its kin: the host's clock is shown and not touched.

use crate::abi::Abi;
use crate::call::{Answered, Call, GuestPtr, Reply};
use crate::task::{Task, Timex};

/// `modes` of linux/timex.h: the old adjtime(3) interface, and asking it without setting it.
const ADJ_ADJTIME: u32 = 0x8000;
const ADJ_OFFSET_READONLY: u32 = 0x2000;

/// Answers adjtimex(2) for the caller's own `struct timex`.
pub(super) fn adjtimex(task: &mut dyn Task, call: &Call) -> Answered {
    let shape = match call.abi {
        Abi::X86_64 => &TIMEX64,
        Abi::I386 => &TIMEX32,
    };
    adjust(task, call.ptr(0), shape)
}

/// Answers clock_adjtime(2) for CLOCK_REALTIME. Since Linux 2.6.39.
pub(super) fn clock_adjtime(task: &mut dyn Task, call: &Call) -> Answered {
    let shape = match call.abi {
        Abi::X86_64 => &TIMEX64,
        Abi::I386 => &TIMEX32,
    };
    adjust(task, call.ptr(1), shape)
}

/// Answers clock_adjtime64 of i386, which has the structure of x86_64. Since Linux 5.1.
pub(super) fn clock_adjtime64(task: &mut dyn Task, call: &Call) -> Answered {
    adjust(task, call.ptr(1), &TIMEX64)
}

fn adjust(task: &mut dyn Task, at: GuestPtr, shape: &Shape) -> Answered {
    let mut modes = [0; 4];
    task.read(at, &mut modes)?;
    let bits = u32::from_le_bytes(modes);
    let asks = bits == 0 || bits & (ADJ_ADJTIME | ADJ_OFFSET_READONLY) == ADJ_ADJTIME | ADJ_OFFSET_READONLY;
    if asks {
        return Ok(Reply::Continue);
    }
    let mut timex = task.timex()?;
    if bits & ADJ_ADJTIME != 0 {
        // What adjtime(3) had left to do, which in a zone is nothing.
        timex.fields[0] = 0;
    }
    let out = shape.lay_out(&modes, &timex);
    task.write(at, &out)?;
    Ok(Reply::Value(i64::from(timex.state)))
}

/// Where the fields of a `struct timex` lie, in the order of [`Timex::fields`]: offset and width.
struct Shape {
    size: usize,
    fields: [(usize, usize); 20],
}

impl Shape {
    fn lay_out(&self, modes: &[u8; 4], timex: &Timex) -> Vec<u8> {
        let mut out = vec![0; self.size];
        out[..4].copy_from_slice(modes);
        for (&(at, width), value) in self.fields.iter().zip(timex.fields) {
            // i386's fields are narrower, and the kernel cuts values the same way.
            out[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        out
    }
}

/// `struct __kernel_timex`, the only one of x86_64.
const TIMEX64: Shape = Shape {
    size: 208,
    fields: [
        (8, 8),
        (16, 8),
        (24, 8),
        (32, 8),
        (40, 4),
        (48, 8),
        (56, 8),
        (64, 8),
        (72, 8),
        (80, 8),
        (88, 8),
        (96, 8),
        (104, 8),
        (112, 4),
        (120, 8),
        (128, 8),
        (136, 8),
        (144, 8),
        (152, 8),
        (160, 4),
    ],
};

/// `struct old_timex32`: everything an int, without holes after `modes`.
const TIMEX32: Shape = {
    let mut fields = [(0, 4); 20];
    let mut i = 0;
    while i < 20 {
        fields[i].0 = 4 + 4 * i;
        i += 1;
    }
    Shape { size: 128, fields }
};

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::fake::{Fake, call};

    const AT: u64 = 0x5000;

    fn fake(modes: u32) -> Fake {
        let mut fake = Fake::linux(Some("2.6.18"), None);
        fake.map(AT, 4096);
        fake.put(AT, &modes.to_le_bytes());
        fake.timex.state = 5;
        for (i, field) in fake.timex.fields.iter_mut().enumerate() {
            *field = -(i as i64) - 1;
        }
        fake
    }

    fn long(fake: &Fake, at: u64) -> i64 {
        i64::from_le_bytes(fake.get(AT + at, 8).try_into().unwrap())
    }

    fn word(fake: &Fake, at: u64) -> i32 {
        i32::from_le_bytes(fake.get(AT + at, 4).try_into().unwrap())
    }

    #[test]
    fn asking_is_the_kernels() {
        for modes in [0, 0xa001] {
            let mut fake = fake(modes);
            let reply = adjtimex(&mut fake, &call(Abi::X86_64, "adjtimex", &[AT]));
            assert_eq!(reply, Ok(Reply::Continue));
        }
    }

    #[test]
    fn setting_reports_the_clock_and_its_state() {
        let mut fake = fake(0x10);
        let reply = adjtimex(&mut fake, &call(Abi::X86_64, "adjtimex", &[AT]));
        assert_eq!(reply, Ok(Reply::Value(5)));
        assert_eq!(word(&fake, 0), 0x10);
        assert_eq!(long(&fake, 8), -1);
        assert_eq!(word(&fake, 40), -5);
        assert_eq!(long(&fake, 72), -9);
        assert_eq!(long(&fake, 88), -11);
        assert_eq!(word(&fake, 160), -20);
        assert_eq!(fake.get(AT + 164, 100), vec![0; 100]);
    }

    #[test]
    fn i386_has_ints_and_later_the_long_structure_too() {
        let mut narrow = fake(0x10);
        let reply = clock_adjtime(&mut narrow, &call(Abi::I386, "clock_adjtime", &[0, AT]));
        assert_eq!(reply, Ok(Reply::Value(5)));
        for (i, at) in (4u64..84).step_by(4).enumerate() {
            assert_eq!(word(&narrow, at), -(i as i32) - 1);
        }
        let mut wide = fake(0x10);
        let reply = clock_adjtime64(&mut wide, &call(Abi::I386, "clock_adjtime64", &[0, AT]));
        assert_eq!(reply, Ok(Reply::Value(5)));
        assert_eq!(long(&wide, 88), -11);
    }

    #[test]
    fn the_old_adjtime_has_nothing_left_to_do() {
        let mut fake = fake(0x8001);
        adjtimex(&mut fake, &call(Abi::X86_64, "adjtimex", &[AT])).unwrap();
        assert_eq!(long(&fake, 8), 0);
    }

    #[test]
    fn bad_pointers() {
        let mut fake = fake(0x10);
        let reply = adjtimex(&mut fake, &call(Abi::X86_64, "adjtimex", &[0]));
        assert_eq!(reply, Err(Errno::EFAULT));
        fake.protect(AT);
        let reply = adjtimex(&mut fake, &call(Abi::X86_64, "adjtimex", &[AT]));
        assert_eq!(reply, Err(Errno::EFAULT));
    }
}
