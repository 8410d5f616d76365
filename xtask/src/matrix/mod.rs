//! `cargo xtask matrix`: real kernels of Debian, booted in qemu, run the conformance, boot a guest and run a userland
//! that is younger than they are. All of them have cgroup v2 only.

mod disk;
mod kernel;
mod machine;
mod programs;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::counts::Counts;
use kernel::Kernel;
use machine::Machine;
use programs::{Programs, Wanted};

/// A release of Debian, and what its kernel is called on the command line.
struct Age {
    name: &'static str,
    suite: &'static str,
}

/// Oldest first; the last is the newest that Debian has.
const AGES: [Age; 4] = [
    Age { name: "5.10", suite: "bullseye" },
    Age { name: "6.1", suite: "bookworm" },
    Age { name: "6.12", suite: "trixie" },
    Age { name: "newest", suite: "sid" },
];

/// How the kernel is told to treat calls of its vsyscall page.
const VSYSCALL: [&str; 2] = ["none", "xonly"];

/// The userland that is to run everywhere.
const CURRENT: &str = "trixie";

/// One boot.
struct Job {
    age: &'static Age,
    vsyscall: &'static str,
}

/// Runs what `words` name, `KERNEL` or `KERNEL/VSYSCALL`; all where they name nothing. What follows `--` is run there
/// by a shell in place of the tests.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let mut jobs = Vec::new();
    let mut parts = words.splitn(2, |word| *word == "--");
    let named = parts.next().unwrap_or_default();
    let command = parts.next().map(|words| words.join(" "));
    for word in named {
        jobs.extend(parse(word)?);
    }
    if jobs.is_empty() {
        jobs = AGES.iter().flat_map(all_of).collect();
    }
    crate::be_root()?;
    crate::packages::for_matrix()?;
    let begin = Instant::now();
    let wanted = command.as_deref().map_or(Wanted::All, Wanted::Line);
    let counts = boot_all(&jobs, wanted, &mut |_| {})?;
    let ok = counts.failed == 0;
    println!("\n{}", counts.line(ok, begin.elapsed().as_secs_f64()));
    ensure!(ok, "some of it failed");
    Ok(())
}

/// The one that every run of the tests boots: the oldest, of which the most is missing.
pub(crate) fn oldest() -> Result<Counts> {
    crate::packages::for_matrix()?;
    boot_all(&[Job { age: &AGES[0], vsyscall: "none" }], Wanted::Some, &mut |_| {})
}

/// Some of the tests, each with its words, on the oldest kernel; `each` is told every line.
pub(crate) fn these(tests: &[(&str, &[&str])], each: &mut dyn FnMut(&str)) -> Result<Counts> {
    boot_all(&[Job { age: &AGES[0], vsyscall: "none" }], Wanted::Tests(tests), each)
}

fn all_of(age: &'static Age) -> impl Iterator<Item = Job> {
    VSYSCALL.iter().map(move |vsyscall| Job { age, vsyscall })
}

fn parse(word: &str) -> Result<Vec<Job>> {
    let (name, vsyscall) = word.split_once('/').map_or((word, None), |(name, how)| (name, Some(how)));
    let Some(age) = AGES.iter().find(|age| age.name == name) else {
        let known: Vec<_> = AGES.iter().map(|age| age.name).collect();
        bail!("no kernel {name}; there are {}", known.join(", "));
    };
    let jobs: Vec<_> = all_of(age).filter(|job| vsyscall.is_none_or(|how| how == job.vsyscall)).collect();
    if jobs.is_empty() {
        bail!("{word}: vsyscall is one of {}", VSYSCALL.join(", "));
    }
    Ok(jobs)
}

fn boot_all(jobs: &[Job], wanted: Wanted<'_>, each: &mut dyn FnMut(&str)) -> Result<Counts> {
    let cache = crate::top().join("target/zones-cache/matrix");
    fs::create_dir_all(&cache).with_context(|| format!("make {}", cache.display()))?;
    let programs = Programs::build(wanted)?;
    let current = current(&cache)?;
    let mut all = Counts::default();
    for job in jobs {
        let label = format!("{}/{}", job.age.name, job.vsyscall);
        let kernel = Kernel::get(job.age.suite, &cache)?;
        println!("\n== {label}: Linux {}, vsyscall={}", kernel.release, job.vsyscall);
        let begin = Instant::now();
        let disk = tempfile::Builder::new().prefix("disk-").tempfile_in(&cache).context("make a disk")?;
        disk::make(disk.path(), &kernel, &programs, &current)?;
        let machine =
            Machine { kernel: &kernel, disk: disk.path(), vsyscall: job.vsyscall, programs: &programs };
        let counts = machine.run(each).with_context(|| label.clone())?;
        let ok = counts.failed == 0;
        println!("== {label}: {}", counts.line(ok, begin.elapsed().as_secs_f64()));
        all.sum(counts);
    }
    Ok(all)
}

/// The current userland as a tar, made once.
fn current(cache: &std::path::Path) -> Result<PathBuf> {
    let tar = cache.join(format!("{CURRENT}.tar"));
    if !tar.is_file() {
        kernel::mmdebstrap(&["--variant=minbase", "--include=systemd-sysv,procps"], CURRENT, &tar)?;
    }
    Ok(tar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_boots() {
        let named = |word| {
            let jobs = parse(word).unwrap();
            jobs.iter().map(|job| format!("{} {}", job.age.suite, job.vsyscall)).collect::<Vec<_>>()
        };
        assert_eq!(named("5.10"), ["bullseye none", "bullseye xonly"]);
        assert_eq!(named("newest/xonly"), ["sid xonly"]);
        assert!(parse("4.19").is_err_and(|e| e.to_string().contains("5.10, 6.1, 6.12, newest")));
        assert!(parse("6.1/emulate").is_err_and(|e| e.to_string().contains("none, xonly")));
    }
}
