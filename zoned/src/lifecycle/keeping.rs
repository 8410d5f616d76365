//! Tests of zones that are booted with the host, ended with it, and booted again when they end.

use std::sync::atomic::Ordering;

use zone_api::{Boot, Create, Edit, ErrorKind, State};

use super::fake::Place;
use super::host::{Ended, MonitorEvent};
use crate::state::{Record, Restarts, now};

fn set(place: &Place, name: &str, key: &str, value: &str) {
    place.zones.edit(name, &[edit(key, value)]).unwrap();
}

fn edit(key: &str, value: &str) -> Edit {
    Edit::Set { key: key.into(), value: value.into() }
}

fn reason(place: &Place, name: &str) -> String {
    place.zones.zone(name).unwrap().reason.unwrap_or_default()
}

fn id(place: &Place, name: &str) -> Option<u32> {
    place.zones.zone(name).unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_boot_with_the_host_in_order_and_once() {
    let mut place = Place::new();
    for (name, after) in [("a", "b"), ("b", "c"), ("c", ""), ("d", "by-hand"), ("by-hand", "")] {
        place.installed(name);
        set(&place, name, "autoboot", if name == "by-hand" { "false" } else { "true" });
        if !after.is_empty() {
            set(&place, name, "boot-after", after);
        }
    }
    place.zones.autoboot();
    // Ids are given in the order of boots.
    assert_eq!(["a", "b", "c"].map(|name| id(&place, name)), [Some(3), Some(2), Some(1)]);
    assert_eq!(place.state("d"), State::Installed);
    let why = "it was not booted with the host: zone by-hand, which it is booted after, does not run";
    assert_eq!(reason(&place, "d"), why);
    assert_eq!(place.zones.log("d").unwrap().last().unwrap().text, why);

    // Halted by hand it stays so when zoned is started anew, and is booted when the host was.
    place.zones.halt("c").unwrap();
    place.restart();
    place.zones.autoboot();
    assert_eq!((place.state("c"), place.state("a")), (State::Installed, State::Running));
    std::fs::write(place.dir.path().join("root/booted"), "an earlier boot").unwrap();
    place.restart();
    place.zones.autoboot();
    assert_eq!(place.state("c"), State::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_end_in_the_other_order() {
    let place = Place::new();
    for (name, after) in [("a", "b"), ("b", "c"), ("c", "d"), ("d", "")] {
        place.installed(name);
        if !after.is_empty() {
            set(&place, name, "boot-after", after);
        }
        place.zones.boot(name, Boot::default()).unwrap();
    }
    place.zones.halt("b").unwrap();
    place.fake.torn_down.lock().unwrap().clear();
    place.zones.shutdown_all(Some(0)).unwrap();
    for name in ["a", "b", "c", "d"] {
        assert_eq!((place.state(name), reason(&place, name).as_str()), (State::Installed, ""), "{name}");
    }
    let order = place.fake.torn_down.lock().unwrap().clone();
    let at = |name: &str| order.iter().position(|other| other == name);
    assert!(order.len() == 3 && at("c") < at("d") && at("b").is_none(), "{order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_does_not_boot_keeps_those_after_it_back() {
    let place = Place::new();
    for (name, after) in [("a", "b"), ("b", ""), ("c", "a")] {
        place.installed(name);
        set(&place, name, "autoboot", "true");
        if !after.is_empty() {
            set(&place, name, "boot-after", after);
        }
    }
    place.fake.fail_start.store(true, Ordering::SeqCst);
    place.zones.autoboot();
    assert!(reason(&place, "b").ends_with("start init: the test wants it so"), "{}", reason(&place, "b"));
    assert!(reason(&place, "a").ends_with("zone b, which it is booted after, does not run"));
    assert!(reason(&place, "c").ends_with("zone a, which it is booted after, does not run"));
}

#[tokio::test(flavor = "multi_thread")]
async fn cycles_are_refused_and_named() {
    let place = Place::new();
    for (name, after) in [("a", "b"), ("b", "c")] {
        place.installed(name);
        set(&place, name, "boot-after", after);
    }
    let says = "boot-after makes a cycle: c after a after b after c";
    let wanted = Create { name: "c".into(), edits: vec![edit("boot-after", "a")], ..Create::default() };
    let error = place.zones.create(&wanted).unwrap_err();
    assert_eq!((error.kind, error.why.as_str()), (ErrorKind::Invalid, says));
    assert!(place.zones.zone("c").is_err());
    place.installed("c");
    assert_eq!(place.zones.edit("c", &[edit("boot-after", "x,a")]).unwrap_err().why, says);
    assert_eq!(place.zones.put("c", "name = \"c\"\nboot-after = [\"a\"]\n").unwrap_err().why, says);
    let alone = place.zones.edit("c", &[edit("boot-after", "c")]).unwrap_err();
    assert_eq!(alone.why, "boot-after makes a cycle: c after c");

    // By hand it can be written, and is told.
    let file = place.dir.path().join("etc/c.toml");
    std::fs::write(file, "name = \"c\"\nautoboot = true\nboot-after = [\"a\"]\n").unwrap();
    let verified = place.zones.verify("c").unwrap();
    assert_eq!((verified.ok, verified.findings), (false, vec![says.to_owned()]));
    place.zones.autoboot();
    assert_eq!(reason(&place, "c"), format!("it was not booted with the host: {says}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_decide_which_ends_are_final() {
    let place = Place::new();
    for policy in ["no", "on-failure", "always"] {
        place.installed(policy);
        set(&place, policy, "restart", policy);
        for (what, again) in [
            ("died", policy != "no"),
            ("exited", policy != "no"),
            ("killed", policy != "no"),
            ("powered off", policy == "always"),
            ("halted", false),
        ] {
            place.zones.boot(policy, Boot::default()).unwrap();
            let before = place.zones.zone(policy).unwrap().restarts;
            let monitor = place.fake.monitor(policy);
            match what {
                "died" => monitor.tell(MonitorEvent::Lost { signal: Some(9) }),
                "exited" => monitor.end(Ended::Halted, Some("its process 1 exited with status 1")),
                "killed" => monitor.end(Ended::Failed, Some("its process 1 was killed by signal 11")),
                "powered off" => monitor.end(Ended::PoweredOff, None),
                _ => place.zones.halt(policy).unwrap(),
            }
            place.until("its end", |place| place.state(policy) == State::Installed);
            if again {
                place.until("the plan", |place| reason(place, policy).contains("it is booted again in"));
                place.until("the restart", |place| place.state(policy) == State::Running);
                place.until("the count", |place| place.zones.zone(policy).unwrap().restarts == before + 1);
                place.until("its end", |place| place.zones.zone(policy).unwrap().busy.is_none());
                place.zones.halt(policy).unwrap();
            } else {
                std::thread::sleep(std::time::Duration::from_millis(100));
                assert!(!reason(&place, policy).contains("again"), "{policy} {what}");
            }
            // Each begins a row of its own, so that the test need not wait long.
            place
                .zones
                .save(policy, |record| crate::state::Record {
                    restarts: record.restarts.map(|r| crate::state::Restarts { in_row: 0, ..r }),
                    ..record.clone()
                })
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_have_an_end_and_outlive_zoned() {
    let mut place = Place::new();
    place.installed("a");
    set(&place, "a", "restart", "on-failure");
    set(&place, "a", "restart-limit", "1");
    // The next zoned does what the last one planned. It is written by hand, since the last one goes on here.
    let planned = Restarts { total: 0, in_row: 1, due: Some(now() + 1) };
    place.zones.save("a", |record| Record { restarts: Some(planned), ..record.clone() }).unwrap();
    place.restart();
    place.until("the restart", |place| place.state("a") == State::Running);
    place.until("the count", |place| place.zones.zone("a").unwrap().restarts == 1);
    place.fake.monitor("a").tell(MonitorEvent::Lost { signal: None });
    place.until("giving up", |place| reason(place, "a").ends_with("1 times in a row and is left alone now"));

    // Booted and halted by hand before it is due, it stays halted.
    place.zones.boot("a", Boot::default()).unwrap();
    place.fake.monitor("a").tell(MonitorEvent::Lost { signal: None });
    place.until("the plan", |place| reason(place, "a").contains("it is booted again in 1 s"));
    place.zones.boot("a", Boot::default()).unwrap();
    place.zones.halt("a").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1300));
    assert_eq!(place.state("a"), State::Installed);
}
