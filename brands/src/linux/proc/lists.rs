//! Files of /proc that are lists of what there is, and short ones.

use super::{Host, number};
use crate::level::Level;
use crate::task::World;

/// No swap is a zone's own; the head is of the level's kernel (mm/swapfile.c), and 2.0 had no such file.
pub(super) fn swaps(_: &World, level: Level, _: Host<'_>) -> String {
    let wide = level >= Level::new(5, 6, 0);
    let head = if wide { "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n" } else { HEAD };
    head.to_owned()
}

const HEAD: &str = "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n";

/// The head of the list, and a zone has nothing to go below it.
pub(super) fn partitions(_: &World, _: Level, _: Host<'_>) -> String {
    "major minor  #blocks  name\n\n".to_owned()
}

/// Whether it wants a device, its name, and the release that first had it.
const FILE_SYSTEMS: &[(bool, &str, (u16, u16, u16))] = &[
    (false, "sysfs", (2, 6, 0)),
    (false, "rootfs", (2, 4, 0)),
    (false, "ramfs", (2, 4, 0)),
    (false, "tmpfs", (2, 4, 0)),
    (false, "proc", (1, 0, 0)),
    (false, "cgroup", (2, 6, 24)),
    (false, "cgroup2", (4, 5, 0)),
    (false, "devtmpfs", (2, 6, 32)),
    (false, "devpts", (2, 2, 0)),
    (false, "mqueue", (2, 6, 6)),
    (false, "overlay", (3, 18, 0)),
    (true, "ext2", (1, 0, 0)),
    (true, "ext3", (2, 4, 15)),
    (true, "ext4", (2, 6, 28)),
];

pub(super) fn filesystems(_: &World, level: Level, _: Host<'_>) -> String {
    let there = FILE_SYSTEMS.iter().filter(|(_, _, (a, b, c))| level >= Level::new(*a, *b, *c));
    there.map(|(device, name, _)| format!("{}\t{name}\n", if *device { "" } else { "nodev" })).collect()
}

/// Controllers by the release that first had them (cgroups(7)).
const CONTROLLERS: &[(&str, (u16, u16, u16))] = &[
    ("cpuset", (2, 6, 24)),
    ("cpu", (2, 6, 24)),
    ("cpuacct", (2, 6, 24)),
    ("memory", (2, 6, 25)),
    ("devices", (2, 6, 26)),
    ("freezer", (2, 6, 28)),
    ("net_cls", (2, 6, 29)),
    ("blkio", (2, 6, 33)),
    ("perf_event", (2, 6, 39)),
    ("net_prio", (3, 3, 0)),
    ("hugetlb", (3, 6, 0)),
    ("pids", (4, 3, 0)),
];

/// Programs look for the controllers by name and take them for missing where a younger kernel leaves them out.
pub(super) fn cgroups(_: &World, level: Level, _: Host<'_>) -> String {
    if level < Level::new(2, 6, 24) {
        return String::new();
    }
    let there = CONTROLLERS.iter().filter(|(_, (a, b, c))| level >= Level::new(*a, *b, *c));
    let lines = there.map(|(name, _)| format!("{name}\t0\t1\t1\n"));
    std::iter::once("#subsys_name\thierarchy\tnum_cgroups\tenabled\n".to_owned()).chain(lines).collect()
}

/// fs/file_table.c: NR_FILE was 1024, then 4096, then 8192; since 2.6 a tenth of memory in KiB.
pub(super) fn file_max(_: &World, level: Level, host: Host<'_>) -> String {
    let most = if level < Level::new(2, 2, 0) {
        1024
    } else if level < Level::new(2, 4, 0) {
        4096
    } else if level < Level::new(2, 6, 0) {
        8192
    } else {
        (number(&host("meminfo"), "MemTotal") / 10).max(8192)
    };
    format!("{most}\n")
}

/// Open files, those of them that are free, and [`file_max`].
pub(super) fn file_nr(world: &World, level: Level, host: Host<'_>) -> String {
    let now = host("sys/fs/file-nr");
    let mut now = now.split_whitespace();
    let (open, free) = (now.next().unwrap_or("0"), now.next().unwrap_or("0"));
    format!("{open}\t{free}\t{}", file_max(world, level, host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::proc::world;

    fn at(make: fn(&World, Level, Host<'_>) -> String, level: &str) -> String {
        let world = world(level, "i686");
        make(&world, world.level.unwrap(), &|_| "MemTotal:  4000000 kB\n".to_owned())
    }

    #[test]
    fn lists_have_what_the_level_had() {
        assert_eq!(at(filesystems, "2.0.36"), "nodev\tproc\n\text2\n");
        assert!(
            at(filesystems, "2.6.18").contains("\text3\n") && !at(filesystems, "2.6.18").contains("ext4")
        );
        assert_eq!(at(cgroups, "2.6.18"), "");
        assert!(at(cgroups, "3.10").contains("memory\t0\t1\t1\n") && !at(cgroups, "3.10").contains("pids"));
        assert_eq!(at(partitions, "2.4.20"), "major minor  #blocks  name\n\n");
    }

    #[test]
    fn file_max_is_one_that_a_shell_can_count_to() {
        assert_eq!(at(file_max, "2.2.26"), "4096\n");
        assert_eq!(at(file_max, "2.6.18"), "400000\n");
        let world = world("2.4.20", "i686");
        let host = |path: &str| {
            if path == "sys/fs/file-nr" { "1984\t0\t9223372036854775807\n" } else { "" }.to_owned()
        };
        assert_eq!(file_nr(&world, world.level.unwrap(), &host), "1984\t0\t8192\n");
    }
}
