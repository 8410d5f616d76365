//! Whole distributions by `install debootstrap:`, each with its init: to the login prompt without a failed unit, and down
//! and up again in every way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use zones_tests::{Terminal, Zoned, eventually};

/// A distribution with an init.
#[derive(Clone, Copy)]
struct System {
    name: &'static str,
    /// What follows `debootstrap:`.
    source: &'static str,
    /// How to ask from inside for another boot.
    reboot: &'static str,
    systemd: bool,
}

const fn systemd(name: &'static str, source: &'static str) -> System {
    System { name, source, reboot: "systemctl reboot", systemd: true }
}

const fn other(name: &'static str, source: &'static str, reboot: &'static str) -> System {
    System { name, source, reboot, systemd: false }
}

const SYSTEMS: [System; 9] = [
    systemd("bullseye_systemd_247", "bullseye"),
    systemd("bookworm_systemd_252", "bookworm"),
    systemd("trixie_systemd_257", "trixie"),
    systemd("sid_systemd", "sid"),
    systemd("bullseye_i386", "bullseye,arch=i386"),
    systemd("bookworm_i386", "bookworm,arch=i386"),
    other("sysvinit", "bookworm,variant=minbase,include=sysvinit-core+ifupdown+iproute2", "shutdown -r now"),
    other("openrc", "bookworm,variant=minbase,include=sysvinit-core+openrc", "reboot"),
    other("runit", "bookworm,variant=minbase,include=runit-init", "init 6"),
];

/// `NAME.tar` in $ZONES_ROOTS, which stands for a mirror where there is no network.
fn ready(system: System) -> Option<PathBuf> {
    Some(Path::new(&std::env::var_os("ZONES_ROOTS")?).join(system.name).with_extension("tar"))
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let no_debian = Command::new("mmdebstrap").arg("--version").output().is_err();
    let trials = SYSTEMS.map(|system| {
        let lacks = ready(system).map_or(no_debian, |tar| !tar.is_file());
        if lacks {
            eprintln!("SKIPPED {}: neither mmdebstrap nor its root is there", system.name);
        }
        Trial::test(system.name, move || lives(system)).with_ignored_flag(lacks)
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

fn lives(system: System) -> Result<(), Failed> {
    let zoned = Zoned::start();
    let mirror = std::env::var("DEBIAN_MIRROR").map(|url| format!(",mirror={url}")).unwrap_or_default();
    let source = match ready(system) {
        Some(tar) => format!("tar:{}", tar.display()),
        None => format!("debootstrap:{}{mirror}", system.source),
    };
    zoned.zonectl(&["create", "g"]).ok();
    let mut installed = zoned.zonectl(&["install", "g", &source]);
    if installed.status != Some(0) && installed.stderr.contains("Failed to fetch") {
        // A mirror in the middle of its update.
        std::thread::sleep(std::time::Duration::from_secs(20));
        installed = zoned.zonectl(&["install", "g", &source]);
    }
    installed.ok();
    let mut console = Terminal::start(&zoned.command(&["console", "g"]));
    let inside = |words: &[&str]| zoned.zonectl(&[&["login", "g", "--"], words].concat());
    let is_another = |init: i32| {
        let pid = zoned.zone("g").and_then(|zone| zone["init_pid"].as_i64());
        pid.is_some_and(|pid| pid != i64::from(init))
    };
    zoned.zonectl(&["boot", "g"]).ok();
    console.expect("login: ", 240);
    let first = zoned.init_of("g");
    if system.systemd {
        eventually("systemd is through", 120, || {
            inside(&["systemctl", "is-system-running"]).stdout.trim() != "starting"
        });
        assert_eq!(inside(&["systemctl", "is-system-running"]).stdout.trim(), "running");
        assert_eq!(inside(&["systemctl", "--failed", "--no-legend", "--plain"]).ok(), "");
    }
    let log = fs::read_to_string(zoned.root().join("zones/g/console.log")).unwrap_or_default();
    for word in ["FAILED", "Failed to start", "respawning too fast", "No such file", "mount: ", "/proc"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(word)).collect();
        let known = |line: &&&str| KNOWN.iter().any(|known| line.contains(known));
        assert_eq!(lines.iter().filter(|line| !known(line)).count(), 0, "{lines:#?}");
    }
    assert!(inside(&["ps", "ax"]).ok().contains("getty"), "a login waits");

    let words: Vec<&str> = system.reboot.split(' ').collect();
    inside(&words);
    eventually("process 1 is another after a reboot by the guest", 120, || is_another(first));
    console.expect("login: ", 240);
    let second = zoned.init_of("g");
    zoned.zonectl(&["shutdown", "g", "-r", "-t", "60"]).ok();
    eventually("process 1 is another after a reboot from outside", 60, || is_another(second));
    console.expect("login: ", 240);
    let third = zoned.init_of("g");
    zoned.zonectl(&["ctrl-alt-del", "g"]).ok();
    if system.name == "runit" {
        // Debian's /etc/runit/ctrlaltdel stops the system.
        eventually("Ctrl-Alt-Del powers it off", 120, || zoned.state("g").as_deref() == Some("installed"));
        // A console is left when its zone ends.
        console = Terminal::start(&zoned.command(&["console", "g"]));
        zoned.zonectl(&["boot", "g"]).ok();
    } else {
        eventually("process 1 is another after Ctrl-Alt-Del", 120, || is_another(third));
    }
    console.expect("login: ", 240);
    let began = std::time::Instant::now();
    zoned.zonectl(&["shutdown", "g", "-t", "100"]).ok();
    assert!(began.elapsed().as_secs() < 60, "it shuts down by itself, and is not halted in the end");
    zoned.wait_for("g", "installed");
    Ok(())
}

/// Lines that docs/how-to/inits.md explains.
const KNOWN: [&str; 7] = [
    "No inittab.d directory found",
    "/proc is already mounted",
    "/sys/fs/cgroup",
    "/proc/mounts",
    "proc-sys-fs-bi",
    "makefile-style",
    "x-systemd.graceful-option=usrquota",
];
