//! The history of calls against the tables of real kernels, number by number: `data/tables.txt`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, outside its function too")]

use std::collections::BTreeSet;

use brands::abi::Abi;
use brands::history;
use brands::level::Level;

const TABLES: &str = include_str!("data/tables.txt");

/// Where a table and the history differ by intention: the calls, first and last release, why.
const KNOWN: &[(&str, Level, Level, &str)] = &[
    ("_sysctl", v(5, 5), v(5, 8), "in the table, and ENOSYS behind it: sysctl(2)"),
    ("restart_syscall", v(2, 0), v(2, 0), "the number was setup(2)'s, for process 1 alone"),
    (
        "mbind get_mempolicy set_mempolicy migrate_pages move_pages set_mempolicy_home_node",
        v(6, 15),
        v(6, 17),
        "kernels of i386 lost NUMA; programs of i386 have it on x86_64",
    ),
    (
        "pkey_mprotect pkey_alloc pkey_free map_shadow_stack mseal",
        v(4, 9),
        v(6, 17),
        "not in a kernel of i386; programs of i386 have it on x86_64",
    ),
    ("eventfd2 signalfd4 timerfd_create timerfd_settime timerfd_gettime", v(2, 6), v(2, 6), PATCHED),
    ("fallocate accept4 epoll_create1", v(2, 6), v(2, 6), PATCHED),
    ("kcmp finit_module sched_setattr sched_getattr renameat2", v(3, 4), v(3, 4), PATCHED),
];

const PATCHED: &str = "the tree at hand has it from a later release";

const fn v(a: u16, b: u16) -> Level {
    Level::new(a, b, 0)
}

struct Table {
    abi: Abi,
    release: Level,
    numbers: BTreeSet<u32>,
}

fn tables() -> Vec<Table> {
    let lines = TABLES.lines().filter(|line| !line.starts_with('#'));
    let table = |line: &str| {
        let (head, numbers) = line.split_once(": ").unwrap();
        let mut words = head.split(' ');
        let abi = if words.next() == Some("i386") { Abi::I386 } else { Abi::X86_64 };
        let release = Level::parse_release(words.next().unwrap()).unwrap().0;
        let range = |word: &str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            first.parse::<u32>().unwrap()..=last.parse().unwrap()
        };
        Table { abi, release, numbers: numbers.split(' ').flat_map(range).collect() }
    };
    lines.map(table).collect()
}

#[test]
fn every_call_is_in_the_tables_of_the_releases_that_have_it_and_in_no_other() {
    let mut differ = Vec::new();
    let mut compared = 0;
    let mut used = BTreeSet::new();
    for table in tables() {
        for entry in history::entries(table.abi) {
            compared += 1;
            let there = table.numbers.contains(&entry.nr);
            if there == entry.lives_in(table.release) {
                continue;
            }
            let age = v(table.release.parts[0], table.release.parts[1]);
            let known = KNOWN.iter().position(|(names, first, last, _)| {
                names.split(' ').any(|name| name == entry.name) && *first <= age && age <= *last
            });
            if let Some(known) = known {
                used.insert(known);
            } else {
                differ.push(format!(
                    "{} {} {}: {} there; here since {}, until {:?}",
                    table.abi, table.release, entry.name, there, entry.since, entry.until
                ));
            }
        }
    }
    assert!(compared > 50_000, "only {compared} facts were compared");
    let idle: Vec<_> = (0..KNOWN.len()).filter(|i| !used.contains(i)).map(|i| KNOWN[i].0).collect();
    assert!(idle.is_empty(), "explanations that explain nothing: {idle:?}");
    assert!(differ.is_empty(), "{} of {compared}\n{}", differ.len(), differ.join("\n"));
}
