//! `cargo xtask fuzz`: the targets of fuzz/, built with coverage and run with what libFuzzer makes of their corpora. Each
//! runs in a cage of bubblewrap, without the host's files and network: what archives say is done there as root.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::counts::Counts;
use crate::{cargo, packages, top};

/// Those of cargo-fuzz without a sanitizer: safe code needs none.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=16";
/// With it the flags are not those of programs that run in the building.
const MACHINE: &str = "x86_64-unknown-linux-gnu";
/// Seconds of each target where nothing is said, and in a run of all tests.
const SECONDS: u32 = 60;
const SHORT: u32 = 4;
/// Seconds for one input, and MiB of memory.
const LONGEST: u32 = 20;
const MEMORY: u32 = 2048;
/// How many files a corpus has at most, and how many bytes one that was found.
const KEPT: usize = 60;
const LARGEST: u64 = 24 << 10;
/// How much of a line of a log is told, in characters.
const WIDEST: usize = 300;
/// How many bytes an input has that is told of with its bytes.
const SAID: usize = 1 << 10;

/// What the command line wants.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    targets: Vec<String>,
    /// Inputs to run again.
    files: Vec<PathBuf>,
    seconds: Option<u32>,
    /// Whether what was found is put into the corpora.
    keeps: bool,
}

fn parse(words: &[&str]) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--seconds" => {
                let number = words.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0);
                wanted.seconds = Some(number.context("--seconds wants a number, 1 or more")?);
            }
            "--keep" => wanted.keeps = true,
            word if word.starts_with('-') => bail!("there is no {word}: --seconds N and --keep are known"),
            word if word.contains(['/', '.']) => wanted.files.push(word.into()),
            word => wanted.targets.push(word.to_owned()),
        }
    }
    ensure!(
        wanted.files.is_empty() || wanted.targets.len() == 1 && !wanted.keeps,
        "files are inputs of one target: cargo xtask fuzz TARGET FILE…"
    );
    Ok(wanted)
}

/// What `words` name, all where they name nothing.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let wanted = parse(words)?;
    crate::be_root()?;
    packages::for_fuzz()?;
    let all = targets()?;
    if let Some(unknown) = wanted.targets.iter().find(|target| !all.contains(*target)) {
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        bail!("no target {unknown}; there are {}", all.join(", "));
    }
    let targets = if wanted.targets.is_empty() { all.into_iter().collect() } else { wanted.targets };
    let programs = build(&targets)?;
    if !wanted.files.is_empty() {
        return again(&programs, &targets[0], &wanted.files);
    }
    let begin = Instant::now();
    let counts = feed(&programs, &targets, wanted.seconds.unwrap_or(SECONDS))?;
    if wanted.keeps {
        for target in &targets {
            keep(&programs, target)?;
        }
    }
    let ok = counts.failed == 0;
    println!("\n{}", counts.line(ok, begin.elapsed().as_secs_f64()));
    ensure!(ok, "some inputs are not borne");
    Ok(())
}

/// Every target for a few seconds.
pub(crate) fn short() -> Result<Counts> {
    packages::for_fuzz()?;
    let targets: Vec<String> = targets()?.into_iter().collect();
    let programs = build(&targets)?;
    feed(&programs, &targets, SHORT)
}

/// The names of all targets: that of a file each.
fn targets() -> Result<BTreeSet<String>> {
    let folder = top().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let names = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        let name = path.file_stem()?.to_str()?.to_owned();
        (path.extension()? == "rs").then_some(name)
    });
    Ok(names.collect())
}

