//! Prints what programs take that ask for little that a brand answers: natively, in a zone at a legacy level, and in proot, all
//! over the host's files and in turns; medians, and their ratio to native. Starting is in it.
//!
//! `cargo run --release -p zones-tests --bin overhead [ROUNDS]`

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use zones_tests::{Zoned, text};

/// Name, and a script that is run in the work folder.
const WORK: [(&str, &str); 5] = [
    ("dd bs=1", "dd if=/dev/zero of=/dev/null bs=1 count=100000 2> /dev/null"),
    ("find", "for i in 1 2 3; do find /usr/share /usr/lib -xdev > /dev/null 2>&1; done; true"),
    (
        "tar",
        "for i in 1 2 3; do tar -cf - project /usr/share/perl 2> /dev/null | cat > /dev/null; done; true",
    ),
    (
        "git status",
        "export HOME=/tmp; cd project; for i in $(seq 20); do git -c safe.directory='*' status > /dev/null; done",
    ),
    ("gcc", "cd project; for i in $(seq 6); do gcc -O1 -c -o /dev/null a$i.c; done"),
];

/// A small project under git, with sources to compile.
fn project(dir: &Path) -> Result<()> {
    let project = dir.join("project");
    fs::create_dir(&project).context("make a folder")?;
    let mut body = String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
    for i in 0..300 {
        body += &format!(
            "int f{i}(int a) {{ char b[64]; snprintf(b, sizeof b, \"%d\", a); return strlen(b) * {i}; }}\n"
        );
    }
    for i in 1..=12 {
        fs::write(project.join(format!("a{i}.c")), &body).context("write a source")?;
    }
    for i in 0..2000 {
        let folder = project.join(format!("d{}", i % 40));
        fs::create_dir_all(&folder).context("make a folder")?;
        fs::write(folder.join(format!("f{i}")), i.to_string()).context("write a file")?;
    }
    let script = "git init -q . && git add . && git -c user.name=n -c user.email=e commit -qm all";
    let done = Command::new("sh").args(["-c", script]).current_dir(&project).status().context("run git")?;
    ensure!(done.success(), "git made no repository");
    Ok(())
}

fn timed(mut command: Command) -> Result<Duration> {
    let begin = Instant::now();
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let done = done.with_context(|| format!("run {command:?}"))?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(begin.elapsed())
}

fn main() -> Result<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(5), |n| n.parse()).context("ROUNDS is a number")?;
    ensure!(rounds > 0, "ROUNDS is 1 or more");
    let zoned = Zoned::try_start(Default::default())?;
    let dir = zoned.scratch().join("work");
    fs::create_dir(&dir).context("make a folder")?;
    project(&dir)?;
    let ways = ["native", "zone at 2.6.32", "proot"];
    println!("{:12} {:>16} {:>16} {:>16}", "", ways[0], ways[1], ways[2]);
    let bind = format!("{}:/mnt", dir.display());
    for (name, script) in WORK {
        let mut times = vec![Vec::new(); ways.len()];
        for round in 0..=rounds {
            let mut native = Command::new("sh");
            native.args(["-c", script]).current_dir(&dir);
            let inside = format!("cd /mnt; {script}");
            let zone =
                zoned.command(&["run", "--kernel", "2.6.32", "--bind", &bind, "--", "sh", "-c", &inside]);
            let mut proot = Command::new("proot");
            proot.args(["-b", &bind, "-w", "/mnt", "sh", "-c", script]);
            for (times, command) in times.iter_mut().zip([native, zone, proot]) {
                let took = timed(command).with_context(|| format!("{name} in {}", text(&dir)))?;
                // The first round warms.
                if round > 0 {
                    times.push(took);
                }
            }
        }
        let medians: Vec<f64> = times
            .iter_mut()
            .map(|times| {
                times.sort();
                times[times.len() / 2].as_secs_f64()
            })
            .collect();
        let cell = |i: usize| format!("{:.3} s {:.3}", medians[i], medians[i] / medians[0]);
        println!("{name:12} {:>16} {:>16} {:>16}", cell(0), cell(1), cell(2));
    }
    Ok(())
}
