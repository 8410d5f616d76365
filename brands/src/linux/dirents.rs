//! The getdents family of i386: entries with the inode numbers that the stat family gives.

use nix::errno::Errno;

use super::stat::fold;
use crate::call::{Answered, Call, Reply};
use crate::file::{Entry, Listing};
use crate::task::Task;

/// Most bytes that one call fills; a larger buffer is filled by the calls after it.
const MOST: usize = 65536;

/// How much larger `struct linux_dirent64` of a name can be than the older structures.
const WIDER: usize = 16;

/// Lays out an entry.
type Form = fn(&Entry) -> Vec<u8>;

/// Size of the guest's buffer.
fn room(call: &Call) -> usize {
    (call.int(2) as u32 as usize).min(MOST)
}

/// Fills the guest's buffer with what fits, and leaves the directory's position after it.
fn fill(task: &mut dyn Task, call: &Call, listing: Listing, form: Form) -> Answered {
    let fd = call.int(0);
    let mut out = Vec::new();
    let mut position = listing.start;
    for entry in &listing.entries {
        let bytes = form(entry);
        if out.len() + bytes.len() > room(call) {
            task.seek(fd, position)?;
            break;
        }
        out.extend(bytes);
        position = entry.next;
    }
    if out.is_empty() && !listing.entries.is_empty() {
        return Err(Errno::EINVAL);
    }
    if let Err(errno) = task.write(call.ptr(1), &out) {
        task.seek(fd, listing.start)?;
        return Err(errno);
    }
    Ok(Reply::Value(out.len() as i64))
}

/// Answers getdents(2) with `struct linux_dirent` of i386.
pub(super) fn getdents(task: &mut dyn Task, call: &Call) -> Answered {
    let form = |entry: &Entry| {
        let len = (12 + entry.name.len()).next_multiple_of(4);
        let mut out = Vec::with_capacity(len);
        out.extend(fold(entry.inode).to_le_bytes());
        out.extend((entry.next as u32).to_le_bytes());
        out.extend((len as u16).to_le_bytes());
        out.extend(&entry.name);
        // The last byte is the type, since Linux 2.6.4.
        out.resize(len - 1, 0);
        out.push(entry.kind);
        out
    };
    // With more room than the guest has, so that an entry which just fits its buffer is found.
    match task.list(call.int(0), room(call) + WIDER) {
        None => Ok(Reply::Continue),
        Some(listing) => fill(task, call, listing, form),
    }
}

/// Answers getdents64(2) with `struct linux_dirent64`.
pub(super) fn getdents64(task: &mut dyn Task, call: &Call) -> Answered {
    let form = |entry: &Entry| {
        let len = (20 + entry.name.len()).next_multiple_of(8);
        let mut out = Vec::with_capacity(len);
        out.extend(u64::from(fold(entry.inode)).to_le_bytes());
        out.extend(entry.next.to_le_bytes());
        out.extend((len as u16).to_le_bytes());
        out.push(entry.kind);
        out.extend(&entry.name);
        out.resize(len, 0);
        out
    };
    match task.list(call.int(0), room(call)) {
        None => Ok(Reply::Continue),
        Some(listing) => fill(task, call, listing, form),
    }
}