/// Builds targets; the folder that they are in.
fn build(targets: &[String]) -> Result<PathBuf> {
    let folder = top().join("target/fuzz");
    let mut build = cargo();
    build.args(["build", "--locked", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", MACHINE]);
    build.arg("--target-dir").arg(&folder);
    for target in targets {
        build.args(["--bin", target]);
    }
    build.env("RUSTFLAGS", FLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    let status = build.status().context("run cargo build")?;
    ensure!(status.success(), "cargo build of the fuzz targets failed");
    Ok(folder.join(MACHINE).join("release"))
}

/// Runs targets, as many at once as there are processors.
fn feed(programs: &Path, targets: &[String], seconds: u32) -> Result<Counts> {
    let at_once = std::thread::available_parallelism().map_or(1, |count| count.get());
    let left = Mutex::new(targets.iter());
    let results = std::thread::scope(|scope| {
        let work = || {
            let mut results = Vec::new();
            loop {
                let Some(target) = left.lock().ok().and_then(|mut left| left.next()) else { return results };
                results.push(one(programs, target, seconds));
            }
        };
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect::<Vec<_>>()
    });
    ensure!(results.len() == targets.len(), "a target was not run");
    let mut counts = Counts::default();
    for result in results {
        match result? {
            None => counts.passed += 1,
            Some(words) => {
                counts.failed += 1;
                counts.fail(&words);
            }
        }
    }
    Ok(counts)
}

/// Runs one target; what is to be said where it found something.
fn one(programs: &Path, target: &str, seconds: u32) -> Result<Option<String>> {
    let cage = Cage::new(programs, target)?;
    let log = top().join(format!("target/fuzz/{target}.log"));
    let mut command = cage.command();
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={LONGEST}"),
        format!("-rss_limit_mb={MEMORY}"),
        "-artifact_prefix=/fuzz/found/".to_owned(),
        "-print_final_stats=1".to_owned(),
        "/fuzz/corpus".to_owned(),
        "/fuzz/seeds".to_owned(),
    ]);
    let said = File::create(&log).with_context(|| format!("make {}", log.display()))?;
    let out = said.try_clone().context("write the log twice")?;
    let status = command.stdin(Stdio::null()).stdout(out).stderr(said).status().context("run bwrap")?;
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    if status.success() {
        println!("fuzz {target}: {}", summary(&text));
        return Ok(None);
    }
    let mut words = format!("fuzz {target}: FAILED, {status}\n{}\n", last_lines(&text, 40));
    for name in found(&text) {
        words += &format!("fuzz {target}: again: cargo xtask fuzz {target} fuzz/found/{target}/{name}\n");
        words += &input(target, name);
    }
    words += &format!("fuzz {target}: all of it is in {}", shown(&log));
    println!("{words}");
    Ok(Some(words))
}

/// An input that was found, where it is short enough to be said: the machine that found it may be gone when it is read.
fn input(target: &str, name: &str) -> String {
    match fs::read(top().join(format!("fuzz/found/{target}/{name}"))) {
        Ok(bytes) if bytes.len() <= SAID => format!("fuzz {target}: it is b\"{}\"\n", bytes.escape_ascii()),
        _ => String::new(),
    }
}

fn again(programs: &Path, target: &str, files: &[PathBuf]) -> Result<()> {
    let mut cage = Cage::new(programs, target)?;
    let mut inputs = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let whole = file.canonicalize().with_context(|| format!("find {}", file.display()))?;
        let inside = format!("/fuzz/input{at}");
        cage.binds.push((false, whole, inside.clone()));
        inputs.push(inside);
    }
    let mut command = cage.command();
    command.args([format!("-timeout={LONGEST}"), format!("-rss_limit_mb={MEMORY}")]).args(inputs);
    command.env("RUST_BACKTRACE", "1");
    let status = command.status().context("run bwrap")?;
    ensure!(status.success(), "{target} does not bear it: {status}");
    Ok(())
}

/// Adds to the kept corpus what reaches more than it does, the fewest and the smallest, while there is room.
fn keep(programs: &Path, target: &str) -> Result<()> {
    let kept = folder(&format!("fuzz/corpus/{target}"))?;
    let had = names(&kept)?;
    let merged = tempfile::tempdir().context("make a folder")?;
    let copy = |name: &String, from: &Path, to: &Path| {
        fs::copy(from.join(name), to.join(name)).map(drop).with_context(|| format!("copy {name}"))
    };
    had.iter().try_for_each(|name| copy(name, &kept, merged.path()))?;
    let mut cage = Cage::new(programs, target)?;
    cage.binds.push((true, merged.path().to_owned(), "/fuzz/merged".to_owned()));
    // It starts itself again, by system(3).
    cage.binds.push((false, "/bin/sh".into(), "/bin/sh".to_owned()));
    let mut command = cage.command();
    command.args(["-set_cover_merge=1", "-use_counters=0"]);
    command.args([format!("-timeout={LONGEST}"), format!("-rss_limit_mb={MEMORY}")]);
    command.args(["/fuzz/merged", "/fuzz/corpus"]);
    let output = command.output().context("run bwrap")?;
    ensure!(
        output.status.success(),
        "{target}: {}",
        last_lines(&String::from_utf8_lossy(&output.stderr), 25)
    );
    let mut new = Vec::new();
    for name in names(merged.path())?.difference(&had) {
        let path = merged.path().join(name);
        let len = fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?.len();
        new.push((len, name.clone()));
    }
    new.sort();
    new.retain(|(len, _)| *len <= LARGEST);
    let all = new.len();
    new.truncate(KEPT.saturating_sub(had.len()));
    new.iter().try_for_each(|(_, name)| copy(name, merged.path(), &kept))?;
    println!("fuzz {target}: {} inputs are kept, {} of {all} new ones", had.len() + new.len(), new.len());
    Ok(())
}

