//! A zoned of the test's own, with its own folders, that leaves nothing behind.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, Uid};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Client, Outcome};
use crate::host::{binary, descendants, eventually, lock, processes, shares_layers, target};

/// How a test wants its zoned.
#[derive(Debug, Default, Clone)]
pub struct How {
    /// No other zoned of these tests runs meanwhile: for tests that count what the host has.
    pub alone: bool,
    /// Size in MiB of a small ext4 that `--root` is to be on.
    pub small_disk: Option<u32>,
    /// Folder that `--root` and `--zones` are in, in place of one of its own.
    pub place: Option<PathBuf>,
    /// `--root`, where it is not to be in the folder of the test; made if it is not there.
    pub root: Option<PathBuf>,
    /// Further environment.
    pub env: Vec<(String, String)>,
    /// Network namespace, by its name for ip-netns(8), that it and its zones are in.
    pub netns: Option<String>,
    /// What its zoned.toml says.
    pub settings: String,
    /// Descriptors that it may have at once, where not as many as the test.
    pub descriptors: Option<u32>,
}

/// A private zoned. Dropping it takes its zones down, stops it and fails the test if anything is left.
#[derive(Debug)]
pub struct Zoned {
    folder: TempDir,
    run: TempDir,
    how: How,
    child: Option<Child>,
    _turn: Flock<File>,
}

impl Zoned {
    /// A zoned that others may run beside.
    pub fn start() -> Self {
        Self::start_as(How::default())
    }

    /// The only zoned of the tests, its orphans' new parent being this process.
    pub fn start_alone() -> Self {
        Self::start_as(How { alone: true, ..How::default() })
    }

    /// A zoned as told.
    pub fn start_as(how: How) -> Self {
        Self::try_start(how).unwrap_or_else(|e| panic!("start zoned: {e:#}"))
    }

    /// The same with its error.
    pub fn try_start(how: How) -> Result<Self> {
        ensure!(Uid::effective().is_root(), "whole-system tests need root");
        let turn = if how.alone { FlockArg::LockExclusive } else { FlockArg::LockShared };
        let turn = lock("zones-turn.lock", turn)?;
        if how.alone {
            nix::sys::prctl::set_child_subreaper(true).context("become the reaper of zoned's orphans")?;
        }
        // On a disk filesystem: idmapped mounts and overlays of tmpfs are younger (Linux 6.3).
        let tmp = target().join("tmp");
        fs::create_dir_all(&tmp).with_context(|| format!("create {}", tmp.display()))?;
        let folder = tempfile::Builder::new().prefix("zones-").tempdir_in(tmp).context("create a folder")?;
        let place = how.place.as_deref().unwrap_or(folder.path());
        for part in ["root", "zones"] {
            fs::create_dir(place.join(part)).with_context(|| format!("create {part}"))?;
        }
        if let Some(mib) = how.small_disk {
            let disk = File::create(folder.path().join("disk")).context("create a disk")?;
            disk.set_len(u64::from(mib) << 20).context("size a disk")?;
            let made = Command::new("mkfs.ext4").arg("-q").arg(folder.path().join("disk")).status();
            ensure!(made.context("run mkfs.ext4")?.success(), "mkfs.ext4 failed");
        }
        // A unix socket's path has 108 bytes at most (unix(7)): not below a deep checkout.
        let run = tempfile::Builder::new().prefix("zones-run-").tempdir().context("create a run folder")?;
        // As /run/zoned is: what others may is decided by the socket.
        fs::set_permissions(run.path(), Permissions::from_mode(0o755)).context("open the run folder")?;
        if !how.settings.is_empty() {
            fs::write(folder.path().join("zoned.toml"), &how.settings).context("write zoned.toml")?;
        }
        let mut zoned = Self { folder, run, how, child: None, _turn: turn };
        zoned.launch()?;
        Ok(zoned)
    }

    /// `--root`
    pub fn root(&self) -> PathBuf {
        self.how.root.clone().unwrap_or_else(|| self.place().join("root"))
    }

    /// `--zones`
    pub fn zones(&self) -> PathBuf {
        self.place().join("zones")
    }

    fn place(&self) -> &Path {
        self.how.place.as_deref().unwrap_or(self.folder.path())
    }

    /// `--run`
    pub fn run_dir(&self) -> &Path {
        self.run.path()
    }

