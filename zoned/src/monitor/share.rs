//! The zone's share of the machine, as /proc, /sys and sysinfo(2) tell it: from its control groups, at the moment of the
//! question, so that a limit that was changed is told of at once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::system::Sysinfo;

use super::procfs::host;
use crate::confine::cgroup::Cgroup;
use crate::confine::clocks::Clocks;
use crate::confine::cpus;

/// Files of /proc, and of /sys by whole path, that tell of a share; those after them change while a zone runs too.
pub const FILES: [&str; 9] = [
    "meminfo",
    "stat",
    "cpuinfo",
    "loadavg",
    "swaps",
    "diskstats",
    "/sys/devices/system/cpu/online",
    "/sys/devices/system/cpu/possible",
    "/sys/devices/system/cpu/present",
];

/// One zone's share.
#[derive(Debug)]
pub struct Share {
    cgroup: Cgroup,
    /// Whether the zone's files tell of it.
    pub is_shown: bool,
    /// How many seconds later than the host the zone was booted, by its clocks.
    pub younger: u64,
    booted: Instant,
    load: Mutex<Load>,
    /// Files of the groups that were asked for: those that are there are kept open, for to find one takes longer than to read it.
    files: Mutex<HashMap<&'static str, Option<Arc<File>>>>,
}

#[derive(Debug)]
struct Load {
    at: Instant,
    /// CPU time used until then, in microseconds.
    used: u64,
    averages: [f64; 3],
    running: usize,
    tasks: usize,
    last: i32,
}

/// Memory figures in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// What there is.
    pub total: u64,
    /// What of it is used.
    pub used: u64,
    /// Swap that there is.
    pub swap_total: u64,
    /// What of it is used.
    pub swap_used: u64,
}

/// Figures that take long to ask for, kept for a moment: the kernel's own are no closer to the truth.
#[derive(Debug, Default)]
pub struct Recent<T>(Mutex<Option<(Instant, T)>>);

impl<T: Copy> Recent<T> {
    const MOMENT: Duration = Duration::from_millis(1);

    /// The last, or what `ask` tells where that is older at `now`.
    pub fn get(&self, now: Instant, ask: impl FnOnce() -> T) -> T {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, figures)) if now.saturating_duration_since(at) < Self::MOMENT => figures,
            _ => last.insert((now, ask())).1,
        }
    }
}

/// USER_HZ of every x86 kernel (time(7)).
const HZ: u64 = 100;

impl Share {
    /// The share of the zone whose groups these are.
    pub fn new(cgroup: Cgroup, is_shown: bool, clocks: Option<Clocks>) -> Self {
        let now = Instant::now();
        let load = Load { at: now, used: 0, averages: [0.0; 3], running: 0, tasks: 0, last: 1 };
        let younger = clocks.map_or(0, |clocks| clocks.boottime);
        Self { cgroup, is_shown, younger, booted: now, load: Mutex::new(load), files: Mutex::default() }
    }

    /// A file's text of today, as a kernel would write it that has no more than the share. `path` is below /proc, or
    /// whole.
    pub fn text(&self, path: &str) -> String {
        match path {
            "meminfo" => match self.memory(&rustix::system::sysinfo()) {
                Some(memory) => self.meminfo(memory),
                None => host(path),
            },
            "stat" => self.cpus().map_or_else(|| self.host_stat(), |cpus| self.stat(cpus.len() as u64)),
            "cpuinfo" => self.cpus().map_or_else(|| host(path), |cpus| cpuinfo(&host(path), cpus.len())),
            "loadavg" => self.loadavg(),
            "swaps" => "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_owned(),
            // The zone has no disks.
            "diskstats" => String::new(),
            _ if path.starts_with("/sys/") => match self.cpus() {
                Some(cpus) => cpus::show(&cpus) + "\n",
                None => fs::read_to_string(path).unwrap_or_default(),
            },
            _ => host(path),
        }
    }

    /// Load averages of the zone over 1, 5 and 15 minutes.
    pub fn loads(&self) -> [f64; 3] {
        self.sampled(|load| load.averages)
    }

    /// Tasks of the zone.
    pub fn tasks(&self) -> Option<u64> {
        self.number(&["pids.current"])
    }

    /// KiB shared.
    pub fn shared(&self) -> u64 {
        kept(&self.read("memory.stat").unwrap_or_default(), "shmem", "shmem")
    }

