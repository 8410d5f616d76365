//! Conditions on a call's arguments, as data: evaluated here and compiled by [`crate::filter`].

use std::fmt;

use crate::abi::Abi;

/// How much of an argument the kernel looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// `int` and the like: the low 32 bits, whatever stands above them.
    Int,
    /// `long` and pointers: 64 bits on x86_64, the low 32 on i386, where 64-bit code may leave
    /// anything in the upper half of a register before `int 0x80`.
    Long,
}

/// What an argument is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// Equal.
    Is(u64),
    /// Not equal.
    IsNot(u64),
    /// Equal under a mask.
    Bits {
        /// Which bits count.
        mask: u64,
        /// What they must be.
        value: u64,
    },
    /// Not equal under a mask.
    BitsNot {
        /// Which bits count.
        mask: u64,
        /// What they must not be.
        value: u64,
    },
    /// This or more, as `unsigned int`.
    AtLeast(u32),
    /// Less, as `unsigned int`.
    Below(u32),
}

/// A condition on a call's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cond {
    /// Holds for every call.
    Always,
    /// Compares one argument.
    Arg {
        /// Which argument, from 0 to 5.
        index: u8,
        /// How much of it counts.
        width: Width,
        /// The comparison.
        test: Test,
    },
    /// Holds when all of these do.
    All(&'static [Cond]),
    /// Holds when any of these does.
    Any(&'static [Cond]),
}

/// An argument to build a condition from: `int(2).is(7)`.
#[derive(Debug, Clone, Copy)]
pub struct Arg {
    index: u8,
    width: Width,
}

/// Argument `index` as the kernel's `int` or `unsigned int`.
pub const fn int(index: u8) -> Arg {
    assert!(index < 6, "a call has six arguments");
    Arg { index, width: Width::Int }
}

/// Argument `index` as the kernel's `long` or a pointer.
pub const fn long(index: u8) -> Arg {
    assert!(index < 6, "a call has six arguments");
    Arg { index, width: Width::Long }
}

impl Arg {
    const fn test(self, test: Test) -> Cond {
        Cond::Arg { index: self.index, width: self.width, test }
    }

    /// Equal to `value`.
    pub const fn is(self, value: u64) -> Cond {
        self.test(Test::Is(value))
    }

    /// Different from `value`.
    pub const fn is_not(self, value: u64) -> Cond {
        self.test(Test::IsNot(value))
    }

    /// The bits of `mask` equal `value`.
    pub const fn bits(self, mask: u64, value: u64) -> Cond {
        self.test(Test::Bits { mask, value })
    }

    /// The bits of `mask` differ from `value`.
    pub const fn bits_not(self, mask: u64, value: u64) -> Cond {
        self.test(Test::BitsNot { mask, value })
    }

    /// Any of these bits is set.
    pub const fn any_of(self, mask: u64) -> Cond {
        self.test(Test::BitsNot { mask, value: 0 })
    }

    /// `value` or more, as `unsigned int`.
    pub const fn at_least(self, value: u32) -> Cond {
        assert!(matches!(self.width, Width::Int), "longs are compared for equality only");
        self.test(Test::AtLeast(value))
    }

    /// Less than `value`, as `unsigned int`.
    pub const fn below(self, value: u32) -> Cond {
        assert!(matches!(self.width, Width::Int), "longs are compared for equality only");
        self.test(Test::Below(value))
    }
}

impl Width {
    /// The bits of an argument that count for a guest of `abi`.
    pub const fn mask(self, abi: Abi) -> u64 {
        match (self, abi) {
            (Self::Long, Abi::X86_64) => u64::MAX,
            _ => 0xffff_ffff,
        }
    }
}

impl Test {
    fn holds(self, arg: u64, width: u64) -> bool {
        let arg = arg & width;
        match self {
            Self::Is(value) => arg == value & width,
            Self::IsNot(value) => arg != value & width,
            Self::Bits { mask, value } => arg & mask == value & width,
            Self::BitsNot { mask, value } => arg & mask != value & width,
            Self::AtLeast(value) => arg >= u64::from(value),
            Self::Below(value) => arg < u64::from(value),
        }
    }
}

impl Cond {
    /// Whether the condition holds for a call of `abi` with these arguments.
    pub fn holds(&self, abi: Abi, args: &[u64; 6]) -> bool {
        match *self {
            Self::Always => true,
            Self::Arg { index, width, test } => test.holds(args[usize::from(index)], width.mask(abi)),
            Self::All(parts) => parts.iter().all(|c| c.holds(abi, args)),
            Self::Any(parts) => parts.iter().any(|c| c.holds(abi, args)),
        }
    }

    /// Every comparison in the condition, with its argument.
    pub fn tests(&self) -> Vec<(u8, Test)> {
        match *self {
            Self::Always => Vec::new(),
            Self::Arg { index, test, .. } => vec![(index, test)],
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::tests).collect(),
        }
    }
}

impl fmt::Display for Cond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Self], word: &str| {
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    write!(f, " {word} ")?;
                }
                match part {
                    Self::All(_) | Self::Any(_) => write!(f, "({part})")?,
                    _ => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        match *self {
            Self::Always => f.write_str("always"),
            Self::Arg { index, test, .. } => match test {
                Test::Is(v) => write!(f, "arg{index} = {v:#x}"),
                Test::IsNot(v) => write!(f, "arg{index} ≠ {v:#x}"),
                Test::Bits { mask, value } => write!(f, "arg{index} & {mask:#x} = {value:#x}"),
                Test::BitsNot { mask, value } => write!(f, "arg{index} & {mask:#x} ≠ {value:#x}"),
                Test::AtLeast(v) => write!(f, "arg{index} ≥ {v:#x}"),
                Test::Below(v) => write!(f, "arg{index} < {v:#x}"),
            },
            Self::All(parts) => list(f, parts, "and"),
            Self::Any(parts) => list(f, parts, "or"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_int_ignores_the_upper_half() {
        let cond = int(1).is(7);
        assert!(cond.holds(Abi::X86_64, &[0, 0xdead_0000_0007, 0, 0, 0, 0]));
        let cond = long(1).is(7);
        assert!(!cond.holds(Abi::X86_64, &[0, 0xdead_0000_0007, 0, 0, 0, 0]));
        assert!(cond.holds(Abi::I386, &[0, 0xdead_0000_0007, 0, 0, 0, 0]));
    }

    #[test]
    fn all_and_any() {
        static PARTS: &[Cond] = &[int(0).is(1), int(1).bits(0xf0, 0x20)];
        let args = |a, b| [a, b, 0, 0, 0, 0];
        assert!(Cond::All(PARTS).holds(Abi::X86_64, &args(1, 0x2f)));
        assert!(!Cond::All(PARTS).holds(Abi::X86_64, &args(1, 0x3f)));
        assert!(Cond::Any(PARTS).holds(Abi::X86_64, &args(1, 0x3f)));
        assert!(!Cond::Any(PARTS).holds(Abi::X86_64, &args(0, 0x3f)));
        assert!(Cond::All(&[]).holds(Abi::X86_64, &args(0, 0)));
        assert!(!Cond::Any(&[]).holds(Abi::X86_64, &args(0, 0)));
        assert_eq!(Cond::All(PARTS).to_string(), "arg0 = 0x1 and arg1 & 0xf0 = 0x20");
    }
}
