//! What a zone uses and may use, read from its control groups: v2, v1 and both, file by file.
//!
//! Nothing is kept between two readings: the kernel counts, so a restart of zoned loses nothing.

use std::fs;
use std::path::PathBuf;

use rustix::param::{clock_ticks_per_second, page_size};
use zone_api::stat::{HostUsage, Pressure, Pressures, ZoneUsage};

use super::cgroup::{self, Hierarchies};

/// Where the groups of a zone are, v2 and those of v1 with their controllers.
#[derive(Debug)]
pub struct Groups<'a> {
    v2: Option<PathBuf>,
    v1: Vec<(PathBuf, &'a [String])>,
}

impl<'a> Groups<'a> {
    /// Those of `key`.
    pub fn of(hierarchies: &'a Hierarchies, key: &str) -> Self {
        let (v2, v1) = hierarchies.groups(key);
        Self { v2, v1 }
    }

    /// A file of the v2 group, which is there only where v2 has its controller.
    fn v2(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.v2.as_ref()?.join(file)).ok()
    }

    /// A file of the v1 group that has the controller.
    fn v1(&self, controller: &str, file: &str) -> Option<String> {
        let has = |names: &[String]| names.iter().any(|name| name == controller);
        let (group, _) = self.v1.iter().find(|(_, names)| has(names))?;
        fs::read_to_string(group.join(file)).ok()
    }

    /// All that they tell.
    pub fn read(&self) -> ZoneUsage {
        let mut usage = ZoneUsage::default();
        self.cpu(&mut usage);
        self.memory(&mut usage);
        self.tasks(&mut usage);
        self.disks(&mut usage);
        usage.pressure = Pressures {
            cpu: self.v2("cpu.pressure").as_deref().and_then(pressure),
            memory: self.v2("memory.pressure").as_deref().and_then(pressure),
            io: self.v2("io.pressure").as_deref().and_then(pressure),
        };
        usage
    }

    fn cpu(&self, usage: &mut ZoneUsage) {
        // cpuacct.usage is in nanoseconds. v2's cpu.stat is there without the controller, and empty where v1 has the tasks.
        if let Some(nanoseconds) = self.v1("cpuacct", "cpuacct.usage").as_deref().and_then(number) {
            usage.cpu_seconds = Some(seconds(nanoseconds, 1e9));
            let stat = self.v1("cpu", "cpu.stat").unwrap_or_default();
            usage.cpu_throttled = field(&stat, "throttled_time").map(|n| seconds(n, 1e9));
        } else if let Some(stat) = self.v2("cpu.stat") {
            usage.cpu_seconds = field(&stat, "usage_usec").map(|n| seconds(n, 1e6));
            usage.cpu_throttled = field(&stat, "throttled_usec").map(|n| seconds(n, 1e6));
        }
        if let Some(max) = self.v2("cpu.max") {
            usage.cpu_cap = cpu_max(&max);
            usage.cpu_weight = self.v2("cpu.weight").as_deref().and_then(number).map(|n| seconds(n, 100.0));
        } else {
            let quota = self.v1("cpu", "cpu.cfs_quota_us").as_deref().and_then(number);
            let period = self.v1("cpu", "cpu.cfs_period_us").as_deref().and_then(number);
            usage.cpu_cap = quota.zip(period).map(|(quota, period)| seconds(quota, seconds(period, 1.0)));
            usage.cpu_weight =
                self.v1("cpu", "cpu.shares").as_deref().and_then(number).map(|n| seconds(n, 1024.0));
        }
    }

    fn memory(&self, usage: &mut ZoneUsage) {
        if let Some(current) = self.v2("memory.current") {
            usage.memory = number(&current);
            usage.memory_cap = self.v2("memory.max").as_deref().and_then(number);
            usage.memory_cache = self.v2("memory.stat").and_then(|stat| field(&stat, "file"));
            usage.swap = self.v2("memory.swap.current").as_deref().and_then(number);
            usage.swap_cap = self.v2("memory.swap.max").as_deref().and_then(number);
            usage.oom_kills = self.v2("memory.events").and_then(|events| field(&events, "oom_kill"));
            return;
        }
        let memory = |file: &str| self.v1("memory", file);
        usage.memory = memory("memory.usage_in_bytes").as_deref().and_then(number);
        usage.memory_cap = memory("memory.limit_in_bytes").as_deref().and_then(v1_limit);
        let stat = memory("memory.stat").unwrap_or_default();
        usage.memory_cache = field(&stat, "total_cache");
        usage.swap = field(&stat, "total_swap");
        let both = memory("memory.memsw.limit_in_bytes").as_deref().and_then(v1_limit);
        usage.swap_cap = both.zip(usage.memory_cap).map(|(both, memory)| both.saturating_sub(memory));
        // oom_kill came with Linux 4.13.
        usage.oom_kills = memory("memory.oom_control").and_then(|control| field(&control, "oom_kill"));
    }

    fn tasks(&self, usage: &mut ZoneUsage) {
        let file = |name: &str| self.v2(name).or_else(|| self.v1("pids", name));
        usage.lwps = file("pids.current").as_deref().and_then(number);
        usage.lwps_cap = file("pids.max").as_deref().and_then(number);
        usage.lwps_refused = file("pids.events").and_then(|events| field(&events, "max"));
        // Where both are there, the zone's processes stand in each.
        let groups = self.v1.iter().map(|(group, _)| group).chain(&self.v2);
        let count = groups.map(|group| cgroup::processes(group).len()).max();
        usage.processes = count.and_then(|count| u64::try_from(count).ok());
    }

    fn disks(&self, usage: &mut ZoneUsage) {
        if let Some(stat) = self.v2("io.stat") {
            usage.read_bytes = Some(keyed(&stat, "rbytes="));
            usage.written_bytes = Some(keyed(&stat, "wbytes="));
        } else if let Some(stat) = self.v1("blkio", "blkio.throttle.io_service_bytes_recursive") {
            usage.read_bytes = Some(keyed(&stat.replace(" Read ", " Read="), "Read="));
            usage.written_bytes = Some(keyed(&stat.replace(" Write ", " Write="), "Write="));
        }
    }
}