    /// A folder for the test's own files, gone with the zoned.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir().join("zoned.sock")
    }

    /// Pid of the daemon.
    pub fn pid(&self) -> i32 {
        self.child.as_ref().expect("zoned runs between launch and kill").id() as i32
    }

    fn launch(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("zoned.log"));
        let log = log.context("open zoned.log")?;
        let mut command = self.daemon(&binary("zoned")?);
        command.arg("--root").arg(self.root()).arg("--run").arg(self.run_dir());
        command.arg("--zones").arg(self.zones()).arg("--config").arg(self.folder.path().join("zoned.toml"));
        command.args(["--log", "debug"]).envs(self.how.env.iter().cloned());
        command.stdin(Stdio::null()).stdout(log.try_clone().context("duplicate zoned.log")?).stderr(log);
        let mut child = command.spawn().context("spawn zoned")?;
        let end = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(self.run_dir().join("zoned.sock")).is_err() {
            if let Some(status) = child.try_wait().context("wait for zoned")? {
                bail!("zoned ended with {status} before it was ready\n{}", self.log());
            }
            if Instant::now() > end {
                let _ = child.kill();
                let _ = child.wait();
                bail!("zoned was not ready within 20 s\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.child = Some(child);
        Ok(())
    }

    /// zoned itself, or zoned in a mount namespace in which `--root` is on the small disk.
    fn daemon(&self, zoned: &Path) -> Command {
        if let Some(netns) = &self.how.netns {
            // Its network alone; `ip netns exec` would change mounts, too.
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/run/netns/{netns}")).arg(zoned);
            return command;
        }
        if let Some(most) = self.how.descriptors {
            let mut command = Command::new("prlimit");
            command.arg(format!("--nofile={most}:{most}")).arg(zoned);
            return command;
        }
        if self.how.small_disk.is_none() {
            return Command::new(zoned);
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg("mount -o loop \"$0\" \"$1\" && shift && exec \"$@\"");
        command.arg(self.folder.path().join("disk")).arg(self.root()).arg(zoned);
        command
    }

    /// What zoned logged, its end.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("zoned.log")).unwrap_or_default();
        let skip = log.lines().count().saturating_sub(60);
        log.lines().skip(skip).fold(String::from("zoned's log:\n"), |all, line| all + line + "\n")
    }

    /// A zonectl that talks to this zoned.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary("zonectl").unwrap_or_else(|e| panic!("{e:#}")));
        command.arg("--socket").arg(self.run_dir().join("zoned.sock")).args(words);
        command.env_remove("ZONED_SOCKET");
        command
    }

    /// Starts zonectl.
    pub fn spawn(&self, words: &[&str]) -> Client {
        Client::start(self.command(words))
    }

    /// Runs zonectl to its end.
    pub fn zonectl(&self, words: &[&str]) -> Outcome {
        self.spawn(words).finish()
    }

    /// Makes a snapshot of a zone that runs; it is halted for it where the kernel has it so.
    #[track_caller]
    pub fn snapshot(&self, name: &str, snap: &str) {
        if !shares_layers() {
            self.zonectl(&["halt", name]).ok();
        }
        self.zonectl(&["snapshot", &format!("{name}@{snap}")]).ok();
        if !shares_layers() {
            self.zonectl(&["boot", name, "-i", "none"]).ok();
        }
    }

    /// All zones as `list -c --json` tells them.
    pub fn listed(&self) -> Vec<Value> {
        let outcome = self.zonectl(&["--json", "list", "-c"]);
        let text = outcome.clone().ok();
        let all: Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("list --json: {e}\n{outcome}"));
        let all = all.get("zones").cloned().unwrap_or(all);
        all.as_array().unwrap_or_else(|| panic!("list --json is no array: {all}")).clone()
    }

    /// One of them.
    pub fn zone(&self, name: &str) -> Option<Value> {
        self.listed().into_iter().find(|zone| zone["name"] == name)
    }

    /// What a shell script in a zone prints; asserts that it succeeds.
    #[track_caller]
    pub fn sh(&self, name: &str, script: &str) -> String {
        self.zonectl(&["login", name, "--", "sh", "-c", script]).ok()
    }

    /// IPv4 and IPv6 of a live zone with one interface, without their prefixes.
    #[track_caller]
    pub fn addresses(&self, name: &str) -> (String, String) {
        let zone = self.zone(name).unwrap_or_else(|| panic!("no zone {name}"));
        let all = zone["addresses"].as_array().cloned().unwrap_or_default();
        let plain = |a: &Value| a.as_str().and_then(|a| a.split_once('/')).map(|(a, _)| a.to_owned());
        let all: Vec<String> = all.iter().filter_map(plain).collect();
        match &all[..] {
            [four, six] => (four.clone(), six.clone()),
            other => panic!("{name} has {other:?}"),
        }
    }

    /// State of a zone; `None` where there is no such zone.
    pub fn state(&self, name: &str) -> Option<String> {
        Some(self.zone(name)?["state"].as_str().expect("state is a word").to_owned())
    }

    /// Waits until a zone is in a state.
    #[track_caller]
    pub fn wait_for(&self, name: &str, state: &str) {
        eventually(&format!("zone {name} is {state}"), 30, || self.state(name).as_deref() == Some(state));
    }

    /// Host pid of a zone's process 1.
    pub fn init_of(&self, name: &str) -> i32 {
        let zone = self.zone(name).unwrap_or_else(|| panic!("no zone {name}"));
        zone["init_pid"].as_i64().unwrap_or_else(|| panic!("no init_pid in {zone}")) as i32
    }

    /// CPU time of a zone since its boot, in seconds, as its metrics tell it.
    pub fn cpu_seconds(&self, name: &str) -> f64 {
        let metrics = self.zonectl(&["metrics"]).ok();
        let line = format!("zone_cpu_seconds_total{{zone=\"{name}\"}} ");
        let number = metrics.lines().find_map(|l| l.strip_prefix(&line)?.parse().ok());
        number.unwrap_or_else(|| panic!("{metrics}"))
    }

    /// Host pid of a zone's monitor: the parent of its process 1.
    pub fn monitor_of(&self, name: &str) -> i32 {
        let init = self.init_of(name);
        processes().get(&init).unwrap_or_else(|| panic!("no process {init}")).parent
    }

    /// kill -9 of the daemon.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The end of the daemon, of all zones and of whatever else this process began but for `spare`, as the host's is:
    /// nothing can say good-bye. For a test that is alone.
    pub fn kill_all(&mut self, spare: &[u32]) {
        let groups: BTreeSet<String> =
            descendants().iter().flat_map(|process| groups_of(process.pid)).collect();
        self.kill9();
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let mut left = descendants();
            left.retain(|process| !spare.contains(&(process.pid as u32)));
            if left.is_empty() {
                break;
            }
            for process in &left {
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
                let _ = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG));
            }
            assert!(Instant::now() < end, "they do not die: {left:?}");
            thread::sleep(Duration::from_millis(5));
        }
        // What the kernel knows of them goes with it.
        for key in groups {
            for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
                remove_groups(&hierarchy.path().join("zoned").join(&key));
            }
            remove_groups(&Path::new("/sys/fs/cgroup/zoned").join(&key));
        }
        for entry in fs::read_dir(self.run_dir()).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
    }

    /// A new daemon over the same folders.
    pub fn start_again(&mut self) {
        self.start_again_with(self.how.env.clone());
    }

    /// The same with another environment.
    pub fn start_again_with(&mut self, env: Vec<(String, String)>) {
        self.kill9();
        self.how.env = env;
        self.launch().unwrap_or_else(|e| panic!("start zoned again: {e:#}"));
    }

    /// A zone installed from a folder; `settings` are KEY=VALUE.
    pub fn install(&self, name: &str, source: &str, settings: &[&str]) {
        self.zonectl(&[&["create", name], settings].concat()).ok();
        self.zonectl(&["install", name, source]).ok();
    }

    /// Takes a zone down to nothing, from whatever state.
    pub fn forget(&self, name: &str) {
        for words in [&["halt", name][..], &["uninstall", name, "-F"], &["delete", name, "-F"]] {
            self.zonectl(words);
        }
    }

    fn take_down(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        if self.child.is_none() && self.launch().is_err() {
            left.push("zoned does not start again".into());
        }
        if self.child.is_some() {
            let listed = self.zonectl(&["--json", "list", "-c"]);
            let all: Value = serde_json::from_str(&listed.stdout).unwrap_or_default();
            let names = all.get("zones").cloned().unwrap_or(all);
            for zone in names.as_array().into_iter().flatten() {
                let name = zone["name"].as_str().unwrap_or_default();
                self.forget(name);
                if self.zonectl(&["list", "-c", name]).status == Some(0) {
                    left.push(format!("zone {name}"));
                }
            }
        }
        if let Some(mut child) = self.child.take() {
            let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
            let end = Instant::now() + Duration::from_secs(10);
            while let Ok(None) = child.try_wait() {
                if Instant::now() > end {
                    left.push("zoned does not end on SIGTERM".into());
                    let _ = child.kill();
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
        left
    }

    /// Processes that were told this zoned's folders.
    fn followers(&self) -> Vec<(i32, String)> {
        let (root, run) = (self.folder.path().to_string_lossy(), self.run.path().to_string_lossy());
        let ours = |words: &str| words.contains(&*root) || words.contains(&*run);
        let me = std::process::id() as i32;
        let all = processes();
        all.values().filter(|p| p.pid != me && ours(&p.words)).map(|p| (p.pid, p.words.clone())).collect()
    }

    /// Mounts of the host below this zoned's folders.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = table.lines().filter_map(|l| l.split(' ').nth(4));
        let ours =
            |p: &&str| Path::new(p).starts_with(self.folder.path()) || Path::new(p).starts_with(&self.run);
        points.filter(ours).map(str::to_owned).collect()
    }
}

/// Names of the control groups of zones that a process is in.
fn groups_of(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let keys = text.lines().filter_map(|line| line.split_once("/zoned/")?.1.split('/').next());
    keys.map(str::to_owned).collect()
}

fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

impl Drop for Zoned {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
        let mut left = self.take_down();
        let end = Instant::now() + Duration::from_secs(5);
        while !self.followers().is_empty() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        for (pid, words) in self.followers() {
            left.push(format!("process {pid} {words}"));
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        for mount in self.mounts().into_iter().rev() {
            // Before the folders are removed: what is bound there is not ours to remove.
            let _ = umount2(mount.as_str(), MntFlags::MNT_DETACH);
            left.push(format!("mount {mount}"));
        }
        if !self.mounts().is_empty() {
            self.folder.disable_cleanup(true);
            self.run.disable_cleanup(true);
        }
        if !left.is_empty() {
            let text = format!("left behind by zoned:\n  {}\n{}", left.join("\n  "), self.log());
            if thread::panicking() {
                eprintln!("{text}");
            } else {
                panic!("{text}");
            }
        }
    }
}
