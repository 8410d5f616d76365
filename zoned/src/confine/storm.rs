//! A zone that forks on and on at its limit of tasks. Such a fork fails only once the kernel has copied most of a process, so
//! hundreds of programs that try again at once keep every CPU busy, for nothing. While it lasts the zone has next to no CPU
//! time: its weight alone does not spare a neighbour that wakes up the wait for the scheduler's next tick.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Failure;
use super::cgroup::Cgroup;
use super::control;

/// How long failed forks are counted before they are judged.
const BEGINS: Duration = Duration::from_millis(250);

/// As many of them make a storm: a thousand in a second. A server that can start no more workers tries a few times.
const MANY: u64 = 250;

/// How often a storm is looked at, and any zone whose pids controller is one of v1, which tells nobody (Linux 6.11).
const LOOK: Duration = Duration::from_secs(1);

/// It is over when this many failed from one look to the next. What it may still use is enough for a hundred.
const FEW: u64 = 10;

/// CPU time in each period that a zone has meanwhile, in microseconds.
const QUOTA: u64 = 2000;

/// Where the kernel tells of forks that failed: the first tells of the group's own limit alone (Linux 6.11), the second of those
/// of groups below it, too, or before that of forks in this very group.
const EVENTS: [&str; 2] = ["pids.events.local", "pids.events"];

/// The CPU quota of a group.
#[derive(Debug)]
struct Quota {
    group: PathBuf,
    is_v2: bool,
}

impl Quota {
    fn of(cgroup: &Cgroup) -> Option<Self> {
        let path = [control::QUOTA_V2, control::QUOTA_V1].into_iter().find_map(|file| cgroup.file(file))?;
        Some(Self { group: path.parent()?.to_owned(), is_v2: cgroup.is_v2(&path) })
    }

    fn file(&self) -> &'static str {
        if self.is_v2 { control::QUOTA_V2 } else { control::QUOTA_V1 }
    }

    fn read(&self) -> io::Result<String> {
        fs::read_to_string(self.group.join(self.file())).map(|text| text.trim().to_owned())
    }

    fn write(&self, text: &str) -> Result<(), Failure> {
        control::set(&self.group, self.file(), text).map(drop)
    }
}

/// What became of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is held down from now on.
    Began,
    /// And no longer.
    Ended,
}

impl Turn {
    /// For the zone's log.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Began => "held down: it forks on and on at its limit of processes",
            Self::Ended => "no longer held down: it stopped forking",
        }
    }
}

/// Forks that failed, from when on.
#[derive(Debug, Clone, Copy)]
struct Count {
    failed: u64,
    at: Instant,
}

impl Count {
    /// What the number that has failed by now says of a zone that is held down or not. The count begins anew when it is long
    /// enough.
    fn judge(&mut self, failed: u64, now: Instant, is_held: bool) -> Option<Turn> {
        let (passed, new) = (now.saturating_duration_since(self.at), failed.saturating_sub(self.failed));
        if passed < if is_held { LOOK } else { BEGINS } {
            return None;
        }
        *self = Self { failed, at: now };
        if is_held {
            return (new < FEW).then_some(Turn::Ended);
        }
        // In as long as that: seconds may have passed since the one before it.
        let rate = u128::from(new) * BEGINS.as_nanos() / passed.as_nanos().max(1);
        (rate >= u128::from(MANY)).then_some(Turn::Began)
    }
}

/// Watches a zone's forks, and holds it down.
#[derive(Debug)]
pub struct Storm {
    events: File,
    /// Whether the kernel tells of them.
    is_told: bool,
    quota: Quota,
    count: Count,
    /// The quota that it has otherwise, while it is held down.
    own: Option<String>,
}

impl Storm {
    /// `None` where the host has no controller for the one or the other.
    pub fn watch(cgroup: &Cgroup) -> Option<Self> {
        let path = EVENTS.iter().find_map(|file| cgroup.file(file))?;
        let events = File::open(&path).ok()?;
        let count = Count { failed: failed(&events)?, at: Instant::now() };
        Some(Self { events, is_told: cgroup.is_v2(&path), quota: Quota::of(cgroup)?, count, own: None })
    }

    /// What polls as an exception (POLLPRI) when a fork has failed, where the zone is not looked at by the clock.
    pub fn events(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_by_clock()).then(|| self.events.as_fd())
    }

    fn is_by_clock(&self) -> bool {
        !self.is_told || self.own.is_some()
    }

    /// How long until it is to be looked at.
    pub fn look_in(&self) -> Option<Duration> {
        self.is_by_clock().then(|| LOOK.saturating_sub(self.count.at.elapsed()))
    }

    /// Looks at it; what turned, if anything.
    pub fn hear(&mut self) -> Result<Option<Turn>, Failure> {
        let Some(failed) = failed(&self.events) else { return Ok(None) };
        let turn = self.count.judge(failed, Instant::now(), self.own.is_some());
        match turn {
            Some(Turn::Began) => self.hold_down()?,
            Some(Turn::Ended) => self.let_go()?,
            None => {}
        }
        Ok(turn)
    }

    fn hold_down(&mut self) -> Result<(), Failure> {
        let own = self.quota.read().map_err(|e| Failure::new("read", self.quota.group.display(), e))?;
        let word = own.split(' ').next().unwrap_or_default();
        // "max" of v2 and "-1" of v1 are none.
        if word.parse::<u64>().map_or(true, |own| own > QUOTA) {
            self.quota.write(&QUOTA.to_string())?;
        }
        self.own = Some(own);
        Ok(())
    }

    /// Gives it its own quota back.
    pub fn let_go(&mut self) -> Result<(), Failure> {
        self.own.take().map_or(Ok(()), |own| self.quota.write(&own))
    }
}

/// `max N` of the file.
fn failed(events: &File) -> Option<u64> {
    let mut buffer = [0; 256];
    let read = events.read_at(&mut buffer, 0).ok()?;
    let text = std::str::from_utf8(buffer.get(..read)?).ok()?;
    text.lines().find_map(|line| line.strip_prefix("max ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is judged of a zone at these milliseconds, with so many forks failed by then.
    fn judged(looks: &[(u64, u64)]) -> Vec<Option<Turn>> {
        let start = Instant::now();
        let mut count = Count { failed: 0, at: start };
        let mut is_held = false;
        let mut judge = |(at, failed): &(u64, u64)| {
            let turn = count.judge(*failed, start + Duration::from_millis(*at), is_held);
            is_held = turn.map_or(is_held, |turn| turn == Turn::Began);
            turn
        };
        looks.iter().map(&mut judge).collect()
    }

    #[test]
    fn a_thousand_in_a_second_are_a_storm_until_next_to_none_fail() {
        let (began, ended) = (Some(Turn::Began), Some(Turn::Ended));
        let looks = [(10, 100), (260, 400), (1300, 500), (2300, 510), (3300, 519), (3400, 520), (3600, 900)];
        assert_eq!(judged(&looks), [None, began, None, None, ended, None, began]);
    }

    #[test]
    fn what_waits_between_its_tries_is_none() {
        let looks: Vec<_> = (1..100).map(|i| (i * 10, i * 9)).collect();
        assert!(judged(&looks).iter().all(Option::is_none));
        // Nor are many in an hour, nor a few after an hour.
        assert_eq!(judged(&[(3_600_000, 100_000), (3_600_001, 100_200)]), [None, None]);
    }
}
