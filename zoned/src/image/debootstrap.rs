//! Makes a root from a Debian mirror, with the host's mmdebstrap or debootstrap.
//!
//! What the packages' own scripts do is done in namespaces: with mmdebstrap in a user namespace too, whose ids 0
//! to 65535 are the host's. There they cannot set the clock, mount anything on the
//! host or make device nodes, and the files belong to whom they should. When zoned dies they die.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use zone_api::Progress;

use super::error::ImageError;
use super::packed::Meter;
use super::source::Suite;
use super::tree::LeftOut;
use super::{Counts, empty};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const REMOVED_KEYS: &str = "/usr/share/keyrings/debian-archive-removed-keys.gpg";

/// Where `program` is, as the child will find it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    PATH.split(':').map(|dir| Path::new(dir).join(program)).find(|path| path.is_file())
}

/// Makes `suite` in the empty folder `dest`.
pub(super) fn make(
    suite: &Suite,
    dest: &Path,
    want_arch: Option<&str>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Counts, LeftOut), ImageError> {
    let arch = suite.arch.unwrap_or(if want_arch == Some("i686") { "i386" } else { "amd64" });
    let (program, words) = if find("mmdebstrap").is_some() {
        ("mmdebstrap", mmdebstrap(suite, arch, dest))
    } else if find("debootstrap").is_some() {
        ("debootstrap", debootstrap(suite, arch, dest))
    } else {
        return Err(ImageError::NoBootstrap);
    };
    let failed = |said: String| ImageError::Bootstrap { program, suite: suite.suite.clone(), said };
    let mut result = run(program, &words, progress);
    if let Err(said) = &result
        && is_passing(said)
    {
        let why = last_words(said);
        progress(Progress::Note { text: format!("the mirror failed, trying once more: {why}") });
        empty(dest).map_err(|source| ImageError::Open { path: dest.to_owned(), source })?;
        // Long enough for a name server or a mirror's front end to come back.
        std::thread::sleep(Duration::from_secs(3));
        result = run(program, &words, progress);
    }
    if let Err(said) = result {
        if said.iter().any(|line| line.contains("No space left on device")) {
            let source = rustix::io::Errno::NOSPC.into();
            return Err(ImageError::File { verb: "make", entry: suite.suite.clone(), source });
        }
        return Err(failed(last_words(&said)));
    }
    // The host's name servers and name are not the zone's.
    for name in ["etc/resolv.conf", "etc/hostname"] {
        let path = dest.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            fs::remove_file(&path).map_err(|source| ImageError::Open { path, source })?;
        }
    }
    tidy(dest)
}

fn mmdebstrap(suite: &Suite, arch: &str, dest: &Path) -> Vec<String> {
    let mut words: Vec<String> =
        ["mmdebstrap", "--verbose", "--mode=root", "--format=directory", "--variant=minbase", "--include=procps"]
            .map(str::to_owned)
            .into();
    words.push(format!("--architectures={arch}"));
    if suite.is_archived() || suite.suite == "sid" || suite.suite == "unstable" {
        words.push("--aptopt=Acquire::Check-Valid-Until \"false\"".to_owned());
    }
    if suite.is_archived() && Path::new(REMOVED_KEYS).exists() {
        words.push(format!("--keyring={REMOVED_KEYS}"));
    }
    words.extend([suite.suite.clone(), dest.display().to_string(), suite.mirror().to_owned()]);
    words
}

fn debootstrap(suite: &Suite, arch: &str, dest: &Path) -> Vec<String> {
    let mut words: Vec<String> =
        ["debootstrap", "--variant=minbase", "--include=procps"].map(str::to_owned).into();
    words.push(format!("--arch={arch}"));
    if suite.is_archived() && Path::new(REMOVED_KEYS).exists() {
        words.push(format!("--keyring={REMOVED_KEYS}"));
    }
    words.extend([suite.suite.clone(), dest.display().to_string(), suite.mirror().to_owned()]);
    words
}