    fn read(&self, file: &'static str) -> Option<String> {
        const PIECE: usize = 4096;
        let file = self.open(file)?;
        let mut text = Vec::new();
        loop {
            let end = text.len();
            text.resize(end + PIECE, 0);
            let got = file.read_at(&mut text[end..], end as u64).ok()?;
            text.truncate(end + got);
            if got == 0 {
                return String::from_utf8(text).ok();
            }
        }
    }

    fn open(&self, file: &'static str) -> Option<Arc<File>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = files.get(file) {
            return known.clone();
        }
        let opened = match self.cgroup.file(file) {
            Some(path) => Some(Arc::new(File::open(path).ok()?)),
            // The groups are not made yet.
            None if !self.cgroup.is_made() => return None,
            None => None,
        };
        files.insert(file, opened.clone());
        opened
    }

    /// The number in the first of these files that the groups have.
    fn number(&self, files: &[&'static str]) -> Option<u64> {
        // One read, without another for the end: sysinfo(2) takes two of them.
        let number = |file: &File| {
            let mut line = [0; 24];
            let got = file.read_at(&mut line, 0).ok()?;
            std::str::from_utf8(&line[..got]).ok()?.trim_end().parse().ok()
        };
        files.iter().find_map(|file| number(&*self.open(file)?))
    }

    /// Microseconds of CPU time: user, system.
    fn used(&self) -> (u64, u64) {
        if let Some(text) = self.read("cpuacct.stat") {
            let ticks = |key: &str| value(&text, key).unwrap_or(0) * (1_000_000 / HZ);
            return (ticks("user"), ticks("system"));
        }
        let text = self.read("cpu.stat").unwrap_or_default();
        (value(&text, "user_usec").unwrap_or(0), value(&text, "system_usec").unwrap_or(0))
    }

    /// CPU time that its programs spent in the kernel.
    pub fn in_kernel(&self) -> Duration {
        Duration::from_micros(self.used().1)
    }

    /// The CPUs, where they are fewer than the host's.
    fn cpus(&self) -> Option<cpus::Set> {
        let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
        let all = cpus::parse(&online);
        let set = match self.cgroup.file("cpuset.cpus").as_deref().and_then(|file| file.parent()) {
            Some(group) => cpus::own(group),
            None => all.iter().copied().take(self.quota()?).collect(),
        };
        (!set.is_empty() && set.len() < all.len()).then_some(set)
    }

    /// CPUs that a cap comes to.
    fn quota(&self) -> Option<usize> {
        let (quota, period) = match self.read("cpu.max") {
            Some(text) => {
                let mut words = text.split_whitespace();
                (words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?)
            }
            None => (self.number(&["cpu.cfs_quota_us"])?, self.number(&["cpu.cfs_period_us"])?),
        };
        usize::try_from(quota.div_ceil(period.max(1))).ok().map(|count| count.max(1))
    }

    /// The memory, where there is less of it than the host has.
    pub fn memory(&self, now: &Sysinfo) -> Option<Memory> {
        let limit = self.number(&["memory.max", "memory.limit_in_bytes"])? >> 10;
        let of_host = |units: u64| (units * u64::from(now.mem_unit)) >> 10;
        if limit >= of_host(now.totalram) {
            return None;
        }
        let used = self.number(&["memory.current", "memory.usage_in_bytes"])? >> 10;
        let (swap, swap_used) = match self.number(&["memory.swap.current"]) {
            Some(used) => (self.number(&["memory.swap.max"]).map(|most| most >> 10), used >> 10),
            None => {
                let both = self.number(&["memory.memsw.limit_in_bytes"]).map_or(u64::MAX, |most| most >> 10);
                let all = self.number(&["memory.memsw.usage_in_bytes"]).map_or(used, |all| all >> 10);
                (Some(both.saturating_sub(limit)), all.saturating_sub(used))
            }
        };
        let swap_total = swap.unwrap_or(u64::MAX).min(of_host(now.totalswap));
        Some(Memory { total: limit, used: used.min(limit), swap_total, swap_used: swap_used.min(swap_total) })
    }

    fn meminfo(&self, memory: Memory) -> String {
        let text = self.read("memory.stat").unwrap_or_default();
        let stat = |v2: &str, v1: &str| kept(&text, v2, v1);
        let (total, free) = (memory.total, memory.total - memory.used);
        let lru = |name: &str| stat(name, name);
        let (active_anon, inactive_anon) = (lru("active_anon"), lru("inactive_anon"));
        let (active_file, inactive_file) = (lru("active_file"), lru("inactive_file"));
        let slab = (stat("slab_reclaimable", "-"), stat("slab_unreclaimable", "-"));
        let mut out = String::new();
        for line in host("meminfo").lines() {
            let Some((key, rest)) = line.split_once(':') else { continue };
            let old: u64 = rest.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
            let new = match key {
                "MemTotal" => total,
                "MemFree" => free,
                "MemAvailable" => (free + active_file + inactive_file + slab.0).min(total),
                "Buffers" | "SwapCached" => 0,
                "Cached" => stat("file", "cache"),
                "Active" => active_anon + active_file,
                "Inactive" => inactive_anon + inactive_file,
                "Active(anon)" => active_anon,
                "Inactive(anon)" => inactive_anon,
                "Active(file)" => active_file,
                "Inactive(file)" => inactive_file,
                "Unevictable" => lru("unevictable"),
                "Mlocked" => lru("unevictable"),
                "SwapTotal" => memory.swap_total,
                "SwapFree" => memory.swap_total - memory.swap_used,
                "Dirty" => stat("file_dirty", "dirty"),
                "Writeback" => stat("file_writeback", "writeback"),
                "AnonPages" => stat("anon", "rss"),
                "Mapped" => stat("file_mapped", "mapped_file"),
                "Shmem" => stat("shmem", "shmem"),
                "KReclaimable" | "SReclaimable" => slab.0,
                "SUnreclaim" => slab.1,
                "Slab" => slab.0 + slab.1,
                "KernelStack" => stat("kernel_stack", "-"),
                "PageTables" => stat("pagetables", "-"),
                "AnonHugePages" => stat("anon_thp", "rss_huge"),
                "CommitLimit" => total / 2 + memory.swap_total,
                "Committed_AS" => stat("anon", "rss") + stat("shmem", "shmem"),
                _ if key.starts_with("Vmalloc") || key.starts_with("Huge") => old,
                _ => old.min(total),
            };
            let unit = if rest.ends_with(" kB") { " kB" } else { "" };
            let width = 24usize.saturating_sub(key.len() + 1);
            // Writing to a string does not fail.
            let _ = writeln!(out, "{key}:{new:>width$}{unit}");
        }
        out
    }

    /// The times are the zone's own since it booted, the same on each CPU: control groups of v2 do not tell them apart.
    fn stat(&self, cpus: u64) -> String {
        let (user, system) = self.used();
        let ticks = |micros: u64| micros / (1_000_000 / HZ);
        let (user, system) = (ticks(user), ticks(system));
        let up = self.booted.elapsed().as_millis() as u64 * HZ / 1000;
        let idle = (up * cpus).saturating_sub(user + system);
        let (running, _, _) = self.sampled(|load| (load.running, load.tasks, load.last));
        let line = |by: u64| format!("{} 0 {} {} 0 0 0 0 0 0\n", user / by, system / by, idle / by);
        let mut out = format!("cpu  {}", line(1));
        for cpu in 0..cpus {
            let _ = write!(out, "cpu{cpu} {}", line(cpus));
        }
        for other in self.host_stat().lines().filter(|other| !other.starts_with("cpu")) {
            let _ = match other.split(' ').next() {
                Some("procs_running") => writeln!(out, "procs_running {}", running.max(1)),
                Some("procs_blocked") => writeln!(out, "procs_blocked 0"),
                _ => writeln!(out, "{other}"),
            };
        }
        out
    }

    /// The host's, with the zone's time of boot: the kernel tells it so to whoever is in the zone himself.
    fn host_stat(&self) -> String {
        let text = host("stat");
        let Some(btime) = value(&text, "btime") else { return text };
        text.replace(&format!("\nbtime {btime}\n"), &format!("\nbtime {}\n", btime + self.younger))
    }

    fn loadavg(&self) -> String {
        self.sampled(|load| {
            let [one, five, fifteen] = load.averages;
            format!("{one:.2} {five:.2} {fifteen:.2} {}/{} {}\n", load.running.max(1), load.tasks, load.last)
        })
    }

    /// Averages decay as the kernel's do (kernel/sched/loadavg.c), but nothing is counted while nobody asks: for
    /// that while the CPU time that was used tells how many ran.
    fn sampled<T>(&self, take: impl FnOnce(&Load) -> T) -> T {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = load.at.elapsed().as_secs_f64();
        if passed >= 1.0 || load.tasks == 0 {
            let (user, system) = self.used();
            let ran = (user + system).saturating_sub(load.used) as f64 / 1e6 / passed.max(0.001);
            let counted = Counted::of(&self.cgroup.processes());
            let active = counted.active as f64;
            for (average, window) in load.averages.iter_mut().zip([60.0, 300.0, 900.0]) {
                let (now, before) = (passed.min(5.0), (passed - 5.0).max(0.0));
                for (seconds, level) in [(before, ran), (now, active.max(ran))] {
                    let keep = (-seconds / window).exp();
                    *average = *average * keep + level * (1.0 - keep);
                }
            }
            load.at = Instant::now();
            load.used = user + system;
            (load.running, load.tasks, load.last) = (counted.running, counted.tasks, counted.last);
        }
        take(&load)
    }
}

