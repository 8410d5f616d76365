//! Prints what many zones of busybox init cost: to boot, list, look at, shut down and halt, the first tenth beside the last,
//! and in memory, beside containers of LXC, podman and containerd.
//!
//! Memory of the host's side is the PSS of all monitors (proc_pid_smaps_rollup(5)); of zoned likewise; of all together the
//! fall of MemAvailable, which has the kernel's and the guests' own in it. Of the others it is that of what stays beside each
//! container: LXC's monitor, conmon, containerd-shim-runc-v2.
//!
//! `cargo run --release -p zones-tests --bin many [ZONES]`

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use zones_tests::{Zoned, busybox_root, eventually, figure, peers, text};

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

/// KiB of the processes whose command lines are such, each; there must be one for each container.
fn of_those(what: &str, is_one: impl Fn(&str) -> bool) -> Result<f64> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").context("read /proc")?.flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if is_one(&String::from_utf8_lossy(&line).replace('\0', " ")) {
            found.extend(process.file_name().to_str().and_then(|pid| pid.parse::<i32>().ok()));
        }
    }
    ensure!(found.len() == PEERS, "{} of {what}", found.len());
    let each: Result<Vec<u64>> = found.iter().map(|pid| pss(*pid)).collect();
    Ok(each?.iter().sum::<u64>() as f64 / PEERS as f64)
}

/// That of conmon.
fn of_podman(dir: &Path, root: &Path) -> Result<f64> {
    let store = dir.join("podman");
    let podman = |words: &[&str]| peers::podman(dir, words);
    let run =
        [&["run", "-d"], &peers::PODMAN[..], &["--rootfs", text(root), "/bin/sleep", "100000"]].concat();
    let ran: Result<Vec<String>> = (0..PEERS).map(|_| podman(&run)).collect();
    let is_one = |line: &str| line.contains("conmon ") && line.contains(text(&store));
    let each = ran.and_then(|_| of_those("conmon", is_one));
    podman(&["rm", "-f", "-a", "-t", "0"])?;
    each
}

/// That of containerd's shims.
fn of_containerd(dir: &Path, root: &Path) -> Result<f64> {
    let dir = dir.join("containerd");
    let [state, socket, configuration] = ["state", "socket", "toml"].map(|name| dir.join(name));
    fs::create_dir(&dir).context("make a folder")?;
    let lines = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
    fs::write(&configuration, lines).context("write its configuration")?;
    let mut daemon = Command::new("containerd");
    daemon.arg("--config").arg(&configuration).arg("--root").arg(dir.join("root"));
    daemon.arg("--state").arg(&state).arg("--address").arg(&socket).stdin(Stdio::null());
    let mut daemon = daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("run containerd")?;
    let ctr = |words: &[&str]| -> Result<()> {
        let output = Command::new("ctr").args(["-a", text(&socket), "-n", "bench"]).args(words).output();
        let output = output.context("run ctr")?;
        ensure!(output.status.success(), "ctr {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    eventually("containerd answers", 20, || ctr(&["version"]).is_ok());
    let names: Vec<String> = (1..=PEERS).map(|n| format!("c{n}")).collect();
    let run = |name: &String| {
        ctr(&["run", "-d", "--null-io", "--rootfs", text(root), name, "/bin/sleep", "100000"])
    };
    let is_one = |line: &str| line.contains("containerd-shim") && line.contains(text(&socket));
    let each = names.iter().try_for_each(run).and_then(|()| of_those("containerd-shim", is_one));
    for name in &names {
        // Of what was not begun there is nothing to end.
        let _ = ctr(&["task", "delete", "-f", name]).and_then(|()| ctr(&["container", "delete", name]));
    }
    daemon.kill().and_then(|()| daemon.wait()).context("end containerd")?;
    each
}

/// That of LXC's monitors.
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
    let names: Vec<String> = (1..=PEERS).map(|n| format!("l{n}")).collect();
    for name in &names {
        ensure!(start(name).context("run lxc-execute")?.success(), "lxc-execute failed");
    }
    // Its title is "[lxc monitor] PLACE NAME".
    let is_one = |line: &str| line.starts_with("[lxc monitor]") && line.contains(text(&place));
    let each = of_those("LXC's monitors", is_one);
    for name in &names {
        let stopped = peers::suited(dir, &["lxc-stop", "-k", "-P", text(&place), "-n", name]).status();
        ensure!(stopped.context("run lxc-stop")?.success(), "lxc-stop failed");
    }
    each
}

/// How many containers of each other kind there are beside, all of which sleep.
const PEERS: usize = 20;

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
    for (what, each) in [
        ("LXC's monitor", of_lxc(dir.path(), &root)?),
        ("conmon", of_podman(dir.path(), &root)?),
        ("containerd-shim", of_containerd(dir.path(), &root)?),
    ] {
        println!("memory     {each:8.0} KiB of {what} each, of {PEERS} (PSS)");
    }
    Ok(())
}
