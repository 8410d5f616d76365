//! `cargo xtask test`: every check and every test, and one line at the end that says how it went.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::counts::Counts;
use crate::{cargo, packages};

pub(crate) fn run() -> Result<()> {
    let begin = Instant::now();
    // Most tests make zones. Without root they would fail one by one.
    crate::be_root()?;
    packages::for_tests()?;
    for words in [
        &["fmt", "--all", "--check"][..],
        &["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"],
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
    let (mut total, ok) = counted(tests)?;
    if !total.skipped.is_empty() {
        println!("\n{} skipped for want of what they need:", total.skipped.len());
        for line in &total.skipped {
            println!("  {line}");
        }
    }
    eprintln!("\n$ cargo xtask fuzz, each target for some seconds");
    let fed = crate::fuzz::short()?;
    let ok = ok && fed.failed == 0;
    total.sum(fed);
    eprintln!("\n$ cargo xtask matrix, its oldest kernel");
    let real = crate::matrix::oldest()?;
    let ok = ok && real.failed == 0;
    total.sum(real);
    let failures = total.failures();
    if !failures.is_empty() {
        println!("\nwhat failed, once more:\n{failures}");
    }
    println!("\n{}", total.line(ok, begin.elapsed().as_secs_f64()));
    if ok { Ok(()) } else { bail!("some tests failed") }
}

/// Runs it, passes on what it says, and counts.
fn counted(mut command: Command) -> Result<(Counts, bool)> {
    let (said, writer) = std::io::pipe().context("make a pipe")?;
    command.stdout(writer.try_clone().context("make a pipe")?).stderr(writer);
    let mut child = command.spawn().context("run cargo test")?;
    drop(command);
    let mut total = Counts::default();
    total.hear(said, |_| {})?;
    let status = child.wait().context("wait for cargo test")?;
    Ok((total, status.success()))
}