/// Where a target runs: it has its own program, the libraries of that, its corpora, and nothing else of the host.
struct Cage {
    /// Whether it may write there, where it is, where it is in the cage.
    binds: Vec<(bool, PathBuf, String)>,
}

impl Cage {
    fn new(programs: &Path, target: &str) -> Result<Self> {
        let program = programs.join(target);
        let corpus = folder(&format!("target/fuzz/corpus/{target}"))?;
        let seeds = folder(&format!("fuzz/corpus/{target}"))?;
        let found = folder(&format!("fuzz/found/{target}"))?;
        let mut binds = vec![
            (false, program.clone(), "/fuzz/target".to_owned()),
            (true, corpus, "/fuzz/corpus".to_owned()),
            (false, seeds, "/fuzz/seeds".to_owned()),
            (true, found, "/fuzz/found".to_owned()),
        ];
        let output = Command::new("ldd").arg(&program).output().context("run ldd")?;
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        let libraries = words.split_whitespace().filter(|word| word.starts_with('/'));
        binds.extend(libraries.map(|path| (false, path.into(), path.to_owned())));
        Ok(Self { binds })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("bwrap");
        command.args([
            "--die-with-parent",
            "--unshare-net",
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
        ]);
        command.args([
            "--cap-add",
            "ALL",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--size",
            "1073741824",
            "--tmpfs",
            "/tmp",
        ]);
        for (may_write, from, to) in &self.binds {
            command.arg(if *may_write { "--bind" } else { "--ro-bind" }).arg(from).arg(to);
        }
        command.args(["--remount-ro", "/", "--chdir", "/fuzz", "--clearenv"]);
        command.args([
            "--setenv",
            "ZONES_FUZZ_CAGE",
            "1",
            "--setenv",
            "TMPDIR",
            "/tmp",
            "--setenv",
            "RUST_BACKTRACE",
            "1",
        ]);
        command.args(["--", "/fuzz/target"]);
        command
    }
}

/// A folder of the working copy, made where it is missing.
fn folder(name: &str) -> Result<PathBuf> {
    let folder = top().join(name);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// As it is called from the top of the working copy.
fn shown(path: &Path) -> String {
    path.strip_prefix(top()).unwrap_or(path).display().to_string()
}

/// What libFuzzer says of a run that found nothing.
fn summary(log: &str) -> String {
    let value = |key: &str| {
        let line = log.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(key));
        line.map_or("?", |value| value.trim_start_matches(':').trim())
    };
    format!(
        "{} inputs, {} new, the slowest {} s, {} MiB",
        value("number_of_executed_units"),
        value("new_units_added"),
        value("slowest_unit_time_sec"),
        value("peak_rss_mb")
    )
}

/// The inputs that it wrote down.
fn found(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter_map(|line| line.split_once("Test unit written to /fuzz/found/").map(|(_, name)| name))
}

/// So much of them as a person reads: what an assertion compared may be a line of a megabyte.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(count)..].iter();
    last.map(|line| line.chars().take(WIDEST).collect::<String>()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_targets_and_inputs() {
        let wanted = parse(&["config", "--seconds", "3", "elf"]).unwrap();
        assert_eq!((wanted.targets, wanted.seconds), (vec!["config".to_owned(), "elf".to_owned()], Some(3)));
        let wanted = parse(&["config", "fuzz/found/config/crash-1"]).unwrap();
        assert_eq!(wanted.files, [PathBuf::from("fuzz/found/config/crash-1")]);
        for bad in [&["--seconds"][..], &["--seconds", "0"], &["--runs"], &["./x"], &["a", "b", "./x"]] {
            parse(bad).unwrap_err();
        }
    }

    #[test]
    fn every_target_is_built_and_has_a_corpus() {
        let manifest = fs::read_to_string(top().join("fuzz/Cargo.toml")).unwrap();
        for target in targets().unwrap() {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}");
            let corpus = top().join("fuzz/corpus").join(&target);
            assert!(names(&corpus).is_ok_and(|names| !names.is_empty()), "{target} has no corpus");
        }
    }

    #[test]
    fn what_was_run_is_told() {
        let log = "#7 DONE\nstat::number_of_executed_units: 7\nstat::new_units_added:         2\n\
                   stat::slowest_unit_time_sec:    0\nstat::peak_rss_mb:              50\n";
        assert_eq!(summary(log), "7 inputs, 2 new, the slowest 0 s, 50 MiB");
        let log = "SUMMARY: x\nartifact_prefix='/fuzz/found/'; Test unit written to /fuzz/found/crash-1f\nBase64: eA==\n";
        assert_eq!(found(log).collect::<Vec<_>>(), ["crash-1f"]);
    }
}
