//! Prints how long a zone takes to answer beside a quiet neighbour and beside each kind of greedy one: a fork bomb, a
//! memory hog, a disk hog, a CPU hog. Quiet and loud times alternate, so that what else the machine does falls on both.
//!
//! `nice -n -15 cargo run -p zones-tests --bin neighbours [ROUNDS [WORK [HOG]]]`: a request takes WORK microseconds of CPU
//! time, 1000 if nothing is said; 0 measures nothing but how soon the kernel wakes a program; HOG is
//! one of `bomb`, `memory`, `disk`, `cpu` alone. The exit code is 1 when a ratio of the
//! 99th percentiles is above 2.

use std::fs;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use zones_tests::{Zoned, busybox_root, program};

/// How long each time is, in milliseconds.
const TIME: &str = "2000";

/// The most that a neighbour may cost.
const BOUND: f64 = 2.0;

/// Times of requests in microseconds.
fn serve(zoned: &Zoned, work: &str) -> Result<Vec<u64>> {
    let text = zoned.zonectl(&["login", "server", "--", "/exceed", "serve", TIME, work]).ok();
    text.lines().map(|line| line.parse().with_context(|| format!("a time: {line:?}"))).collect()
}

fn percentile(times: &mut [u64], of: usize) -> u64 {
    times.sort_unstable();
    times.get(times.len() * of / 100).copied().unwrap_or(0)
}

fn main() -> Result<ExitCode> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(5), |n| n.parse()).context("ROUNDS is a number")?;
    let work = std::env::args().nth(2).unwrap_or_else(|| "1000".to_owned());
    let program = program("exceed", "amd64", &["-pthread"])?;
    let zoned = Zoned::try_start(Default::default())?;
    let root = format!("dir:{}", busybox_root().display());
    // Each of the loud ones is at a limit of its own.
    for (name, limit) in [
        ("server", &["rctl", "name=core", "value=0"][..]),
        ("bomb", &["rctl", "name=zone.max-lwps", "value=200"]),
        ("memory", &["capped-memory", "physical=64M", "swap=0"]),
        ("disk", &["capped-io", "write-bandwidth=20M"]),
        ("cpu", &["capped-cpu", "ncpus=1"]),
    ] {
        zoned.zonectl(&["create", name]).ok();
        let add: Vec<&str> = ["add", name].iter().chain(limit).copied().collect();
        zoned.zonectl(&add).ok();
        zoned.zonectl(&["install", name, &root]).ok();
        let at = zoned.root().join("zones").join(name).join("root/exceed");
        fs::copy(&program, &at).with_context(|| format!("copy to {}", at.display()))?;
    }
    zoned.zonectl(&["boot", "server", "-i", "none"]).ok();
    serve(&zoned, &work)?;

    println!(
        "{:8} {:>10} {:>10} {:>10} {:>10}  ratio of the 99th",
        "beside", "quiet 50", "quiet 99", "loud 50", "loud 99"
    );
    let mut worst: f64 = 0.0;
    let only = std::env::args().nth(3);
    for kind in ["bomb", "memory", "disk", "cpu"] {
        if only.as_ref().is_some_and(|only| only != kind) {
            continue;
        }
        let (mut quiet, mut loud) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            quiet.extend(serve(&zoned, &work)?);
            zoned.zonectl(&["boot", kind, "-i", "none"]).ok();
            let mut hog = zoned.spawn(&["login", kind, "--", "/exceed", "hog", kind, "/file"]);
            // What is done against it takes a second or two.
            sleep(Duration::from_secs(3));
            ensure!(hog.runs(), "the {kind} hog ended");
            loud.extend(serve(&zoned, &work)?);
            hog.signal(Signal::SIGKILL);
            hog.finish();
            zoned.zonectl(&["halt", kind]).ok();
        }
        let [q50, l50] = [&mut quiet, &mut loud].map(|times| percentile(times, 50));
        let [q99, l99] = [&mut quiet, &mut loud].map(|times| percentile(times, 99));
        let ratio = l99 as f64 / q99.max(1) as f64;
        worst = worst.max(ratio);
        println!("{kind:8} {q50:7} µs {q99:7} µs {l50:7} µs {l99:7} µs  {ratio:.2}");
    }
    for name in ["server", "bomb", "memory", "disk", "cpu"] {
        zoned.forget(name);
    }
    Ok(if worst > BOUND { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
