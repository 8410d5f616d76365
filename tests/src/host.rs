//! The machine that the tests run on: where things are built, whose turn it is, who descends from whom.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

/// Cargo's target folder: the tests stand in `TARGET/PROFILE/deps`.
pub fn target() -> PathBuf {
    profile_dir().parent().expect("a profile folder stands in the target folder").to_path_buf()
}

fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("the kernel knows this program's path");
    let dir = exe.parent().expect("a program stands in a folder");
    if dir.ends_with("deps") { dir.parent().expect("deps stands in a folder").into() } else { dir.into() }
}

/// `zoned`, `zonectl` or `libnss_zones.so`: what ZONED_BIN or ZONECTL_BIN names, else what cargo builds, once a process.
pub fn binary(name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(format!("{}_BIN", name.to_uppercase())) {
        return Ok(path.into());
    }
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    BUILT.get_or_init(|| build().map_err(|e| format!("{e:#}"))).clone().map_err(anyhow::Error::msg)?;
    Ok(profile_dir().join(name))
}

fn build() -> Result<()> {
    let _one_at_a_time = lock("zones-build.lock", FlockArg::LockExclusive)?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "build",
            "--quiet",
            "--workspace",
            "--lib",
            "--bin",
            "zoned",
            "--bin",
            "zonectl",
            "--target-dir",
        ])
        .arg(target());
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile_dir().ends_with("release") {
        command.arg("--release");
    }
    ensure!(
        command.status().context("run cargo build")?.success(),
        "cargo build of zoned and zonectl failed"
    );
    Ok(())
}

/// A figure of a file of lines `NAME: FIGURE`, in the unit that it has there.
pub fn figure(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    figure.with_context(|| format!("no {name} in {path}"))
}

/// A lock file in the target folder; held while the value lives.
pub(crate) fn lock(name: &str, how: FlockArg) -> Result<Flock<File>> {
    let path = target().join(name);
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    Flock::lock(file, how).map_err(|(_, e)| e).with_context(|| format!("lock {}", path.display()))
}

/// Asks until it is so; panics with `what` when it is not within `seconds`.
pub fn eventually(what: &str, seconds: u64, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {seconds} s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process as /proc shows it.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) zombie: bool,
    pub(crate) name: String,
    /// Its words, or its name where it has none.
    pub(crate) words: String,
}

/// Every process of the host.
pub(crate) fn processes() -> BTreeMap<i32, Process> {
    let pids = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    pids.filter_map(|e| e.file_name().to_str()?.parse().ok())
        .filter_map(process)
        .map(|p| (p.pid, p))
        .collect()
}

fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold any byte: proc_pid_stat(5).
    let (head, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_whitespace();
    let zombie = fields.next()? == "Z";
    let parent = fields.next()?.parse().ok()?;
    let name = head.split_once('(')?.1.to_owned();
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
    let words = if words.is_empty() { name.clone() } else { words };
    Some(Process { pid, parent, zombie, name, words })
}

/// Descendants of this process; orphans of zoned are among them once it is their reaper.
pub(crate) fn descendants() -> Vec<Process> {
    let all = processes();
    let me = std::process::id() as i32;
    let is_ours = |mut pid: i32| {
        while pid > 1 {
            match all.get(&pid) {
                Some(p) if p.parent == me => return true,
                Some(p) => pid = p.parent,
                None => return false,
            }
        }
        false
    };
    all.values().filter(|p| is_ours(p.pid)).cloned().collect()
}

/// Runs a program of the host to success; what it printed.
#[track_caller]
pub fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("run {words:?}: {e}; cargo xtask test installs it"));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A path as a word of a command line.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// Whether the host lacks one of these programs, for which the test is then skipped.
pub fn is_missing(test: &str, programs: &[&str]) -> bool {
    let has = |program: &&&str| Command::new(program).arg("--version").output().is_ok();
    let missing: Vec<&str> = programs.iter().filter(|program| !has(program)).copied().collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED {test}: no {}", missing.join(", "));
    }
    !missing.is_empty()
}

/// Whether this is a machine of `cargo xtask matrix`, which is there to be broken: it says so, and its process 1 is the
/// job.
pub fn is_machine() -> bool {
    let is_job = || fs::read("/proc/1/cmdline").is_ok_and(|words| words.ends_with(b"/matrix/init\0"));
    std::env::var_os("ZONES_MACHINE").is_some() && is_job()
}

/// Whether this kernel can lay zones over layers that they share (Linux 5.19). Before, only a zone that does not run has
/// snapshots.
pub fn shares_layers() -> bool {
    let release = nix::sys::utsname::uname().expect("uname");
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(5), Some(19))
}

/// Whether that is why a test is skipped.
pub fn is_too_old(test: &str) -> bool {
    if !shares_layers() {
        eprintln!("SKIPPED {test}: it needs Linux 5.19");
    }
    !shares_layers()
}

/// Random numbers that a failed test can repeat: the seed is ZONES_SEED, or the clock's, and printed.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Takes and prints the seed.
    pub fn new() -> Self {
        let clock = || std::time::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_nanos() as u64);
        let seed = std::env::var("ZONES_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(clock);
        eprintln!("ZONES_SEED={seed} repeats this run's choices");
        Self(seed | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        // xorshift64: Marsaglia, Xorshift RNGs, 2003.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}