/// Ends the whole of it, however `run` is left: `unshare --kill-child` passes the end on to
/// process 1 of its pid namespace, and with that ends everything in there.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // After a wait that saw its end the kill does nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs it; its last lines where it fails.
fn run(program: &str, words: &[String], progress: &(dyn Fn(Progress) + Sync)) -> Result<(), VecDeque<String>> {
    let one = |line: String| VecDeque::from([line]);
    let in_user_namespace = program == "mmdebstrap";
    // setpriv so that it dies with the thread that waits for it; unshare so that what it starts dies with it. The shell
    // waits until the ids of its user namespace are mapped, and then becomes root there by another exec.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    if in_user_namespace {
        command.args(["unshare", "--user", "--"]);
    }
    let script = r#"exec 2>&1; echo; read -r _; exec unshare --mount --pid --fork --uts --ipc --kill-child -- "$@""#;
    command.args(["sh", "-c", script, "sh"]).args(words);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8").env("HOME", "/root");
    for proxy in ["http_proxy", "https_proxy", "no_proxy"] {
        if let Some(value) = std::env::var_os(proxy) {
            command.env(proxy, value);
        }
    }
    command.current_dir("/").process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Running(command.spawn().map_err(|e| one(format!("start setpriv: {e}")))?);
    let (Some(stdin), Some(stdout)) = (child.0.stdin.take(), child.0.stdout.take()) else {
        return Err(one("no pipes".to_owned()));
    };
    let mut lines = BufReader::new(stdout).split(b'\n');
    if lines.next().is_none() {
        return Err(one("it ended at once: setpriv, unshare and sh are needed".to_owned()));
    }
    let _held = map_ids(child.0.id(), stdin, in_user_namespace).map_err(|e| one(format!("map its ids: {e}")))?;
    let mut tail = VecDeque::new();
    let mut steps = Steps { progress, meter: None, packages: 0 };
    for line in lines {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            continue;
        }
        steps.line(&line);
        if tail.len() == 40 {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    match child.0.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if tail.is_empty() => Err(one(format!("{status}"))),
        Ok(_) => Err(tail),
        Err(error) => Err(one(error.to_string())),
    }
}

/// Ids mean in there what they mean here, and lets it go on. newuidmap(1) would want a line in
/// /etc/subuid, but root may write the map itself.
fn map_ids(pid: u32, mut stdin: ChildStdin, own: bool) -> std::io::Result<ChildStdin> {
    if own {
        fs::write(format!("/proc/{pid}/uid_map"), "0 0 65536")?;
        fs::write(format!("/proc/{pid}/gid_map"), "0 0 65536")?;
    }
    stdin.write_all(b"\n")?;
    Ok(stdin)
}

/// What is worth telling of its many lines.
struct Steps<'a> {
    progress: &'a (dyn Fn(Progress) + Sync),
    meter: Option<Meter<'a>>,
    /// Packages announced and not yet set up.
    packages: u64,
}

impl Steps<'_> {
    fn line(&mut self, line: &str) {
        if let Some(step) = line.strip_prefix("I: ") {
            let step = step.trim_end_matches('.');
            let shows = ["running", "downloading", "extracting", "installing", "cleaning", "Retrieving", "Configuring"];
            let step = step.split(" using").next().unwrap_or(step);
            if shows.iter().any(|word| step.starts_with(word)) && !step.contains(" ...") && step.len() < 60 {
                let total = step.contains("installing").then_some(self.packages).filter(|n| *n > 0);
                self.meter = Some(Meter::begin(self.progress, step, total));
            }
        } else if let Some(count) = newly_installed(line) {
            // apt says it once for the essential packages and once for the others, each before their step is over.
            self.packages = count;
        } else if line.starts_with("Setting up ")
            && let Some(meter) = &self.meter
        {
            meter.add(1);
        }
    }
}

fn newly_installed(line: &str) -> Option<u64> {
    let (before, _) = line.split_once(" newly installed")?;
    before.rsplit(' ').next()?.parse().ok()
}

/// Whether another try may help.
fn is_passing(said: &VecDeque<String>) -> bool {
    let signs = [
        "Could not resolve",
        "Temporary failure",
        "Connection failed",
        "Connection timed out",
        "Could not connect",
        "Failed to fetch",
        "Hash Sum mismatch",
        "Undetermined Error",
        "Couldn't download",
        " 50", // 500 to 504 of HTTP
    ];
    said.iter().any(|line| {
        (line.starts_with("E:") || line.starts_with("Err:") || line.starts_with("W:") || line.starts_with("  "))
            && signs.iter().any(|sign| line.contains(sign))
    })
}

/// Its complaints, or else how it ended.
fn last_words(said: &VecDeque<String>) -> String {
    let complaint = |line: &&String| line.starts_with("E: ") && !line.contains("failed to run") && !line.contains("Status-Fd");
    let mut words: Vec<&str> = said.iter().filter(complaint).map(|line| &line[3..]).collect();
    if words.is_empty() {
        words = said.iter().rev().take(3).rev().map(String::as_str).collect();
    }
    words.join("; ")
}

/// Counts what was made, and removes the device nodes that debootstrap makes.
fn tidy(dest: &Path) -> Result<(Counts, LeftOut), ImageError> {
    let (mut counts, mut left_out) = (Counts::default(), LeftOut::default());
    let mut dirs = vec![dest.to_owned()];
    while let Some(dir) = dirs.pop() {
        let failed = |source| ImageError::Open { path: dir.clone(), source };
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let found = entry.metadata().map_err(failed)?;
            if found.file_type().is_char_device() || found.file_type().is_block_device() {
                fs::remove_file(entry.path()).map_err(failed)?;
                left_out.devices += 1;
                continue;
            }
            counts.files += 1;
            if found.is_dir() {
                dirs.push(entry.path());
            } else if found.is_file() {
                counts.bytes += found.len();
            }
        }
    }
    Ok((counts, left_out))
}
