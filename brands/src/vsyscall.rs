//! Calls into the vsyscall page, in the bytes of a program.
//!
//! Until glibc 2.14 amd64 programs called time(2), gettimeofday(2) and getcpu(2) at fixed addresses.
//! A host with `vsyscall=none` has nothing there, and the page fault kills the program before any
//! filter sees a call. What compilers made of such a call has the length of a system call and more.

/// One of the page's three functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// gettimeofday(2), at 0xffffffffff600000.
    Gettimeofday,
    /// time(2), at 0xffffffffff600400.
    Time,
    /// getcpu(2), at 0xffffffffff600800.
    Getcpu,
}

/// Length of a call as [`sites`] finds it, and of what [`Site::rewritten`] puts in its place.
pub const LEN: usize = 9;

/// A call in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Where it begins.
    pub offset: usize,
    /// What it calls.
    pub function: Function,
    /// Whether it is the last a function does: `jmp` instead of `call`.
    pub tail: bool,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gettimeofday, Self::Time, Self::Getcpu];

    /// Second byte of the address; the other seven are the same for all.
    const fn at(self) -> u8 {
        match self {
            Self::Gettimeofday => 0x00,
            Self::Time => 0x04,
            Self::Getcpu => 0x08,
        }
    }

    /// Number of the system call that does the same (asm/unistd_64.h).
    pub const fn number(self) -> u32 {
        match self {
            Self::Gettimeofday => 96,
            Self::Time => 201,
            Self::Getcpu => 309,
        }
    }
}

impl Site {
    /// `mov $address,%rax; call *%rax`, or `jmp *%rax`.
    pub const fn call(self) -> [u8; LEN] {
        let jump = if self.tail { 0xe0 } else { 0xd0 };
        [0x48, 0xc7, 0xc0, 0x00, self.function.at(), 0x60, 0xff, 0xff, jump]
    }

    /// `mov $number,%eax; syscall; nop; nop`, or `ret; nop`: of the registers, a system call clobbers
    /// only what a called function may.
    pub const fn rewritten(self) -> [u8; LEN] {
        let nr = self.function.number().to_le_bytes();
        let after = if self.tail { 0xc3 } else { 0x90 };
        [0xb8, nr[0], nr[1], nr[2], nr[3], 0x0f, 0x05, after, 0x90]
    }
}

fn site(offset: usize, window: &[u8]) -> Option<Site> {
    let [0x48, 0xc7, 0xc0, 0x00, at, 0x60, 0xff, 0xff, jump @ (0xd0 | 0xe0)] = *window else { return None };
    let function = Function::ALL.into_iter().find(|function| function.at() == at)?;
    Some(Site { offset, function, tail: jump == 0xe0 })
}

/// The calls in `bytes`, in order.
pub fn sites(bytes: &[u8]) -> Vec<Site> {
    let windows = bytes.windows(LEN).enumerate();
    windows.filter_map(|(offset, window)| site(offset, window)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn calls_are_found_where_they_stand() {
        let mut code = vec![0x55, 0x48, 0xc7];
        code.extend([0x48, 0xc7, 0xc0, 0x00, 0x04, 0x60, 0xff, 0xff, 0xd0, 0xc3]);
        code.extend([0x48, 0xc7, 0xc0, 0x00, 0x00, 0x60, 0xff, 0xff, 0xd0]);
        code.extend([0x48, 0xc7, 0xc0, 0x00, 0x08, 0x60, 0xff, 0xff, 0xd0]);
        code.extend([0x48, 0xc7, 0xc0, 0x00, 0x04, 0x60, 0xff, 0xff, 0xe0]);
        let site = |offset, function, tail| Site { offset, function, tail };
        let all = [
            site(3, Function::Time, false),
            site(13, Function::Gettimeofday, false),
            site(22, Function::Getcpu, false),
            site(31, Function::Time, true),
        ];
        assert_eq!(sites(&code), all);
        // Cut short, another page, another register, no jump: none of these.
        assert_eq!(sites(&code[..11]), []);
        assert_eq!(sites(&[0x48, 0xc7, 0xc0, 0x00, 0x0c, 0x60, 0xff, 0xff, 0xd0]), []);
        assert_eq!(sites(&[0x48, 0xc7, 0xc0, 0x00, 0x04, 0x60, 0xff, 0xff, 0xd1]), []);
        assert_eq!(sites(&[0x48, 0xc7, 0xc0, 0x00, 0x04, 0x60, 0xff, 0xff, 0xf0]), []);
    }

    #[test]
    fn a_rewritten_call_is_the_system_call() {
        let time = |tail| Site { offset: 0, function: Function::Time, tail }.rewritten();
        assert_eq!(time(false), [0xb8, 0xc9, 0, 0, 0, 0x0f, 0x05, 0x90, 0x90]);
        assert_eq!(time(true), [0xb8, 0xc9, 0, 0, 0, 0x0f, 0x05, 0xc3, 0x90]);
        for function in Function::ALL {
            let number = crate::abi::Abi::X86_64.number(&format!("{function:?}").to_lowercase());
            assert_eq!(number, Some(function.number()));
        }
    }

    proptest! {
        /// Whatever surrounds them, calls are found and, once rewritten, found no more.
        #[test]
        fn rewriting_leaves_none(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0usize..200,
            tail: bool,
        ) {
            let own = Site { offset: at.min(bytes.len()), function: Function::Getcpu, tail };
            bytes.splice(own.offset..own.offset, own.call());
            let found = sites(&bytes);
            prop_assert!(found.contains(&own));
            for site in found {
                bytes[site.offset..site.offset + LEN].copy_from_slice(&site.rewritten());
            }
            prop_assert_eq!(sites(&bytes), vec![]);
        }
    }
}
