//! What zones use: samples of the kernel's counters, and the report of the time between two of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/stat`: the counters of one moment. What the host does not count is `null`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sample {
    /// When: seconds since 1970.
    pub time: f64,
    /// When: seconds of CLOCK_MONOTONIC, for differences.
    pub monotonic: f64,
    /// The host as a whole.
    pub host: HostUsage,
    /// Zones by name.
    pub zones: Vec<ZoneUsage>,
}

/// What the host as a whole has and uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostUsage {
    /// CPUs that are online.
    pub cpus: u32,
    /// Seconds that its CPUs worked since it was booted.
    pub cpu_seconds: f64,
    /// Seconds since it was booted.
    pub uptime: f64,
    /// Bytes of memory that are not available (MemTotal - MemAvailable).
    pub memory: u64,
    /// Bytes of memory.
    pub memory_total: u64,
    /// Bytes swapped out.
    pub swap: u64,
    /// Bytes of swap.
    pub swap_total: u64,
    /// Threads.
    pub lwps: u64,
    /// Most threads that there can be (kernel.threads-max).
    pub lwps_max: u64,
    /// PSI of the host.
    pub pressure: Pressures,
}

/// What a zone uses and may use. Counters begin with its boot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ZoneUsage {
    /// Name.
    pub name: String,
    /// State.
    pub state: String,
    /// Seconds since its process 1 was started.
    pub uptime: Option<f64>,
    /// Seconds of CPU time.
    pub cpu_seconds: Option<f64>,
    /// Seconds that it was kept from running by its cap.
    pub cpu_throttled: Option<f64>,
    /// CPUs that it may use.
    pub cpu_cap: Option<f64>,
    /// Weight against other zones, 1 being the default.
    pub cpu_weight: Option<f64>,
    /// Bytes of memory, page cache included.
    pub memory: Option<u64>,
    /// Bytes of it that are page cache, which the kernel takes back when it needs them.
    pub memory_cache: Option<u64>,
    /// Bytes that it may use.
    pub memory_cap: Option<u64>,
    /// Bytes swapped out.
    pub swap: Option<u64>,
    /// Bytes that may be.
    pub swap_cap: Option<u64>,
    /// Processes.
    pub processes: Option<u64>,
    /// Threads.
    pub lwps: Option<u64>,
    /// Threads that there may be.
    pub lwps_cap: Option<u64>,
    /// Times that the cap on threads refused one.
    pub lwps_refused: Option<u64>,
    /// Bytes read from disks.
    pub read_bytes: Option<u64>,
    /// Bytes written to disks.
    pub written_bytes: Option<u64>,
    /// Bytes that its interfaces received, loopback apart.
    pub received_bytes: Option<u64>,
    /// Bytes that they sent.
    pub sent_bytes: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
    /// PSI of the zone, on hosts with cgroup v2.
    pub pressure: Pressures,
}

/// Pressure stall information by resource, where the host has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pressures {
    /// Waiting for a CPU.
    pub cpu: Option<Pressure>,
    /// Waiting for memory.
    pub memory: Option<Pressure>,
    /// Waiting for disks.
    pub io: Option<Pressure>,
}

/// One resource's pressure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pressure {
    /// Percent of the last ten seconds in which some task waited.
    pub some: f64,
    /// Percent in which all waited.
    pub full: f64,
    /// Seconds in which some task waited, ever.
    pub some_seconds: f64,
    /// Seconds in which all waited, ever.
    pub full_seconds: f64,
}

/// A report of `stat`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Its end: seconds since 1970.
    pub time: f64,
    /// Seconds that it is over; `None`: since each zone's boot.
    pub interval: Option<f64>,
    /// Live zones by name.
    pub zones: Vec<Line>,
    /// The host: `[total]`.
    pub total: Line,
}

/// One zone, or all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Name; `[total]` for the host.
    pub name: String,
    /// State; empty for the host.
    pub state: String,
    /// CPUs.
    pub cpu: Figure,
    /// Bytes of memory.
    pub memory: Figure,
    /// Bytes of swap.
    pub swap: Figure,
    /// Threads.
    pub lwps: Figure,
    /// Processes.
    pub processes: Option<u64>,
    /// Bytes read from disks, a second.
    pub read: Option<f64>,
    /// Bytes written to disks, a second.
    pub written: Option<f64>,
    /// Bytes received from networks, a second.
    pub received: Option<f64>,
    /// Bytes sent, a second.
    pub sent: Option<f64>,
    /// Processes killed for want of memory since the boot.
    pub oom_kills: Option<u64>,
    /// PSI.
    pub pressure: Pressures,
}

/// What is used of a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Used.
    pub used: Option<f64>,
    /// May be used, where that is capped.
    pub cap: Option<f64>,
    /// Percent of what the host has.
    pub of_host: Option<f64>,
    /// Percent of the cap.
    pub of_cap: Option<f64>,
    /// Percent of what its shares give it when all zones want all.
    pub of_share: Option<f64>,
}

