//! Prints what a call costs that the brand answers, beside a notification that is answered at once; and a call that no
//! row names beside one under a filter of one rule. Once with zone and monitor on one CPU, once wherever they run.
//!
//! The floor is taken in a zone of its own, whose namespaces and control groups are like the other's: to switch
//! between control groups has its price, whoever answers. Its supervisor is a program of 64 bits, as the monitor is, for
//! callers of either ABI: between two of 32 bits the kernel has less to switch. What the floor is outside of any zone is
//! printed too. Floor and calls take turns, and each figure is the median of its turns.
//!
//! With `crowds` it prints how long one call, uname, takes of 1, 16 and 256 processes that make it all the time, in one zone and in
//! 16: the median and the 99th of 100 of all calls, beside the same crowd at a bare notification, whose supervisor has one
//! thread for each zone. With more processes than CPUs a call waits for its turn at a CPU twice, to be answered and to go on.
//!
//! `cargo run --release -p zones-tests --bin handlers [crowds] [KERNEL]`

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use zones_tests::{Large, Zoned, compile};

/// Lines of a name and ns.
fn figures(mut command: Command) -> Result<Vec<(String, f64)>> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {} {complaint}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = |line: &str| {
        let (name, ns) = line.split_once(' ')?;
        Some((name.to_owned(), ns.parse().ok()?))
    };
    Ok(text.lines().filter_map(figure).collect())
}

/// How often floor and calls take turns.
const TURNS: usize = 5;

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A supervisor that answers 0 at once, for one program.
struct Supervisor(Child);

