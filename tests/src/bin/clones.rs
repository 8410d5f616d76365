//! Prints what clones of a Debian zone cost, the first and the last, in time and in disk, beside `lxc-copy -s` of the same root
//! on overlays, of which one is made for every tenth of ours.
//!
//! What a disk and a machine do meanwhile changes by more than what is looked for. So a hundred more are made in turn with the
//! first hundred of a zoned that has none.
//!
//! `cargo run --release -p zones-tests --bin clones [CLONES]`

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use zones_tests::{How, Zoned, debian};

/// One more clone, and the time that it took.
fn another(zoned: &Zoned, name: &str) -> Duration {
    let begin = Instant::now();
    zoned.zonectl(&["-q", "clone", "source@one", name]).ok();
    begin.elapsed()
}

/// A zoned with the zone that is cloned.
fn with_source(tar: &Path) -> Zoned {
    // Each has a range of ids of its own.
    let zoned = Zoned::start_as(How { settings: "id-slots = 20000\n".to_owned(), ..How::default() });
    zoned.install("source", &format!("tar:{}", tar.display()), &[]);
    zoned.zonectl(&["snapshot", "source@one"]).ok();
    zoned
}

/// Median and least, in milliseconds.
fn figures(times: &[Duration]) -> (f64, f64) {
    let mut times = times.to_vec();
    times.sort();
    (times[times.len() / 2].as_secs_f64() * 1e3, times[0].as_secs_f64() * 1e3)
}

fn run(words: &[&str]) -> Result<()> {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.with_context(|| format!("run {}", words[0]))?;
    ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// KiB and files that a folder takes (du(1)).
fn taken(folder: &Path) -> Result<(u64, u64)> {
    let count = |option: &str| -> Result<u64> {
        let output = Command::new("du").args(["-sx", option]).arg(folder).output().context("run du")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace().next().and_then(|n| n.parse().ok()).context("du said nothing")
    };
    Ok((count("-k")?, count("--inodes")?))
}

fn main() -> Result<()> {
    let count: usize =
        std::env::args().nth(1).map_or(Ok(1000), |n| n.parse()).context("CLONES is a number")?;
    ensure!(count >= 100, "CLONES is 100 or more");
    let tar = debian("bookworm", "amd64")?;
    let zoned = with_source(&tar);
    let lxc = zoned.scratch().join("lxc");
    let root = lxc.join("source/rootfs");
    fs::create_dir_all(&root).context("make a folder")?;
    run(&["tar", "-C", root.to_str().unwrap_or_default(), "-xf", tar.to_str().unwrap_or_default()])?;
    let config = format!("lxc.rootfs.path = dir:{}\nlxc.uts.name = source\n", root.display());
    fs::write(lxc.join("source/config"), config).context("configure lxc")?;
    let path = lxc.to_str().unwrap_or_default();

    let before = (taken(&zoned.root())?, taken(&lxc)?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for i in 0..count {
        ours.push(another(&zoned, &format!("c{i}")));
        if i % 10 == 0 {
            let begin = Instant::now();
            run(&["lxc-copy", "-P", path, "-n", "source", "-N", &format!("c{i}"), "-s", "-B", "overlay"])?;
            theirs.push(begin.elapsed());
        }
    }
    let after = (taken(&zoned.root())?, taken(&lxc)?);
    println!("a root of {} MiB in {} files", before.1.0 >> 10, before.1.1);
    for (name, times, (before, after)) in
        [("zonectl clone", &ours, (before.0, after.0)), ("lxc-copy -s", &theirs, (before.1, after.1))]
    {
        let part = times.len() / 10;
        let ((first, least), (last, least_last)) =
            (figures(&times[..part]), figures(&times[times.len() - part..]));
        let n = times.len() as u64;
        println!(
            "{name:14} {n} of them: first tenth {first:.1} ms median ({least:.1} least), last tenth {last:.1} ({least_last:.1}); \
             {:.1} KiB and {:.1} files each",
            (after.0 - before.0) as f64 / n as f64,
            (after.1 - before.1) as f64 / n as f64,
        );
    }
    let fresh = with_source(&tar);
    // What was unpacked is written by then.
    nix::unistd::sync();
    let (mut first, mut more) = (Vec::new(), Vec::new());
    for i in 0..100 {
        let name = format!("turn{i}");
        let mut turns = [(&fresh, &mut first), (&zoned, &mut more)];
        if i % 2 == 1 {
            turns.reverse();
        }
        turns.into_iter().for_each(|(zoned, times)| times.push(another(zoned, &name)));
    }
    let ((few, least_few), (many, least_many)) = (figures(&first), figures(&more));
    println!(
        "in turn: after {count} others {many:.1} ms median ({least_many:.1} least), as the first hundred {few:.1} ({least_few:.1}): {:.2} times",
        many / few,
    );
    let begin = Instant::now();
    zoned.zonectl(&["-q", "list", "-c"]).ok();
    println!("list of all {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    zoned.zonectl(&["boot", &format!("c{}", count - 1), "-i", "none"]).ok();
    let seen = zoned.sh(&format!("c{}", count - 1), "cat /etc/hostname; cat /etc/debian_version");
    println!("the last one boots and says {}", seen.replace('\n', " "));
    Ok(())
}