/// What a live zone's process 1 tells beside: since when it runs, and what its interfaces counted.
pub fn of_init(pid: i32, own_network: bool, host_uptime: f64, usage: &mut ZoneUsage) {
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let stat = fs::read_to_string(dir.join("stat")).unwrap_or_default();
    usage.uptime = started(&stat).map(|ticks| {
        #[expect(clippy::cast_precision_loss, reason = "100")]
        let ticks_a_second = clock_ticks_per_second() as f64;
        (host_uptime - seconds(ticks, ticks_a_second)).max(0.0)
    });
    if own_network && let Ok(text) = fs::read_to_string(dir.join("net/dev")) {
        let (received, sent) = interfaces(&text);
        usage.received_bytes = Some(received);
        usage.sent_bytes = Some(sent);
    }
}

/// The host as a whole.
pub fn host() -> HostUsage {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (stat, memory) = (read("/proc/stat"), read("/proc/meminfo"));
    let bytes = |key: &str| meminfo(&memory, key).unwrap_or(0);
    let psi = |what: &str| pressure(&read(&format!("/proc/pressure/{what}")));
    let (cpus, ticks) = cpu_times(&stat);
    #[expect(clippy::cast_precision_loss, reason = "100")]
    let ticks_a_second = clock_ticks_per_second() as f64;
    let threads = read("/proc/loadavg");
    let threads = threads.split_whitespace().nth(3).and_then(|pair| pair.split_once('/'));
    HostUsage {
        cpus,
        cpu_seconds: seconds(ticks, ticks_a_second),
        uptime: read("/proc/uptime").split(' ').next().and_then(|t| t.parse().ok()).unwrap_or(0.0),
        memory: bytes("MemTotal:").saturating_sub(bytes("MemAvailable:")),
        memory_total: bytes("MemTotal:"),
        swap: bytes("SwapTotal:").saturating_sub(bytes("SwapFree:")),
        swap_total: bytes("SwapTotal:"),
        lwps: threads.and_then(|(_, all)| number(all)).unwrap_or(0),
        lwps_max: number(&read("/proc/sys/kernel/threads-max")).unwrap_or(0),
        pressure: Pressures { cpu: psi("cpu"), memory: psi("memory"), io: psi("io") },
    }
}

#[expect(clippy::cast_precision_loss, reason = "counters of less than 2^53 are exact")]
fn seconds(count: u64, a_second: f64) -> f64 {
    count as f64 / a_second
}

/// `max`, `-1` and nonsense are no number.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// v1 has no word for "no limit": a number of pages that no host has.
pub(super) fn v1_limit(text: &str) -> Option<u64> {
    let none = (i64::MAX as u64 / page_size() as u64) * page_size() as u64;
    number(text).filter(|bytes| *bytes < none)
}

