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
pub(super) fn find(program: &str) -> Option<PathBuf> {
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
    let program = super::bootstrap_program().ok_or(ImageError::NoBootstrap)?;
    let words =
        if program == "mmdebstrap" { mmdebstrap(suite, arch, dest) } else { debootstrap(suite, arch, dest) };
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

/// What is installed beside the variant's own. People look for ps.
fn packages(suite: &Suite) -> String {
    let own = suite.include.iter().map(String::as_str);
    std::iter::once("procps").chain(own).collect::<Vec<_>>().join(",")
}

fn mmdebstrap(suite: &Suite, arch: &str, dest: &Path) -> Vec<String> {
    let mut words: Vec<String> = [
        "mmdebstrap",
        "--verbose",
        "--mode=root",
        "--format=directory",
        // The host runs both architectures by itself, and what would look for that, arch-test(1), may be missing.
        "--skip=check/qemu",
    ]
    .map(str::to_owned)
    .into();
    words.push(format!("--architectures={arch}"));
    words.push(if suite.minimal { "--variant=minbase" } else { "--variant=important" }.to_owned());
    words.push(format!("--include={}", packages(suite)));
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
    let mut words = vec!["debootstrap".to_owned(), format!("--arch={arch}")];
    if suite.minimal {
        words.push("--variant=minbase".to_owned());
    }
    words.push(format!("--include={}", packages(suite)));
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
fn run(
    program: &str,
    words: &[String],
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), VecDeque<String>> {
    let one = |line: String| VecDeque::from([line]);
    let in_user_namespace = program == "mmdebstrap";
    // The shell waits until the ids of its user namespace are mapped, and then becomes root there by another exec. setpriv,
    // so that it dies with the thread that waits for it: to enter a user namespace would undo that
    // (PR_SET_PDEATHSIG in prctl(2)), hence after it. unshare, so that what it starts dies with it.
    let script = r#"echo; read -r _ || exit; exec setpriv --pdeathsig KILL -- \
        unshare --mount --pid --fork --uts --ipc --kill-child -- "$@""#;
    let mut command = if in_user_namespace { Command::new("unshare") } else { Command::new("sh") };
    if in_user_namespace {
        command.args(["--user", "--", "sh"]);
    }
    command.args(["-c", script, "sh"]).args(words);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8").env("HOME", "/root");
    for proxy in ["http_proxy", "https_proxy", "no_proxy"] {
        if let Some(value) = std::env::var_os(proxy) {
            command.env(proxy, value);
        }
    }
    let said = std::io::pipe().and_then(|(reader, writer)| {
        command.stdout(writer.try_clone()?).stderr(writer);
        Ok(reader)
    });
    let said = said.map_err(|e| one(format!("make a pipe: {e}")))?;
    command.current_dir("/").process_group(0).stdin(Stdio::piped());
    let mut child = Running(command.spawn().map_err(|e| one(format!("start it: {e}")))?);
    // With it go the pipe's other ends that are ours: reading must come to an end.
    drop(command);
    let mut lines = BufReader::new(said).split(b'\n');
    match lines.next() {
        Some(Ok(line)) if line.is_empty() => {}
        Some(Ok(line)) => return Err(one(String::from_utf8_lossy(&line).into_owned())),
        _ => return Err(one("it ended at once".to_owned())),
    }
    let stdin = child.0.stdin.take().ok_or_else(|| one("no pipe to it".to_owned()))?;
    map_ids(child.0.id(), stdin, in_user_namespace).map_err(|e| one(format!("map its ids: {e}")))?;
    let mut tail = VecDeque::new();
    let mut steps = Steps { progress, meter: None, step: String::new(), packages: None };
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
fn map_ids(pid: u32, mut stdin: ChildStdin, own: bool) -> std::io::Result<()> {
    if own {
        fs::write(format!("/proc/{pid}/uid_map"), "0 0 65536")?;
        fs::write(format!("/proc/{pid}/gid_map"), "0 0 65536")?;
    }
    // Its input ends there: nothing in it can wait for an answer.
    stdin.write_all(b"\n")
}

/// What is worth telling of its many lines.
struct Steps<'a> {
    progress: &'a (dyn Fn(Progress) + Sync),
    meter: Option<Meter<'a>>,
    step: String,
    /// Packages that apt announced for the step to come.
    packages: Option<u64>,
}

impl Steps<'_> {
    fn line(&mut self, line: &str) {
        if let Some(said) = line.strip_prefix("I: ") {
            // mmdebstrap names a step once, debootstrap in every package's line.
            let step = match said.split(' ').next() {
                Some("Retrieving") => "downloading packages",
                Some("Extracting") => "extracting archives",
                Some("Unpacking") => "unpacking packages",
                Some("Configuring") => "installing packages",
                Some("running" | "downloading" | "extracting" | "installing" | "cleaning") => {
                    said.trim_end_matches('.')
                }
                _ => return,
            };
            if step != self.step {
                self.begin(step);
            }
            self.add(said.starts_with(|c: char| c.is_ascii_uppercase()));
        } else if let Some(count) = newly_installed(line) {
            self.packages = Some(count);
            // apt counts the essential packages before their step, the others within theirs.
            if self.step.starts_with("installing") {
                self.begin(&self.step.clone());
            }
        } else {
            self.add(line.starts_with("Setting up "));
        }
    }

    fn begin(&mut self, step: &str) {
        let total = if step.starts_with("installing") { self.packages.take() } else { None };
        self.step = step.to_owned();
        self.meter = Some(Meter::begin(self.progress, step, total));
    }

    fn add(&self, counts: bool) {
        if counts && let Some(meter) = &self.meter {
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
        " 500 ",
        " 502 ",
        " 503 ",
        " 504 ",
    ];
    said.iter().any(|line| {
        (line.starts_with("E:")
            || line.starts_with("Err:")
            || line.starts_with("W:")
            || line.starts_with("  "))
            && signs.iter().any(|sign| line.contains(sign))
    })
}

/// Its complaints, or else how it ended.
fn last_words(said: &VecDeque<String>) -> String {
    let complaint = |line: &&String| {
        line.starts_with("E: ") && !line.contains("failed to run") && !line.contains("Status-Fd")
    };
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn said(lines: &[&str]) -> VecDeque<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn complaints_are_told() {
        let lines = said(&[
            "Err:2 http://deb.debian.org/debian bullseyeX Release",
            "E: The repository 'x' does not have a Release file.",
            "E: apt-get update --error-on=any -oAPT::Status-Fd=<$fd> -oDpkg::Use-Pty=false failed",
            "I: main() received signal PIPE: waiting for setup...",
            "E: mmdebstrap failed to run",
        ]);
        assert_eq!(last_words(&lines), "The repository 'x' does not have a Release file.");
        assert!(!is_passing(&lines));
        assert!(is_passing(&said(&["E: Failed to fetch http://x  Could not resolve 'x'"])));
        assert_eq!(last_words(&said(&["a", "b", "c", "d"])), "b; c; d");
    }

    #[test]
    fn steps_have_totals() {
        let told = Mutex::new(Vec::new());
        let tell = |progress| told.lock().unwrap().push(progress);
        let mut steps = Steps { progress: &tell, meter: None, step: String::new(), packages: None };
        for line in [
            "I: automatically chosen format: directory",
            "I: downloading packages with apt...",
            "0 upgraded, 69 newly installed, 0 to remove and 0 not upgraded.",
            "I: extracting archives...",
            "I: installing essential packages...",
            "Setting up tar (1.34) ...",
            "I: installing remaining packages inside the chroot...",
            "0 upgraded, 31 newly installed, 0 to remove and 0 not upgraded.",
        ] {
            steps.line(line);
        }
        drop(steps);
        let steps: Vec<_> = told
            .into_inner()
            .unwrap()
            .into_iter()
            .filter_map(
                |told| if let Progress::Step { step, total } = told { Some((step, total)) } else { None },
            )
            .collect();
        let expected = [
            ("downloading packages with apt", None),
            ("extracting archives", None),
            ("installing essential packages", Some(69)),
            ("installing remaining packages inside the chroot", None),
            ("installing remaining packages inside the chroot", Some(31)),
        ];
        assert_eq!(steps, expected.map(|(step, total)| (step.to_owned(), total)));
    }

    #[test]
    fn what_it_starts_is_confined_and_ends() {
        if find("setpriv").is_none() || find("unshare").is_none() {
            crate::image::tests::skipped("what_it_starts_is_confined_and_ends", "no setpriv or unshare");
            return;
        }
        let tell = |_| ();
        let sh = |script: &str| ["sh", "-c", script].map(str::to_owned);
        run("mmdebstrap", &sh("true"), &tell).unwrap();
        let failed =
            run("mmdebstrap", &sh("id -u; echo E: $$; date -s 2001-01-01; exit 3"), &tell).unwrap_err();
        assert_eq!(failed[0], "0");
        // Process 1 of a pid namespace, and no right to the clock.
        assert_eq!(failed[1], "E: 1");
        assert!(failed[2].contains("cannot set date"), "{failed:?}");
        // A process left behind ends with the namespace.
        run("mmdebstrap", &sh("sleep 1000 & exit 0"), &tell).unwrap();
    }

    /// This test, run again as `child`, is killed while it waits.
    #[test]
    fn it_dies_with_the_one_who_waits() {
        if find("setpriv").is_none() || find("unshare").is_none() {
            crate::image::tests::skipped("it_dies_with_the_one_who_waits", "no setpriv or unshare");
            return;
        }
        for kind in ["mmdebstrap", "debootstrap"] {
            let dir = tempfile::tempdir().unwrap();
            let fifo = dir.path().join("fifo");
            rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "image::debootstrap::tests::child"])
                .env("ZONES_TEST_BOOTSTRAP", kind)
                .env("ZONES_TEST_FIFO", &fifo)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            // What it started holds the fifo open as long as it lives.
            let mut said = BufReader::new(fs::File::open(&fifo).unwrap());
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            assert_eq!(line, "waiting\n");
            child.kill().unwrap();
            child.wait().unwrap();
            let begin = std::time::Instant::now();
            assert_eq!(said.read_line(&mut line).unwrap(), 0);
            assert!(begin.elapsed() < Duration::from_secs(20), "{kind} lived on");
        }
    }

    /// The part of the test before it that is killed.
    #[test]
    fn child() {
        let Ok(kind) = std::env::var("ZONES_TEST_BOOTSTRAP") else { return };
        let fifo = std::env::var("ZONES_TEST_FIFO").unwrap();
        let script = format!("exec 3> '{fifo}'; echo waiting >&3; exec sleep 30");
        let program = if kind == "mmdebstrap" { "mmdebstrap" } else { "debootstrap" };
        let _ = run(program, &["sh", "-c", &script].map(str::to_owned), &|_| ());
    }
}
