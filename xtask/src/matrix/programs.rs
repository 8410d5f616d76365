//! What is run on the kernels, built here: there is no compiler there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub(crate) struct Programs {
    /// Folder of `zoned` and `zonectl`.
    pub(crate) folder: PathBuf,
    /// Test programs by name.
    pub(crate) tests: Vec<(&'static str, PathBuf)>,
    /// Lines of shell, each with its name.
    pub(crate) job: Vec<(&'static str, String)>,
}

/// What is to be run there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// What fits in every run of the tests.
    Some,
    /// All of the tests.
    All,
    /// These, each with its words.
    Tests(&'a [(&'a str, &'a [&'a str])]),
    /// A line of shell.
    Line(&'a str),
}

/// The tests that are run on every kernel, and which of them.
pub(super) const TESTS: [(&str, &[&str]); 6] = [
    ("conformance", &["--test-threads=3"]),
    (
        "scenarios",
        &[
            "--test-threads=1",
            "busybox_guest_boots",
            "goes_through_its_states",
            "leaves_nothing",
            "vsyscall_page_run_without_a_level",
        ],
    ),
    ("guests", &["--test-threads=1", "--skip", "reboots", "--skip", "runs_a_program"]),
    ("userland", &["--test-threads=1"]),
    ("shared_ip", &["--test-threads=1"]),
    ("escapes", &["--test-threads=2"]),
];

/// Those of what zones are kept in that fit in every run: what the oldest kernel has otherwise than the host.
const STORAGE: [(&str, &[&str]); 2] = [
    ("disks", &["--test-threads=2", "btrfs_has", "cannot_be_held"]),
    ("snapshots", &["--test-threads=2", "cannot_share_layers"]),
];

/// All that are worth their time there.
const ALL_STORAGE: [(&str, &[&str]); 2] = [
    ("disks", &["--test-threads=2"]),
    // Before Linux 5.19 each of a hundred boots is a copy.
    ("snapshots", &["--test-threads=2", "--skip", "hundred"]),
];

/// What takes long. That each harms without its guard is shown by `hold`, on one kernel.
const NEIGHBOURS: [(&str, &[&str]); 1] = [("neighbours", &["--test-threads=1", "connections", "groups"])];

/// On the disk for whoever asks for them.
const AT_HAND: [(&str, &[&str]); 6] =
    [("streams", &[]), ("places", &[]), ("images", &[]), ("full_disk", &[]), ("inits", &[]), ("limits", &[])];

/// Those with programs of their own, which they compile here and find there.
const COMPILED: [(&str, &[&str]); 6] = [
    ("conformance", &[]),
    ("shared_ip", &["its_program_compiles"]),
    ("disks", &["its_program_compiles"]),
    ("escapes", &[]),
    ("limits", &["its_program_compiles"]),
    ("neighbours", &["its_programs_compile"]),
];

impl Programs {
    pub(crate) fn build(wanted: Wanted<'_>) -> Result<Self> {
        let folder = crate::build()?;
        let (storage, neighbours, at_hand) = match wanted {
            Wanted::Some => (&STORAGE, &[][..], &[][..]),
            Wanted::All => (&ALL_STORAGE, &NEIGHBOURS[..], &[][..]),
            Wanted::Tests(_) => (&STORAGE, &NEIGHBOURS[..], &[][..]),
            Wanted::Line(_) => (&ALL_STORAGE, &NEIGHBOURS[..], &AT_HAND[..]),
        };
        let is_wanted = |(name, _): &&(&str, &[&str])| match wanted {
            Wanted::Tests(named) => named.iter().any(|(other, _)| other == name),
            _ => true,
        };
        let wanted_tests = TESTS.iter().chain(storage).chain(neighbours).chain(at_hand).filter(is_wanted);
        let tests = wanted_tests
            .clone()
            .map(|(name, _)| Ok((*name, build_test(name)?)))
            .collect::<Result<Vec<_>>>()?;
        for (name, path) in &tests {
            let Some((_, words)) = COMPILED.iter().find(|(other, _)| other == name) else { continue };
            let done = Command::new(path).args(*words).env("ZONES_COMPILE_ONLY", "1").status();
            let done = done.with_context(|| format!("compile the programs of {name}"))?;
            ensure!(done.success(), "not all programs of {name} compile");
        }
        let line = |name: &str, words: &[&str]| format!("{name} {} </dev/null", words.join(" "));
        let job = match wanted {
            Wanted::Line(line) => vec![("command", line.to_owned())],
            Wanted::Tests(named) => {
                let words = |name| named.iter().find(|(other, _)| *other == name).map(|(_, words)| *words);
                tests.iter().filter_map(|(name, _)| Some((*name, line(name, words(*name)?)))).collect()
            }
            Wanted::Some | Wanted::All => {
                wanted_tests.map(|(name, words)| (*name, line(name, words))).collect()
            }
        };
        Ok(Self { folder, tests, job })
    }

    /// Every program, for what they need beside them.
    pub(crate) fn all(&self) -> Vec<PathBuf> {
        let ours = ["zoned", "zonectl"].map(|name| self.folder.join(name));
        ours.into_iter().chain(self.tests.iter().map(|(_, path)| path.clone())).collect()
    }
}

/// Builds a test; cargo says where it put it.
fn build_test(name: &str) -> Result<PathBuf> {
    let mut cargo = crate::cargo();
    cargo.args(["test", "--quiet", "--no-run", "--workspace", "--test", name]);
    let output = cargo.arg("--message-format=json").stderr(std::process::Stdio::inherit()).output();
    let output = output.context("run cargo test --no-run")?;
    ensure!(output.status.success(), "the test {name} does not build");
    let lines = output.stdout.split(|b| *b == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    // A benchmark may have the same name.
    let is_it = |m: &Value| m["target"]["name"] == name && m["target"]["kind"][0] == "test";
    let mut made = messages.filter(|m| is_it(m) && m["executable"].is_string());
    let path = made.next().with_context(|| format!("cargo does not say where the test {name} is"))?;
    let path = PathBuf::from(path["executable"].as_str().unwrap_or_default());
    fs::canonicalize(&path).with_context(|| format!("find {}", path.display()))
}
