//! Prints how long the same Debian takes from boot to the login prompt on its console, in a zone and in systemd-nspawn with
//! a user and a network namespace: medians of runs that take turns, both with a terminal.
//!
//! `cargo run --release -p zones-tests --bin boots [RUNS [SUITE]]`

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use zones_tests::{Terminal, Zoned, debian};

fn to_prompt(terminal: &mut Terminal, begin: Instant) -> Duration {
    terminal.expect("login: ", 120);
    begin.elapsed()
}

fn in_a_zone(zoned: &Zoned) -> Duration {
    let mut console = Terminal::start(&zoned.command(&["console", "g"]));
    // It connects before there is anything to see.
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    zoned.zonectl(&["boot", "g"]).ok();
    let took = to_prompt(&mut console, begin);
    zoned.zonectl(&["shutdown", "g", "-t", "60"]).ok();
    took
}

/// A script that runs its words in control groups of their own, in v2 and in systemd's of v1, and removes those: with
/// --keep-unit nspawn makes its groups where it is.
const APART: &str = r#"for h in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
[ -e $h/cgroup.procs ] && mkdir $h/boots-bench && echo $$ > $h/boots-bench/cgroup.procs
done 2> /dev/null
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 "$@"
for h in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
[ -d $h/boots-bench ] && echo $$ > $h/cgroup.procs && find $h/boots-bench -depth -type d -exec rmdir {} +
done 2> /dev/null"#;

/// It is to use v2 where the host has that too, as newer systemd wants it.
fn in_nspawn(root: &Path) -> Duration {
    let mut nspawn = Command::new("sh");
    nspawn.args(["-c", APART, "sh", "systemd-nspawn", "--quiet", "--register=no", "--keep-unit"]);
    nspawn.args(["--private-network", "--boot", "--private-users=1342177280"]);
    nspawn.arg("--private-users-ownership=auto").arg("-D").arg(root);
    let begin = Instant::now();
    let mut console = Terminal::start(&nspawn);
    let took = to_prompt(&mut console, begin);
    // Ends it: three times ^] within a second.
    console.send("\x1d\x1d\x1d");
    console.finish(30);
    took
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let runs: usize = words.next().map_or(Ok(5), |n| n.parse()).context("RUNS is a number")?;
    ensure!(runs > 0, "RUNS is 1 or more");
    let suite = words.next().unwrap_or_else(|| "bookworm".to_owned());
    let tar = debian(&suite, "amd64")?;
    let zoned = Zoned::try_start(Default::default())?;
    zoned.install("g", &format!("tar:{}", tar.display()), &[]);
    let root = zoned.scratch().join("nspawn");
    std::fs::create_dir(&root).context("make a folder")?;
    let unpacked = Command::new("tar").arg("-C").arg(&root).arg("-xf").arg(&tar).status();
    ensure!(unpacked.context("run tar")?.success(), "the root does not unpack");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first round makes what a first boot makes, and is not counted.
    for round in 0..=runs {
        let (zone, nspawn) = (in_a_zone(&zoned), in_nspawn(&root));
        if round > 0 {
            ours.push(zone);
            theirs.push(nspawn);
        }
    }
    let (ours, theirs) = (median(&mut ours), median(&mut theirs));
    println!(
        "{suite}, from boot to prompt: zone {ours:.2} s, systemd-nspawn {theirs:.2} s: {:.2} ×",
        ours / theirs
    );
    zoned.forget("g");
    Ok(())
}