/// Tasks at one moment.
#[derive(Debug, Default)]
struct Counted {
    running: usize,
    /// Those that run and those that wait for a disk.
    active: usize,
    tasks: usize,
    /// The youngest, by its number in the zone.
    last: i32,
}

impl Counted {
    fn of(processes: &[i32]) -> Self {
        let mut counted = Self::default();
        for pid in processes {
            let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for task in tasks.flatten() {
                let stat: PathBuf = task.path().join("stat");
                let text = fs::read_to_string(stat).unwrap_or_default();
                let state = text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
                counted.tasks += 1;
                counted.running += usize::from(state == Some('R'));
                counted.active += usize::from(matches!(state, Some('R' | 'D')));
            }
        }
        let status = processes.iter().max().map(|pid| host(&format!("{pid}/status"))).unwrap_or_default();
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        counted.last = inside.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(1);
        counted
    }
}

/// KiB of a kind in the text of memory.stat. v1 has the sums with those below as total_…, and other names for some.
fn kept(text: &str, v2: &str, v1: &str) -> u64 {
    value(text, &format!("total_{v1}")).or_else(|| value(text, v2)).unwrap_or(0) >> 10
}

/// The number after `key` in a text of lines `key number` or `key: number`.
pub fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(key)?.strip_prefix([' ', ':'])?;
        rest.split_whitespace().next()?.parse().ok()
    })
}

