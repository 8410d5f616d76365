//! What a configuration allows a zone to use.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::cgroup::Hierarchies;
use super::{Failure, control};
use crate::config::resources::{ZONE_RCTLS, cpu_range, zone_rctl};
use crate::config::{self, Config, size_in_bytes};
use crate::sys::child::{Plan, Step};

/// Limits of a zone; `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of swap beside it.
    pub swap: Option<u64>,
    /// CPUs.
    pub cpus: Option<f64>,
    /// Weight for CPU time.
    pub shares: Option<u64>,
    /// Least and most CPUs for itself.
    pub dedicated: Option<(usize, usize)>,
    /// Processes.
    pub processes: Option<u64>,
    /// Tasks.
    pub tasks: Option<u64>,
    /// Disks.
    pub io: Vec<IoLimit>,
    /// Weight for disks.
    pub io_weight: Option<u64>,
}

/// Limits of a disk, each in a second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoLimit {
    /// `MAJOR:MINOR` of the whole disk.
    pub device: String,
    /// Bytes read.
    pub read_bytes: Option<u64>,
    /// Bytes written.
    pub write_bytes: Option<u64>,
    /// Reads.
    pub reads: Option<u64>,
    /// Writes.
    pub writes: Option<u64>,
}

impl Limits {
    /// The limits that a validated configuration states for a zone whose folder is `zone_dir`.
    pub fn of(config: &Config, zone_dir: &Path) -> Result<Self, Failure> {
        let size = |text: &Option<String>| text.as_deref().and_then(|text| size_in_bytes(text).ok());
        let memory = config.capped_memory.as_ref();
        let rctl = |name| zone_rctl(config, name);
        let io = config.capped_io.iter().map(|io| {
            Ok(IoLimit {
                device: disk(io.device.as_deref().map_or(zone_dir, Path::new))?,
                read_bytes: size(&io.read_bandwidth),
                write_bytes: size(&io.write_bandwidth),
                reads: io.read_iops,
                writes: io.write_iops,
            })
        });
        Ok(Self {
            memory: memory.and_then(|m| size(&m.physical)).or_else(|| rctl("zone.max-physical-memory")),
            swap: memory.and_then(|m| size(&m.swap)).or_else(|| rctl("zone.max-swap")),
            cpus: config
                .capped_cpu
                .as_ref()
                .map(|c| c.ncpus)
                .or_else(|| rctl("zone.cpu-cap").map(|percent| percent as f64 / 100.0)),
            shares: config.cpu_shares.or_else(|| rctl("zone.cpu-shares")),
            dedicated: config.dedicated_cpu.as_ref().and_then(|own| cpu_range(&own.ncpus).ok()),
            processes: config.max_processes.or_else(|| rctl("zone.max-processes")),
            tasks: config.max_lwps.or_else(|| rctl("zone.max-lwps")),
            io: io.collect::<Result<_, Failure>>()?,
            io_weight: config.io_weight,
        })
    }

    /// What the pids controller is told, which counts tasks: no process is without one, so the lower of the two bounds
    /// both. A zone that states neither can have 15 in 100 of what the host can, as a unit of systemd
    /// (systemd-system.conf(5), DefaultTasksMax).
    pub fn most_tasks(&self) -> u64 {
        let stated = self.processes.into_iter().chain(self.tasks).min();
        stated.unwrap_or_else(|| {
            let read = |name: &str| {
                std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?.trim().parse().ok()
            };
            let most: Option<u64> = ["pid_max", "threads-max"].into_iter().filter_map(read).min();
            (most.unwrap_or(32768) * 15 / 100).max(512)
        })
    }
}

/// Bytes that a process of the zone may lock.
fn locked(config: &Config) -> Option<u64> {
    let stated = config.capped_memory.as_ref().and_then(|m| m.locked.as_deref());
    stated.and_then(|text| size_in_bytes(text).ok()).or_else(|| zone_rctl(config, "zone.max-locked-memory"))
}

