//! When each call of each ABI came and went.

mod data;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::abi::Abi;
use crate::level::Level;

/// The life of one call on one ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// As asm/unistd.h spells it.
    pub name: &'static str,
    /// Number on the ABI.
    pub nr: u32,
    /// First release that has it.
    pub since: Level,
    /// First release that answers ENOSYS again; the same as `since` for a number that was only ever set
    /// aside.
    pub until: Option<Level>,
    /// Where these facts are from: a man page or a file of the kernel's tree.
    pub source: &'static str,
}

impl Entry {
    /// Whether a kernel of this release has the call.
    pub fn lives_in(&self, release: Level) -> bool {
        self.since <= release && self.until.is_none_or(|until| release < until)
    }

    /// Whether no release ever had it.
    pub fn never_was(&self) -> bool {
        self.until == Some(self.since)
    }
}

/// The first release, for numbers that were set aside before any other is known.
const FIRST: Level = Level::new(1, 0, 0);

static X86_64: LazyLock<Lives> = LazyLock::new(|| Lives::new(Abi::X86_64));
static I386: LazyLock<Lives> = LazyLock::new(|| Lives::new(Abi::I386));

#[derive(Debug)]
struct Lives {
    by_number: Vec<Entry>,
    by_name: BTreeMap<&'static str, usize>,
}

impl Lives {
    fn new(abi: Abi) -> Self {
        let own = format!("@{abi}");
        let mut born: BTreeMap<&str, (Level, &'static str)> = BTreeMap::new();
        // What is said of one ABI goes before what is said of both.
        for only in [false, true] {
            for group in data::BORN {
                for name in group.names.split_whitespace() {
                    match name.strip_suffix(own.as_str()) {
                        Some(name) if only => born.insert(name, (group.since, group.source)),
                        None if !only && !name.contains('@') => {
                            born.insert(name, (group.since, group.source))
                        }
                        _ => None,
                    };
                }
            }
        }
        let mut gone: BTreeMap<&str, (Level, &'static str)> = BTreeMap::new();
        // What is said of one ABI goes before what is said of both, here too.
        for only in [false, true] {
            for group in data::GONE {
                let names = group.names.split_whitespace().filter_map(|name| match name.split_once('@') {
                    Some((name, abi)) => (only && own[1..] == *abi).then_some(name),
                    None => (!only).then_some(name),
                });
                gone.extend(names.map(|name| (name, (group.until, group.source))));
            }
        }
        let never = |name: &str| {
            data::NEVER.split_whitespace().any(|n| n == name || n.strip_suffix(own.as_str()) == Some(name))
        };
        let entry = |&(nr, name): &(u32, &'static str)| {
            if never(name) {
                let source = data::NEVER_SOURCE;
                return Entry { name, nr, since: FIRST, until: Some(FIRST), source };
            }
            // A call that the data forgot is taken for the newest; a test knows of none.
            let (since, source) = born.get(name).copied().unwrap_or((Level::newest(), ""));
            let end = gone.get(name);
            Entry { name, nr, since, until: end.map(|e| e.0), source: end.map_or(source, |e| e.1) }
        };
        let by_number: Vec<_> = abi.by_number().iter().map(entry).collect();
        let by_name = by_number.iter().enumerate().map(|(i, e)| (e.name, i)).collect();
        Self { by_number, by_name }
    }
}

fn lives(abi: Abi) -> &'static Lives {
    match abi {
        Abi::X86_64 => &X86_64,
        Abi::I386 => &I386,
    }
}

/// Every call that `abi` ever had, by number.
pub fn entries(abi: Abi) -> &'static [Entry] {
    &lives(abi).by_number
}

/// The life of the call of this name.
pub fn entry(abi: Abi, name: &str) -> Option<&'static Entry> {
    let lives = lives(abi);
    lives.by_name.get(name).map(|&i| &lives.by_number[i])
}

/// Whether a kernel of this release has the call; true for names that are no call.
pub fn has(abi: Abi, name: &str, release: Level) -> bool {
    entry(abi, name).is_none_or(|entry| entry.lives_in(release))
}

/// The highest number that `abi` is known to have.
pub fn last(abi: Abi) -> u32 {
    entries(abi).last().map_or(0, |entry| entry.nr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Level {
        text.parse().unwrap()
    }

    #[test]
    fn every_call_has_a_life() {
        for abi in Abi::ALL {
            for entry in entries(abi) {
                assert!(!entry.source.is_empty(), "{abi} {} is not in the data", entry.name);
                assert!(entry.until.is_none_or(|until| entry.since <= until), "{entry:?}");
            }
        }
        // And every name in the data is a call, once.
        let known = |name: &str| Abi::ALL.iter().any(|abi| abi.number(name).is_some());
        let names = data::BORN.iter().flat_map(|g| g.names.split_whitespace());
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            assert!(known(name.split('@').next().unwrap()), "{name}");
            assert!(seen.insert(name), "{name} stands there twice");
        }
        let gone = data::GONE.iter().map(|g| g.names).chain([data::NEVER]);
        let mut names =
            gone.flat_map(str::split_whitespace).map(|name| name.split('@').next().unwrap_or(name));
        assert!(names.all(known));
    }

    #[test]
    fn calls_come_and_go() {
        assert!(has(Abi::X86_64, "openat", at("2.6.16")) && !has(Abi::X86_64, "openat", at("2.6.15")));
        assert!(has(Abi::I386, "query_module", at("2.4.37")) && !has(Abi::I386, "query_module", at("2.6.0")));
        assert!(has(Abi::I386, "getcpu", at("2.6.19")) && !has(Abi::X86_64, "getcpu", at("3.0")));
        assert!(!has(Abi::I386, "socket", at("3.10")) && has(Abi::X86_64, "socket", at("3.10")));
        assert!(!has(Abi::I386, "ftime", at("2.0")) && !has(Abi::I386, "ftime", Level::newest()));
        assert!(has(Abi::I386, "no such call", at("2.0")));
    }
}
