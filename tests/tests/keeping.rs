//! Zones that look after themselves: in order with the host, again when they die, gone with one command.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zones_tests::{Zoned, busybox_root, eventually};

fn zones(zoned: &Zoned, all: &[(&str, &[&str])]) {
    let source = format!("dir:{}", busybox_root().display());
    for (name, words) in all {
        zoned.install(name, &source, words);
    }
}

#[test]
fn zones_boot_with_the_host_and_are_halted_by_hand_for_good() {
    let mut zoned = Zoned::start();
    zones(&zoned, &[("app", &["boot-after=db", "autoboot=true"]), ("db", &["autoboot=true"])]);
    zoned.zonectl(&["set", "db", "boot-after=app"]).code(2).says(&["db after app after db"]);

    // As after a boot of the host: zones had been booted in another one.
    std::fs::write(zoned.root().join("booted"), "another").expect("write the boot");
    zoned.kill9();
    zoned.start_again();
    zoned.wait_for("db", "running");
    zoned.wait_for("app", "running");
    let id = |name| zoned.zone(name).expect("it is there")["id"].as_u64();
    assert!(id("db") < id("app"), "{:?} {:?}", id("db"), id("app"));

    zoned.zonectl(&["halt", "db"]).ok();
    eventually("that the boot is kept", 20, || {
        std::fs::read_to_string(zoned.root().join("booted")).is_ok_and(|boot| boot != "another")
    });
    zoned.kill9();
    zoned.start_again();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(zoned.state("db").as_deref(), Some("installed"));
    zoned.zonectl(&["boot", "db"]).ok();
    zoned.zonectl(&["shutdown", "--all", "-t", "20"]).ok();
    for name in ["app", "db"] {
        assert_eq!(zoned.state(name).as_deref(), Some("installed"), "{name}");
    }
}

#[test]
fn a_zone_whose_monitor_dies_is_booted_again_by_its_policy() {
    let mut zoned = Zoned::start();
    zones(&zoned, &[("z", &["restart=on-failure"])]);
    zoned.zonectl(&["boot", "z"]).ok();
    let restarts = |zoned: &Zoned| zoned.zone("z").expect("it is there")["restarts"].as_u64();
    for count in 1..=2 {
        let monitor = zoned.monitor_of("z");
        kill(Pid::from_raw(monitor), Signal::SIGKILL).expect("kill the monitor");
        eventually("the restart", 20, || restarts(&zoned) == Some(count));
        zoned.wait_for("z", "running");
    }
    // A zoned that is started meanwhile keeps to the plan.
    kill(Pid::from_raw(zoned.monitor_of("z")), Signal::SIGKILL).expect("kill the monitor");
    eventually("the plan", 20, || {
        zoned.zone("z").expect("it is there")["reason"].to_string().contains("again in")
    });
    zoned.kill9();
    zoned.start_again();
    eventually("the restart", 20, || restarts(&zoned) == Some(3));
    zoned.wait_for("z", "running");
    zoned.zonectl(&["halt", "z"]).ok();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(zoned.state("z").as_deref(), Some("installed"));
}
