//! Counts of what a host has because of zones, to be the same before and after.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::host::descendants;
use crate::zoned::Zoned;

/// How many there are of each thing: processes, namespaces, zoned's descriptors, mounts, cgroups, network
/// interfaces and files. For a zoned that runs alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census(BTreeMap<String, usize>);

impl Census {
    /// Counts now.
    pub fn take(zoned: &Zoned) -> Self {
        reap_orphans(zoned);
        let mut census = Self::default();
        census.count_processes();
        census.count_fds(zoned.pid());
        zoned.mounts().into_iter().for_each(|m| census.add(format!("mount {m}")));
        census.count_mount_table();
        for (_, name) in names("/sys/class/net") {
            census.add(format!("interface {name}"));
        }
        for dir in [&zoned.root(), &zoned.zones(), zoned.run_dir()] {
            census.count_tree("file", dir);
        }
        census
    }

    /// Counts once two counts in a row are the same: a connection that has just been closed on one side is
    /// open on the other a moment longer.
    pub fn settled(zoned: &Zoned) -> Self {
        let end = Instant::now() + Duration::from_secs(10);
        let mut last = Self::take(zoned);
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = Self::take(zoned);
            if now == last || Instant::now() >= end {
                return now;
            }
            last = now;
        }
    }

    /// What is different in `after`, a line for each.
    pub fn diff(&self, after: &Self) -> Vec<String> {
        let keys: BTreeSet<_> = self.0.keys().chain(after.0.keys()).collect();
        let of = |c: &Self, k: &String| c.0.get(k).copied().unwrap_or(0);
        let changed = keys.into_iter().filter(|k| of(self, k) != of(after, k));
        changed.map(|k| format!("{k}: {} before, {} after", of(self, k), of(after, k))).collect()
    }

    /// Asserts that the host comes back to these counts within some seconds: the kernel takes namespaces
    /// and cgroups down after their last process is gone.
    #[track_caller]
    pub fn assert_same(&self, zoned: &Zoned) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let diff = self.diff(&Self::take(zoned));
            if diff.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "the host is not as before:\n  {}", diff.join("\n  "));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn add(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }

    fn count_processes(&mut self) {
        let mut seen = BTreeSet::new();
        for p in descendants() {
            self.add(format!("process {}{}", p.words, if p.zombie { " (zombie)" } else { "" }));
            for (dir, _) in names(format!("/proc/{}/ns", p.pid)) {
                // `net:[4026531840]`
                let Ok(link) = fs::read_link(dir) else { continue };
                if seen.insert(link.clone()) {
                    let link = link.to_string_lossy().into_owned();
                    self.add(format!("namespace {}", link.split(':').next().unwrap_or_default()));
                }
            }
        }
    }

    fn count_fds(&mut self, pid: i32) {
        for (path, _) in names(format!("/proc/{pid}/fd")) {
            let Ok(link) = fs::read_link(path) else { continue };
            let link = link.to_string_lossy().into_owned();
            self.add(format!("descriptor of zoned {}", link.split(":[").next().unwrap_or_default()));
        }
    }

    fn count_mount_table(&mut self) {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for line in table.lines() {
            let point = line.split(' ').nth(4).unwrap_or_default();
            let kind = line.split(" - ").nth(1).and_then(|t| t.split(' ').next()).unwrap_or_default();
            match kind {
                "cgroup" | "cgroup2" => self.count_cgroups(Path::new(point)),
                "nsfs" => self.add(format!("namespace kept at {point}")),
                _ => {}
            }
        }
    }

    fn count_cgroups(&mut self, dir: &Path) {
        self.add(format!("cgroup {}", dir.display()));
        for (path, _) in names(dir).into_iter().filter(|(p, _)| p.is_dir()) {
            self.count_cgroups(&path);
        }
    }

    fn count_tree(&mut self, what: &str, dir: &Path) {
        for (path, _) in names(dir) {
            self.add(format!("{what} {}", path.display()));
            if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
                self.count_tree(what, &path);
            }
        }
    }
}

fn names(dir: impl AsRef<Path>) -> Vec<(std::path::PathBuf, String)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| (e.path(), e.file_name().to_string_lossy().into_owned())).collect()
}

/// Orphans come to this process, as it is their reaper; init would have waited for them.
fn reap_orphans(zoned: &Zoned) {
    let me = std::process::id() as i32;
    let own = ["zonectl", "setsid"];
    for p in descendants() {
        if p.zombie && p.parent == me && p.pid != zoned.pid() && !own.contains(&p.name.as_str()) {
            let _ = waitpid(Pid::from_raw(p.pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}