/// The first `count` processors, numbered from 0.
fn cpuinfo(text: &str, count: usize) -> String {
    let mut out = String::new();
    for block in text.split_inclusive("\n\n").take(count) {
        for line in block.lines() {
            let number = |line: &str| line.split(": ").nth(1).and_then(|n| n.parse::<usize>().ok());
            let _ = match line.split('\t').next() {
                Some("siblings" | "cpu cores") if number(line).is_some_and(|n| n > count) => {
                    writeln!(out, "{}: {count}", line.split(": ").next().unwrap_or_default())
                }
                _ => writeln!(out, "{line}"),
            };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_beyond_the_share_are_left_out() {
        let text = "processor\t: 0\nsiblings\t: 4\ncpu cores\t: 1\n\nprocessor\t: 1\nsiblings\t: 4\n\nprocessor\t: 2\n\n";
        assert_eq!(
            cpuinfo(text, 2),
            "processor\t: 0\nsiblings\t: 2\ncpu cores\t: 1\n\nprocessor\t: 1\nsiblings\t: 2\n\n"
        );
    }

    #[test]
    fn figures_are_kept_for_a_moment() {
        let (recent, now) = (Recent::default(), Instant::now());
        let after = |micros: u64, figure: u32| recent.get(now + Duration::from_micros(micros), || figure);
        assert_eq!(
            [after(0, 1), after(999, 2), after(1000, 3), after(1999, 4), after(2000, 5)],
            [1, 1, 3, 3, 5]
        );
        // Asked by a thread that read the clock before.
        assert_eq!(after(1500, 6), 5);
    }

    #[test]
    fn values_of_files() {
        assert_eq!(value("cache 1\ntotal_cache 22\n", "total_cache"), Some(22));
        assert_eq!(value("MemTotal:    5 kB\n", "MemTotal"), Some(5));
        assert_eq!(value("MemTotal: 5 kB\n", "Mem"), None);
    }
}
