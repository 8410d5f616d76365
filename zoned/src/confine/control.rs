//! Limits → control files of a zone's groups. The documents are cgroup-v2.rst and cgroup-v1/ of the kernel.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, XattrFlags};

use super::Failure;
use super::cgroup::{Hierarchies, subgroups};
use super::cpus;
use super::limits::{IoLimit, Limits};

/// The period of CPU quotas, in microseconds (cgroup v2 cpu.max; v1 cpu.cfs_period_us).
const CPU_PERIOD: u64 = 100_000;

/// Files of the quota itself.
pub(super) const QUOTA_V2: &str = "cpu.max";
pub(super) const QUOTA_V1: &str = "cpu.cfs_quota_us";

/// Weight of a zone that says nothing of it, which is the kernel's of v2; v1 has 1024 for it.
const WEIGHT: u64 = 100;

/// Most groups that a guest can make below its own: each takes kernel memory, and a host has 65535 memory groups in all.
const GROUPS: &str = "4096";

/// Which limits found their controller.
#[derive(Debug, Default)]
pub(super) struct Limited {
    /// The groups are new: what no limit says is as it should be.
    fresh: bool,
    found: Vec<&'static str>,
}

/// What is asked for: key, controller, whether it is.
fn wanted(limits: &Limits) -> [(&'static str, &'static str, bool); 8] {
    [
        ("capped-memory", "memory", limits.memory.is_some()),
        ("capped-cpu", "cpu", limits.cpus.is_some()),
        ("cpu-shares", "cpu", limits.shares.is_some()),
        ("dedicated-cpu", "cpuset", limits.dedicated.is_some()),
        ("max-processes", "pids", limits.processes.is_some()),
        ("max-lwps", "pids", limits.tasks.is_some() && limits.processes.is_none()),
        ("capped-io", "io", !limits.io.is_empty()),
        ("io-weight", "io", limits.io_weight.is_some()),
    ]
}

/// Keys of limits whose controller a host does not have, each with a sentence.
pub(super) fn missing(hierarchies: &Hierarchies, limits: &Limits) -> Vec<String> {
    let lacks = |(key, controller, wanted): (&str, &str, bool)| {
        let lacks = wanted && hierarchies.controller(controller).is_none();
        lacks.then(|| format!("{key}: this host has no {controller} controller"))
    };
    wanted(limits).into_iter().filter_map(lacks).collect()
}

impl Limited {
    /// For groups that were just made.
    pub(super) fn fresh() -> Self {
        Self { fresh: true, ..Self::default() }
    }

    fn set(&mut self, key: &'static str, group: &Path, file: &str, value: &str) -> Result<(), Failure> {
        if set(group, file, value)? {
            self.found.push(key);
        }
        Ok(())
    }

    /// The same, or `none` where nothing is asked for.
    fn set_or(
        &mut self,
        none: &str,
        key: &'static str,
        group: &Path,
        file: &str,
        value: Option<impl ToString>,
    ) -> Result<(), Failure> {
        match value {
            Some(value) => self.set(key, group, file, &value.to_string()),
            None if self.fresh => Ok(()),
            None => self.set(key, group, file, none),
        }
    }

    /// The weight of a group, and with it that of all zones together.
    fn share(&mut self, none: u64, group: &Path, file: &str, shares: Option<u64>) -> Result<(), Failure> {
        let Some(parent) = group.parent() else { return Ok(()) };
        let held = shares.map(|_| lock(parent)).transpose()?;
        if held.is_some() {
            mark(parent, WEIGHTS);
        }
        self.set_or(&none.to_string(), "cpu-shares", group, file, shares)?;
        drop(held);
        weigh(parent)
    }

    /// Devices that a file of lines `MAJOR:MINOR …` tells of.
    fn devices_of(&self, group: &Path, file: &str) -> Vec<String> {
        if self.fresh {
            return Vec::new();
        }
        let text = fs::read_to_string(group.join(file)).unwrap_or_default();
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }

