use std::sync::atomic::Ordering;

use zone_api::{Boot, Create, Edit, ErrorKind, Login, Progress, Run, Shutdown, State};

use super::fake::Place;
use super::host::{Ended, MonitorEvent, Session};
use crate::state::Verb;

fn create(name: &str) -> Create {
    Create { name: name.into(), ..Create::default() }
}

fn set(key: &str, value: &str) -> Edit {
    Edit::Set { key: key.into(), value: value.into() }
}

fn texts(place: &Place, name: &str) -> Vec<String> {
    place.zones.log(name).unwrap().into_iter().map(|line| line.text).collect()
}

fn pair() -> (std::os::unix::net::UnixStream, Session) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    (ours, Session { conn: theirs.into(), leftover: Vec::new() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_from_create_to_delete() {
    let place = Place::new();
    let zones = &place.zones;
    zones.create(&Create { edits: vec![set("kernel", "2.6.18")], ..create("a") }).unwrap();
    assert_eq!(place.state("a"), State::Configured);
    assert_eq!(zones.create(&create("a")).unwrap_err().kind, ErrorKind::WrongState);
    assert_eq!(zones.boot("a", Boot::default()).unwrap_err().kind, ErrorKind::WrongState);

    zones.begin_install("a", "dir:/x").unwrap().run(None, &|_| {}).unwrap();
    assert_eq!(place.state("a"), State::Installed);
    assert!(place.dir.path().join("root/zones/a/root/passwd").is_file());
    let uuid = zones.zone("a").unwrap().uuid;

    zones.boot("a", Boot::default()).unwrap();
    let zone = zones.zone("a").unwrap();
    assert_eq!((zone.state, zone.id, zone.init_pid), (State::Running, Some(1), Some(1000)));
    assert_eq!((zone.uuid, zone.kernel.as_deref()), (uuid, Some("2.6.18")));
    let twice = zones.boot("a", Boot::default()).unwrap_err();
    assert_eq!((twice.kind, twice.why.as_str()), (ErrorKind::WrongState, "zone a is running"));
    assert!(zones.delete("a", false).is_err() && zones.uninstall("a").is_err());

    zones.reboot("a").unwrap();
    place.until("its new init", |place| place.zones.zone("a").unwrap().init_pid == Some(1001));
    zones.halt("a").unwrap();
    let zone = zones.zone("a").unwrap();
    assert_eq!((zone.state, zone.id, zone.reason), (State::Installed, None, None));
    assert!(zones.halt("a").is_err());

    zones.uninstall("a").unwrap();
    assert_eq!(place.state("a"), State::Configured);
    assert!(!place.dir.path().join("root/zones/a/root").exists());
    assert_eq!(
        texts(&place, "a"),
        ["created with brand linux", "installed from dir:/x", "booted", "rebooted", "halted", "uninstalled"]
    );
    zones.delete("a", false).unwrap();
    assert_eq!(zones.zone("a").unwrap_err().kind, ErrorKind::NoSuchZone);
    assert!(!place.dir.path().join("etc/a.toml").exists());
    assert!(!place.dir.path().join("root/zones/a").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_with_an_operation_takes_no_second() {
    let place = Place::new();
    place.installed("a");
    place.fake.starts.close();
    let zones = place.zones.clone();
    let boot = std::thread::spawn(move || zones.boot("a", Boot::default()));
    place.until("the boot", |place| place.zones.zone("a").unwrap().busy.as_deref() == Some("boot"));
    for refused in [
        place.zones.boot("a", Boot::default()),
        place.zones.edit("a", &[set("autoboot", "true")]).map(drop),
        place.zones.delete("a", true),
    ] {
        let error = refused.unwrap_err();
        assert_eq!((error.kind, error.why.as_str()), (ErrorKind::WrongState, "zone a: boot is under way"));
    }
    place.fake.starts.open();
    boot.join().unwrap().unwrap();
    assert_eq!(place.state("a"), State::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn install_sets_the_level_of_an_old_root_and_no_other() {
    let place = Place::new();
    let zones = &place.zones;
    let installed = |name: &str, source: &str| {
        zones.begin_install(name, source).unwrap().run(None, &|_| {}).unwrap();
        zones.config_key(name, "kernel").unwrap()
    };
    zones.create(&create("old")).unwrap();
    assert_eq!(installed("old", "debian:6.0.10").as_deref(), Some("2.6.32-5-686"));
    let said = "kernel = \"2.6.32-5-686\" by /etc/debian_version (Debian 6.0.10); set kernel to change it";
    assert_eq!(texts(&place, "old").last().map(String::as_str), Some(said));

    zones.create(&create("new")).unwrap();
    assert_eq!(installed("new", "debian:12.1"), None);
    zones.create(&create("unknown")).unwrap();
    assert_eq!(installed("unknown", "dir:/x"), None);
    zones.create(&Create { edits: vec![set("kernel", "3.10")], ..create("said") }).unwrap();
    assert_eq!(installed("said", "debian:6.0.10").as_deref(), Some("3.10"));
    zones.create(&Create { edits: vec![set("brand", "native")], ..create("native") }).unwrap();
    assert_eq!(installed("native", "debian:6.0.10"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn halt_of_a_zone_being_installed_is_refused() {
    let place = Place::new();
    place.zones.create(&create("a")).unwrap();
    place.fake.installs.close();
    let job = place.zones.begin_install("a", "dir:/x").unwrap();
    let install = std::thread::spawn(move || job.run(None, &|_| {}));
    place.until("the install", |place| place.state("a") == State::Incomplete);
    assert_eq!(place.zones.halt("a").unwrap_err().why, "zone a: install is under way");
    place.fake.installs.open();
    install.join().unwrap().unwrap();
    assert_eq!(place.state("a"), State::Installed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_install_leaves_nothing() {
    let place = Place::new();
    place.zones.create(&create("a")).unwrap();
    let seen = std::sync::Mutex::new(Vec::new());
    let progress = |at: Progress| seen.lock().unwrap().push(at);
    place.zones.begin_install("a", "fail").unwrap().run(None, &progress).unwrap_err();
    assert_eq!(seen.lock().unwrap().len(), 1);
    assert_eq!(place.state("a"), State::Configured);
    let folder = place.dir.path().join("root/zones/a");
    assert!(!folder.join("root").exists());

    let job = place.zones.begin_install("a", "fail").unwrap();
    place.fake.installs.close();
    let install = std::thread::spawn(move || job.run(None, &|_| {}));
    place.until("its first file", |_| folder.join("root/passwd").exists());
    place.fake.fail_empty.store(true, Ordering::SeqCst);
    place.fake.installs.open();
    install.join().unwrap().unwrap_err();
    let zone = place.zones.zone("a").unwrap();
    assert_eq!(zone.state, State::Incomplete);
    assert!(zone.reason.unwrap().starts_with("install failed, and its root could not be emptied"));
    // What could not be emptied is out of the way by now.
    std::fs::create_dir(folder.join("root")).unwrap();
    assert!(place.zones.uninstall("a").is_err());
    assert_eq!(place.state("a"), State::Incomplete);
    place.fake.fail_empty.store(false, Ordering::SeqCst);
    place.zones.uninstall("a").unwrap();
    assert_eq!(place.state("a"), State::Configured);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_boot_is_torn_down() {
    let place = Place::new();
    place.installed("a");
    place.fake.fail_start.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        place.zones.boot("a", Boot::default()).unwrap_err();
        assert_eq!(place.state("a"), State::Installed);
    }
    assert_eq!(place.fake.torn_down.lock().unwrap().len(), 20);
    place.fake.fail_start.store(false, Ordering::SeqCst);
    place.zones.boot("a", Boot { init: Some("none".into()), args: None }).unwrap();
    assert_eq!(place.zones.zone("a").unwrap().id, Some(1));
    let bad = Boot { init: Some("sbin/init".into()), args: None };
    place.zones.halt("a").unwrap();
    assert_eq!(place.zones.boot("a", bad).unwrap_err().kind, ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_monitor_takes_its_zone_along() {
    let place = Place::new();
    place.installed("a");
    place.zones.boot("a", Boot::default()).unwrap();
    place.fake.monitor("a").tell(MonitorEvent::Lost { signal: Some(9) });
    place.until("its end", |place| place.state("a") == State::Installed);
    assert_eq!(place.zones.zone("a").unwrap().reason.as_deref(), Some("its monitor was killed by signal 9"));
    assert_eq!(*place.fake.torn_down.lock().unwrap(), ["a"]);
    place.zones.boot("a", Boot::default()).unwrap();
    place.fake.monitor("a").events.lock().unwrap().take();
    place.until("its end", |place| place.state("a") == State::Installed);
    assert_eq!(place.zones.zone("a").unwrap().reason.as_deref(), Some("its monitor was killed"));
    place.zones.boot("a", Boot::default()).unwrap();
    place.zones.halt("a").unwrap();
    assert_eq!(place.zones.zone("a").unwrap().reason, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_torn_down_is_tried_again_before_a_boot() {
    let place = Place::new();
    place.installed("a");
    place.zones.boot("a", Boot::default()).unwrap();
    place.fake.fail_teardown.store(true, Ordering::SeqCst);
    place.zones.halt("a").unwrap();
    assert!(place.zones.zone("a").unwrap().reason.unwrap().starts_with("something of it is left"));
    assert!(place.zones.boot("a", Boot::default()).is_err());
    place.fake.fail_teardown.store(false, Ordering::SeqCst);
    place.zones.boot("a", Boot::default()).unwrap();
    assert_eq!(place.state("a"), State::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_can_end_its_zone() {
    let place = Place::new();
    place.installed("a");
    for (how, reason, told) in [
        (Ended::PoweredOff, None, Some("it powered off")),
        (Ended::Halted, None, None),
        (
            Ended::Failed,
            Some("init was killed by signal 11"),
            Some("it failed: init was killed by signal 11"),
        ),
    ] {
        place.zones.boot("a", Boot::default()).unwrap();
        place.fake.monitor("a").end(how, reason);
        place.until("its end", |place| place.state("a") == State::Installed);
        assert_eq!(place.zones.zone("a").unwrap().reason.as_deref(), told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_then_boot() {
    let place = Place::new();
    place.installed("a");
    place.zones.ready("a", Boot::default()).unwrap();
    assert_eq!(place.state("a"), State::Ready);
    assert!(place.zones.may_login("a").is_err() && place.zones.may_console("a").is_ok());
    place.zones.boot("a", Boot { init: None, args: Some(vec!["s".into()]) }).unwrap();
    assert_eq!(place.state("a"), State::Running);
    assert_eq!(place.fake.monitor("a").boots.lock().unwrap()[1].args.as_deref(), Some(&["s".into()][..]));
    assert!(place.zones.ready("a", Boot::default()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_reboots_and_gives_way_to_halt() {
    let place = Place::new();
    place.installed("a");
    let how = |reboot, timeout| Shutdown { reboot, timeout: Some(timeout) };
    place.zones.boot("a", Boot::default()).unwrap();
    place.zones.shutdown("a", &how(false, 0)).unwrap();
    assert_eq!(place.state("a"), State::Installed);

    place.zones.boot("a", Boot::default()).unwrap();
    place.zones.shutdown("a", &how(true, 5)).unwrap();
    assert_eq!(place.state("a"), State::Running);

    let zones = place.zones.clone();
    let shutdown = std::thread::spawn(move || zones.shutdown("a", &how(false, 600)));
    place.until("the shutdown", |place| place.state("a") == State::ShuttingDown);
    assert_eq!(place.zones.reboot("a").unwrap_err().kind, ErrorKind::WrongState);
    place.zones.halt("a").unwrap();
    shutdown.join().unwrap().unwrap();
    assert_eq!(place.state("a"), State::Installed);

    place.zones.ready("a", Boot::default()).unwrap();
    place.zones.shutdown("a", &how(false, 600)).unwrap();
    assert_eq!(place.state("a"), State::Installed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_that_does_not_answer_is_ended_without_it() {
    let place = Place::new();
    place.installed("a");
    place.zones.boot("a", Boot::default()).unwrap();
    place.fake.monitor("a").deaf.store(true, Ordering::SeqCst);
    assert!(place.zones.reboot("a").is_err());
    place.zones.halt("a").unwrap();
    assert_eq!(place.state("a"), State::Installed);
    assert_eq!(*place.fake.torn_down.lock().unwrap(), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_zoned_finds_its_zones_again() {
    let mut place = Place::new();
    for name in ["a", "b", "c"] {
        place.installed(name);
    }
    place.zones.edit("c", &[set("autoboot", "true")]).unwrap();
    for name in ["a", "b"] {
        place.zones.boot(name, Boot::default()).unwrap();
    }
    // b's monitor dies while nobody watches.
    place.fake.monitors.lock().unwrap().remove("b");
    place.restart();
    place.zones.autoboot();
    let zone = |name| place.zones.zone(name).unwrap();
    assert_eq!((zone("a").state, zone("a").id, zone("a").init_pid), (State::Running, Some(1), Some(1000)));
    assert_eq!(zone("b").state, State::Installed);
    assert_eq!(zone("b").reason.as_deref(), Some("its monitor was killed while zoned was away"));
    assert_eq!((zone("c").state, zone("c").id), (State::Running, Some(2)));
    place.zones.halt("a").unwrap();
    assert_eq!(zone("a").state, State::Installed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_cut_off_is_incomplete_and_can_be_mended() {
    let mut place = Place::new();
    place.zones.create(&create("a")).unwrap();
    place.installed("b");
    for (name, verb) in [("a", Verb::Install), ("b", Verb::Uninstall)] {
        let begun = |record: &crate::state::Record| {
            record.to(crate::state::Durable::Incomplete, Some(verb), Some("under way".into()))
        };
        place.zones.save(name, begun).unwrap();
    }
    let half = place.dir.path().join("root/zones/a/root");
    std::fs::create_dir(&half).unwrap();
    let trash = place.dir.path().join("root/zones/.trash/half");
    std::fs::create_dir_all(trash.join("root")).unwrap();
    let left = place.dir.path().join("root/ephemeral/run-00000000");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(place.dir.path().join("root/zones/b/state.json.x"), "").unwrap();
    place.restart();
    for (name, reason) in [("a", "install was interrupted"), ("b", "uninstall was interrupted")] {
        let zone = place.zones.zone(name).unwrap();
        assert_eq!((zone.state, zone.reason.as_deref()), (State::Incomplete, Some(reason)));
        place.zones.uninstall(name).unwrap();
        assert_eq!(place.state(name), State::Configured);
        place.zones.begin_install(name, "dir:/x").unwrap().run(None, &|_| {}).unwrap();
        place.zones.boot(name, Boot::default()).unwrap();
    }
    assert!(!trash.exists() && !left.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_put_in_place_by_hand() {
    let mut place = Place::new();
    std::fs::write(place.dir.path().join("etc/hand.toml"), "name = \"hand\"\n").unwrap();
    std::fs::write(place.dir.path().join("etc/bad.toml"), "name = \"bad\"\ncolour = 1\n").unwrap();
    let shown: Vec<_> = place.zones.list().into_iter().map(|zone| (zone.name, zone.brand)).collect();
    assert_eq!(shown, [("bad".into(), "?".into()), ("hand".into(), "linux".to_owned())]);
    assert!(place.zones.zone("bad").unwrap().reason.unwrap().contains("bad.toml:2"));
    assert!(!place.zones.verify("bad").unwrap().ok && place.zones.verify("hand").unwrap().ok);

    place.installed("a");
    let uuid = place.zones.zone("a").unwrap().uuid;
    std::fs::write(place.dir.path().join("root/zones/a/state.json"), "{\"generation\":").unwrap();
    std::fs::remove_file(place.dir.path().join("etc/hand.toml")).unwrap();
    place.restart();
    let zone = place.zones.zone("a").unwrap();
    assert_eq!(zone.state, State::Incomplete);
    assert!(zone.reason.unwrap().starts_with("its state.json made no sense and was moved aside"));
    assert_ne!(zone.uuid, uuid);
    // The folder keeps a zone known whose configuration is gone.
    assert_eq!(place.state("hand"), State::Configured);
    place.zones.delete("hand", false).unwrap();
    place.zones.delete("a", true).unwrap();
    assert_eq!(place.zones.list().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_ids_are_given_once_and_given_back() {
    let place = Place::new();
    let slot = |name: &str| place.zones.lock().zones[name].record.id_slot;
    for name in ["a", "b", "c", "d", "e"] {
        place.zones.create(&create(name)).unwrap();
    }
    assert_eq!((slot("a"), slot("e")), (0, 4));
    assert!(place.zones.create(&create("f")).unwrap_err().why.contains("all 5 ranges are taken"));
    place.zones.delete("b", false).unwrap();
    place.zones.create(&create("f")).unwrap();
    assert_eq!(slot("f"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_whose_record_is_lost_gets_no_ids_of_others() {
    let mut place = Place::new();
    // What is lost stands before what is known by its name, and behind it by its range.
    for name in ["b", "a", "gone", "runs"] {
        place.installed(name);
    }
    place.zones.delete("gone", true).unwrap();
    place.zones.boot("runs", Boot::default()).unwrap();
    for name in ["a", "runs"] {
        std::fs::write(place.dir.path().join("root/zones").join(name).join("state.json"), "{").unwrap();
    }
    place.restart();
    let slot = |name: &str| place.zones.lock().zones[name].record.id_slot;
    assert_eq!((slot("b"), slot("a")), (0, 1));
    assert_eq!(slot("runs"), 3, "what runs has the range that it runs with");
    assert!(place.zones.zone("a").unwrap().reason.unwrap().contains("made no sense"));
    place.zones.create(&create("new")).unwrap();
    assert_eq!(slot("new"), 2);

    // A zone that nothing but its monitor tells of, as that of a `run`, is met last.
    let mut place = Place::new();
    for name in ["b", "lives", "a"] {
        place.installed(name);
    }
    place.zones.boot("lives", Boot::default()).unwrap();
    let path = place.dir.path();
    std::fs::remove_dir_all(path.join("root/zones/lives")).unwrap();
    std::fs::remove_file(path.join("etc/lives.toml")).unwrap();
    std::fs::write(path.join("root/zones/a/state.json"), "{").unwrap();
    place.restart();
    let slot = |name: &str| place.zones.lock().zones[name].record.id_slot;
    assert_eq!((slot("b"), slot("lives"), slot("a")), (0, 1, 2));
    place.restart();
    let slot = |name: &str| place.zones.lock().zones[name].record.id_slot;
    assert_eq!(slot("a"), 2, "it is written down");
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_reach_a_running_zone() {
    let place = Place::new();
    place.installed("a");
    let edits = [set("max-processes", "9"), set("kernel", "2.4.20")];
    let nobody = place.zones.edit("a", &edits[..1]).unwrap();
    assert_eq!(nobody, zone_api::Edited::default());
    place.zones.boot("a", Boot::default()).unwrap();
    let edited = place.zones.edit("a", &[set("max-processes", "10"), edits[1].clone()]).unwrap();
    assert_eq!((edited.live, edited.at_reboot), (vec!["max-processes".into()], vec!["kernel".into()]));
    assert_eq!(*place.fake.monitor("a").updates.lock().unwrap(), [vec!["max-processes".to_owned()]]);
    let bad = place.zones.edit("a", &[set("kernl", "1")]).unwrap_err();
    assert_eq!(bad.kind, ErrorKind::Invalid);
    let other = place.zones.put("a", "name = \"b\"\n").unwrap_err();
    assert!(other.why.contains("in the file of zone a"), "{other}");
    place.zones.put("a", "# mine\nname = \"a\"\n").unwrap();
    assert_eq!(place.zones.config_text("a").unwrap(), "# mine\nname = \"a\"\n");
    assert_eq!(place.zones.config_key("a", "kernel").unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn create_takes_what_export_gave() {
    let place = Place::new();
    let toml = Some("# old\nname = \"x\"\nautoboot = true\n".to_owned());
    place.zones.create(&Create { toml, ..create("a") }).unwrap();
    assert_eq!(place.zones.config_text("a").unwrap(), "# old\nname = \"a\"\nautoboot = true\n");
    for (name, toml) in [("b", "colour = 1"), ("b", "name = 1"), ("b", "= ="), ("global", "")] {
        let refused = place.zones.create(&Create { toml: Some(toml.into()), ..create(name) });
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Invalid, "{toml}");
    }
    assert_eq!(place.zones.list().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_makes_a_zone_and_leaves_nothing() {
    use std::io::Read;
    let place = Place::new();
    let run = || Run {
        edits: vec![set("kernel", "2.6.18")],
        root: None,
        binds: vec!["/tmp:/data".into()],
        login: Login { command: vec!["uname".into()], ..Login::default() },
        timings: false,
    };
    let (mut client, session) = pair();
    let job = place.zones.begin_run(run()).unwrap();
    assert!(job.name().starts_with("run-") && job.name().len() == 12);
    job.run(session).unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said.lines().count(), 2, "{said}");
    let empty = |place: &Place| {
        place.zones.list().is_empty()
            && std::fs::read_dir(place.dir.path().join("root/ephemeral")).unwrap().next().is_none()
            && std::fs::read_dir(place.dir.path().join("run")).unwrap().next().is_none()
    };
    place.until("its end", empty);

    drop(place.zones.begin_run(run()).unwrap());
    assert!(empty(&place), "an abandoned run left something");

    place.fake.fail_start.store(true, Ordering::SeqCst);
    let (mut client, session) = pair();
    place.zones.begin_run(run()).unwrap().run(session).unwrap_err();
    said.clear();
    client.read_to_string(&mut said).unwrap();
    assert!(said.contains("\"refused\""), "{said}");
    assert!(place.zones.list().is_empty());

    for bad in [
        Run { login: Login::default(), ..run() },
        Run { binds: vec!["tmp".into()], ..run() },
        Run { binds: vec!["/tmp:/../x".into()], ..run() },
        Run { binds: vec!["/nonexistent".into()], ..run() },
        Run { root: Some("relative".into()), ..run() },
        Run { root: Some("/nonexistent".into()), ..run() },
        Run { edits: vec![set("kernl", "2")], ..run() },
    ] {
        let refused = place.zones.begin_run(bad.clone()).err().unwrap();
        assert_eq!(refused.kind, ErrorKind::Invalid, "{bad:?}");
    }
}

/// Many at once, with monitors that die in between: wherever the zone ends up, ordinary verbs bring it to
/// running and to configured.
#[tokio::test(flavor = "multi_thread")]
async fn no_mixture_of_verbs_leaves_a_zone_stuck() {
    let place = Place::new();
    place.installed("a");
    std::thread::scope(|scope| {
        for seed in 1..=6_u64 {
            let place = &place;
            scope.spawn(move || {
                let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                for _ in 0..150 {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let zones = &place.zones;
                    let result = match (dice >> 33) % 9 {
                        0 | 1 => zones.boot("a", Boot::default()),
                        2 => zones.ready("a", Boot::default()),
                        3 => zones.halt("a"),
                        4 => zones.shutdown("a", &Shutdown { reboot: dice % 2 == 0, timeout: Some(0) }),
                        5 => zones.uninstall("a"),
                        6 => zones.begin_install("a", "dir:/x").and_then(|job| job.run(None, &|_| {})),
                        7 => zones.edit("a", &[set("autoboot", "true")]).map(drop),
                        _ => {
                            let monitor = place.fake.monitors.lock().unwrap().get("a").cloned();
                            if let Some(monitor) = monitor {
                                monitor.tell(MonitorEvent::Lost { signal: Some(9) });
                            }
                            Ok(())
                        }
                    };
                    if let Err(error) = result {
                        assert_eq!(error.kind, ErrorKind::WrongState, "{error}");
                    }
                }
            });
        }
    });
    place.until("the last end", |place| {
        let zone = place.zones.zone("a").unwrap();
        zone.busy.is_none()
            && matches!(zone.state, State::Configured | State::Installed | State::Running | State::Ready)
    });
    place.zones.delete("a", true).unwrap();
    place.installed("a");
    place.zones.boot("a", Boot::default()).unwrap();
    assert_eq!(place.zones.zone("a").unwrap().id, Some(1));
    assert_eq!(place.zones.uninstall("a").unwrap_err().kind, ErrorKind::WrongState);
    place.zones.halt("a").unwrap();
    place.zones.uninstall("a").unwrap();
    assert_eq!(place.state("a"), State::Configured);
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_others_in_the_run_folder_are_left() {
    let mut place = Place::new();
    let folders = ["systemd", "run-12345678"].map(|name| place.dir.path().join("run").join(name));
    for folder in &folders {
        std::fs::create_dir(folder).unwrap();
    }
    place.restart();
    assert!(folders[0].exists());
    assert_eq!(*place.fake.torn_down.lock().unwrap(), ["run-12345678"]);
}