/// Answers readdir(2): one entry as `struct old_linux_dirent`, whose offset is its own, not the next one's
/// (fs/readdir.c, fillonedir).
pub(super) fn readdir(task: &mut dyn Task, call: &Call) -> Answered {
    const NAME_MAX: usize = 255;
    let fd = call.int(0);
    let Some(listing) = task.list(fd, (20 + NAME_MAX).next_multiple_of(8)) else {
        return Ok(Reply::Continue);
    };
    let Some(entry) = listing.entries.first() else { return Ok(Reply::Value(0)) };
    let mut out = Vec::new();
    out.extend(fold(entry.inode).to_le_bytes());
    out.extend((listing.start as u32).to_le_bytes());
    out.extend((entry.name.len() as u16).to_le_bytes());
    out.extend(&entry.name);
    out.push(0);
    let written = task.write(call.ptr(1), &out);
    task.seek(fd, if written.is_ok() { entry.next } else { listing.start })?;
    written.map(|()| Reply::Value(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Abi;
    use crate::fake::{Fake, call};

    const AT: u64 = 0x5000;
    const WIDE: u64 = 0x12_0000_0001;
    const LAST: u64 = 0x3_0000_0003;

    fn fake() -> Fake {
        let mut fake = Fake::linux(Some("2.2.26"), None);
        fake.map(AT, 4096);
        let names: [(u64, &[u8]); 3] = [(WIDE, b"a"), (7, b"bcdefg"), (LAST, b"last")];
        fake.directory = Some(names.iter().map(|(inode, name)| (*inode, name.to_vec())).collect());
        fake
    }

    fn word(fake: &Fake, at: u64) -> u32 {
        u32::from_le_bytes(fake.get(AT + at, 4).try_into().unwrap())
    }

    #[test]
    fn getdents_folds_and_ends_with_nothing() {
        let mut fake = fake();
        let all = call(Abi::I386, "getdents", &[3, AT, 4096]);
        assert_eq!(getdents(&mut fake, &all), Ok(Reply::Value(16 + 20 + 16)));
        assert_eq!([word(&fake, 0), word(&fake, 4)], [fold(WIDE), 10]);
        assert_eq!(fake.get(AT + 8, 8), [16, 0, b'a', 0, 0, 0, 0, 8]);
        assert_eq!([word(&fake, 16), word(&fake, 20)], [7, 20]);
        assert_eq!(fake.get(AT + 24, 12), b"\x14\0bcdefg\0\0\0\x08");
        assert_eq!(word(&fake, 36), fold(LAST));
        assert_eq!(getdents(&mut fake, &all), Ok(Reply::Value(0)));
    }

    #[test]
    fn what_does_not_fit_is_for_the_next_call() {
        let mut fake = fake();
        // In the wide form all would be read: 24 + 32 + 24 bytes fit 64 + 16.
        let call = call(Abi::I386, "getdents", &[3, AT, 36]);
        assert_eq!(getdents(&mut fake, &call), Ok(Reply::Value(16)));
        assert_eq!(fake.position, 10);
        assert_eq!(getdents(&mut fake, &call), Ok(Reply::Value(20)));
        assert_eq!(fake.position, 20);
    }

    #[test]
    fn an_entry_that_just_fits_is_given_and_one_that_does_not_is_einval() {
        let mut fake = fake();
        assert_eq!(getdents(&mut fake, &call(Abi::I386, "getdents", &[3, AT, 16])), Ok(Reply::Value(16)));
        let small = call(Abi::I386, "getdents", &[3, AT, 19]);
        assert_eq!(getdents(&mut fake, &small), Err(Errno::EINVAL));
        assert_eq!(fake.position, 10);
    }

    #[test]
    fn getdents64_folds() {
        let mut fake = fake();
        let reply = getdents64(&mut fake, &call(Abi::I386, "getdents64", &[3, AT, 24]));
        assert_eq!(reply, Ok(Reply::Value(24)));
        assert_eq!([word(&fake, 0), word(&fake, 4), word(&fake, 8), word(&fake, 12)], [fold(WIDE), 0, 10, 0]);
        assert_eq!(fake.get(AT + 16, 8), [24, 0, 8, b'a', 0, 0, 0, 0]);
    }

    #[test]
    fn readdir_gives_one_at_a_time() {
        let mut fake = fake();
        let call = call(Abi::I386, "readdir", &[3, AT, 1]);
        for (inode, offset, name) in [(fold(WIDE), 0, &b"\x01\0a\0"[..]), (7, 10, b"\x06\0bcdefg\0")] {
            assert_eq!(readdir(&mut fake, &call), Ok(Reply::Value(1)));
            assert_eq!([word(&fake, 0), word(&fake, 4)], [inode, offset]);
            assert_eq!(fake.get(AT + 8, name.len()), name);
        }
        readdir(&mut fake, &call).unwrap();
        assert_eq!(readdir(&mut fake, &call), Ok(Reply::Value(0)));
    }

    #[test]
    fn a_bad_pointer_loses_no_entry() {
        let mut fake = fake();
        for name in ["getdents", "getdents64", "readdir"] {
            let handler = match name {
                "getdents" => getdents,
                "getdents64" => getdents64,
                _ => readdir,
            };
            let call = call(Abi::I386, name, &[3, 0x99_0000, 4096]);
            assert_eq!(handler(&mut fake, &call), Err(Errno::EFAULT), "{name}");
            assert_eq!(fake.position, 0);
        }
    }

    #[test]
    fn what_cannot_be_listed_is_the_kernels() {
        let mut fake = fake();
        fake.directory = None;
        let reply = getdents64(&mut fake, &call(Abi::I386, "getdents64", &[3, AT, 4096]));
        assert_eq!(reply, Ok(Reply::Continue));
    }
}
