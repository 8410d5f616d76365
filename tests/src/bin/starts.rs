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
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use zones_tests::{Zoned, busybox_root, text};

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

/// The host as the others want it, for this process and its children: zoned, which runs already, keeps its own view. crun 1.8
/// refuses a hybrid layout whose v2 hierarchy has controllers, and LXC has newuidmap(1) map ids, which wants them granted.
fn suit_the_others(dir: &Path) -> Result<()> {
    const V2: &str = "/sys/fs/cgroup/unified";
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("make mounts private")?;
    if Path::new(V2).join("cgroup.controllers").exists() {
        umount2(V2, MntFlags::MNT_DETACH).with_context(|| format!("umount {V2}"))?;
    }
    let granted = dir.join("subids");
    fs::write(&granted, "root:1000000:65536\n").context("write subids")?;
    for file in ["/etc/subuid", "/etc/subgid"].into_iter().filter(|file| Path::new(file).exists()) {
        mount(Some(&granted), file, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("mount on {file}"))?;
    }
    Ok(())
}

/// The least that `crun run` and `runc run` need for a program in a user namespace of its own.
fn bundle(dir: &Path, root: &Path, words: &[&str]) -> Result<()> {
    let namespaces =
        ["user", "pid", "mount", "network", "uts", "ipc", "cgroup"].map(|n| json!({ "type": n }));
    let ids = json!([{ "containerID": 0, "hostID": 1_000_000, "size": 65536 }]);
    let config = json!({
        "ociVersion": "1.0.2",
        "process": { "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": words,
                     "env": ["PATH=/bin:/sbin"], "cwd": "/" },
        "root": { "path": root, "readonly": true },
        "hostname": "bench",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid", "noexec"] },
        ],
        "linux": { "namespaces": namespaces, "uidMappings": ids, "gidMappings": ids },
    });
    fs::create_dir_all(dir).context("make the bundle")?;
    fs::write(dir.join("config.json"), serde_json::to_vec_pretty(&config)?).context("write config.json")
}

/// The configuration of a container of lxc over the same root, with ids mapped.
fn lxc(dir: &Path, root: &Path) -> Result<PathBuf> {
    let file = dir.join("lxc.conf");
    let lines = format!(
        "lxc.rootfs.path = dir:{}\nlxc.rootfs.options = idmap=container\nlxc.uts.name = bench\n\
         lxc.idmap = u 0 1000000 65536\nlxc.idmap = g 0 1000000 65536\nlxc.net.0.type = empty\n\
         lxc.mount.auto = proc:mixed sys:ro\nlxc.apparmor.profile = unconfined\n",
        root.display()
    );
    fs::write(&file, lines).context("write lxc.conf")?;
    Ok(file)
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
    let copied = program(&["cp", "-a", text(&busybox_root()), text(&root)]).status();
    ensure!(copied.is_ok_and(|status| status.success()), "cp of the root failed");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).context("open the folder")?;
    // nspawn takes a root without it for none.
    fs::create_dir_all(root.join("usr")).context("make usr")?;
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
    suit_the_others(&dir)?;

    let r = text(&root).to_owned();
    let words = |zoned: &Rc<Zoned>, words: &[&str]| {
        let zoned = Rc::clone(zoned);
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        move || quiet(zoned.command(&words.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let of =
        |words: Vec<String>| move || quiet(program(&words.iter().map(String::as_str).collect::<Vec<_>>()));
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    bundle(&dir.join("true"), &root, &["/bin/true"])?;
    let conf = lxc(&dir, &root)?;
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
            of(strings(&[
                "podman",
                "run",
                "--rm",
                "--network=none",
                "--cgroups=disabled",
                // What it would set by itself takes CAP_SYS_RESOURCE.
                "--ulimit=nofile=1024:1024",
                "--ulimit=nproc=1024:1024",
                "--rootfs",
                &r,
                "/bin/true",
            ])),
        ),
    ];
    measure(&mut starts, runs);
    tell("one program", &mut starts)?;

    let pid = zoned.init_of("bench").to_string();
    bundle(&dir.join("sleep"), &root, &["/bin/sleep", "100000"])?;
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
