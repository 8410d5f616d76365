//! A zone that forks on and on at its limit of tasks. Such a fork fails only once the kernel has copied most of a process, so
//! hundreds of programs that try again at once keep every CPU busy, for nothing. While it lasts the zone has next to no CPU
//! time: its weight alone does not spare a neighbour that wakes up the wait for the scheduler's next tick.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Failure;
use super::cgroup::Cgroup;
use super::control;

/// How long failed forks are counted before they are judged.
const BEGINS: Duration = Duration::from_millis(250);

/// As many of them in a second make a storm. A server that can start no more workers tries a few times.
const MANY: u128 = 500;

/// And this much of each second spent in the kernel: who is refused as often by the way, as the work that others bring demands it,
/// does that work.
const KERNEL: Duration = Duration::from_millis(500);

/// How often a storm is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How often a zone whose pids controller is one of v1, which tells nobody (6.18).
const SELDOM: Duration = Duration::from_secs(2);

/// It is over when fewer than this failed from one look to the next. What it may still use is enough for a hundred.
const FEW: u64 = 3;

const SECOND: u128 = 1_000_000_000;

/// CPU time in each period that a zone has meanwhile, in microseconds.
const QUOTA: u64 = 2000;

/// Where the kernel tells of forks that failed: the first tells of the group's own limit alone (Linux 6.11), the second of those
/// of groups below it, too, or before that of forks in this very group.
const EVENTS: [&str; 2] = ["pids.events.local", "pids.events"];

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

/// How it was when counting began.
#[derive(Debug, Clone, Copy)]
struct Count {
    at: Instant,
    /// Forks that had failed.
    failed: u64,
    /// CPU time that had been spent in the kernel. It is asked for only once many have failed.
    kernel: Option<Duration>,
}

impl Count {
    /// What the time from then to now says of a zone that is held down or not. The count begins anew when it is long enough.
    fn judge(
        &mut self,
        at: Instant,
        failed: u64,
        kernel: impl FnOnce() -> Duration,
        is_held: bool,
    ) -> Option<Turn> {
        let passed = at.saturating_duration_since(self.at);
        if passed < if is_held { LOOK } else { BEGINS } {
            return None;
        }
        let before = std::mem::replace(self, Self { at, failed, kernel: None });
        let failed = failed.saturating_sub(before.failed);
        if is_held {
            return (failed < FEW).then_some(Turn::Ended);
        }
        // Much more than a second may have passed.
        let passed = passed.as_nanos();
        if u128::from(failed) * SECOND < MANY * passed {
            return None;
        }
        let kernel = kernel();
        self.kernel = Some(kernel);
        let spent = kernel.saturating_sub(before.kernel?).as_nanos();
        (spent * SECOND >= KERNEL.as_nanos() * passed).then_some(Turn::Began)
    }
}

/// Watches a zone's forks, and holds it down.
#[derive(Debug)]
pub struct Storm {
    events: File,
    /// Whether the kernel tells of them.
    is_told: bool,
    /// The file of its CPU quota.
    quota: PathBuf,
    count: Count,
    /// The quota that it has otherwise, while it is held down.
    own: Option<String>,
}

impl Storm {
    /// `None` where the host has no controller for the one or the other.
    pub fn watch(cgroup: &Cgroup) -> Option<Self> {
        let path = cgroup.file_of("pids", &EVENTS)?;
        let quota = cgroup.file_of("cpu", &[control::QUOTA_V2, control::QUOTA_V1])?;
        let events = File::open(&path).ok()?;
        let count = Count { at: Instant::now(), failed: failed(&events)?, kernel: None };
        Some(Self { events, is_told: cgroup.is_v2(&path), quota, count, own: None })
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
        let every = match (&self.own, self.count.kernel) {
            (Some(_), _) => LOOK,
            (None, Some(_)) => BEGINS,
            (None, None) => SELDOM,
        };
        self.is_by_clock().then(|| every.saturating_sub(self.count.at.elapsed()))
    }

    /// Looks at it; what turned, if anything. `kernel` tells the CPU time that it has spent in the kernel.
    pub fn hear(&mut self, kernel: impl FnOnce() -> Duration) -> Result<Option<Turn>, Failure> {
        let Some(failed) = failed(&self.events) else { return Ok(None) };
        let turn = self.count.judge(Instant::now(), failed, kernel, self.own.is_some());
        match turn {
            Some(Turn::Began) => self.hold_down()?,
            Some(Turn::Ended) => self.let_go()?,
            None => {}
        }
        Ok(turn)
    }

    fn hold_down(&mut self) -> Result<(), Failure> {
        let own = fs::read_to_string(&self.quota);
        let own = own.map_err(|e| Failure::new("read", self.quota.display(), e))?;
        let word = own.split_whitespace().next().unwrap_or_default();
        // "max" of v2 and "-1" of v1 are none.
        if word.parse::<u64>().map_or(true, |own| own > QUOTA) {
            self.limit(&QUOTA.to_string())?;
        }
        self.own = Some(own);
        Ok(())
    }

    /// Gives it its own quota back.
    pub fn let_go(&mut self) -> Result<(), Failure> {
        self.own.take().map_or(Ok(()), |own| self.limit(&own))
    }

    fn limit(&self, text: &str) -> Result<(), Failure> {
        fs::write(&self.quota, text).map_err(|e| Failure::new("write", self.quota.display(), e))
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

    /// What is judged of a zone at these milliseconds, with so many forks failed and milliseconds spent in the kernel by then.
    fn judged(looks: &[(u64, u64, u64)]) -> Vec<Option<Turn>> {
        let start = Instant::now();
        let mut count = Count { at: start, failed: 0, kernel: None };
        let mut is_held = false;
        let mut judge = |(at, failed, kernel): &(u64, u64, u64)| {
            let (at, kernel) = (start + Duration::from_millis(*at), Duration::from_millis(*kernel));
            let turn = count.judge(at, *failed, || kernel, is_held);
            is_held = turn.map_or(is_held, |turn| turn == Turn::Began);
            turn
        };
        looks.iter().map(&mut judge).collect()
    }

    #[test]
    fn many_failures_that_fill_the_time_are_a_storm_until_next_to_none_fail() {
        let (began, ended) = (Some(Turn::Began), Some(Turn::Ended));
        let looks = [
            (10, 100, 10),
            (260, 400, 200),
            (510, 800, 400),
            (1300, 900, 410),
            (1510, 910, 410),
            (2510, 913, 420),
            (3510, 915, 421),
            (3800, 1200, 600),
            (4050, 1600, 800),
        ];
        assert_eq!(judged(&looks), [None, None, began, None, None, None, ended, None, began]);
    }

    #[test]
    fn what_waits_between_its_tries_is_none() {
        let looks: Vec<_> = (1..100).map(|i| (i * 10, i * 4, i * 10)).collect();
        assert!(judged(&looks).iter().all(Option::is_none));
        // Nor are many in an hour, nor a few after an hour, nor those that take a tenth of a CPU.
        let hour = 3_600_000;
        assert_eq!(judged(&[(hour, 100_000, hour), (hour + 1, 100_200, hour + 1)]), [None, None]);
        assert_eq!(judged(&[(1000, 2000, 100), (2000, 4000, 200)]), [None, None]);
    }
}
