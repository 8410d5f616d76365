//! `cargo xtask test`: every check and every test, and one line at the end that says how it went.

use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{cargo, packages};

pub(crate) fn run() -> Result<()> {
    let begin = Instant::now();
    // Most tests make zones. Without root they would fail one by one.
    crate::be_root()?;
    packages::for_tests()?;
    for words in [
        &["fmt", "--all", "--check"][..],
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        &["build", "--workspace"],
    ] {
        eprintln!("\n$ cargo {}", words.join(" "));
        let status = cargo().args(words).status().context("run cargo")?;
        if !status.success() {
            println!("\ntest result: FAILED. 0 passed; 1 failed; 0 ignored: cargo {}", words.join(" "));
            bail!("cargo {} failed", words[0]);
        }
    }
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    let mirror = std::env::var_os("DEBIAN_MIRROR").unwrap_or_else(|| "http://deb.debian.org/debian".into());
    if std::env::var_os("ZONES_TEST_MIRROR").is_none() {
        tests.env("ZONES_TEST_MIRROR", mirror);
    }
    eprintln!("\n$ cargo test --workspace --no-fail-fast");
    let (total, ok) = counted(tests)?;
    if !total.skipped.is_empty() {
        println!("\n{} skipped for want of what they need:", total.skipped.len());
        for line in &total.skipped {
            println!("  {line}");
        }
    }
    println!("\n{}", total.line(ok, begin.elapsed().as_secs_f64()));
    if ok { Ok(()) } else { bail!("some tests failed") }
}

/// Sums of the lines `test result: …` of many test programs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Total {
    passed: u64,
    failed: u64,
    ignored: u64,
    measured: u64,
    filtered: u64,
    skipped: Vec<String>,
}

impl Total {
    fn add(&mut self, line: &str) {
        if let Some((_, what)) = line.split_once("SKIPPED") {
            self.skipped.push(what.trim_start_matches([' ', ':']).to_owned());
        }
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        for part in counts.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                "measured" => self.measured += count,
                "filtered" => self.filtered += count,
                _ => {}
            }
        }
    }

    /// The closing line, as cargo test has it for one program.
    fn line(&self, ok: bool, seconds: f64) -> String {
        let Self { passed, failed, ignored, measured, filtered, .. } = self;
        let word = if ok { "ok" } else { "FAILED" };
        format!(
            "test result: {word}. {passed} passed; {failed} failed; {ignored} ignored; {measured} measured; \
             {filtered} filtered out; finished in {seconds:.2}s"
        )
    }
}

/// Runs it, passes on what it says, and counts.
fn counted(mut command: Command) -> Result<(Total, bool)> {
    let (said, writer) = std::io::pipe().context("make a pipe")?;
    command.stdout(writer.try_clone().context("make a pipe")?).stderr(writer);
    let mut child = command.spawn().context("run cargo test")?;
    drop(command);
    let mut total = Total::default();
    let mut out = std::io::stdout().lock();
    for line in BufReader::new(said).split(b'\n') {
        let line = line.context("read what the tests say")?;
        total.add(&String::from_utf8_lossy(&line));
        out.write_all(&[&line[..], b"\n"].concat()).context("write")?;
    }
    let status = child.wait().context("wait for cargo test")?;
    Ok((total, status.success()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let mut total = Total::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s",
            "test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
            "SKIPPED guests: ZONES_GUESTS names no folder",
        ] {
            total.add(line);
        }
        assert_eq!((total.passed, total.failed, total.ignored, total.filtered), (7, 1, 1, 2));
        assert_eq!(total.skipped, ["guests: ZONES_GUESTS names no folder"]);
        assert_eq!(
            total.line(false, 1.5),
            "test result: FAILED. 7 passed; 1 failed; 1 ignored; 0 measured; 2 filtered out; finished in 1.50s"
        );
    }
}