impl Figure {
    fn new(used: Option<f64>, cap: Option<f64>, all: f64) -> Self {
        let percent = |of: f64| used.filter(|_| of > 0.0).map(|used| used / of * 100.0);
        Self { used, cap, of_host: percent(all), of_cap: cap.and_then(percent), of_share: None }
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of less than 8 PiB are exact")]
fn real(count: Option<u64>) -> Option<f64> {
    count.map(|count| count as f64)
}

impl Report {
    /// What was used between two samples; without the first, since each zone's boot.
    pub fn between(before: Option<&Sample>, now: &Sample) -> Self {
        let interval = before.map(|before| (now.monotonic - before.monotonic).max(1e-6));
        let weights: f64 = now.zones.iter().map(|zone| zone.cpu_weight.unwrap_or(1.0)).sum();
        let zones = now.zones.iter().map(|zone| {
            // A zone that was booted meanwhile counts from its boot.
            let old = before
                .and_then(|before| before.zones.iter().find(|old| old.name == zone.name))
                .filter(|old| old.uptime <= zone.uptime && old.cpu_seconds <= zone.cpu_seconds);
            let seconds = match (old, interval, zone.uptime) {
                (Some(_), Some(seconds), _) | (None, _, Some(seconds)) => seconds.max(1e-6),
                (None, Some(seconds), None) => seconds,
                _ => return line(zone, old, None, &now.host, weights),
            };
            line(zone, old, Some(seconds), &now.host, weights)
        });
        let zones: Vec<Line> = zones.collect();
        let total = total(before.map(|before| &before.host), interval, &now.host, &zones);
        Self { time: now.time, interval, zones, total }
    }
}

fn line(
    zone: &ZoneUsage,
    old: Option<&ZoneUsage>,
    seconds: Option<f64>,
    host: &HostUsage,
    weights: f64,
) -> Line {
    let rate =
        |now: Option<f64>, before: Option<f64>| Some((now? - before.unwrap_or(0.0)).max(0.0) / seconds?);
    let bytes =
        |pick: fn(&ZoneUsage) -> Option<u64>| rate(real(pick(zone)), old.and_then(|old| real(pick(old))));
    let cpus = f64::from(host.cpus);
    let mut cpu =
        Figure::new(rate(zone.cpu_seconds, old.and_then(|old| old.cpu_seconds)), zone.cpu_cap, cpus);
    let share = zone.cpu_weight.map(|weight| weight / weights * cpus);
    cpu.of_share = share.filter(|share| *share > 0.0).and_then(|share| Some(cpu.used? / share * 100.0));
    let whole = |count: u64| real(Some(count)).unwrap_or_default();
    Line {
        name: zone.name.clone(),
        state: zone.state.clone(),
        cpu,
        memory: Figure::new(real(zone.memory), real(zone.memory_cap), whole(host.memory_total)),
        swap: Figure::new(real(zone.swap), real(zone.swap_cap), whole(host.swap_total)),
        lwps: Figure::new(real(zone.lwps), real(zone.lwps_cap), whole(host.lwps_max)),
        processes: zone.processes,
        read: bytes(|zone| zone.read_bytes),
        written: bytes(|zone| zone.written_bytes),
        received: bytes(|zone| zone.received_bytes),
        sent: bytes(|zone| zone.sent_bytes),
        oom_kills: zone.oom_kills,
        pressure: zone.pressure.clone(),
    }
}

fn total(before: Option<&HostUsage>, interval: Option<f64>, host: &HostUsage, zones: &[Line]) -> Line {
    let (seconds, old) = match (before, interval) {
        (Some(before), Some(seconds)) => (seconds, before.cpu_seconds),
        _ => (host.uptime.max(1e-6), 0.0),
    };
    let cpu = (host.cpu_seconds - old).max(0.0) / seconds;
    let whole = |count: u64| real(Some(count));
    let all = |count: u64| whole(count).unwrap_or_default();
    let sum = |pick: fn(&Line) -> Option<f64>| zones.iter().filter_map(pick).reduce(|a, b| a + b);
    Line {
        name: "[total]".to_owned(),
        state: String::new(),
        cpu: Figure::new(Some(cpu), None, f64::from(host.cpus)),
        memory: Figure::new(whole(host.memory), None, all(host.memory_total)),
        swap: Figure::new(whole(host.swap), None, all(host.swap_total)),
        lwps: Figure::new(whole(host.lwps), None, all(host.lwps_max)),
        processes: zones.iter().filter_map(|zone| zone.processes).reduce(|a, b| a + b),
        read: sum(|zone| zone.read),
        written: sum(|zone| zone.written),
        received: sum(|zone| zone.received),
        sent: sum(|zone| zone.sent),
        oom_kills: zones.iter().filter_map(|zone| zone.oom_kills).reduce(|a, b| a + b),
        pressure: host.pressure.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(monotonic: f64, cpu: f64) -> Sample {
        let zone = |name: &str, cpu: f64, weight: f64| ZoneUsage {
            name: name.to_owned(),
            uptime: Some(monotonic),
            cpu_seconds: Some(cpu),
            cpu_cap: Some(0.5),
            cpu_weight: Some(weight),
            memory: Some(25),
            memory_cap: Some(50),
            ..ZoneUsage::default()
        };
        Sample {
            monotonic,
            host: HostUsage { cpus: 4, memory_total: 100, uptime: monotonic, ..HostUsage::default() },
            zones: vec![zone("a", cpu, 1.0), zone("b", 0.0, 3.0)],
            ..Sample::default()
        }
    }

    #[test]
    fn rates_caps_and_shares() {
        let report = Report::between(Some(&sample(10.0, 3.0)), &sample(12.0, 4.0));
        let a = &report.zones[0];
        assert_eq!((a.cpu.used, a.cpu.of_cap, a.cpu.of_host), (Some(0.5), Some(100.0), Some(12.5)));
        // A quarter of four CPUs.
        assert_eq!(a.cpu.of_share, Some(50.0));
        assert_eq!((a.memory.of_cap, a.memory.of_host), (Some(50.0), Some(25.0)));
        assert_eq!(a.read, None);
    }

    #[test]
    fn a_zone_that_was_booted_meanwhile_counts_from_its_boot() {
        let mut now = sample(12.0, 1.0);
        now.zones[0].uptime = Some(2.0);
        let report = Report::between(Some(&sample(10.0, 3.0)), &now);
        assert_eq!(report.zones[0].cpu.used, Some(0.5));
        assert_eq!(Report::between(None, &now).zones[0].cpu.used, Some(0.5));
    }
}
