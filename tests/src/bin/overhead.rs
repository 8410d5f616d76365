//! Prints what programs take that ask for little that a brand answers: natively (chroot(1)), in a zone at a legacy level, in
//! crun with the filter that podman gives it, over a folder and, as engines have it and a zone has, over an overlay, and in
//! proot, all over the zone's root and in turns. Each tells the time itself, so that
//! starting is not in it; a figure is the median of the ratios to native of the same round, with their quarters.
//!
//! `cargo run --release -p zones-tests --bin overhead [ROUNDS]`

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use zones_tests::{Zoned, busybox_root, debian_with, peers, text};

/// What proot, which stops at every call, gets of the calls of `dd`; its time counts so many times.
const PART: u32 = 50;

/// Name, and a script that is run in the work folder; `$calls` is how many calls `dd` makes.
const WORK: [(&str, &str); 5] = [
    ("dd bs=1", "dd if=/dev/zero of=/dev/null bs=1 count=$calls 2> /dev/null"),
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
    fs::create_dir_all(&project).context("make a folder")?;
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

/// What a script prints that took its own time, in seconds.
fn timed(mut command: Command) -> Result<f64> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("run {command:?}"))?;
    let done = child.wait_with_output().with_context(|| format!("wait for {command:?}"))?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8_lossy(&done.stdout);
    let took: f64 = text.trim().parse().with_context(|| format!("{command:?} said {text:?}"))?;
    Ok(took / 1e9)
}

/// An overlay of that root, with nothing changed.
fn overlay(dir: &Path, root: &Path) -> Result<PathBuf> {
    let [upper, work, over] = ["upper", "changing", "over"].map(|name| dir.join(name));
    for folder in [&upper, &work, &over] {
        fs::create_dir(folder).context("make a folder")?;
    }
    let data = format!("lowerdir={},upperdir={},workdir={}", text(root), text(&upper), text(&work));
    mount(Some("overlay"), &over, Some("overlay"), MsFlags::empty(), Some(data.as_str()))
        .context("mount an overlay")?;
    Ok(over)
}

/// What crun takes over a root, with root's own ids; without its program.
fn crun(root: &Path, filter: &Value) -> Value {
    let mut configuration = peers::configuration(root, &[]);
    configuration["root"]["readonly"] = json!(false);
    let namespaces = ["pid", "mount", "network", "uts", "ipc", "cgroup"].map(|n| json!({ "type": n }));
    configuration["linux"] = json!({ "namespaces": namespaces, "seccomp": filter });
    configuration["process"]["env"] = json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    configuration
}

fn main() -> Result<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(5), |n| n.parse()).context("ROUNDS is a number")?;
    ensure!(rounds > 0, "ROUNDS is 1 or more");
    let tar = debian_with("bookworm", "amd64", &["gcc", "libc6-dev", "git"])?;
    let zoned = Zoned::try_start(Default::default())?;
    let dir = zoned.scratch().to_path_buf();
    zoned.install("w", &format!("tar:{}", tar.display()), &["kernel=2.6.32"]);
    let root = zoned.root().join("zones/w/root");
    project(&root.join("work"))?;
    zoned.zonectl(&["boot", "w", "-i", "none"]).ok();
    peers::suit(&dir)?;
    // In our own mount namespace, of which the zone sees nothing.
    for at in ["dev", "proc"] {
        let bind = Path::new("/").join(at);
        mount(Some(&bind), &root.join(at), None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("bind {}", bind.display()))?;
    }
    println!("{:12} {:>9}   times native: median (quarters)", "", "native");
    let [zone, folder, over, traced] = ["zone at 2.6.32", "crun", "crun on overlay", "proot"];
    println!("{:12} {:>9} {zone:>20} {folder:>20} {over:>20} {traced:>26}", "", "");
    let state = dir.join("crun");
    let podmans = dir.join("podmans");
    peers::copy_root(&busybox_root(), &podmans)?;
    let filter = peers::default_filter(&dir, &podmans)?;
    let over = overlay(&dir, &root)?;
    let mut containers =
        [("folder", &root), ("overlay", &over)].map(|(name, root)| (dir.join(name), crun(root, &filter)));
    for (name, script) in WORK {
        let script = |part: u32| {
            let calls = 500_000 / part;
            format!(
                "calls={calls}; cd /work; b=$(date +%s%N); ( {script} ) || exit 1; e=$(date +%s%N); echo $((e - b))"
            )
        };
        let inside = script(1);
        let in_proot = if name.starts_with("dd") { PART } else { 1 };
        for (bundle, configuration) in &mut containers {
            configuration["process"]["args"] = json!(["/bin/sh", "-c", &inside]);
            peers::write(bundle, configuration)?;
        }
        let mut rows: Vec<[f64; 5]> = Vec::new();
        for round in 0..=rounds {
            let mut native = Command::new("chroot");
            native.arg(&root).args(["sh", "-c", &inside]);
            let zone = zoned.command(&["login", "w", "--", "sh", "-c", &inside]);
            let [folder, over] = containers.each_ref().map(|(bundle, _)| {
                let mut crun = Command::new("crun");
                crun.arg("--root").arg(&state).args(["run", "--bundle", text(bundle), "overhead"]);
                crun
            });
            let mut proot = Command::new("proot");
            proot.args(["-r", text(&root), "-b", "/dev", "-b", "/proc", "sh", "-c", &script(in_proot)]);
            let mut row = [0.0; 5];
            for (took, command) in row.iter_mut().zip([native, zone, folder, over, proot]) {
                *took = timed(command).with_context(|| format!("measure {name}"))?;
            }
            row[4] *= f64::from(in_proot);
            // The first round warms.
            if round > 0 {
                rows.push(row);
            }
        }
        let part = |mut figures: Vec<f64>, part: usize| {
            figures.sort_by(f64::total_cmp);
            figures[(figures.len() * part / 4).min(figures.len() - 1)]
        };
        let native = part(rows.iter().map(|row| row[0]).collect(), 2);
        let cell = |way: usize| {
            let ratios = || rows.iter().map(|row| row[way] / row[0]).collect();
            format!("{:.3} ({:.3} {:.3})", part(ratios(), 2), part(ratios(), 1), part(ratios(), 3))
        };
        println!("{name:12} {native:7.3} s {:>20} {:>20} {:>20} {:>26}", cell(1), cell(2), cell(3), cell(4));
    }
    umount2(&over, MntFlags::MNT_DETACH).context("umount the overlay")?;
    for at in ["dev", "proc"] {
        umount2(&root.join(at), MntFlags::MNT_DETACH).with_context(|| format!("umount {at}"))?;
    }
    zoned.forget("w");
    Ok(())
}
