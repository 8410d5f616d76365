//! /proc/meminfo.

use std::fmt::Write as _;

use super::{Arrival, Host, is_younger, narrow, number};
use crate::level::Level;
use crate::linux::sysinfo::{MOST_BYTES, share};
use crate::task::World;

/// Fields that came after 2.6.0, by release (proc(5), and fs/proc/meminfo.c by tag). Those that are not here
/// were there from the start.
const YOUNG: &[Arrival] = &[
    (Level::new(2, 6, 16), &["HugePages_Rsvd"]),
    (Level::new(2, 6, 18), &["AnonPages", "NFS_Unstable", "Bounce"]),
    (Level::new(2, 6, 19), &["SReclaimable", "SUnreclaim"]),
    (Level::new(2, 6, 24), &["HugePages_Surp"]),
    (Level::new(2, 6, 26), &["WritebackTmp"]),
    (Level::new(2, 6, 27), &["DirectMap4k", "DirectMap2M", "DirectMap1G", "DirectMap4M"]),
    (
        Level::new(2, 6, 28),
        &["Active(anon)", "Inactive(anon)", "Active(file)", "Inactive(file)", "Unevictable", "Mlocked"],
    ),
    (Level::new(2, 6, 32), &["Shmem", "KernelStack", "HardwareCorrupted"]),
    (Level::new(2, 6, 38), &["AnonHugePages"]),
    (Level::new(3, 14, 0), &["MemAvailable"]),
    (Level::new(3, 19, 0), &["CmaTotal", "CmaFree"]),
    (Level::new(4, 8, 0), &["ShmemHugePages", "ShmemPmdMapped"]),
    (Level::new(4, 20, 0), &["KReclaimable", "Percpu"]),
    (Level::new(4, 18, 0), &["Hugetlb"]),
    (Level::new(5, 4, 0), &["FileHugePages", "FilePmdMapped"]),
    (Level::new(5, 19, 0), &["Zswap", "Zswapped"]),
    (Level::new(6, 0, 0), &["SecPageTables"]),
    (Level::new(6, 7, 0), &["Unaccepted"]),
    (Level::new(6, 16, 0), &["Balloon"]),
];

pub(super) fn meminfo(world: &World, level: Level, host: Host<'_>) -> String {
    let now = host("meminfo");
    if level < Level::new(2, 6, 0) { old(&now, narrow(world, level), level) } else { recent(&now, level) }
}

/// The host's lines that the level has.
fn recent(now: &str, level: Level) -> String {
    let young = |key: &str| is_younger(YOUNG, key, level);
    let kept = now.lines().filter(|line| line.split_once(':').is_some_and(|(key, _)| !young(key)));
    kept.map(|line| format!("{line}\n")).collect()
}

/// fs/proc/array.c of 2.0 and 2.2, fs/proc/proc_misc.c of 2.4: a table in bytes, then lines in KiB.
fn old(now: &str, narrow: bool, level: Level) -> String {
    // As sysinfo(2) tells it.
    let (ram, disk) = (number(now, "MemTotal"), number(now, "SwapTotal"));
    let kib = |key: &str| {
        let whole = if key.starts_with("Swap") && key != "SwapCached" { disk } else { ram };
        if narrow { share(number(now, key), whole, MOST_BYTES >> 10) } else { number(now, key) }
    };
    let (total, free) = (kib("MemTotal"), kib("MemFree"));
    let (buffers, cached, shared) = (kib("Buffers"), kib("Cached"), 0);
    let (swap, swap_free) = (kib("SwapTotal"), kib("SwapFree"));
    let mut out = "        total:    used:    free:  shared: buffers:  cached:\n".to_owned();
    let bytes = |kib: u64| kib << 10;
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "Mem:  {:8} {:8} {:8} {:8} {:8} {:8}",
        bytes(total),
        bytes(total - free.min(total)),
        bytes(free),
        bytes(shared),
        bytes(buffers),
        bytes(cached)
    );
    let _ = writeln!(
        out,
        "Swap: {:8} {:8} {:8}",
        bytes(swap),
        bytes(swap - swap_free.min(swap)),
        bytes(swap_free)
    );
    let lines = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemShared", shared),
        ("Buffers", buffers),
        ("Cached", cached),
    ];
    // Low and high memory are one where there are no 32-bit kernels.
    let of_24 = [
        ("SwapCached", kib("SwapCached")),
        ("Active", kib("Active")),
        ("Inactive", kib("Inactive")),
        ("HighTotal", 0),
        ("HighFree", 0),
        ("LowTotal", total),
        ("LowFree", free),
    ];
    let of_24 = of_24.into_iter().filter(|_| level >= Level::new(2, 4, 0));
    for (key, kib) in lines.into_iter().chain(of_24).chain([("SwapTotal", swap), ("SwapFree", swap_free)]) {
        let _ = writeln!(out, "{:<11}{kib:8} kB", format!("{key}:"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::proc::world;

    const NOW: &str = "MemTotal:       24684084 kB\nMemFree:        22759184 kB\nMemAvailable:   23920140 kB\n\
        Buffers:            3436 kB\nCached:           689156 kB\nSwapCached:            0 kB\n\
        Active:           218480 kB\nInactive:         750592 kB\nActive(anon):       1644 kB\n\
        SwapTotal:       1000000 kB\nSwapFree:         400000 kB\nZswap:                 0 kB\n\
        Shmem:              9284 kB\nKReclaimable:     796216 kB\nSlab:             854352 kB\n";

    fn at(level: &str, arch: &str) -> String {
        let world = world(level, arch);
        meminfo(&world, world.level.unwrap(), &|_| NOW.to_owned())
    }

    #[test]
    fn before_2_4_it_is_a_table_that_fits_an_int() {
        assert_eq!(
            at("2.0.36", "i686"),
            "        total:    used:    free:  shared: buffers:  cached:\n\
             Mem:  2147479552 167463936 1980015616        0   297984 59955200\n\
             Swap: 1024000000 614400000 409600000\n\
             MemTotal:   2097148 kB\n\
             MemFree:    1933609 kB\n\
             MemShared:        0 kB\n\
             Buffers:        291 kB\n\
             Cached:       58550 kB\n\
             SwapTotal:  1000000 kB\n\
             SwapFree:    400000 kB\n"
        );
    }

    #[test]
    fn at_2_4_the_lines_tell_of_low_memory() {
        let text = at("2.4.20", "i686");
        assert!(text.contains("Mem:  25276502016 1971097600 23305404416"), "{text}");
        assert!(text.contains("LowTotal:  24684084 kB\n"), "{text}");
    }

    #[test]
    fn later_levels_leave_out_what_came_after_them() {
        let keys = |level: &str| {
            let text = at(level, "x86_64");
            text.lines().map(|l| l.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let old =
            ["MemTotal", "MemFree", "Buffers", "Cached", "SwapCached", "Active", "Inactive", "SwapTotal"];
        assert_eq!(keys("2.6.18"), [&old[..], &["SwapFree", "Slab"]].concat());
        assert!(!keys("3.10").contains(&"MemAvailable".to_owned()));
        assert!(keys("3.14").contains(&"MemAvailable".to_owned()));
        assert_eq!(keys("6.19").len(), NOW.lines().count());
    }
}