impl Supervisor {
    fn start(program: &Path, socket: &Path) -> Result<Self> {
        let supervisor = Command::new(program).arg("serve").arg(socket).spawn();
        let supervisor = Self(supervisor.context("start the supervisor")?);
        let end = Instant::now() + Duration::from_secs(10);
        while !socket.exists() {
            ensure!(Instant::now() < end, "the supervisor does not listen at {}", socket.display());
            sleep(Duration::from_millis(2));
        }
        // Bound, and about to listen.
        sleep(Duration::from_millis(20));
        Ok(supervisor)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // It mostly ended with its caller.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The floor below `supervisor`, as a program measures it that `command` makes of its words.
fn floor(supervisor: &Path, command: impl FnOnce(&[&str]) -> Command) -> Result<f64> {
    let socket = supervisor.with_file_name("handlers.socket");
    let _ = std::fs::remove_file(&socket);
    let _supervisor = Supervisor::start(supervisor, &socket)?;
    let told = figures(command(&["floor", "/bench/handlers.socket"]))?;
    told.first().map(|(_, ns)| *ns).context("it printed nothing")
}

fn compare(kernel: &str, where_they_run: &str) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/handlers.c");
    let zoned = Zoned::try_start(Default::default())?;
    let large = Large::make(zoned.scratch());
    let wide = large.wide_folder();
    std::fs::write(wide.join("file"), "file").context("write a file")?;
    let wide = format!("{}:/wide", wide.display());
    for abi in ["amd64", "i386"] {
        let folder = tempfile::tempdir().context("make a folder")?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        let program = folder.path().join("handlers");
        std::fs::copy(compile(&source, abi, &[])?, &program).context("copy the program")?;
        let supervisor = folder.path().join("supervisor");
        std::fs::copy(compile(&source, "amd64", &[])?, &supervisor).context("copy the supervisor")?;
        let bind = format!("{}:/bench", folder.path().display());
        let run = |brand: &[&str], words: &[&str]| {
            let front = ["run", "--bind", &bind];
            zoned.command(&[&front[..], brand, &["--", "/bench/handlers"], words].concat())
        };
        let outside = floor(&supervisor, |words| {
            let mut command = Command::new(&program);
            command.arg(words[0]).arg(supervisor.with_file_name("handlers.socket"));
            command
        })?;
        let (mut floors, mut one, mut names) = (Vec::new(), Vec::new(), Vec::new());
        let mut calls: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for _ in 0..TURNS {
            floors.push(floor(&supervisor, |words| run(&["--brand", "native"], words))?);
            let mut bare = Command::new(&program);
            bare.arg("one-rule");
            one.extend(figures(bare)?.first().map(|(_, ns)| *ns));
            let mut told = figures(run(&["--kernel", kernel], &["calls"]))?;
            if abi == "i386" {
                let words = ["--kernel", kernel, "--bind", &wide];
                told.extend(figures(run(&words, &["files", "/wide/file"]))?);
            }
            names = told.iter().map(|(name, _)| name.clone()).collect();
            for (name, ns) in told {
                calls.entry(name).or_default().push(ns);
            }
        }
        let (floor, one) = (median(floors), median(one));
        println!("{abi}, {where_they_run}: floor {floor:.0} ns; outside of zones {outside:.0} ns");
        for call in names {
            let ns = median(calls.remove(&call).unwrap_or_default());
            if call == "getppid" {
                println!("  {call:14} {ns:7.0} ns  {:5.2} × a filter of one rule ({one:.0} ns)", ns / one);
            } else {
                println!("  {call:14} {ns:7.0} ns  {:5.2} × floor", ns / floor);
            }
        }
    }
    Ok(())
}

/// Zones, and the processes that call in each.
const CROWDS: [(usize, usize); 5] = [(1, 1), (1, 16), (1, 256), (16, 1), (16, 16)];

/// How long each crowd calls, in seconds.
const CALLING: &str = "2";

/// How long calls took, in ns, and how many calls did.
type Lengths = Vec<(f64, f64)>;

/// That which as many of 100 did not exceed.
fn of_hundred(lengths: &Lengths, wanted: f64) -> f64 {
    let all: f64 = lengths.iter().map(|(_, calls)| calls).sum();
    let mut passed = 0.0;
    let reached = lengths.iter().find(|(_, calls)| {
        passed += calls;
        passed * 100.0 >= all * wanted
    });
    reached.map_or(f64::NAN, |(ns, _)| *ns)
}

/// A crowd calls; `command` makes the program of zone `n` of its words.
fn call(zones: usize, command: impl Fn(usize) -> Command) -> Result<Lengths> {
    let commands: Vec<_> = (0..zones).map(command).collect();
    let told = std::thread::scope(|scope| {
        let running: Vec<_> = commands.into_iter().map(|one| scope.spawn(|| figures(one))).collect();
        let ended = running.into_iter().map(|one| one.join().unwrap_or_else(|_| bail!("a thread panicked")));
        ended.collect::<Result<Vec<_>>>()
    })?;
    let told = told.into_iter().flatten();
    let mut lengths: Lengths = told.filter_map(|(ns, calls)| Some((ns.parse().ok()?, calls))).collect();
    lengths.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(lengths)
}

fn crowds(kernel: &str) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/handlers.c");
    let zoned = Zoned::try_start(Default::default())?;
    let folder = tempfile::tempdir().context("make a folder")?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    let program = folder.path().join("handlers");
    std::fs::copy(compile(&source, "amd64", &[])?, &program).context("copy the program")?;
    let bind = format!("{}:/bench", folder.path().display());
    println!("uname at {kernel}, µs: p50, p99; a bare notification: p50, p99");
    for (zones, each) in CROWDS {
        let count = each.to_string();
        let run = |front: &[&str], words: &[&str]| {
            let front = [&["run", "--bind", &bind], front, &["--", "/bench/handlers"], words].concat();
            zoned.command(&front)
        };
        let ours = call(zones, |_| run(&["--kernel", kernel], &["crowd", &count, CALLING]))?;
        let socket = |n: usize| format!("crowd-{zones}-{each}-{n}");
        let serving: Result<Vec<_>> =
            (0..zones).map(|n| Supervisor::start(&program, &folder.path().join(socket(n)))).collect();
        let bare = call(zones, |n| {
            let at = format!("/bench/{}", socket(n));
            run(&["--brand", "native"], &["crowd-floor", &count, CALLING, &at])
        })?;
        drop(serving?);
        let of = |lengths, wanted| of_hundred(lengths, wanted) / 1e3;
        println!(
            "{:3} callers in {zones:2} zones: {:8.1} {:8.1}; {:8.1} {:8.1}; p50 {:.2} × bare, p99 {:.2} ×",
            zones * each,
            of(&ours, 50.0),
            of(&ours, 99.0),
            of(&bare, 50.0),
            of(&bare, 99.0),
            of(&ours, 50.0) / of(&bare, 50.0),
            of(&ours, 99.0) / of(&bare, 99.0),
        );
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut words: Vec<_> = std::env::args().skip(1).collect();
    let wants_crowds = words.first().is_some_and(|word| word == "crowds");
    let kernel = words.drain(usize::from(wants_crowds)..).next().unwrap_or_else(|| "2.6.18".to_owned());
    if wants_crowds {
        return crowds(&kernel);
    }
    let this = Pid::from_raw(0);
    let all = sched_getaffinity(this).context("ask for the CPUs")?;
    let last = (0..CpuSet::count()).rev().find(|cpu| all.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(last.context("there is a CPU")?).context("name a CPU")?;
    // zoned, its monitors and the programs are children, and run where this does.
    sched_setaffinity(this, &one).context("stay on one CPU")?;
    compare(&kernel, "on one CPU")?;
    sched_setaffinity(this, &all).context("go back to all CPUs")?;
    compare(&kernel, "wherever they run")
}
