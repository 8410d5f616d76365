//! Prints what a call costs that the brand answers, beside a notification that is answered at once; and a call that no
//! row names beside one under a filter of one rule. Once with zone and monitor on one CPU, once wherever they run.
//!
//! `cargo run --release -p zones-tests --bin handlers [KERNEL]`

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use zones_tests::{Zoned, compile};

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

fn bare(program: &Path, what: &str) -> Result<f64> {
    let mut command = Command::new(program);
    command.arg(what);
    figures(command)?.first().map(|(_, ns)| *ns).context("it printed nothing")
}

fn compare(kernel: &str, where_they_run: &str) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/handlers.c");
    let zoned = Zoned::try_start(Default::default())?;
    for abi in ["amd64", "i386"] {
        let program = compile(&source, abi, &[])?;
        let bind = format!("{}:/handlers", program.display());
        let floor = bare(&program, "floor")?;
        println!("{abi}, {where_they_run}: floor {floor:.0} ns");
        let calls = zoned.command(&["run", "--kernel", kernel, "--bind", &bind, "--", "/handlers", "calls"]);
        for (call, ns) in figures(calls)? {
            if call == "getppid" {
                let one = bare(&program, "one-rule")?;
                println!("  {call:14} {ns:7.0} ns  {:5.2} × a filter of one rule ({one:.0} ns)", ns / one);
            } else {
                println!("  {call:14} {ns:7.0} ns  {:5.2} × floor", ns / floor);
            }
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let kernel = std::env::args().nth(1).unwrap_or_else(|| "2.6.18".to_owned());
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
