//! /proc/stat.

use std::fmt::Write as _;

use super::{Host, number};
use crate::level::Level;
use crate::task::World;

pub(super) fn stat(world: &World, level: Level, host: Host<'_>) -> String {
    let now = host("stat");
    if level < Level::new(2, 6, 0) { old(world, level, &now, &host("vmstat")) } else { recent(level, &now) }
}

/// How many times a `cpu` line had (proc(5)): user, nice, system, idle; iowait, irq and softirq with 2.6.0,
/// steal with 2.6.11, guest with 2.6.24, guest_nice with 2.6.33.
fn columns(level: Level) -> usize {
    let since = [(2, 6, 0), (2, 6, 11), (2, 6, 24), (2, 6, 33)].map(|(a, b, c)| Level::new(a, b, c));
    let steps = since.iter().filter(|&&since| level >= since).count();
    [4, 7, 8, 9, 10][steps]
}

fn recent(level: Level, now: &str) -> String {
    let mut out = String::new();
    for line in now.lines() {
        if line.starts_with("cpu") {
            cpu(&mut out, line, columns(level));
        } else if line.starts_with("softirq") && level < Level::new(2, 6, 31) {
            // Not there yet.
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// A `cpu` line's name and first times; the name of the sum is followed by two blanks.
fn cpu(out: &mut String, line: &str, columns: usize) {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or("cpu");
    out.push_str(name);
    if name == "cpu" {
        out.push(' ');
    }
    for word in words.take(columns) {
        out.push(' ');
        out.push_str(word);
    }
    out.push('\n');
}

/// kstat_read_proc of fs/proc: 2.0 and 2.2 have disk lines, 2.4 has disk_io; a zone has no disks.
fn old(world: &World, level: Level, now: &str, vm: &str) -> String {
    let mut out = String::new();
    let of_24 = level >= Level::new(2, 4, 0);
    for line in now.lines().filter(|line| line.starts_with("cpu")) {
        // Time since nobody asked for anything else is idle: iowait was, then.
        cpu(&mut out, &with_waiting(line), 4);
    }
    if !of_24 {
        out.push_str(
            "disk 0 0 0 0\ndisk_rio 0 0 0 0\ndisk_wio 0 0 0 0\ndisk_rblk 0 0 0 0\ndisk_wblk 0 0 0 0\n",
        );
    }
    // Counters of 32 bits go round.
    let bits32 = crate::platform::is_linux32(world.personality);
    let of = |text: &str, key: &str| {
        let n = number(text, key);
        if bits32 { n & 0xffff_ffff } else { n }
    };
    // Writing to a string does not fail.
    let _ = writeln!(out, "page {} {}", of(vm, "pgpgin"), of(vm, "pgpgout"));
    let _ = writeln!(out, "swap {} {}", of(vm, "pswpin"), of(vm, "pswpout"));
    let _ = writeln!(out, "intr {}{}", of(now, "intr"), " 0".repeat(16));
    if of_24 {
        out.push_str("disk_io: \n");
    }
    for key in ["ctxt", "btime", "processes"] {
        let _ = writeln!(out, "{key} {}", of(now, key));
    }
    out
}

/// A `cpu` line whose iowait is counted as idle, and interrupts as the system's.
fn with_waiting(line: &str) -> String {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or("cpu");
    let times: Vec<u64> = words.map(|word| word.parse().unwrap_or(0)).collect();
    let at = |i: usize| times.get(i).copied().unwrap_or(0);
    format!("{name} {} {} {} {}", at(0), at(1), at(2) + at(5) + at(6), at(3) + at(4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::proc::world;

    const NOW: &str = "cpu  10 20 30 400 5 6 7 8 9 1\ncpu0 10 20 30 400 5 6 7 8 9 1\nintr 5237995 0 1 2\n\
        ctxt 5000000000\nbtime 1700000000\nprocesses 77\nprocs_running 2\nprocs_blocked 0\nsoftirq 9 1 2\n";

    fn at(level: &str, arch: &str) -> String {
        let world = world(level, arch);
        let host = |path: &str| match path {
            "stat" => NOW.to_owned(),
            _ => "pgpgin 11\npgpgout 22\npswpin 3\npswpout 4\n".to_owned(),
        };
        stat(&world, world.level.unwrap(), &host)
    }

    #[test]
    fn the_form_of_2_2() {
        assert_eq!(
            at("2.2.26", "i686"),
            "cpu  10 20 43 405\ncpu0 10 20 43 405\ndisk 0 0 0 0\ndisk_rio 0 0 0 0\ndisk_wio 0 0 0 0\n\
             disk_rblk 0 0 0 0\ndisk_wblk 0 0 0 0\npage 11 22\nswap 3 4\n\
             intr 5237995 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\nctxt 705032704\nbtime 1700000000\nprocesses 77\n"
        );
    }

    #[test]
    fn the_form_of_2_4() {
        let text = at("2.4.20", "i686");
        assert!(text.contains("swap 3 4\nintr 5237995 0 0") && text.contains("\ndisk_io: \nctxt "), "{text}");
        assert!(!text.contains("disk_rio") && !text.contains("procs_running"), "{text}");
    }

    #[test]
    fn later_forms_have_more_columns() {
        for (level, line) in [
            ("2.6.9", "cpu  10 20 30 400 5 6 7\n"),
            ("2.6.18", "cpu  10 20 30 400 5 6 7 8\n"),
            ("2.6.32", "cpu  10 20 30 400 5 6 7 8 9\n"),
            ("3.10", "cpu  10 20 30 400 5 6 7 8 9 1\n"),
        ] {
            assert!(at(level, "x86_64").starts_with(line), "{level}: {}", at(level, "x86_64"));
        }
        assert!(!at("2.6.18", "x86_64").contains("softirq"));
        assert_eq!(at("3.10", "x86_64"), NOW);
    }
}
