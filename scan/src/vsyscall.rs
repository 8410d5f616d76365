//! Use of the vsyscall page of amd64: three entries, 1024 bytes apart from 0xffffffffff600000.

use serde::Serialize;

/// Where a file names the entries of the page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Vsyscall {
    /// `mov $entry,%rax` (48 c7 c0) and `call *%rax` (ff d0) soon after.
    pub calls: usize,
    /// Entries as 8-byte constants, which a call may be made by.
    pub pointers: usize,
}

impl Vsyscall {
    /// Whether it would die without the page.
    pub fn is_used(self) -> bool {
        self.calls + self.pointers > 0
    }
}

/// How many bytes glibc of before 2.14 had between the two instructions, at most: loads of arguments.
const NEAR: usize = 32;

/// Looks for both forms.
pub(crate) fn of(bytes: &[u8]) -> Vsyscall {
    let mut found = Vsyscall::default();
    // Both forms have the bytes 00 {00,04,08} 60 ff of the address.
    for at in 0..bytes.len().saturating_sub(3) {
        let [0x00, 0x00 | 0x04 | 0x08, 0x60, 0xff] = bytes[at..at + 4] else { continue };
        let rest = &bytes[at + 4..];
        if rest.starts_with(&[0xff; 4]) {
            found.pointers += usize::from(at % 4 == 0);
        } else if bytes[..at].ends_with(&[0x48, 0xc7, 0xc0]) {
            let near = &rest[..NEAR.min(rest.len())];
            found.calls += usize::from(near.windows(2).any(|two| two == [0xff, 0xd0]));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_found_and_others_are_not() {
        let call = [0x48, 0xc7, 0xc0, 0, 0x04, 0x60, 0xff, 0xff, 0xd0];
        assert_eq!(of(&call), Vsyscall { calls: 1, pointers: 0 });
        assert_eq!(of(&call[..7]), Vsyscall::default());
        assert_eq!(of(&0xffff_ffff_ff60_0800u64.to_le_bytes()), Vsyscall { calls: 0, pointers: 1 });
        assert_eq!(of(&0xffff_ffff_ff60_0c00u64.to_le_bytes()), Vsyscall::default());
        assert!(!of(&[]).is_used());
    }
}