/// Value of `key` in lines of `key value`.
pub(super) fn field(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key).and_then(|(_, value)| number(value))
}

/// Counters that are nonsense sum up to no less.
fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// Sum of the values of all words `key=value`.
pub(super) fn keyed(text: &str, key: &str) -> u64 {
    sum(text.split_whitespace().filter_map(|word| number(word.strip_prefix(key)?)))
}

/// `QUOTA PERIOD` or `max PERIOD`.
pub(super) fn cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some(seconds(number(quota)?, seconds(number(period)?, 1.0)))
}

/// The lines `some` and `full` of a pressure file (kernel, Documentation/accounting/psi.rst).
pub(super) fn pressure(text: &str) -> Option<Pressure> {
    let value = |kind: &str, key: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.split(' ').next() == Some(kind))?;
        line.split(' ').find_map(|word| word.strip_prefix(key)?.parse().ok())
    };
    Some(Pressure {
        some: value("some", "avg10=")?,
        some_seconds: value("some", "total=")? / 1e6,
        // Of the host's CPUs there was no such line before Linux 5.13.
        full: value("full", "avg10=").unwrap_or(0.0),
        full_seconds: value("full", "total=").unwrap_or(0.0) / 1e6,
    })
}

/// starttime of proc_pid_stat(5): the 22nd word, the second being a name in brackets with anything in it.
pub(super) fn started(stat: &str) -> Option<u64> {
    number(stat.rsplit_once(')')?.1.split_whitespace().nth(19)?)
}

/// Bytes received and sent by all interfaces but loopback (proc_pid_net(5)).
pub(super) fn interfaces(text: &str) -> (u64, u64) {
    let lines = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    lines.filter(|(name, _)| name.trim() != "lo").fold((0, 0), |(received, sent), (_, counts)| {
        let count = |at: usize| counts.split_whitespace().nth(at).and_then(number).unwrap_or(0);
        (received.saturating_add(count(0)), sent.saturating_add(count(8)))
    })
}

/// A line of proc_meminfo(5), in bytes.
pub(super) fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    number(line.trim().strip_suffix(" kB")?)?.checked_mul(1024)
}

