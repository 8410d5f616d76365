//! `cargo xtask test`: every check and every test, and one line at the end that says how it went.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::counts::Counts;
use crate::{cargo, packages};

/// A test that waits for a machine most of its time; `cargo test` runs it where it is named.
const BESIDE: &str = "package";

pub(crate) fn run() -> Result<()> {
    let begin = Instant::now();
    // Most tests make zones. Without root they would fail one by one.
    crate::be_root()?;
    packages::for_tests()?;
    for words in [
        &["fmt", "--all", "--check"][..],
        &["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"],
        &["clippy", "--workspace", "--all-targets", "--test", BESIDE, "--", "-D", "warnings"],
        &["build", "--workspace"],
    ] {
        eprintln!("\n$ cargo {}", words.join(" "));
        let status = cargo().args(words).status().context("run cargo")?;
        if !status.success() {
            println!("\ntest result: FAILED. 0 passed; 1 failed; 0 ignored: cargo {}", words.join(" "));
            bail!("cargo {} failed", words[0]);
        }
    }
    let (mut total, ok) = tests(&["--no-fail-fast"], std::io::stdout())?;
    // Two machines of qemu, each of which leaves a processor idle for most of its time.
    let (machine, beside) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let mut said = Vec::new();
            tests(&["--test", BESIDE], &mut said).map(|(counts, ok)| (counts, ok, said))
        });
        (machine(), beside.join())
    });
    let (package, package_ok, said) = beside.unwrap_or_else(|_| bail!("the thread of {BESIDE} panicked"))?;
    std::io::stdout().write_all(&said).context("write")?;
    total.sum(package);
    total.sum(machine?);
    let ok = ok && package_ok && total.failed == 0;
    if !total.skipped.is_empty() {
        println!("\n{} skipped for want of what they need:", total.skipped.len());
        for line in &total.skipped {
            println!("  {line}");
        }
    }
    let failures = total.failures();
    if !failures.is_empty() {
        println!("\nwhat failed, once more:\n{failures}");
    }
    println!("\n{}", total.line(ok, begin.elapsed().as_secs_f64()));
    if ok { Ok(()) } else { bail!("some tests failed") }
}

/// What runs beside the test that waits.
fn machine() -> Result<Counts> {
    eprintln!("\n$ cargo xtask matrix, its oldest kernel");
    let mut counts = crate::matrix::oldest()?;
    eprintln!("\n$ cargo xtask fuzz, each target for some seconds");
    counts.sum(crate::fuzz::short()?);
    Ok(counts)
}

/// Runs `cargo test` of the workspace, passes on what it says to `out`, and counts; whether all went well.
fn tests(words: &[&str], out: impl Write) -> Result<(Counts, bool)> {
    eprintln!("\n$ cargo test --workspace {}", words.join(" "));
    let mut command = cargo();
    command.args(["test", "--workspace"]).args(words);
    let mirror = std::env::var_os("DEBIAN_MIRROR").unwrap_or_else(|| "http://deb.debian.org/debian".into());
    if std::env::var_os("ZONES_TEST_MIRROR").is_none() {
        command.env("ZONES_TEST_MIRROR", mirror);
    }
    let (said, writer) = std::io::pipe().context("make a pipe")?;
    command.stdout(writer.try_clone().context("make a pipe")?).stderr(writer);
    let mut child = command.spawn().context("run cargo test")?;
    drop(command);
    let mut total = Counts::default();
    total.hear(said, out, |_| {})?;
    let status = child.wait().context("wait for cargo test")?;
    Ok((total, status.success()))
}
