//! Prints what many zones of busybox init cost: to boot, list, shut down and halt, and in memory.
//!
//! Memory of the host's side is the PSS of all monitors (proc_pid_smaps_rollup(5)); of zoned likewise; of all together the
//! fall of MemAvailable, which has the kernel's and the guests' own in it.
//!
//! `cargo run --release -p zones-tests --bin many [ZONES]`

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use zones_tests::{Zoned, busybox_root, figure};

/// Runs zonectl to success; how long that took.
fn timed(zoned: &Zoned, words: &[&str]) -> Result<Duration> {
    let begin = Instant::now();
    let outcome = zoned.zonectl(words);
    ensure!(outcome.status == Some(0), "{words:?}: {outcome}");
    Ok(begin.elapsed())
}

fn pss(pid: i32) -> Result<u64> {
    figure(&format!("/proc/{pid}/smaps_rollup"), "Pss")
}

/// Median and the last one, in ms.
fn tell(what: &str, times: &[Duration]) {
    let mut sorted = times.to_vec();
    sorted.sort();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let sum: Duration = times.iter().sum();
    println!(
        "{what:10} {:8.2} ms each, {:8.2} at most, {:8.2} s in all",
        ms(sorted[sorted.len() / 2]),
        ms(sorted[sorted.len() - 1]),
        sum.as_secs_f64()
    );
}

fn main() -> Result<()> {
    let count: usize = std::env::args().nth(1).map_or(Ok(100), |n| n.parse()).context("ZONES is a number")?;
    ensure!(count > 0, "ZONES is 1 or more");
    let zoned = Zoned::try_start(Default::default())?;
    let root = zoned.scratch().join("busybox");
    let copied = std::process::Command::new("cp").arg("-a").arg(busybox_root()).arg(&root).status();
    ensure!(copied.context("run cp")?.success(), "cp of the root failed");
    fs::create_dir_all(root.join("etc")).context("make etc")?;
    let inittab = "::sysinit:/bin/hostname\n::respawn:/bin/sleep 100000\n::shutdown:/bin/true\n";
    fs::write(root.join("etc/inittab"), inittab).context("write inittab")?;
    let source = format!("dir:{}", root.display());
    let names: Vec<String> = (1..=count).map(|n| format!("z{n}")).collect();
    for name in &names {
        timed(&zoned, &["create", name])?;
        timed(&zoned, &["install", name, &source])?;
    }
    let (free, own) = (figure("/proc/meminfo", "MemAvailable")?, pss(zoned.pid())?);
    let each = |words: &[&str]| -> Result<Vec<Duration>> {
        names.iter().map(|name| timed(&zoned, &[words, &[name.as_str()]].concat())).collect()
    };
    println!("{count} zones of busybox init");
    tell("boot", &each(&["boot"])?);
    let lists: Result<Vec<_>> = (0..20).map(|_| timed(&zoned, &["list"])).collect();
    let listed = zoned.zonectl(&["list", "-p"]).ok();
    let running =
        listed.lines().filter(|line| line.contains(":running:") && !line.contains(":global:")).count();
    ensure!(running == count, "{running} of {count} run:\n{listed}");
    tell("list", &lists?);
    // Their inits are through with their scripts by then.
    std::thread::sleep(Duration::from_secs(2));
    let monitors: Result<Vec<u64>> = names.iter().map(|name| pss(zoned.monitor_of(name))).collect();
    let monitors: u64 = monitors?.iter().sum();
    let all = free.saturating_sub(figure("/proc/meminfo", "MemAvailable")?);
    let grown = pss(zoned.pid())?.saturating_sub(own);
    let share = |kib: u64| kib as f64 / count as f64;
    println!("memory     {:8.0} KiB of monitor each (PSS)", share(monitors));
    println!("           {:8.0} KiB more of zoned each (PSS)", share(grown));
    println!("           {:8.0} KiB less available on the host each", share(all));
    let half = count / 2;
    let stopped: Result<Vec<_>> =
        names[..half].iter().map(|name| timed(&zoned, &["shutdown", name.as_str(), "-t", "10"])).collect();
    let halted: Result<Vec<_>> =
        names[half..].iter().map(|name| timed(&zoned, &["halt", name.as_str()])).collect();
    if half > 0 {
        tell("shutdown", &stopped?);
    }
    tell("halt", &halted?);
    Ok(())
}
