//! Which zones wait for which: `boot-after`, without cycles, and work on many zones in that order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, PoisonError};

use zone_api::{ApiError, ErrorKind};

use super::Zones;
use crate::config::Config;

/// Zones with those that each waits for.
pub(super) type Waits = BTreeMap<String, Vec<String>>;

/// Zones that are worked on at once: a boot waits for disks more than for the processor.
const AT_ONCE: usize = 4;

impl Zones {
    /// Who waits for whom, by the configurations that can be read.
    pub(super) fn boot_order(&self) -> Waits {
        let config = |name: &String| Config::load(&self.config_path(name)).ok();
        let names = self.config_names();
        names.iter().filter_map(|name| Some((name.clone(), config(name)?.boot_after))).collect()
    }

    /// Fails when the zone would wait for itself.
    pub(super) fn check_order(&self, name: &str, config: &Config) -> Result<(), ApiError> {
        if config.boot_after.is_empty() {
            return Ok(());
        }
        let mut waits = self.boot_order();
        waits.insert(name.to_owned(), config.boot_after.clone());
        let Some(cycle) = cycle(&waits, name) else { return Ok(()) };
        let why = format!("boot-after makes a cycle: {}", cycle.join(" after "));
        Err(ApiError::new(ErrorKind::Invalid, format!("configure {name}"), why))
    }
}

/// The shortest way from a zone over those that it waits for back to it.
pub(super) fn cycle(waits: &Waits, name: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut ways = std::collections::VecDeque::from([vec![name.to_owned()]]);
    while let Some(way) = ways.pop_front() {
        for next in way.last().and_then(|last| waits.get(last)).into_iter().flatten() {
            let mut longer = way.clone();
            longer.push(next.clone());
            if next == name {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push_back(longer);
            }
        }
    }
    None
}

/// The same the other way round: for ending.
pub(super) fn reversed(waits: &Waits) -> Waits {
    let mut turned: Waits = waits.keys().map(|name| (name.clone(), Vec::new())).collect();
    for (name, before) in waits {
        for other in before {
            turned.entry(other.clone()).or_default().push(name.clone());
        }
    }
    turned
}

#[derive(Default)]
struct Progress {
    open: BTreeSet<String>,
    under_way: BTreeSet<String>,
}

/// Does `work` on each zone of `names` once it is done on those of them that the zone waits for; several
/// at once. Zones in a cycle, which only a file written by hand can make, are done one after the other.
pub(super) fn in_order(names: BTreeSet<String>, waits: &Waits, work: impl Fn(&str) + Sync) {
    let workers = AT_ONCE.min(names.len());
    let progress = Mutex::new(Progress { open: names, ..Progress::default() });
    let changed = Condvar::new();
    let lock = || progress.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = || {
        let mut now = lock();
        while !now.open.is_empty() {
            let free = |name: &&String| {
                let mut before = waits.get(*name).into_iter().flatten();
                before.all(|other| !now.open.contains(other) && !now.under_way.contains(other))
            };
            let stuck = now.under_way.is_empty();
            let next = now.open.iter().find(free).or_else(|| now.open.first().filter(|_| stuck)).cloned();
            let Some(name) = next else {
                now = changed.wait(now).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            now.open.remove(&name);
            now.under_way.insert(name.clone());
            drop(now);
            work(&name);
            now = lock();
            now.under_way.remove(&name);
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(worker);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(text: &[(&str, &[&str])]) -> Waits {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        text.iter().map(|(name, before)| ((*name).to_owned(), names(before))).collect()
    }

    #[test]
    fn cycles_are_found_and_named() {
        let straight = waits(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[]), ("d", &["gone"])]);
        for name in ["a", "b", "c", "d"] {
            assert_eq!(cycle(&straight, name), None, "{name}");
        }
        let round = waits(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"]), ("d", &["d"])]);
        assert_eq!(cycle(&round, "a"), None);
        assert_eq!(cycle(&round, "b").unwrap(), ["b", "c", "b"]);
        assert_eq!(cycle(&round, "d").unwrap(), ["d", "d"]);
    }

    #[test]
    fn each_waits_for_its_own_and_for_no_other() {
        let order = waits(&[("app", &["db", "net"]), ("db", &["disk"]), ("web", &["app"]), ("alone", &[])]);
        let names: BTreeSet<String> =
            ["app", "db", "disk", "web", "alone"].iter().map(|name| (*name).to_owned()).collect();
        let done = Mutex::new(Vec::new());
        in_order(names.clone(), &order, |name| done.lock().unwrap().push(name.to_owned()));
        let done = done.into_inner().unwrap();
        let at = |name: &str| done.iter().position(|other| other == name).unwrap();
        assert_eq!(done.len(), 5);
        assert!(at("disk") < at("db") && at("db") < at("app") && at("app") < at("web"), "{done:?}");

        let done = Mutex::new(Vec::new());
        in_order(names, &reversed(&order), |name| done.lock().unwrap().push(name.to_owned()));
        let done = done.into_inner().unwrap();
        let at = |name: &str| done.iter().position(|other| other == name).unwrap();
        assert!(at("web") < at("app") && at("app") < at("db") && at("db") < at("disk"), "{done:?}");
    }

    #[test]
    fn those_that_do_not_wait_go_together_and_cycles_end() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
        let both = std::sync::Barrier::new(2);
        // Each waits for the other to have begun.
        in_order(names("a b"), &Waits::new(), |_| {
            both.wait();
        });
        let done = Mutex::new(0);
        in_order(names("a b c"), &waits(&[("a", &["b"]), ("b", &["a"])]), |_| *done.lock().unwrap() += 1);
        assert_eq!(done.into_inner().unwrap(), 3);
    }
}
