//! Prints what many zones of busybox init cost: to boot, list, look at, shut down and halt, the first tenth beside the last,
//! and in memory, beside containers of LXC.
//!
//! Memory of the host's side is the PSS of all monitors (proc_pid_smaps_rollup(5)); of zoned likewise; of all together the
//! fall of MemAvailable, which has the kernel's and the guests' own in it. Of LXC it is that of its monitors.
//!
//! `cargo run --release -p zones-tests --bin many [ZONES]`

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use zones_tests::{Zoned, busybox_root, figure, peers, text};

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

/// Medians of the first and the last tenth, in ms.
fn tell(what: &str, times: &[Duration]) {
    let part = times.len().div_ceil(10);
    let median = |times: &[Duration]| {
        let mut sorted = times.to_vec();
        sorted.sort();
        sorted[sorted.len() / 2].as_secs_f64() * 1e3
    };
    let sum: Duration = times.iter().sum();
    println!(
        "{what:10} {:8.2} ms each of the first tenth, {:8.2} of the last, {:8.2} s in all",
        median(&times[..part]),
        median(&times[times.len() - part..]),
        sum.as_secs_f64()
    );
}

/// KiB of monitor for each of some containers of LXC that sleep.
fn of_lxc(dir: &Path, root: &Path) -> Result<f64> {
    let place = dir.join("lxc");
    fs::create_dir(&place).context("make a folder")?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).context("open the folder")?;
    let configuration = peers::lxc(dir, root)?;
    let start = |name: &str| {
        let mut command = peers::suited(dir, &["lxc-execute", "-d", "-P", text(&place), "-n", name, "-f"]);
        command.arg(&configuration).args(["--", "/bin/sleep", "100000"]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    let names: Vec<String> = (1..=LXC).map(|n| format!("l{n}")).collect();
    for name in &names {
        ensure!(start(name).context("run lxc-execute")?.success(), "lxc-execute failed");
    }
    // Its title is "[lxc monitor] PLACE NAME".
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").context("read /proc")?.flatten() {
        let title = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        if title.starts_with("[lxc monitor]") && title.contains(text(&place)) {
            found.extend(process.file_name().to_str().and_then(|pid| pid.parse::<i32>().ok()));
        }
    }
    let each: Result<Vec<u64>> = found.iter().map(|pid| pss(*pid)).collect();
    for name in &names {
        let stopped = peers::suited(dir, &["lxc-stop", "-k", "-P", text(&place), "-n", name]).status();
        ensure!(stopped.context("run lxc-stop")?.success(), "lxc-stop failed");
    }
    let each = each?;
    ensure!(each.len() == LXC, "{} monitors of LXC", each.len());
    Ok(each.iter().sum::<u64>() as f64 / LXC as f64)
}

/// How many containers of LXC there are beside.
const LXC: usize = 20;

/// How many zones are shut down: busybox init takes two seconds for each.
const SHUT: usize = 10;

fn main() -> Result<()> {
    let count: usize = std::env::args().nth(1).map_or(Ok(100), |n| n.parse()).context("ZONES is a number")?;
    ensure!(count > 0, "ZONES is 1 or more");
    let zoned = Zoned::try_start(Default::default())?;
    let root = zoned.scratch().join("busybox");
    peers::copy_root(&busybox_root(), &root)?;
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
    let mut booted = Vec::new();
    for (at, name) in names.iter().enumerate() {
        booted.push(timed(&zoned, &["boot", name])?);
        let running = at + 1;
        if !matches!(running, 1 | 20) && running != count {
            continue;
        }
        // Their inits are through with their scripts by then.
        std::thread::sleep(Duration::from_secs(2));
        let monitors: Result<Vec<u64>> = names[..running].iter().map(|n| pss(zoned.monitor_of(n))).collect();
        let monitors: u64 = monitors?.iter().sum();
        let all = free.saturating_sub(figure("/proc/meminfo", "MemAvailable")?);
        let grown = pss(zoned.pid())?.saturating_sub(own);
        let share = |kib: u64| kib as f64 / running as f64;
        println!(
            "{running} zones of busybox init: {:.0} KiB of monitor each, {:.0} more of zoned (PSS); the host has {:.0} less",
            share(monitors),
            share(grown),
            share(all)
        );
    }
    tell("boot", &booted);
    let lists: Result<Vec<_>> = (0..20).map(|_| timed(&zoned, &["list"])).collect();
    let listed = zoned.zonectl(&["list", "-p"]).ok();
    let running =
        listed.lines().filter(|line| line.contains(":running:") && !line.contains(":global:")).count();
    ensure!(running == count, "{running} of {count} run:\n{listed}");
    tell("list", &lists?);
    tell("stat", &each(&["stat"])?);
    let few = SHUT.min(count / 2);
    let stopped: Result<Vec<_>> =
        names[..few].iter().map(|name| timed(&zoned, &["shutdown", name.as_str(), "-t", "10"])).collect();
    let halted: Result<Vec<_>> =
        names[few..].iter().map(|name| timed(&zoned, &["halt", name.as_str()])).collect();
    if few > 0 {
        tell("shutdown", &stopped?);
    }
    tell("halt", &halted?);
    let dir = tempfile::tempdir_in(zones_tests::target()).context("make a folder")?;
    println!("memory     {:8.0} KiB of LXC's monitor each, of {LXC} (PSS)", of_lxc(dir.path(), &root)?);
    Ok(())
}