    /// Sets what the limits say in a v2 group, and lifts what they do not.
    pub(super) fn apply_v2(&mut self, group: &Path, limits: &Limits) -> Result<(), Failure> {
        let or_max = |value: Option<u64>| value.map_or("max".to_owned(), |value| value.to_string());
        self.set_or("max", "capped-memory", group, "memory.max", limits.memory)?;
        self.set_or("max", "capped-memory", group, "memory.swap.max", limits.swap)?;
        let quota = limits.cpus.map(|cpus| format!("{} {CPU_PERIOD}", quota(cpus)));
        self.set_or("max", "capped-cpu", group, QUOTA_V2, quota)?;
        self.share(WEIGHT, group, "cpu.weight", limits.shares)?;
        self.pids(group, limits)?;
        set(group, "cgroup.max.descendants", GROUPS)?;
        for device in self.devices_of(group, "io.max") {
            if !limits.io.iter().any(|io| io.device == device) {
                set(group, "io.max", &format!("{device} rbps=max wbps=max riops=max wiops=max"))?;
            }
        }
        for io in &limits.io {
            let IoLimit { device, read_bytes, write_bytes, reads, writes } = io;
            let [rbps, wbps, riops, wiops] = [read_bytes, write_bytes, reads, writes].map(|v| or_max(*v));
            let line = format!("{device} rbps={rbps} wbps={wbps} riops={riops} wiops={wiops}");
            self.set("capped-io", group, "io.max", &line)?;
        }
        let weight = limits.io_weight.map(|weight| format!("default {weight}"));
        for file in ["io.weight", "io.bfq.weight"] {
            self.set_or(&format!("default {WEIGHT}"), "io-weight", group, file, weight.as_deref())?;
        }
        self.cpuset(group, limits)
    }

    /// The same of a v1 group.
    pub(super) fn apply_v1(
        &mut self,
        group: &Path,
        controllers: &[String],
        limits: &Limits,
    ) -> Result<(), Failure> {
        let has = |name: &str| controllers.iter().any(|c| c == name);
        if has("memory") {
            // The sum is never below its part, whichever of the two grows: so first it goes.
            if !self.fresh {
                set(group, "memory.memsw.limit_in_bytes", "-1")?;
            }
            self.set_or("-1", "capped-memory", group, "memory.limit_in_bytes", limits.memory)?;
            if let (Some(memory), Some(swap)) = (limits.memory, limits.swap) {
                let both = memory.saturating_add(swap).to_string();
                set(group, "memory.memsw.limit_in_bytes", &both)?;
            }
        }
        if has("cpu") {
            self.set_or("-1", "capped-cpu", group, QUOTA_V1, limits.cpus.map(quota))?;
            let shares = limits.shares.map(|shares| (shares * 1024 / WEIGHT).max(2));
            self.share(1024, group, "cpu.shares", shares)?;
        }
        if has("pids") {
            self.pids(group, limits)?;
        }
        if has("blkio") {
            self.blkio(group, limits)?;
        }
        if has("cpuset") {
            self.cpuset(group, limits)?;
        }
        Ok(())
    }

    fn pids(&mut self, group: &Path, limits: &Limits) -> Result<(), Failure> {
        let most = limits.most_tasks().to_string();
        if set(group, "pids.max", &most)? {
            self.found.extend(["max-processes", "max-lwps"]);
        }
        Ok(())
    }

    fn blkio(&mut self, group: &Path, limits: &Limits) -> Result<(), Failure> {
        type Of = fn(&IoLimit) -> Option<u64>;
        let files: [(&str, Of); 4] = [
            ("blkio.throttle.read_bps_device", |io| io.read_bytes),
            ("blkio.throttle.write_bps_device", |io| io.write_bytes),
            ("blkio.throttle.read_iops_device", |io| io.reads),
            ("blkio.throttle.write_iops_device", |io| io.writes),
        ];
        for (file, of) in files {
            for device in self.devices_of(group, file) {
                if !limits.io.iter().any(|io| io.device == device && of(io).is_some()) {
                    set(group, file, &format!("{device} 0"))?;
                }
            }
            for io in &limits.io {
                match of(io) {
                    Some(most) => self.set("capped-io", group, file, &format!("{} {most}", io.device))?,
                    None if group.join(file).exists() => self.found.push("capped-io"),
                    None => {}
                }
            }
        }
        // From 10 to 1000 with CFQ, from 1 to 1000 with BFQ; 500 and 100 are what a group has.
        let weight = limits.io_weight.map(|weight| weight.clamp(1, 1000));
        self.set_or(&WEIGHT.to_string(), "io-weight", group, "blkio.bfq.weight", weight)
    }

