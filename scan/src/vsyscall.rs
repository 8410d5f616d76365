//! Use of the vsyscall page of amd64: three entries, 1024 bytes apart from 0xffffffffff600000.

use serde::Serialize;

/// Where a file names the entries of the page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Vsyscall {
    /// Instructions that load or call one.
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

/// Looks for what a zone rewrites.
pub(crate) fn of(bytes: &[u8]) -> Vsyscall {
    let mut found = Vsyscall::default();
    brands::vsyscall::sites(bytes, &mut |site| {
        if site.form.is_code() {
            found.calls += 1;
        } else {
            found.pointers += 1;
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_found_and_others_are_not() {
        let call = [0x48, 0xc7, 0xc0, 0, 0x04, 0x60, 0xff, 0xff, 0xd0];
        assert_eq!(of(&call), Vsyscall { calls: 1, pointers: 0 });
        assert_eq!(of(&call[..6]), Vsyscall::default());
        assert_eq!(of(&0xffff_ffff_ff60_0800u64.to_le_bytes()), Vsyscall { calls: 0, pointers: 1 });
        assert_eq!(of(&0xffff_ffff_ff60_0c00u64.to_le_bytes()), Vsyscall::default());
        assert!(!of(&[]).is_used());
    }
}
