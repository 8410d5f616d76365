//! Prints how long the same root takes from boot to the login prompt on its console, in a zone and in others with a user and
//! a network namespace: medians of runs that take turns, all with a terminal. The roots are one of busybox, whose init writes
//! one without a getty, for which crun's console is no terminal to take, and a Debian with systemd.
//!
//! `cargo run --release -p zones-tests --bin boots [RUNS [SUITE]]`

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use zones_tests::{Terminal, Zoned, busybox_root, debian, peers, text};

/// Until the prompt stands there.
fn to_prompt(terminal: &mut Terminal, begin: Instant) -> Duration {
    terminal.expect("login:", 120);
    begin.elapsed()
}

fn in_a_zone(zoned: &Zoned, name: &str) -> Duration {
    let mut console = Terminal::start(&zoned.command(&["console", name]));
    // It connects before there is anything to see.
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    zoned.zonectl(&["boot", name]).ok();
    let took = to_prompt(&mut console, begin);
    zoned.zonectl(&["shutdown", name, "-t", "60"]).ok();
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

/// `configuration` is of [`peers::lxc`].
fn in_lxc(dir: &Path, configuration: &Path) -> Duration {
    let lxc = dir.join("lxc");
    let place = ["-P", text(&lxc), "-n", "boots"];
    let start = [&["lxc-start", "-F", "-f", text(configuration)][..], &place].concat();
    let begin = Instant::now();
    let mut console = Terminal::start(&peers::suited(dir, &start));
    let took = to_prompt(&mut console, begin);
    let stopped = peers::suited(dir, &[&["lxc-stop", "-k"][..], &place].concat()).status();
    assert!(stopped.is_ok_and(|status| status.success()), "lxc-stop failed");
    console.finish(30);
    took
}

fn in_crun(dir: &Path, bundle: &Path) -> Duration {
    let state = dir.join("crun");
    let begin = Instant::now();
    let run = ["crun", "--root", text(&state), "run", "--bundle", text(bundle), "boots"];
    let mut console = Terminal::start(&peers::suited(dir, &run));
    let took = to_prompt(&mut console, begin);
    // What tells that it failed is that the program above does not end.
    let _ = peers::suited(dir, &["crun", "--root", text(&state), "delete", "--force", "boots"]).output();
    console.finish(30);
    took
}

/// One way to boot a root.
struct Way<'a> {
    name: &'a str,
    boot: Box<dyn Fn() -> Duration + 'a>,
    times: Vec<Duration>,
}

impl<'a> Way<'a> {
    fn new(name: &'a str, boot: impl Fn() -> Duration + 'a) -> Self {
        Self { name, boot: Box::new(boot), times: Vec::new() }
    }
}

/// Lets all take turns; prints their medians and ratios to the first.
fn compare(title: &str, runs: usize, mut ways: Vec<Way<'_>>) {
    // The first round makes what a first boot makes, and is not counted.
    for round in 0..=runs {
        for way in &mut ways {
            let took = (way.boot)();
            if round > 0 {
                way.times.push(took);
            }
        }
    }
    let mut first = None;
    println!("{title}, from boot to prompt");
    for way in &mut ways {
        way.times.sort();
        let at = |part: usize| way.times[(runs * part / 4).min(runs - 1)].as_secs_f64() * 1e3;
        let ratio = at(2) / *first.get_or_insert(at(2));
        println!("{:16} {:8.1} ms ({:.1} {:.1})  {ratio:.2} ×", way.name, at(2), at(1), at(3));
    }
}

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let runs: usize = words.next().map_or(Ok(5), |n| n.parse()).context("RUNS is a number")?;
    ensure!(runs > 0, "RUNS is 1 or more");
    let suite = words.next().unwrap_or_else(|| "bookworm".to_owned());
    let tar = debian(&suite, "amd64")?;
    let zoned = Zoned::try_start(Default::default())?;
    let dir = tempfile::tempdir_in(zones_tests::target()).context("make a folder")?;
    let dir = dir.path();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).context("open the folder")?;
    fs::create_dir(dir.join("lxc")).context("make a folder")?;

    let busybox = dir.join("busybox");
    peers::copy_root(&busybox_root(), &busybox)?;
    let inittab = "::sysinit:/bin/true\n::once:/bin/echo login:\n::shutdown:/bin/true\n";
    fs::write(busybox.join("etc/inittab"), inittab).context("write inittab")?;
    zoned.install("b", &format!("dir:{}", busybox.display()), &[]);
    let with_lxc = peers::lxc(dir, &busybox)?;
    let bundle = dir.join("bundle");
    let mut configuration = peers::configuration(&busybox, &["/sbin/init"]);
    configuration["process"]["terminal"] = json!(true);
    let options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    let terminals =
        json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": options });
    configuration["mounts"].as_array_mut().context("mounts are a list")?.push(terminals);
    peers::write(&bundle, &configuration)?;
    let ways = vec![
        Way::new("zone", || in_a_zone(&zoned, "b")),
        Way::new("crun", || in_crun(dir, &bundle)),
        Way::new("lxc", || in_lxc(dir, &with_lxc)),
        Way::new("systemd-nspawn", || in_nspawn(&busybox)),
    ];
    compare("busybox", runs * 4, ways);
    zoned.forget("b");

    zoned.install("g", &format!("tar:{}", tar.display()), &[]);
    let root = dir.join("debian");
    fs::create_dir(&root).context("make a folder")?;
    let unpacked = Command::new("tar").arg("-C").arg(&root).arg("-xf").arg(&tar).status();
    ensure!(unpacked.context("run tar")?.success(), "the root does not unpack");
    let with_lxc = peers::lxc(dir, &root)?;
    let ways = vec![
        Way::new("zone", || in_a_zone(&zoned, "g")),
        Way::new("lxc", || in_lxc(dir, &with_lxc)),
        Way::new("systemd-nspawn", || in_nspawn(&root)),
    ];
    compare(&suite, runs, ways);
    zoned.forget("g");
    Ok(())
}
