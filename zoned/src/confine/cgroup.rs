//! A zone's control groups: v2, v1 and both at once, controller by controller.

use std::ffi::{CStr, CString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::control::Limited;
use super::limits::Limits;
use super::{Failure, control, cpus};
use crate::sys::process;

/// Folder of all zones in each hierarchy.
const PARENT: &str = "zoned";

/// v1 hierarchies in which every zone gets a group: those that limit, count and hold still, and systemd's
/// named one, so that a guest's own slices land below its group and nowhere else.
const V1_WANTED: [&str; 8] =
    ["cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "freezer", "name=systemd"];

/// The same of v2.
const V2_WANTED: [&str; 5] = ["cpu", "cpuset", "memory", "pids", "io"];

/// How the processes of a group are held still.
struct Freezer {
    control: &'static str,
    still: &'static str,
    go: &'static str,
    state: &'static str,
    /// The line of `state` that says that all of them are.
    shows: &'static str,
}

/// Those of v2 (Linux 5.2) and of v1.
const FREEZERS: [Freezer; 2] = [
    Freezer { control: "cgroup.freeze", still: "1", go: "0", state: "cgroup.events", shows: "frozen 1" },
    Freezer {
        control: "freezer.state",
        still: "FROZEN",
        go: "THAWED",
        state: "freezer.state",
        shows: "FROZEN",
    },
];

/// What the host has mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// cgroup2 mount point.
    pub v2: Option<PathBuf>,
    /// v1 mount points, each with its controllers.
    pub v1: Vec<(PathBuf, Vec<String>)>,
}

impl Hierarchies {
    /// Reads /proc/self/mountinfo.
    pub fn detect() -> Result<Self, Failure> {
        Ok(Self::from_mountinfo(&super::mountinfo()?))
    }

    /// The same from the text of proc_pid_mountinfo(5). Where one hierarchy is mounted twice the
    /// first counts.
    pub fn from_mountinfo(text: &str) -> Self {
        let mut found = Self::default();
        for (point, kind, options) in super::mounts(text) {
            match kind {
                "cgroup2" if found.v2.is_none() => found.v2 = Some(point),
                "cgroup" => {
                    let controllers: Vec<String> = options
                        .split(',')
                        .filter(|o| V1_WANTED.contains(o) || *o == "devices")
                        .map(str::to_owned)
                        .collect();
                    if !found.v1.iter().any(|(_, c)| *c == controllers) {
                        found.v1.push((point, controllers));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Which of v2 and v1 has a controller, with its mount point.
    pub fn controller(&self, name: &str) -> Option<(bool, &Path)> {
        let v2 = self.v2.as_deref().filter(|point| {
            let there = fs::read_to_string(point.join("cgroup.controllers")).unwrap_or_default();
            there.split_whitespace().any(|c| c == name)
        });
        let v1 =
            self.v1.iter().find(|(_, names)| names.iter().any(|c| c == name || name == "io" && c == "blkio"));
        v2.map(|point| (true, point)).or_else(|| v1.map(|(point, _)| (false, point.as_path())))
    }

    /// Where group `key` of each hierarchy lies, v2 first.
    pub(super) fn groups(&self, key: &str) -> (Option<PathBuf>, Vec<(PathBuf, &[String])>) {
        let below = |point: &Path| point.join(PARENT).join(key);
        let v1 = self.v1.iter().filter(|(_, c)| c.iter().any(|c| V1_WANTED.contains(&c.as_str())));
        (self.v2.as_deref().map(below), v1.map(|(p, c)| (below(p), c.as_slice())).collect())
    }
}

/// One zone's groups.
#[derive(Debug, Clone)]
pub struct Cgroup {
    v2: Option<PathBuf>,
    /// Each with its controllers.
    v1: Vec<(PathBuf, Vec<String>)>,
    /// Hierarchies that are mounted nowhere, for as long as they are used.
    kept: Vec<Arc<OwnedFd>>,
}

impl Cgroup {
    /// The groups of `key`, whether they exist or not.
    pub fn at(hierarchies: &Hierarchies, key: &str) -> Self {
        let (v2, v1) = hierarchies.groups(key);
        Self { v2, v1: v1.into_iter().map(|(path, c)| (path, c.to_vec())).collect(), kept: Vec::new() }
    }

    /// Keeps a hierarchy that is mounted nowhere (see [`Hierarchies::add_named`] and [`Hierarchies::add_v2`]).
    pub fn keep(&mut self, hierarchy: Option<OwnedFd>) {
        self.kept.extend(hierarchy.map(Arc::new));
    }

    /// Makes the groups with their limits. Host user `owner`, the zone's root, may make groups below the v2 one, and with
    /// `named` below systemd's, which carry no limits of ours: of v1 the kernel neither bounds the number nor counts the
    /// memory. What a failure leaves is removed by [`Cgroup::clear`].
    pub fn make(&self, owner: u32, named: bool, limits: &Limits) -> Result<(), Failure> {
        let limited = self.make_v2(owner, limits)?;
        self.make_v1(limited, owner, named, limits)
    }

    /// The first half of [`Cgroup::make`]: the group that process 1 is made in.
    pub(super) fn make_v2(&self, owner: u32, limits: &Limits) -> Result<Limited, Failure> {
        let mut limited = Limited::fresh();
        if let Some(group) = &self.v2 {
            if let Some(point) = group.parent().and_then(Path::parent) {
                enable_controllers(point);
            }
            make_group(group)?;
            limited.apply_v2(group, limits)?;
            give(group, owner, &["cgroup.procs", "cgroup.threads", "cgroup.subtree_control"])?;
        }
        Ok(limited)
    }

    /// The other: those that it joins.
    pub(super) fn make_v1(
        &self,
        mut limited: Limited,
        owner: u32,
        named: bool,
        limits: &Limits,
    ) -> Result<(), Failure> {
        for (group, controllers) in &self.v1 {
            make_group(group)?;
            limited.apply_v1(group, controllers, limits)?;
            if named && controllers.iter().any(|c| c == "name=systemd") {
                give(group, owner, &["cgroup.procs", "tasks"])?;
            }
        }
        limited.complain(limits)
    }

    /// How many groups process 1 joins.
    pub fn to_join(&self) -> usize {
        self.v1.len()
    }

    /// Sets the limits of groups that exist, and lifts those that are left out.
    pub fn update(hierarchies: &Hierarchies, key: &str, limits: &Limits) -> Result<(), Failure> {
        let (v2, v1) = hierarchies.groups(key);
        let mut limited = Limited::default();
        if let Some(group) = &v2 {
            if let Some(point) = &hierarchies.v2 {
                enable_controllers(point);
            }
            limited.apply_v2(group, limits)?;
        }
        for (group, controllers) in &v1 {
            limited.apply_v1(group, controllers, limits)?;
        }
        limited.complain(limits)
    }

    /// The v2 group for CLONE_INTO_CGROUP.
    pub fn v2_directory(&self) -> Result<Option<OwnedFd>, Failure> {
        self.v2.as_deref().map(directory).transpose()
    }

    /// The v2 group, at or below the zone's, that process `pid` is in: the guest's init keeps itself in one that may have
    /// processes, when it hands controllers on to those below the zone's own, which then may not (cgroups(7), the "no
    /// internal processes" rule).
    pub fn v2_directory_of(&self, pid: i32) -> Result<Option<OwnedFd>, Failure> {
        let Some(group) = &self.v2 else { return Ok(None) };
        let file = format!("/proc/{pid}/cgroup");
        let text = fs::read_to_string(&file).map_err(|e| Failure::new("read", file, e))?;
        let own = group.file_name().unwrap_or_default().to_string_lossy();
        directory(&group.join(below(&text, &format!("/{PARENT}/{own}")).unwrap_or_default())).map(Some)
    }

    /// The `tasks` files of the v1 groups; a process writes `0` to each to move itself, which is
    /// cheaper by far than being moved.
    pub fn v1_tasks(&self) -> Result<Vec<File>, Failure> {
        let open = |(group, _): &(PathBuf, _)| {
            let path = group.join("tasks");
            OpenOptions::new().write(true).open(&path).map_err(|e| Failure::new("open", path.display(), e))
        };
        self.v1.iter().map(open).collect()
    }

    /// Removes the groups, and whatever runs in them.
    pub fn clear(&self) -> Result<(), Failure> {
        let dedicated = self.has_own_cpus();
        // Mostly nothing is in them any more, and looking takes longer than trying.
        if self.all().all(|group| matches!(rustix::fs::rmdir(group), Ok(()) | Err(Errno::NOENT))) {
            return self.set_others_right(dedicated);
        }
        self.kill()?;
        self.remove_those(dedicated)
    }

    fn has_own_cpus(&self) -> bool {
        self.with("cpuset").any(|group| cpus::is_dedicated(group))
    }

    /// Kills everything in the groups and those below, and waits for its end, ten seconds at most.
    fn kill(&self) -> Result<(), Failure> {
        let patience = Instant::now() + Duration::from_secs(10);
        if let Some(group) = &self.v2 {
            // Linux 5.14; older ones get signal by signal below.
            let _ = fs::write(group.join("cgroup.kill"), "1");
        }
        for group in self.all() {
            loop {
                let left = processes(group);
                if left.is_empty() {
                    break;
                }
                // Who is held still by v1 does not die.
                let _ = self.hold(false);
                if Instant::now() > patience {
                    let left = io::Error::other(format!("{} processes do not end", left.len()));
                    return Err(Failure::new("empty", group.display(), left));
                }
                for pid in left {
                    end(pid, group);
                }
            }
        }
        Ok(())
    }

    /// Holds all processes of the groups and of those below still, or lets go of them.
    ///
    /// # Errors
    /// When there is no freezer here, or they are not still within ten seconds: they are let go of then.
    pub fn hold(&self, still: bool) -> Result<(), Failure> {
        let write = |(freezer, control): (&Freezer, PathBuf), word: fn(&Freezer) -> &'static str| {
            fs::write(&control, word(freezer)).map_err(|e| Failure::new("write", control.display(), e))
        };
        let mut found = FREEZERS.iter().filter_map(|freezer| Some((freezer, self.file(freezer.control)?)));
        if !still {
            // Of both: v2 may be mounted where who held them did not see it.
            return found.map(|found| write(found, |freezer| freezer.go)).fold(Ok(()), Result::and);
        }
        let Some((freezer, control)) = found.next() else {
            let why = "it is in no control group that can be frozen: mount cgroup2 on /sys/fs/cgroup, or the freezer of \
                       cgroup v1, and boot it anew; or halt it";
            return Err(Failure::new("freeze", "the zone", io::Error::other(why)));
        };
        let state = control.with_file_name(freezer.state);
        let patience = Instant::now() + Duration::from_secs(10);
        for round in 0_u32.. {
            // v1 passes over who is being forked or cannot be frozen at the moment, and is to be told again
            // (freezer-subsystem.rst).
            if round % 64 == 0 {
                write((freezer, control.clone()), |freezer| freezer.still)?;
            }
            let shown = fs::read_to_string(&state).unwrap_or_default();
            if shown.lines().any(|line| line == freezer.shows) {
                break;
            }
            if Instant::now() > patience {
                let _ = self.hold(false);
                let why = io::Error::new(io::ErrorKind::TimedOut, "its processes do not hold still");
                return Err(Failure::new("freeze", "the zone", why));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Removes the groups and what guests made below them; groups that do not exist are fine.
    pub fn remove(&self) -> Result<(), Failure> {
        self.remove_those(self.has_own_cpus())
    }

    fn remove_those(&self, dedicated: bool) -> Result<(), Failure> {
        let mut first = Ok(());
        for group in self.all() {
            let result = remove_tree(group).map_err(|e| Failure::new("remove", group.display(), e));
            if first.is_ok() {
                first = result;
            }
        }
        first.and(self.set_others_right(dedicated))
    }

    /// What of other zones changes with the end of these groups, of which some are `dedicated` CPUs.
    fn set_others_right(&self, dedicated: bool) -> Result<(), Failure> {
        let mut first = Ok(());
        for parent in self.with("cpu").filter_map(|group| group.parent()) {
            first = first.and(control::weigh(parent));
        }
        if dedicated {
            for parent in
                self.with("cpuset").filter_map(|group| group.parent()).filter(|p| cpus::is_cpuset(p))
            {
                first = first.and(cpus::settle(parent));
            }
        }
        for hierarchy in &self.kept {
            // With the last zone's group, so that the hierarchy can go, too.
            let _ = rustix::fs::unlinkat(hierarchy, PARENT, AtFlags::REMOVEDIR);
        }
        first
    }

    /// Where `file` is, in the first of the groups that has it.
    pub fn file(&self, file: &str) -> Option<PathBuf> {
        self.all().map(|group| group.join(file)).find(|path| path.exists())
    }

    /// Where the first of these files is that there is, in the groups that `controller` may be at.
    pub fn file_of(&self, controller: &str, files: &[&str]) -> Option<PathBuf> {
        let paths = |group: &PathBuf| files.iter().map(|file| group.join(file)).find(|path| path.exists());
        self.with(controller).find_map(paths)
    }

    /// Whether a file is one of the v2 group.
    pub fn is_v2(&self, file: &Path) -> bool {
        self.v2.as_deref().is_some_and(|group| file.starts_with(group))
    }

    /// Whether there are groups already.
    pub fn is_made(&self) -> bool {
        self.all().any(|group| group.exists())
    }

    /// Every process in the groups.
    pub fn processes(&self) -> Vec<i32> {
        let found = self.all().map(|group| processes(group));
        found.max_by_key(Vec::len).unwrap_or_default()
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.v2.iter().chain(self.v1.iter().map(|(group, _)| group))
    }

    /// Those that a controller may be at.
    fn with(&self, controller: &str) -> impl Iterator<Item = &PathBuf> {
        let v1 = self.v1.iter().filter(move |(_, names)| names.iter().any(|name| name == controller));
        self.v2.iter().chain(v1.map(|(group, _)| group))
    }
}

fn directory(path: &Path) -> Result<OwnedFd, Failure> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path);
    opened.map(Into::into).map_err(|e| Failure::new("open", path.display(), e))
}

/// Where below group `own` the process is whose /proc/PID/cgroup says `text`.
pub(super) fn below<'a>(text: &'a str, own: &str) -> Option<&'a str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (_, rest) = path.split_once(own)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
}

/// Every process in a group and below it.
pub(super) fn processes(group: &Path) -> Vec<i32> {
    let mut found: Vec<i32> = fs::read_to_string(group.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|l| l.parse().ok())
        .collect();
    for below in subgroups(group) {
        found.extend(processes(&below));
    }
    found
}

/// The groups right below one.
pub(super) fn subgroups(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    let is_dir = |e: &fs::DirEntry| e.file_type().is_ok_and(|t| t.is_dir());
    entries.flatten().filter(is_dir).map(|e| e.path()).collect()
}

/// Kills `pid` if it is still in `group`, and waits a while for its end. The pidfd is taken first,
/// so that a number given anew in between is not mistaken for the old one.
fn end(pid: i32, group: &Path) {
    let Ok(pidfd) = process::open(Pid::from_raw(pid)) else { return };
    if processes(group).contains(&pid) {
        let _ = process::signal(pidfd.as_fd(), libc::SIGKILL);
        super::wait_readable(pidfd.as_fd(), Duration::from_millis(100));
    }
}

/// Removes a group and those below it, leaves first. Folder by folder and back by `..`: a guest can
/// make groups deeper than any path is long.
fn remove_tree(group: &Path) -> io::Result<()> {
    let patience = Instant::now() + Duration::from_secs(5);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = match rustix::fs::open(group, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mut way = Vec::new();
    loop {
        if let Some(name) = first_subgroup(&here)? {
            here = rustix::fs::openat(&here, &name, flags, Mode::empty())?;
            way.push(name);
            continue;
        }
        let Some(name) = way.pop() else { break };
        here = rustix::fs::openat(&here, c"..", flags, Mode::empty())?;
        remove_group(&here, &name, patience)?;
    }
    drop(here);
    remove_group(rustix::fs::CWD, &CString::new(group.as_os_str().as_bytes())?, patience)
}

fn first_subgroup(dir: &OwnedFd) -> io::Result<Option<CString>> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

fn remove_group(dir: impl AsFd, name: &CStr, patience: Instant) -> io::Result<()> {
    loop {
        match rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => return Ok(()),
            // A dead task leaves its group a moment after its parent could reap it.
            Err(Errno::BUSY) if Instant::now() < patience => std::thread::sleep(Duration::from_millis(1)),
            other => return Ok(other?),
        }
    }
}

fn make_group(path: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).map_err(|e| Failure::new("make cgroup", path.display(), e))
}

fn give(group: &Path, owner: u32, files: &[&str]) -> Result<(), Failure> {
    for path in [group.to_owned()].into_iter().chain(files.iter().map(|f| group.join(f))) {
        match chown(&path, Some(owner), Some(owner)) {
            // cgroup.threads came with Linux 4.14, and a v1 hierarchy may lack a file.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other.map_err(|e| Failure::new("hand over", path.display(), e))?,
        }
    }
    Ok(())
}

/// Turns on what zones are limited and counted by, from the root down. A controller that is not there, or that v1
/// holds, is refused by the kernel and found out when its limit is set.
fn enable_controllers(point: &Path) {
    let parent = point.join(PARENT);
    let _ = fs::create_dir(&parent);
    for dir in [point, &parent] {
        let words = |file: &str| fs::read_to_string(dir.join(file)).unwrap_or_default();
        let (there, on) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
        for controller in there.split_whitespace() {
            if V2_WANTED.contains(&controller) && !on.split_whitespace().any(|c| c == controller) {
                let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/with\\040space rw - cgroup cgroup rw,memory
35 30 0:31 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
";

    #[test]
    fn a_process_is_found_below_its_zones_group() {
        let text = "3:cpu:/zoned/z\n0::/some.slice/zoned/z/init.scope\n";
        assert_eq!(below(text, "/zoned/z"), Some("init.scope"));
        assert_eq!(below("0::/zoned/z\n", "/zoned/z"), Some(""));
        assert_eq!(below("0::/zoned/zz/a\n", "/zoned/z"), None);
        assert_eq!(below("", "/zoned/z"), None);
    }

    #[test]
    fn hybrid_layout_is_found() {
        let found = Hierarchies::from_mountinfo(HYBRID);
        assert_eq!(found.v2, Some("/sys/fs/cgroup/unified".into()));
        let (v2, v1) = found.groups("a");
        assert_eq!(v2, Some("/sys/fs/cgroup/unified/zoned/a".into()));
        let paths: Vec<_> = v1.iter().map(|(p, _)| p.to_str().unwrap()).collect();
        assert_eq!(
            paths,
            [
                "/sys/fs/cgroup/systemd/zoned/a",
                "/sys/fs/cgroup/cpu,cpuacct/zoned/a",
                "/sys/fs/cgroup/with space/zoned/a",
                "/sys/fs/cgroup/blkio/zoned/a"
            ]
        );
    }

    #[test]
    fn v2_alone_is_found() {
        let found = Hierarchies::from_mountinfo("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        assert_eq!(found, Hierarchies { v2: Some("/sys/fs/cgroup".into()), v1: vec![] });
    }

    #[test]
    fn limits_reach_the_kernel_and_groups_go_away() {
        let hierarchies = Hierarchies::detect().unwrap();
        let key = format!("unit-test-{}", std::process::id());
        let limits = Limits { memory: Some(64 << 20), cpus: Some(0.5), tasks: Some(7), ..Limits::default() };
        let cgroup = Cgroup::at(&hierarchies, &key);
        cgroup.make(1 << 30, false, &limits).unwrap();
        let value = |file: &str| {
            cgroup.all().find_map(|g| fs::read_to_string(g.join(file)).ok()).map(|v| v.trim().to_owned())
        };
        assert_eq!(value("pids.max").as_deref(), Some("7"));
        let memory = value("memory.limit_in_bytes").or_else(|| value("memory.max"));
        assert_eq!(memory, Some((64u64 << 20).to_string()));
        assert!(
            value("cpu.cfs_quota_us").as_deref() == Some("50000")
                || value("cpu.max").as_deref() == Some("50000 100000")
        );
        Cgroup::update(&hierarchies, &key, &Limits { tasks: Some(9), ..Limits::default() }).unwrap();
        assert_eq!(value("pids.max").as_deref(), Some("9"));
        assert!(
            value("cpu.cfs_quota_us").as_deref() == Some("-1")
                || value("cpu.max").is_some_and(|v| v.starts_with("max"))
        );
        cgroup.remove().unwrap();
        assert!(cgroup.all().all(|g| !g.exists()));
    }

    /// A process that counts, in a group below that of `key`.
    fn counting(group: &Path) -> std::process::Child {
        let script = "echo $$ > $0/cgroup.procs; while :; do :; done";
        std::process::Command::new("sh").args(["-c", script]).arg(group).spawn().unwrap()
    }

    fn holds_what_is_below(hierarchies: &Hierarchies, key: &str) {
        let cgroup = Cgroup::at(hierarchies, key);
        cgroup.make(1 << 30, false, &Limits::default()).unwrap();
        let below = |group: &PathBuf| group.join("below");
        cgroup.all().for_each(|group| fs::create_dir_all(below(group)).unwrap());
        let held =
            cgroup.all().find(|group| FREEZERS.iter().any(|f| group.join(f.control).exists())).unwrap();
        let mut child = counting(&below(held));
        let pid = child.id();
        let ticks = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
            stat.split(' ').next().unwrap().to_owned()
        };
        let before = ticks();
        while ticks() == before || processes(held).is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..20 {
            cgroup.hold(true).unwrap();
            let at = ticks();
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(ticks(), at);
            cgroup.hold(false).unwrap();
            while ticks() == at {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // And ends, held or not.
        cgroup.hold(true).unwrap();
        let reaper = std::thread::spawn(move || child.wait());
        cgroup.kill().unwrap();
        reaper.join().unwrap().unwrap();
        cgroup.remove().unwrap();
        assert!(cgroup.all().all(|group| !group.exists()));
    }

    #[test]
    fn a_group_is_held_still_with_those_below_and_ends() {
        let all = Hierarchies::detect().unwrap();
        let key = format!("unit-hold-{}", std::process::id());
        if all.v2.is_some() {
            holds_what_is_below(&Hierarchies { v1: Vec::new(), ..all.clone() }, &key);
        }
        let freezer: Vec<_> =
            all.v1.into_iter().filter(|(_, names)| names.iter().any(|n| n == "freezer")).collect();
        if freezer.is_empty() {
            eprintln!("SKIPPED: no freezer of cgroup v1 is mounted");
            return;
        }
        holds_what_is_below(&Hierarchies { v2: None, v1: freezer }, &format!("{key}-v1"));
    }
}
