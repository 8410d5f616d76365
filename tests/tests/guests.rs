//! Real userlands: each installs, runs and is entered; those with an init of their own boot to a login prompt
//! and are powered off and rebooted from it. A guest that is not here is an ignored test, counted as such.

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use zones_tests::{GUESTS, Guest, Terminal, Zoned, debian, eventually};

const SESSION: &str = "uname -a; id; ls -l /; ps";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for guest in GUESTS {
        let missing = guest.tarball().err();
        if let Some(why) = &missing {
            eprintln!("SKIPPED {}: {why}", guest.name);
        }
        let ignored = missing.is_some();
        let mut add = |what: &str, run: fn(Guest) -> Result<(), Failed>| {
            let name = format!("{}::{what}", guest.name);
            trials.push(Trial::test(name, move || run(guest)).with_ignored_flag(ignored));
        };
        add("runs_a_program_without_being_installed", runs);
        add("installs_and_is_entered", is_entered);
        if guest.boots {
            add("boots_to_a_login_prompt_and_powers_off", powers_off);
            add("reboots_from_its_own_prompt", reboots);
        }
    }
    let no_debian = Command::new("mmdebstrap").arg("--version").output().is_err();
    for (suite, arch, kernel) in [("bullseye", "i386", "2.6.32"), ("bookworm", "amd64", "6.1")] {
        if no_debian {
            eprintln!("SKIPPED debian {suite}: mmdebstrap is not installed");
        }
        let name = format!("debian_{suite}_{arch}::boots_systemd_and_shuts_down");
        let trial = Trial::test(name, move || boots_systemd(suite, arch, kernel));
        trials.push(trial.with_ignored_flag(no_debian));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn source(guest: Guest) -> Result<String, Failed> {
    Ok(format!("tar:{}", guest.tarball()?.display()))
}

/// What SESSION must print in a zone of this guest.
fn is_a_session_of(guest: Guest, text: &str) {
    for word in ["Linux", &format!(" {} ", guest.kernel), guest.machine, "uid=0(root)", "bin", "PID"] {
        assert!(text.contains(word), "{}: expected '{word}' in\n{text}", guest.name);
    }
}

fn runs(guest: Guest) -> Result<(), Failed> {
    let zoned = Zoned::start();
    let source = source(guest)?;
    let text =
        zoned.zonectl(&["run", "--kernel", guest.kernel, "--root", &source, "--", "sh", "-c", SESSION]).ok();
    is_a_session_of(guest, &text);
    let left = zoned.zonectl(&["list", "-c", "-p"]).ok();
    assert_eq!(left.lines().filter(|l| !l.contains(":global:")).count(), 0, "left behind: {left}");
    Ok(())
}

fn is_entered(guest: Guest) -> Result<(), Failed> {
    let zoned = Zoned::start();
    zoned.install("g", &source(guest)?, &[&format!("kernel={}", guest.kernel)]);
    assert_eq!(zoned.state("g").as_deref(), Some("installed"));
    zoned.zonectl(&["boot", "g", "-i", "none"]).ok();
    let text = zoned.zonectl(&["login", "g", "--", "sh", "-c", SESSION]).ok();
    is_a_session_of(guest, &text);
    zoned.zonectl(&["login", "g", "--", "sh", "-c", "exit 42"]).code(42);
    zoned.zonectl(&["login", "g", "--", "sh", "-c", "kill -9 $$"]).code(137);
    zoned.zonectl(&["halt", "g"]).ok();
    zoned.wait_for("g", "installed");
    zoned.zonectl(&["uninstall", "g", "-F"]).ok();
    assert_eq!(zoned.state("g").as_deref(), Some("configured"));
    Ok(())
}

/// Seconds that a guest may take to its prompt: cirros asks a server of its cloud for more than a minute first, and an emulated
/// processor beside other work is slow.
const BOOT: u64 = 240;

/// Boots a guest with its own init and comes to a shell on its console.
fn at_the_prompt(zoned: &Zoned, guest: Guest) -> Result<Terminal, Failed> {
    zoned.install("g", &source(guest)?, &[&format!("kernel={}", guest.kernel)]);
    let mut console = Terminal::start(&zoned.command(&["console", "g"]));
    zoned.zonectl(&["boot", "g"]).ok();
    log_in(&mut console, guest);
    Ok(console)
}

/// cirros asks for a user and its password, which is in its /etc/issue; tinycore logs its user in by itself.
fn log_in(console: &mut Terminal, guest: Guest) {
    if guest.name.starts_with("cirros") {
        console.expect("login: ", BOOT);
        console.send("cirros\n");
        console.expect("assword", 60);
        console.send("gocubsgo\n");
    }
    console.expect("$ ", BOOT);
    console.send("echo at-the-$((6*7))\n");
    console.expect("at-the-42", 60);
}

fn powers_off(guest: Guest) -> Result<(), Failed> {
    let zoned = Zoned::start();
    let mut console = at_the_prompt(&zoned, guest)?;
    console.send("sudo poweroff\n");
    zoned.wait_for("g", "installed");
    Ok(())
}

fn reboots(guest: Guest) -> Result<(), Failed> {
    let zoned = Zoned::start();
    let mut console = at_the_prompt(&zoned, guest)?;
    let first = zoned.init_of("g");
    console.send("sudo reboot\n");
    // A guest that logs in by itself shows its prompt once more before it goes down.
    eventually("process 1 is another after a reboot", BOOT, || {
        zoned
            .zone("g")
            .is_some_and(|zone| zone["init_pid"].as_i64().is_some_and(|pid| pid != i64::from(first)))
    });
    // The same console sees the next boot. tinycore logs its user in by itself only once in the life of a root.
    if guest.name.starts_with("cirros") {
        log_in(&mut console, guest);
    } else {
        console.expect("login: ", BOOT);
    }
    assert_eq!(zoned.state("g").as_deref(), Some("running"));
    Ok(())
}

fn boots_systemd(suite: &str, arch: &str, kernel: &str) -> Result<(), Failed> {
    let tar = debian(suite, arch).map_err(|e| format!("{e:#}"))?;
    let zoned = Zoned::start();
    zoned.install("g", &format!("tar:{}", tar.display()), &[&format!("kernel={kernel}")]);
    zoned.zonectl(&["boot", "g"]).ok();
    // Without D-Bus in the root there is nobody to wait for; systemctl asks by the private socket.
    eventually("systemd is up", 60, || {
        let state = zoned.zonectl(&["login", "g", "--", "systemctl", "is-system-running"]).stdout;
        state.contains("running") || state.contains("degraded")
    });
    let text = zoned.zonectl(&["login", "g", "--", "uname", "-r"]).ok();
    assert_eq!(text.trim(), kernel);
    zoned.zonectl(&["shutdown", "g", "-t", "30"]).ok();
    zoned.wait_for("g", "installed");
    Ok(())
}
