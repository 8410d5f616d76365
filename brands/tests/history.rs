//! The history of calls against what others wrote: numbers against the `syscalls` crate (the headers of linux-libc-dev
//! are compared beside the tables of numbers), releases against syscalls(2) of man-pages. That page is also the source
//! of most releases, so for those this finds slips; where another source was better the difference is explained.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, outside its function too")]

use std::collections::BTreeMap;
use std::io::Read as _;

use brands::abi::Abi;
use brands::history::{self, Entry};
use brands::level::{Level, OLDEST};

#[test]
fn numbers_are_those_of_the_syscalls_crate() {
    let mut compared = 0;
    for entry in history::entries(Abi::X86_64) {
        let Some(theirs) = syscalls::x86_64::Sysno::new(entry.nr as usize) else { continue };
        assert_eq!(theirs.name(), entry.name, "x86_64 {}", entry.nr);
        compared += 1;
    }
    for entry in history::entries(Abi::I386) {
        let Some(theirs) = syscalls::x86::Sysno::new(entry.nr as usize) else { continue };
        // `break` is a word of Rust's.
        assert_eq!(theirs.name().trim_start_matches("r#"), entry.name, "i386 {}", entry.nr);
        compared += 1;
    }
    assert!(compared > 750, "only {compared} numbers were compared");
}

/// Where the table and the page differ, why, and the ABI that it is about.
const KNOWN: &[(&str, Option<Abi>, &str)] = &[
    ("set_thread_area", Some(Abi::X86_64), "set_thread_area(2): ENOSYS as a 64-bit call"),
    ("get_thread_area", Some(Abi::X86_64), "likewise"),
    (
        "poll",
        None,
        "poll(2): introduced in Linux 2.1.23; 2.0.40 has 0 in its place (arch/i386/kernel/entry.S)",
    ),
    ("tkill", None, "tkill(2): since Linux 2.4.19"),
    ("mbind", None, "mbind(2): since Linux 2.6.7"),
    ("set_mempolicy", None, "set_mempolicy(2): since Linux 2.6.7"),
    ("get_mempolicy", None, "get_mempolicy(2): since Linux 2.6.7"),
    ("waitid", None, "waitid(2): since Linux 2.6.9"),
    ("membarrier", None, "membarrier(2): since Linux 4.3"),
    ("pkey_mprotect", None, "pkeys(7): since Linux 4.9, where 4.8 had no support for them yet"),
    ("pkey_alloc", None, "likewise"),
    ("pkey_free", None, "likewise"),
    ("utimes", Some(Abi::I386), "other ports had it first"),
    ("getcpu", Some(Abi::X86_64), "a vsyscall only until 3.1"),
    ("pselect6", Some(Abi::X86_64), "sys_ni_syscall until 2.6.19"),
    ("ppoll", Some(Abi::X86_64), "likewise"),
    ("epoll_pwait", Some(Abi::X86_64), "i386 had it first"),
    ("arch_prctl", None, "as old as the port of x86_64, which 2.4.20 has; for i386 since 4.12"),
];

/// Those of socketcall(2) and ipc(2), which i386 has as calls of their own since 4.3 and 5.1.
fn was_multiplexed(abi: Abi, entry: &Entry) -> bool {
    abi == Abi::I386 && matches!(entry.nr, 359..=373 | 393..=402)
}

#[test]
fn releases_are_those_of_man_pages() {
    let Some(page) = man_page() else {
        eprintln!("SKIPPED: no syscalls(2) of man-pages here (package manpages-dev)");
        return;
    };
    let told = releases(&page);
    let mut compared = 0;
    let mut differ = Vec::new();
    for abi in Abi::ALL {
        for entry in history::entries(abi) {
            let Some(&(since, until)) = told.get(entry.name) else { continue };
            compared += 1;
            // Levels begin at 2.0; what is older is all the same.
            let same = since.max(OLDEST) == entry.since.max(OLDEST);
            let known = |(name, only, _): &&(&str, Option<Abi>, &str)| {
                *name == entry.name && only.is_none_or(|only| only == abi)
            };
            let explained = KNOWN.iter().any(|k| known(&k)) || was_multiplexed(abi, entry);
            if same == explained {
                differ.push(format!("{abi} {}: {since} there, {} here", entry.name, entry.since));
            }
            if let Some(until) = until {
                assert_eq!(Some(until), entry.until, "{abi} {}: where it ends", entry.name);
            }
        }
    }
    assert!(differ.is_empty(), "differ without a reason, or have one and do not:\n{}", differ.join("\n"));
    assert!(compared > 600, "only {compared} calls were compared");
}

/// Calls that the page's table has, each with its first release and the one that took it away.
fn releases(page: &str) -> BTreeMap<String, (Level, Option<Level>)> {
    let mut told = BTreeMap::new();
    for line in page.lines() {
        let Some(rest) = line.strip_prefix("\\fB") else { continue };
        let mut columns = rest.split('\t');
        let (Some(name), Some(since)) = (columns.next(), columns.next()) else { continue };
        let Some((name, _)) = name.split_once("\\fP(2)") else { continue };
        let release = |text: &str| -> Option<Level> {
            let mut numbers = text.trim().split('.').map(|n| n.parse::<u16>());
            let a = numbers.next()?.ok()?;
            let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
            Some(Level::new(a, next(), next()))
        };
        // `2.6; 2.4.18` is a release and an older series that got it too.
        let Some(first) = since.split(';').filter_map(release).min() else { continue };
        let removed = columns.next().and_then(|note| note.strip_prefix("Removed in ")).and_then(release);
        told.insert(name.to_owned(), (first, removed));
    }
    told
}

fn man_page() -> Option<String> {
    let file = std::fs::File::open("/usr/share/man/man2/syscalls.2.gz").ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok()?;
    Some(text)
}