    fn cpuset(&mut self, group: &Path, limits: &Limits) -> Result<(), Failure> {
        if cpus::is_cpuset(group) {
            cpus::assign(group, cpus::Wanted::of(limits))?;
            self.found.push("dedicated-cpu");
        }
        Ok(())
    }

    /// Fails when a limit that is asked for found no file.
    pub(super) fn complain(&self, limits: &Limits) -> Result<(), Failure> {
        let missing =
            wanted(limits).into_iter().find(|(key, _, wanted)| *wanted && !self.found.contains(key));
        match missing {
            None => Ok(()),
            Some(("io-weight", ..)) => {
                let why = "no scheduler of this host's disks heeds it: it takes BFQ, or iocost of cgroup v2";
                Err(Failure::new("apply", "io-weight", io::Error::other(why)))
            }
            Some((key, controller, _)) => {
                let why = io::Error::other(format!("this host has no {controller} controller"));
                Err(Failure::new("apply", key, why))
            }
        }
    }
}

/// Gives the folder of all zones the weight of them together. It competes with the host's programs as one, and were it as
/// heavy as one, each zone that is busy would take from its neighbours and from nobody else.
pub(super) fn weigh(parent: &Path) -> Result<(), Failure> {
    for (file, least, most) in [("cpu.weight", WEIGHT, 10_000), ("cpu.shares", 1024, 262_144)] {
        // Only hierarchies of the CPU controller have it.
        if !parent.join(file).exists() {
            continue;
        }
        let sum: u64 = if is_marked(parent, WEIGHTS) {
            let _lock = lock(parent)?;
            let groups = subgroups(parent);
            let weights = groups.iter().filter_map(|group| fs::read_to_string(group.join(file)).ok());
            let weights: Vec<u64> = weights.filter_map(|text| text.trim().parse().ok()).collect();
            if weights.iter().all(|weight| *weight == least) {
                unmark(parent, WEIGHTS);
            }
            weights.iter().sum()
        } else {
            // The kernel counts the groups below one as links of a folder.
            let groups = fs::metadata(parent).map_or(0, |found| found.nlink().saturating_sub(2));
            groups * least
        };
        set(parent, file, &sum.clamp(least, most).to_string())?;
    }
    Ok(())
}

/// On the folder of all zones, while one of them has a weight of its own.
const WEIGHTS: &str = "trusted.zones.weights";

/// What two monitors must not do at once to the folder of all zones of one hierarchy, they do while they have this.
pub(super) fn lock(parent: &Path) -> Result<File, Failure> {
    let fail = |e: io::Error| Failure::new("lock", parent.display(), e);
    let dir = File::open(parent).map_err(fail)?;
    rustix::fs::flock(&dir, FlockOperation::LockExclusive).map_err(|e| fail(e.into()))?;
    Ok(dir)
}

/// Notes on the folder of all zones that they cannot be taken for alike in what `name` says. Whoever notes it, or takes it
/// back, has the folder's lock.
pub(super) fn mark(parent: &Path, name: &str) {
    let _ = rustix::fs::setxattr(parent, name, b"differ", XattrFlags::empty());
}

/// Takes that back, where they are all alike again: with hundreds of zones, to look at each takes longer than all else of a boot.
pub(super) fn unmark(parent: &Path, name: &str) {
    // ENODATA where there is none.
    let _ = rustix::fs::removexattr(parent, name);
}

/// Whether that was noted.
pub(super) fn is_marked(parent: &Path, name: &str) -> bool {
    rustix::fs::getxattr(parent, name, &mut [0u8; 16][..]).is_ok()
}

fn quota(cpus: f64) -> u64 {
    // The kernel's least quota is a millisecond.
    ((cpus * CPU_PERIOD as f64) as u64).max(1000)
}

/// Writes a control file; false when the group has none of that name.
pub(super) fn set(group: &Path, file: &str, value: &str) -> Result<bool, Failure> {
    let path = group.join(file);
    let mut open = match OpenOptions::new().write(true).open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(|e| Failure::new("open", path.display(), e))?,
    };
    open.write_all(value.as_bytes())
        .map_err(|e| Failure::new(format!("write {value} to"), path.display(), e))?;
    Ok(true)
}