/// The disk that `path` is, or lies on: controllers know whole disks only.
fn disk(path: &Path) -> Result<String, Failure> {
    let fail = |e: io::Error| Failure::new("find the disk of", path.display(), e);
    let found = std::fs::metadata(path).map_err(fail)?;
    let mut number = if found.file_type().is_block_device() { found.rdev() } else { found.dev() };
    if nix::sys::stat::major(number) == 0 {
        // btrfs and others number themselves; their source is the disk.
        let text = super::mountinfo()?;
        let source = text.lines().find_map(|line| {
            let (place, rest) = line.split_once(" - ")?;
            let here = format!("{}:{}", nix::sys::stat::major(number), nix::sys::stat::minor(number));
            (place.split(' ').nth(2)? == here).then(|| rest.split(' ').nth(1)).flatten()
        });
        let source = source.and_then(|source| std::fs::metadata(source).ok());
        number = source.map(|source| source.rdev()).filter(|number| *number != 0).ok_or_else(|| {
            fail(io::Error::other("its file system lies on no disk; name one with capped-io.device"))
        })?;
    }
    let here = format!("{}:{}", nix::sys::stat::major(number), nix::sys::stat::minor(number));
    let place = std::fs::canonicalize(format!("/sys/dev/block/{here}")).map_err(fail)?;
    if !place.join("partition").exists() {
        return Ok(here);
    }
    let whole = place.parent().map(|disk| disk.join("dev")).unwrap_or_default();
    std::fs::read_to_string(&whole).map(|text| text.trim().to_owned()).map_err(fail)
}

/// Names of an `[[rctl]]`: RLIMIT_* of getrlimit(2) in lower case.
pub const RESOURCES: [(&str, u32); 16] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// Adds the limits of a configuration to a plan, and `nofile` where that says nothing of it, as far as zoned's own limit
/// allows.
pub fn plan(plan: &mut Plan, config: &Config, nofile: Option<(u64, u64)>) -> Result<(), Failure> {
    if let Some((soft, hard)) = nofile
        && !config.rctl.iter().any(|r| r.name == "nofile")
    {
        let own = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
        let (_, most) = own.map_err(|e| Failure::new("ask for", "the limit of open files", e))?;
        let (soft, hard) = (soft.min(most), hard.min(most));
        plan.then("limit nofile", Step::Limit { resource: libc::RLIMIT_NOFILE, soft, hard });
    }
    if let Some(most) = locked(config)
        && !config.rctl.iter().any(|r| r.name == "memlock")
    {
        let resource = libc::RLIMIT_MEMLOCK;
        plan.then(format!("limit memlock to {most}"), Step::Limit { resource, soft: most, hard: most });
    }
    for rctl in config.rctl.iter().filter(|rctl| !ZONE_RCTLS.contains(&rctl.name.as_str())) {
        let fail = |why: String| Failure::new("apply", format!("rctl {}", rctl.name), io::Error::other(why));
        let resource = RESOURCES.iter().find(|(name, _)| *name == rctl.name);
        let (_, resource) = *resource.ok_or_else(|| fail("there is no such limit".to_owned()))?;
        let (soft, hard) = config::limit(&rctl.value).map_err(fail)?;
        plan.then(format!("limit {} to {}", rctl.name, rctl.value), Step::Limit { resource, soft, hard });
    }
    Ok(())
}

/// What of a configuration's limits cannot be had here, each as a sentence.
pub fn verify(config: &Config, zone_dir: &Path) -> Vec<String> {
    let limits = match Limits::of(config, zone_dir) {
        Ok(limits) => limits,
        Err(failure) => return vec![format!("capped-io: {}", failure.sentence())],
    };
    let Ok(hierarchies) = Hierarchies::detect() else { return Vec::new() };
    let mut findings = control::missing(&hierarchies, &limits);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if let Some((least, _)) = limits.dedicated
        && least >= cpus
    {
        findings.push(format!("dedicated-cpu: this host has {cpus} CPUs, one of which stays for all others"));
    }
    findings
}
