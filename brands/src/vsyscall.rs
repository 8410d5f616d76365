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

/// Length of a call as [`sites`] finds it, and of what [`Function::rewritten`] puts in its place.
pub const LEN: usize = 9;

/// A call in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Where it begins.
    pub offset: usize,
    /// What it calls.
    pub function: Function,
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

    /// `mov $address,%rax; call *%rax`
    pub const fn call(self) -> [u8; LEN] {
        [0x48, 0xc7, 0xc0, 0x00, self.at(), 0x60, 0xff, 0xff, 0xd0]
    }

    /// `mov $number,%eax; syscall; nop; nop`: of the registers, a system call clobbers only what a
    /// called function may.
    pub const fn rewritten(self) -> [u8; LEN] {
        let nr = self.number().to_le_bytes();
        [0xb8, nr[0], nr[1], nr[2], nr[3], 0x0f, 0x05, 0x90, 0x90]
    }
}

fn function(window: &[u8]) -> Option<Function> {
    let [0x48, 0xc7, 0xc0, 0x00, at, 0x60, 0xff, 0xff, 0xd0] = *window else { return None };
    Function::ALL.into_iter().find(|function| function.at() == at)
}

/// The calls in `bytes`, in order.
pub fn sites(bytes: &[u8]) -> Vec<Site> {
    let windows = bytes.windows(LEN).enumerate();
    windows.filter_map(|(offset, w)| Some(Site { offset, function: function(w)? })).collect()
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
        let site = |offset, function| Site { offset, function };
        let all = [site(3, Function::Time), site(13, Function::Gettimeofday), site(22, Function::Getcpu)];
        assert_eq!(sites(&code), all);
        // Cut short, another page, another register, a jump: none of these.
        assert_eq!(sites(&code[..11]), []);
        assert_eq!(sites(&[0x48, 0xc7, 0xc0, 0x00, 0x0c, 0x60, 0xff, 0xff, 0xd0]), []);
        assert_eq!(sites(&[0x48, 0xc7, 0xc0, 0x00, 0x04, 0x60, 0xff, 0xff, 0xd1]), []);
        assert_eq!(sites(&[0x48, 0xc7, 0xc0, 0x00, 0x04, 0x60, 0xff, 0xff, 0xe0]), []);
    }

    #[test]
    fn a_rewritten_call_is_the_system_call() {
        assert_eq!(Function::Time.rewritten(), [0xb8, 0xc9, 0, 0, 0, 0x0f, 0x05, 0x90, 0x90]);
        for function in Function::ALL {
            let number = crate::abi::Abi::X86_64.number(&format!("{function:?}").to_lowercase());
            assert_eq!(number, Some(function.number()));
            assert_eq!(sites(&function.rewritten()), []);
        }
    }

    proptest! {
        /// Whatever surrounds them, calls are found and, once rewritten, found no more.
        #[test]
        fn rewriting_leaves_none(mut bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
            let at = at.min(bytes.len());
            bytes.splice(at..at, Function::Getcpu.call());
            let found = sites(&bytes);
            let own = Site { offset: at, function: Function::Getcpu };
            prop_assert!(found.contains(&own));
            for site in found {
                bytes[site.offset..site.offset + LEN].copy_from_slice(&site.function.rewritten());
            }
            prop_assert_eq!(sites(&bytes), vec![]);
        }
    }
}
