//! Calling conventions and their system call numbers.

mod i386;
mod x86_64;

use std::fmt;

/// A calling convention of x86.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Abi {
    /// 64-bit `syscall`; AUDIT_ARCH_X86_64.
    X86_64,
    /// 32-bit `int 0x80` and `sysenter`; AUDIT_ARCH_I386.
    I386,
}

impl Abi {
    /// Every convention that a guest can use.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::I386];

    /// The `arch` that seccomp(2) gives for calls of this convention (linux/audit.h).
    pub const fn audit_arch(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
        }
    }

    /// The convention whose [`Abi::audit_arch`] is `arch`.
    pub fn from_audit_arch(arch: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|abi| abi.audit_arch() == arch)
    }

    /// The number of the call `name`, as asm/unistd.h spells it.
    pub fn number(self, name: &str) -> Option<u32> {
        let table = self.by_name();
        let at = table.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        Some(table[at].1)
    }

    /// The name of call `nr`.
    pub fn name(self, nr: u32) -> Option<&'static str> {
        let table = self.by_number();
        let at = table.binary_search_by_key(&nr, |(known, _)| *known).ok()?;
        Some(table[at].1)
    }

    /// All calls, sorted by number.
    pub fn by_number(self) -> &'static [(u32, &'static str)] {
        match self {
            Self::X86_64 => x86_64::BY_NUMBER,
            Self::I386 => i386::BY_NUMBER,
        }
    }

    fn by_name(self) -> &'static [(&'static str, u32)] {
        match self {
            Self::X86_64 => x86_64::BY_NAME,
            Self::I386 => i386::BY_NAME,
        }
    }
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::I386 => "i386",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_agree() {
        for abi in Abi::ALL {
            assert!(abi.by_number().windows(2).all(|w| w[0].0 < w[1].0));
            assert!(abi.by_name().windows(2).all(|w| w[0].0 < w[1].0));
            assert_eq!(abi.by_number().len(), abi.by_name().len());
            for &(nr, name) in abi.by_number() {
                assert_eq!(abi.number(name), Some(nr));
                assert_eq!(abi.name(nr), Some(name));
            }
        }
    }

    #[test]
    fn well_known_numbers() {
        assert_eq!(Abi::I386.number("brk"), Some(45));
        assert_eq!(Abi::X86_64.number("brk"), Some(12));
        assert_eq!(Abi::I386.number("oldolduname"), Some(59));
        assert_eq!(Abi::X86_64.number("oldolduname"), None);
        assert_eq!(Abi::I386.name(149), Some("_sysctl"));
        assert_eq!(Abi::X86_64.name(100_000), None);
        assert_eq!(Abi::from_audit_arch(0xc000_003e), Some(Abi::X86_64));
        assert_eq!(Abi::from_audit_arch(0xc000_00b7), None);
    }

    /// The tables hold what the installed kernel headers hold.
    #[test]
    fn tables_agree_with_the_installed_headers() {
        for (abi, file) in [(Abi::X86_64, "unistd_64.h"), (Abi::I386, "unistd_32.h")] {
            let places = ["/usr/include/x86_64-linux-gnu/asm", "/usr/include/asm"];
            let Some(text) =
                places.iter().find_map(|dir| std::fs::read_to_string(format!("{dir}/{file}")).ok())
            else {
                eprintln!("SKIPPED: no {file} here, the {abi} table is not compared");
                continue;
            };
            let newest = abi.by_number().last().unwrap().0;
            let mut compared = 0;
            for line in text.lines() {
                let Some(rest) = line.strip_prefix("#define __NR_") else { continue };
                let (name, nr) = rest.split_once(' ').unwrap();
                let nr: u32 = nr.trim().parse().unwrap();
                // A header younger than the tables has calls that no row can name yet.
                if nr <= newest {
                    assert_eq!(abi.number(name), Some(nr), "{abi} {name}");
                    compared += 1;
                }
            }
            assert!(compared > 300, "{file} has only {compared} calls");
        }
    }
}
