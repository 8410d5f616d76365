//! The statfs family: of i386 for file systems whose figures do not fit 32 bits, and for zones with a quota of which their
//! file system does not tell.

use super::stat::path;
use crate::call::{Answered, Call, Reply};
use crate::file::{Statfs, Which};
use crate::level::Level;
use crate::task::{At, Task};

const WORD: u64 = u32::MAX as u64;

/// KiB that a signed 32-bit number holds: what df(1) counted in up to 2.2.
const MOST_KIB: u64 = i32::MAX as u64;

/// Size of `struct statfs64` of i386, which the calls are given.
const SIZE64: u64 = 84;

/// Answers statfs(2).
pub(super) fn statfs(task: &mut dyn Task, call: &Call) -> Answered {
    let found = named(task, call);
    answer(task, call, 1, found, narrow)
}

/// Answers fstatfs(2).
pub(super) fn fstatfs(task: &mut dyn Task, call: &Call) -> Answered {
    let found = task.statfs(Which::Open(call.int(0)));
    answer(task, call, 1, found, narrow)
}

/// Answers statfs64(2). Its own figures have 64 bits, but libc hands them to programs that have 32.
pub(super) fn statfs64(task: &mut dyn Task, call: &Call) -> Answered {
    if call.word(1) != SIZE64 {
        return Ok(Reply::Continue);
    }
    let found = named(task, call);
    answer(task, call, 2, found, large)
}

/// Answers fstatfs64(2), likewise.
pub(super) fn fstatfs64(task: &mut dyn Task, call: &Call) -> Answered {
    if call.word(1) != SIZE64 {
        return Ok(Reply::Continue);
    }
    let found = task.statfs(Which::Open(call.int(0)));
    answer(task, call, 2, found, large)
}

/// Answers statfs(2) of x86_64.
pub(super) fn share(task: &mut dyn Task, call: &Call) -> Answered {
    let found = named(task, call);
    tell_share(task, call, found)
}

/// Answers fstatfs(2) of x86_64.
pub(super) fn open_share(task: &mut dyn Task, call: &Call) -> Answered {
    let found = task.statfs(Which::Open(call.int(0)));
    tell_share(task, call, found)
}

fn tell_share(task: &mut dyn Task, call: &Call, found: Option<Statfs>) -> Answered {
    let Some(found) = found.filter(|found| found.is_share) else { return Ok(Reply::Continue) };
    task.write(call.ptr(1), &wide(&found))?;
    Ok(Reply::Value(0))
}

fn named(task: &mut dyn Task, call: &Call) -> Option<Statfs> {
    let path = path(task, call, 0)?;
    task.statfs(Which::Path { at: At::Cwd, path: &path, follow: true })
}

fn answer(
    task: &mut dyn Task,
    call: &Call,
    arg: usize,
    found: Option<Statfs>,
    form: fn(&Statfs) -> Vec<u8>,
) -> Answered {
    let level = task.world().level;
    let Some(found) = found else { return Ok(Reply::Continue) };
    let fitted = fit(found, level.is_some_and(|level| level < Level::new(2, 4, 0)));
    if fitted == found && !found.is_share {
        return Ok(Reply::Continue);
    }
    task.write(call.ptr(arg), &form(&fitted))?;
    Ok(Reply::Value(0))
}

fn words<const N: usize>(figures: [u64; N]) -> impl Iterator<Item = u8> {
    figures.into_iter().flat_map(|figure| (figure as u32).to_le_bytes())
}

/// What stands behind the counts in each structure, and what is spare.
fn tail(of: &Statfs) -> impl Iterator<Item = u8> + use<> {
    words([of.id, of.id >> 32, of.name_max, of.fragment, of.flags, 0, 0, 0, 0])
}

/// `struct statfs` of asm/statfs.h for i386.
fn narrow(of: &Statfs) -> Vec<u8> {
    let head = [of.kind, of.block_size, of.blocks, of.free, of.available, of.files, of.files_free];
    words(head).chain(tail(of)).collect()
}

/// `struct statfs64` of asm/statfs.h for i386, which is packed.
fn large(of: &Statfs) -> Vec<u8> {
    let counts = [of.blocks, of.free, of.available, of.files, of.files_free];
    words([of.kind, of.block_size])
        .chain(counts.into_iter().flat_map(u64::to_le_bytes))
        .chain(tail(of))
        .collect()
}

/// `struct statfs` of asm-generic/statfs.h.
fn wide(of: &Statfs) -> Vec<u8> {
    let counts = [of.kind, of.block_size, of.blocks, of.free, of.available, of.files, of.files_free];
    let tail = [of.id, of.name_max, of.fragment, of.flags, 0, 0, 0, 0];
    counts.into_iter().chain(tail).flat_map(u64::to_le_bytes).collect()
}

