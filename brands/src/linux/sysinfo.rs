//! sysinfo(2): the zone's memory and load.

use crate::abi::Abi;
use crate::call::{Answered, Call, Reply};
use crate::level::Level;
use crate::task::{SystemInfo, Task};

/// Fills `struct sysinfo`.
pub(super) fn sysinfo(task: &mut dyn Task, call: &Call) -> Answered {
    let info = task.system_info()?;
    let out = match call.abi {
        Abi::X86_64 => wide(&info),
        Abi::I386 if counts_bytes(task.world().level) => narrow(&clamped(info), 1),
        Abi::I386 => {
            let (info, unit) = scaled(info);
            narrow(&info, unit)
        }
    };
    task.write(call.ptr(0), &out)?;
    Ok(Reply::Value(0))
}

/// Before Linux 2.3.23 `mem_unit` was padding and everything was in bytes (sysinfo(2)).
fn counts_bytes(level: Option<Level>) -> bool {
    level.is_some_and(|level| level < Level::new(2, 3, 23))
}

/// The memory figures, to be changed alike.
fn memory(info: &mut SystemInfo) -> [&mut u64; 6] {
    [
        &mut info.total_ram,
        &mut info.free_ram,
        &mut info.shared_ram,
        &mut info.buffer_ram,
        &mut info.total_swap,
        &mut info.free_swap,
    ]
}

/// Programs of then keep the figures in a signed int, so they must stay below 2 GiB. Where there is more, the whole
/// is told as just below it, and its parts as the same shares of it.
fn clamped(mut info: SystemInfo) -> SystemInfo {
    let (ram, swap) = (info.total_ram, info.total_swap);
    let [figures @ .., total_swap, free_swap] = memory(&mut info);
    for figure in figures {
        *figure = share(*figure, ram, MOST_BYTES);
    }
    for figure in [total_swap, free_swap] {
        *figure = share(*figure, swap, MOST_BYTES);
    }
    info
}

/// The most memory that a program which counts bytes in an int can be told of.
pub(super) const MOST_BYTES: u64 = 0x7fff_f000;

/// `part` of a `whole` that is told as no more than `most`.
pub(super) fn share(part: u64, whole: u64, most: u64) -> u64 {
    if whole <= most {
        return part.min(most);
    }
    u64::try_from(u128::from(part) * u128::from(most) / u128::from(whole)).unwrap_or(most).min(most)
}

/// As the kernel does for 32-bit programs: bytes when memory and swap fit 32 bits, else pages
/// (kernel/sys.c, compat_sys_sysinfo).
fn scaled(mut info: SystemInfo) -> (SystemInfo, u32) {
    const PAGE: u32 = 4096;
    if info.total_ram >> 32 == 0 && info.total_swap >> 32 == 0 {
        return (info, 1);
    }
    for figure in memory(&mut info) {
        *figure /= u64::from(PAGE);
    }
    (info, PAGE)
}

fn wide(info: &SystemInfo) -> Vec<u8> {
    let mut out = Vec::with_capacity(112);
    let longs = [info.uptime, info.loads[0], info.loads[1], info.loads[2]];
    let mut copy = *info;
    let figures = memory(&mut copy).map(|figure| *figure);
    for long in longs.into_iter().chain(figures) {
        out.extend_from_slice(&long.to_le_bytes());
    }
    out.extend_from_slice(&info.procs.to_le_bytes());
    // Padding, then `totalhigh` and `freehigh`: there is no high memory on x86_64.
    out.resize(104, 0);
    out.extend_from_slice(&1u32.to_le_bytes());
    out.resize(112, 0);
    out
}

/// With `mem_unit` 1 even where a level has no such field: those who do not know it see padding,
/// those who do multiply by it.
fn narrow(info: &SystemInfo, unit: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let longs = [info.uptime, info.loads[0], info.loads[1], info.loads[2]];
    let mut copy = *info;
    let figures = memory(&mut copy).map(|figure| *figure);
    for long in longs.into_iter().chain(figures) {
        out.extend_from_slice(&(long as u32).to_le_bytes());
    }
    out.extend_from_slice(&info.procs.to_le_bytes());
    out.resize(52, 0);
    out.extend_from_slice(&unit.to_le_bytes());
    out.resize(64, 0);
    out
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::fake::{Fake, call};

    const AT: u64 = 0x5000;
    const GIB: u64 = 1 << 30;

    fn fake(level: &str, ram: u64) -> Fake {
        let mut fake = Fake::linux(Some(level), None);
        fake.map(AT, 4096);
        fake.system = SystemInfo {
            uptime: 77,
            loads: [65536, 32768, 0],
            total_ram: ram,
            free_ram: GIB,
            shared_ram: 4096,
            buffer_ram: 8192,
            total_swap: 2 * GIB,
            free_swap: GIB,
            procs: 9,
        };
        fake
    }

    fn u32_at(fake: &Fake, at: u64) -> u32 {
        u32::from_le_bytes(fake.get(AT + at, 4).try_into().unwrap())
    }

    #[test]
    fn x86_64_counts_bytes() {
        let mut fake = fake("2.6.18", 16 * GIB);
        fake.put(AT, &[0xff; 200]);
        assert_eq!(sysinfo(&mut fake, &call(Abi::X86_64, "sysinfo", &[AT])), Ok(Reply::Value(0)));
        assert_eq!(fake.get(AT + 32, 8), (16 * GIB).to_le_bytes());
        assert_eq!(fake.get(AT + 72, 8), GIB.to_le_bytes());
        assert_eq!(fake.get(AT + 80, 2), [9, 0]);
        assert_eq!(u32_at(&fake, 104), 1);
        assert_eq!(fake.get(AT + 111, 2), [0, 0xff]);
    }

    #[test]
    fn i386_counts_pages_when_bytes_do_not_fit() {
        let mut big = fake("2.6.18", 16 * GIB);
        sysinfo(&mut big, &call(Abi::I386, "sysinfo", &[AT])).unwrap();
        assert_eq!(u32_at(&big, 52), 4096);
        assert_eq!(u32_at(&big, 16), 4 << 20);
        let mut small = fake("2.6.18", 3 * GIB);
        sysinfo(&mut small, &call(Abi::I386, "sysinfo", &[AT])).unwrap();
        assert_eq!(u32_at(&small, 52), 1);
        assert_eq!(u32_at(&small, 16), 3 << 30);
        assert_eq!(small.get(AT + 40, 2), [9, 0]);
    }

    #[test]
    fn before_mem_unit_figures_stay_below_2_gib() {
        let mut fake = fake("2.2.26", 16 * GIB);
        sysinfo(&mut fake, &call(Abi::I386, "sysinfo", &[AT])).unwrap();
        assert_eq!(u32_at(&fake, 16), 0x7fff_f000);
        // The free 1 GiB of 16 are a sixteenth still.
        assert_eq!(u32_at(&fake, 20), 0x7fff_f000 / 16);
        assert_eq!(u32_at(&fake, 52), 1);
    }

    #[test]
    fn a_bad_pointer_faults() {
        let mut fake = fake("2.6.18", GIB);
        let reply = sysinfo(&mut fake, &call(Abi::I386, "sysinfo", &[0]));
        assert_eq!(reply, Err(Errno::EFAULT));
    }
}
