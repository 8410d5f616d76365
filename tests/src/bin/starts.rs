//! Prints what starting one program in a zone takes beside others, and entering a zone that runs: medians of interleaved
//! runs over the same busybox root, with the first and the third quarter of them.
//!
//! `cargo run --release -p zones-tests --bin starts [RUNS]`

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use zones_tests::{Zoned, busybox_root, peers, text};

/// One way to start a program.
struct Contender {
    name: &'static str,
    run: Box<dyn Fn() -> Result<()>>,
    times: Vec<Duration>,
}

fn contender(name: &'static str, run: impl Fn() -> Result<()> + 'static) -> Contender {
    Contender { name, run: Box::new(run), times: Vec::new() }
}

/// Runs to success. On pipes: crun gives its standard descriptors to the root of its user namespace by
/// fchown(2), which must not be the host's /dev/null.
fn quiet(mut command: Command) -> Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("run {command:?}"))?;
    let output = child.wait_with_output().with_context(|| format!("wait for {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {} {complaint}", output.status);
    Ok(())
}

/// A program with words.
fn program(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// The groups that a zone has, for the floor: in each hierarchy that has a folder of zones. As zoned sees them, who has
/// not hidden anything.
fn groups(zoned: &Zoned) -> Vec<String> {
    let top = format!("/proc/{}/root/sys/fs/cgroup", zoned.pid());
    let mut below: Vec<PathBuf> =
        fs::read_dir(&top).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    below.push(PathBuf::from(&top));
    below.retain(|hierarchy| hierarchy.join("zoned/cgroup.procs").exists());
    // Links name a hierarchy twice.
    below.retain(|hierarchy| !hierarchy.is_symlink());
    below.sort();
    below.iter().map(|hierarchy| text(&hierarchy.join("zoned/floor-bench")).to_owned()).collect()
}

/// Everyone takes a turn, so that what else the machine does falls on all alike. The first round only warms.
fn measure(all: &mut Vec<Contender>, runs: usize) {
    all.retain(|contender| match (contender.run)() {
        Ok(()) => true,
        Err(error) => {
            println!("{} does not run here: {error:#}", contender.name);
            false
        }
    });
    for _ in 0..runs {
        for contender in &mut *all {
            let begin = Instant::now();
            match (contender.run)() {
                Ok(()) => contender.times.push(begin.elapsed()),
                Err(error) => println!("{} failed: {error:#}", contender.name),
            }
        }
    }
}

/// A table of medians and quarters, each beside the first.
fn tell(title: &str, all: &mut [Contender]) -> Result<()> {
    println!("\n{title:28} {:>9} {:>9} {:>9}   ratio", "quarter", "median", "3rd q.");
    let mut first = None;
    for contender in all {
        contender.times.sort();
        let times = &contender.times;
        ensure!(!times.is_empty(), "{} never ended well", contender.name);
        let at = |part: usize| times[times.len() * part / 4].as_secs_f64() * 1e3;
        let base = *first.get_or_insert(at(2));
        println!(
            "{:28} {:6.2} ms {:6.2} ms {:6.2} ms  {:6.2}",
            contender.name,
            at(1),
            at(2),
            at(3),
            at(2) / base
        );
    }
    Ok(())
}

fn main() -> Result<()> {
    let runs = std::env::args().nth(1).map_or(Ok(40), |n| n.parse()).context("RUNS is a number")?;
    ensure!(runs > 0, "RUNS is 1 or more");
    let scratch = tempfile::tempdir().context("create a folder")?;
    let root = scratch.path().join("root");
    peers::copy_root(&busybox_root(), &root)?;
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).context("open the folder")?;
    let zoned = Rc::new(Zoned::try_start(Default::default())?);
    zoned.install("bench", &format!("dir:{}", root.display()), &[]);
    zoned.zonectl(&["boot", "bench"]).ok();
    let dir = scratch.path().to_path_buf();
    let floor = dir.join("floor");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/floor.c");
    if !program(&["gcc", "-O2", "-static", "-o", text(&floor), text(&source)]).status()?.success() {
        bail!("gcc did not build {}", source.display());
    }
    fs::create_dir(dir.join("stage")).context("make a folder")?;
    let groups = groups(&zoned);
    println!("{} control groups; {runs} runs each", groups.len());
    peers::suit(&dir)?;

    let r = text(&root).to_owned();
    let words = |zoned: &Rc<Zoned>, words: &[&str]| {
        let zoned = Rc::clone(zoned);
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        move || quiet(zoned.command(&words.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let of =
        |words: Vec<String>| move || quiet(program(&words.iter().map(String::as_str).collect::<Vec<_>>()));
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    peers::bundle(&dir.join("true"), &root, &["/bin/true"])?;
    let conf = peers::lxc(&dir, &root)?;
    let runtime = |name: &str| {
        let state = dir.join(name);
        strings(&[name, "--root", text(&state), "run", "--bundle", text(&dir.join("true")), "bench"])
    };
    let mut floor_words = strings(&[text(&floor), &r, text(&dir), "/bin/true"]);
    floor_words.extend(groups);
    let nspawn = [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--private-network",
        "--volatile=overlay",
        "--private-users=1342177280",
        "-D",
        &r,
        "/bin/true",
    ];
    let lxc_dir = dir.join("lxc");
    fs::create_dir(&lxc_dir).context("make a folder")?;
    let mut starts = vec![
        contender("zonectl run", words(&zoned, &["run", "--root", &r, "--", "/bin/true"])),
        contender("the floor", of(floor_words)),
        contender(
            "bwrap --unshare-all",
            of(strings(&[
                "bwrap",
                "--unshare-all",
                "--unshare-user",
                "--ro-bind",
                &r,
                "/",
                "--proc",
                "/proc",
                "--dev",
                "/dev",
                "/bin/true",
            ])),
        ),
        contender("crun run", of(runtime("crun"))),
        contender("runc run", of(runtime("runc"))),
        contender(
            "lxc-execute",
            of(strings(&[
                "lxc-execute",
                "-P",
                text(&lxc_dir),
                "-n",
                "bench",
                "-f",
                text(&conf),
                "/bin/true",
            ])),
        ),
        contender("systemd-nspawn", of(strings(&nspawn))),
        contender(
            "podman run --rootfs",
            of(strings(
                &[&["podman", "run", "--rm"], &peers::PODMAN[..], &["--rootfs", &r, "/bin/true"]].concat(),
            )),
        ),
    ];
    measure(&mut starts, runs);
    tell("one program", &mut starts)?;

    let pid = zoned.init_of("bench").to_string();
    peers::bundle(&dir.join("sleep"), &root, &["/bin/sleep", "100000"])?;
    let state = dir.join("crun");
    let sleep = dir.join("sleep");
    let crun = ["crun", "--root", text(&state), "run", "--detach", "--bundle", text(&sleep), "enter"];
    let mut enters = vec![
        contender("zonectl login", words(&zoned, &["login", "bench", "--", "/bin/true"])),
        contender("nsenter", of(strings(&["nsenter", "-t", &pid, "-a", "/bin/true"]))),
    ];
    let started = Command::new("sh")
        .arg("-c")
        .arg(format!("{} < /dev/zero > {} 2>&1", crun.join(" "), text(&dir.join("crun.out"))))
        .status();
    if started.is_ok_and(|status| status.success()) {
        enters.push(contender(
            "crun exec",
            of(strings(&["crun", "--root", text(&state), "exec", "enter", "/bin/true"])),
        ));
    }
    let lxc_start = ["lxc-execute", "-d", "-P", text(&lxc_dir), "-n", "enter", "-f", text(&conf), "--"];
    let mut attached = program(&lxc_start);
    attached.args(["/bin/sleep", "100000"]);
    if quiet(attached).is_ok() {
        enters.push(contender(
            "lxc-attach",
            of(strings(&["lxc-attach", "-P", text(&lxc_dir), "-n", "enter", "--", "/bin/true"])),
        ));
    }
    measure(&mut enters, runs);
    tell("entering", &mut enters)?;
    let _ = quiet(program(&["crun", "--root", text(&state), "delete", "--force", "enter"]));
    let _ = quiet(program(&["lxc-stop", "-k", "-P", text(&lxc_dir), "-n", "enter"]));
    zoned.forget("bench");
    Ok(())
}