/// CPUs that are online, and ticks in which they worked: user, nice, system, irq, softirq, steal (proc_stat(5)).
pub(super) fn cpu_times(stat: &str) -> (u32, u64) {
    let cpus = stat.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu ")).count();
    let all = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = all.split_whitespace().skip(1).filter_map(number).collect();
    let worked = sum([0, 1, 2, 5, 6, 7].into_iter().filter_map(|at| ticks.get(at).copied()));
    (u32::try_from(cpus).unwrap_or(u32::MAX), worked)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn v2_files_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("zoned/z@1");
        write(
            &group,
            &[
                ("cpu.stat", "usage_usec 2500000\nuser_usec 1\nsystem_usec 1\nthrottled_usec 500000\n"),
                ("cpu.max", "150000 100000\n"),
                ("cpu.weight", "200\n"),
                ("memory.current", "4096\n"),
                ("memory.max", "max\n"),
                ("memory.stat", "anon 1\nfile 1024\n"),
                ("memory.swap.current", "7\n"),
                ("memory.swap.max", "0\n"),
                ("memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\n"),
                ("pids.current", "5\n"),
                ("pids.max", "512\n"),
                ("pids.events", "max 9\n"),
                ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=1\n8:16 rbytes=1 wbytes=2 rios=0\n"),
                (
                    "io.pressure",
                    "some avg10=1.50 avg60=0 avg300=0 total=2000000\nfull avg10=0.50 avg60=0 avg300=0 total=1000000\n",
                ),
                ("cgroup.procs", "11\n12\n"),
            ],
        );
        write(&group.join("sub"), &[("cgroup.procs", "13\n")]);
        let hierarchies = Hierarchies { v2: Some(dir.path().to_owned()), v1: Vec::new() };
        let usage = Groups::of(&hierarchies, "z@1").read();
        assert_eq!((usage.cpu_seconds, usage.cpu_throttled), (Some(2.5), Some(0.5)));
        assert_eq!((usage.cpu_cap, usage.cpu_weight), (Some(1.5), Some(2.0)));
        assert_eq!((usage.memory, usage.memory_cap, usage.memory_cache), (Some(4096), None, Some(1024)));
        assert_eq!((usage.swap, usage.swap_cap, usage.oom_kills), (Some(7), Some(0), Some(1)));
        assert_eq!((usage.lwps, usage.lwps_cap, usage.lwps_refused), (Some(5), Some(512), Some(9)));
        assert_eq!((usage.processes, usage.read_bytes, usage.written_bytes), (Some(3), Some(11), Some(22)));
        let io = usage.pressure.io.unwrap();
        assert_eq!((io.some, io.full, io.some_seconds, io.full_seconds), (1.5, 0.5, 2.0, 1.0));
        assert_eq!(usage.pressure.cpu, None);
    }

    #[test]
    fn v1_files_are_understood_beside_a_v2_that_counts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).join("zoned/z");
        write(&at("v2"), &[("cpu.stat", "usage_usec 0\n"), ("cgroup.procs", "1\n")]);
        write(
            &at("cpu"),
            &[
                ("cpuacct.usage", "2500000000\n"),
                ("cpu.stat", "nr_periods 1\nnr_throttled 1\nthrottled_time 1000000000\n"),
                ("cpu.cfs_quota_us", "50000\n"),
                ("cpu.cfs_period_us", "100000\n"),
                ("cpu.shares", "512\n"),
            ],
        );
        write(
            &at("memory"),
            &[
                ("memory.usage_in_bytes", "8192\n"),
                ("memory.limit_in_bytes", "1048576\n"),
                ("memory.memsw.limit_in_bytes", "1572864\n"),
                ("memory.stat", "cache 1\nswap 1\ntotal_cache 100\ntotal_swap 200\n"),
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
            ],
        );
        write(&at("pids"), &[("pids.current", "3\n"), ("pids.max", "max\n"), ("pids.events", "max 0\n")]);
        write(
            &at("blkio"),
            &[(
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n",
            )],
        );
        let mount = |name: &str, controllers: &[&str]| {
            (dir.path().join(name), controllers.iter().map(|c| (*c).to_owned()).collect())
        };
        let mut hierarchies = Hierarchies {
            v2: Some(dir.path().join("v2")),
            v1: vec![
                mount("cpu", &["cpu", "cpuacct"]),
                mount("memory", &["memory"]),
                mount("pids", &["pids"]),
            ],
        };
        let usage = Groups::of(&hierarchies, "z").read();
        assert_eq!((usage.cpu_seconds, usage.cpu_throttled), (Some(2.5), Some(1.0)));
        assert_eq!((usage.cpu_cap, usage.cpu_weight), (Some(0.5), Some(0.5)));
        assert_eq!(
            (usage.memory, usage.memory_cap, usage.memory_cache),
            (Some(8192), Some(1 << 20), Some(100))
        );
        assert_eq!((usage.swap, usage.swap_cap, usage.oom_kills), (Some(200), Some(1 << 19), Some(4)));
        assert_eq!((usage.lwps, usage.lwps_cap, usage.processes), (Some(3), None, Some(1)));
        hierarchies.v1.push(mount("blkio", &["blkio", "pids"]));
        assert_eq!(v1_limit("9223372036854771712\n"), None);
        let stat = fs::read_to_string(at("blkio").join("blkio.throttle.io_service_bytes_recursive")).unwrap();
        assert_eq!(keyed(&stat.replace(" Read ", " Read="), "Read="), 10);
    }

    #[test]
    fn files_of_proc_are_understood() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 12345 1 1";
        assert_eq!(started(stat), Some(12345));
        let dev = "Inter-| Receive\n face |bytes\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 200 2 0 0 0 0 0 0\n";
        assert_eq!(interfaces(dev), (100, 200));
        assert_eq!(cpu_times("cpu  1 2 3 100 50 4 5 6 0 0\ncpu0 1\ncpu1 1\nintr 1\n"), (2, 21));
        assert_eq!(meminfo("MemTotal:       10 kB\n", "MemTotal:"), Some(10240));
        // Counters at their ends.
        let most = u64::MAX;
        assert_eq!(cpu_times(&format!("cpu  {most} 2 3 4 5 6 7 8\n")), (0, most));
        assert_eq!(interfaces(&format!("\n\n a: {most}\n b: 1\n")), (most, 0));
        assert_eq!(keyed(&format!("r={most} r=1"), "r="), most);
        assert_eq!(meminfo(&format!("MemTotal: {most} kB\n"), "MemTotal:"), None);
        assert!(host().cpus > 0 && host().memory_total > 0 && host().lwps > 0);
    }
}