/// Larger blocks, and so fewer, until their counts fit; inodes that do not fit are as many as fit. With
/// `signed`, for programs that hold each figure, and the KiB they come to, in a signed long.
fn fit(mut found: Statfs, signed: bool) -> Statfs {
    let most = if signed { MOST_KIB } else { WORD };
    while found.blocks.max(found.free).max(found.available) > most && found.fragment < 1 << 30 {
        found.block_size = found.block_size.saturating_mul(2).min(1 << 30);
        found.fragment *= 2;
        for count in [&mut found.blocks, &mut found.free, &mut found.available] {
            *count /= 2;
        }
    }
    let most_blocks = if signed { most.min((MOST_KIB << 10) / found.fragment.max(1)) } else { most };
    for count in [&mut found.blocks, &mut found.free, &mut found.available] {
        *count = (*count).min(most_blocks);
    }
    for count in [&mut found.files, &mut found.files_free] {
        // All bits set says that nobody counts.
        if *count != u64::MAX {
            *count = (*count).min(most);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::abi::Abi;
    use crate::fake::{Fake, call};

    const AT: u64 = 0x5000;
    const TIB: u64 = 1 << 40;

    fn fake(level: &str, bytes: u64) -> Fake {
        let mut fake = Fake::linux(Some(level), None);
        fake.map(AT, 4096);
        fake.put(0x7000, b"/\0");
        fake.statfs = Some(Statfs {
            kind: 0xef53,
            block_size: 4096,
            blocks: bytes / 4096,
            free: bytes / 8192,
            available: bytes / 16384,
            files: 5 << 32,
            files_free: u64::MAX,
            id: 0x1_0000_0002,
            name_max: 255,
            fragment: 4096,
            flags: 0x20,
            is_share: false,
        });
        fake
    }

    fn told(fake: &Fake) -> Vec<u64> {
        let bytes = fake.get(AT, 64);
        bytes.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap()).into()).collect()
    }

    #[test]
    fn blocks_grow_until_their_count_fits() {
        let mut fake = fake("2.6.18", 20 * TIB);
        assert_eq!(statfs(&mut fake, &call(Abi::I386, "statfs", &[0x7000, AT])), Ok(Reply::Value(0)));
        let blocks = 20 * TIB / 8192;
        let wanted = [0xef53, 8192, blocks, blocks / 2, blocks / 4, WORD, WORD, 2, 1, 255, 8192, 0x20];
        assert_eq!(told(&fake)[..12], wanted);
        assert_eq!(told(&fake)[12..], [0; 4]);
    }

    #[test]
    fn statfs64_is_told_what_libc_can_hand_on() {
        for (handler, name, from) in
            [(statfs64 as crate::table::Handler, "statfs64", 0x7000), (fstatfs64, "fstatfs64", 3)]
        {
            let mut fake = fake("2.6.18", 20 * TIB);
            fake.put(AT + 84, &[0xff]);
            assert_eq!(handler(&mut fake, &call(Abi::I386, name, &[from, 84, AT])), Ok(Reply::Value(0)));
            assert_eq!(told(&fake)[..3], [0xef53, 8192, 20 * TIB / 8192]);
            assert_eq!(fake.get(AT + 40, 8), u64::MAX.to_le_bytes());
            assert_eq!(fake.get(AT + 48, 8), 0x1_0000_0002u64.to_le_bytes());
            assert_eq!(fake.get(AT + 56, 9), [255, 0, 0, 0, 0, 0x20, 0, 0, 0x20]);
            assert_eq!(fake.get(AT + 84, 1), [0xff]);
            let short = call(Abi::I386, name, &[from, 83, AT]);
            assert_eq!(handler(&mut fake, &short), Ok(Reply::Continue));
        }
    }

    #[test]
    fn up_to_2_2_less_than_2_tib_are_told() {
        let mut fake = fake("2.2.26", 20 * TIB);
        assert_eq!(fstatfs(&mut fake, &call(Abi::I386, "fstatfs", &[3, AT])), Ok(Reply::Value(0)));
        let told = told(&fake);
        let most = (2 * TIB - 1024) / told[1];
        assert_eq!(told[2..5], [most; 3]);
        assert!(told[2] * told[1] / 1024 <= MOST_KIB);
        assert_eq!(told[5], MOST_KIB);
    }

    #[test]
    fn what_fits_is_the_kernels() {
        let mut fake = fake("2.2.26", TIB);
        fake.statfs.as_mut().unwrap().files = 7;
        assert_eq!(statfs(&mut fake, &call(Abi::I386, "statfs", &[0x7000, AT])), Ok(Reply::Continue));
        fake.statfs = None;
        assert_eq!(fstatfs(&mut fake, &call(Abi::I386, "fstatfs", &[3, AT])), Ok(Reply::Continue));
    }

    #[test]
    fn a_share_is_told_as_it_is_and_nothing_else() {
        let mut fake = fake("2.6.18", TIB);
        let calls = [
            (share as crate::table::Handler, call(Abi::X86_64, "statfs", &[0x7000, AT])),
            (open_share, call(Abi::X86_64, "fstatfs", &[3, AT])),
        ];
        for (handler, call) in &calls {
            assert_eq!(handler(&mut fake, call), Ok(Reply::Continue));
        }
        fake.statfs.as_mut().unwrap().is_share = true;
        for (handler, call) in &calls {
            fake.put(AT, &[0xff; 121]);
            assert_eq!(handler(&mut fake, call), Ok(Reply::Value(0)));
            let told: Vec<u64> = fake
                .get(AT, 120)
                .chunks_exact(8)
                .map(|w| u64::from_le_bytes(w.try_into().unwrap()))
                .collect();
            let blocks = TIB / 4096;
            let wanted =
                [0xef53, 4096, blocks, blocks / 2, blocks / 4, 5 << 32, u64::MAX, 0x1_0000_0002, 255];
            assert_eq!((&told[..9], &told[9..]), (&wanted[..], &[4096, 0x20, 0, 0, 0, 0][..]));
            assert_eq!(fake.get(AT + 120, 1), [0xff]);
        }
        // A 32-bit program is told also where all fits.
        fake.statfs.as_mut().unwrap().files = 7;
        assert_eq!(fstatfs(&mut fake, &call(Abi::I386, "fstatfs", &[3, AT])), Ok(Reply::Value(0)));
        assert_eq!(told(&fake)[2], TIB / 4096);
    }

    #[test]
    fn a_bad_pointer_faults() {
        let reply = fstatfs(&mut fake("2.6.18", 20 * TIB), &call(Abi::I386, "fstatfs", &[3, 0x99_0000]));
        assert_eq!(reply, Err(Errno::EFAULT));
    }
}
