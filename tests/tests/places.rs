//! move, detach and attach: between folders, file systems and hosts.

use std::fs;
use std::path::Path;

use zones_tests::{Dice, Mounted, Zoned, busybox_root, run, text};

fn installed(zoned: &Zoned, name: &str) {
    zoned.zonectl(&["create", name, "max-processes=66"]).ok();
    zoned.zonectl(&["install", name, &format!("dir:{}", busybox_root().display())]).ok();
    zoned.zonectl(&["boot", name, "-i", "none"]).ok();
    zoned.sh(name, "echo mine > /mine; mkdir -p /d/e; ln /mine /d/hard; chown 33:44 /d/e");
    zoned.zonectl(&["halt", name]).ok();
}

fn check(zoned: &Zoned, name: &str) {
    zoned.zonectl(&["boot", name, "-i", "none"]).ok();
    let seen = zoned.sh(name, "cat /mine; stat -c '%h %u' /d/hard; stat -c %u:%g /d/e");
    assert_eq!(seen, "mine\n2 0\n33:44\n");
    zoned.zonectl(&["halt", name]).ok();
}

#[test]
fn a_zone_moves_and_is_where_it_says() {
    let zoned = Zoned::start();
    installed(&zoned, "z");
    let (near, again) = (zoned.scratch().join("near"), zoned.scratch().join("again"));
    zoned.zonectl(&["snapshot", "z@before"]).ok();
    zoned.zonectl(&["move", "z", text(&near)]).ok();
    assert_eq!(zoned.zone("z").expect("z")["path"], text(&near));
    check(&zoned, "z");
    fs::create_dir(&again).expect("make a folder");
    zoned.zonectl(&["move", "z", text(&again)]).ok();
    assert!(!near.exists());
    zoned.zonectl(&["snapshot", "z@after"]).ok();
    zoned.zonectl(&["rollback", "z@before"]).ok();
    check(&zoned, "z");
    zoned.zonectl(&["clone", "z", "c"]).ok();
    check(&zoned, "c");

    let full = zoned.scratch().join("full");
    fs::create_dir_all(full.join("something")).expect("make a folder");
    zoned.zonectl(&["move", "z", text(&full)]).code(1).says(&["is not empty"]);
    zoned.zonectl(&["move", "z", text(&zoned.root().join("x"))]).code(2).says(&["zoned keeps itself"]);
    zoned.zonectl(&["move", "c", text(&again.join("below"))]).code(2).says(&["of another zone"]);
    check(&zoned, "z");
    zoned.zonectl(&["uninstall", "z", "-F"]).ok();
    assert!(!again.exists());
    check(&zoned, "c");
}

#[test]
fn a_zone_moves_to_another_file_system_and_back() {
    let disk = Mounted::new(&["mkfs.ext4", "-q"], "loop", 64);
    // Mounted before zoned starts: zoned may be in a mount namespace of its own.
    let zoned = Zoned::start();
    installed(&zoned, "z");
    let far = disk.at.join("z");
    zoned.zonectl(&["move", "z", text(&far)]).ok();
    check(&zoned, "z");
    zoned.zonectl(&["snapshot", "z@far"]).ok();
    check(&zoned, "z");
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    zoned.snapshot("z", "live");
    zoned.zonectl(&["halt", "z"]).ok();
    zoned.zonectl(&["rollback", "z@far"]).ok();
    let near = zoned.scratch().join("near");
    zoned.zonectl(&["move", "z", text(&near)]).ok();
    assert!(!far.exists());
    check(&zoned, "z");
    zoned.zonectl(&["delete", "z", "-F"]).ok();
    drop(zoned);
}

#[test]
fn a_detached_zone_is_attached_elsewhere() {
    let (here, there) = (Zoned::start(), Zoned::start());
    installed(&here, "z");
    here.zonectl(&["snapshot", "z@one"]).ok();
    here.zonectl(&["clone", "z", "other"]).ok();
    here.zonectl(&["boot", "z", "-i", "none"]).ok();
    here.sh("z", "echo later > /later");
    here.zonectl(&["detach", "z"]).code(4);
    here.zonectl(&["halt", "z"]).ok();
    let manifest = here.zonectl(&["detach", "-n", "z"]).ok();
    assert!(manifest.contains("max-processes"), "{manifest}");
    assert_eq!(here.state("z").as_deref(), Some("installed"));
    here.zonectl(&["detach", "z"]).ok();
    assert_eq!(here.state("z").as_deref(), Some("configured"));
    let folder = here.root().join("zones/z");
    // Nothing that comes after may lose it.
    here.zonectl(&["install", "z", "dir:/nowhere"]).code(4).says(&["was detached"]);
    here.zonectl(&["delete", "z"]).code(4).says(&["was detached"]);
    here.zonectl(&["clone", "other", "z"]).code(4).says(&["was detached"]);
    check(&here, "other");

    // As an administrator would take it to another host.
    let copy = there.scratch().join("z");
    let archive = there.scratch().join("z.tar");
    fs::create_dir(&copy).expect("make a folder");
    let tar = |words: &[&str]| {
        run(&[
            &["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-f", text(&archive), "-C"],
            words,
        ]
        .concat());
    };
    tar(&[text(&folder), "-c", "."]);
    tar(&[text(&copy), "-xp"]);
    there.zonectl(&["attach", "-n", "z", text(&copy)]).ok();
    assert!(there.zone("z").is_none());
    there.zonectl(&["attach", "z", text(&copy)]).ok();
    assert_eq!(there.zonectl(&["get", "z", "max-processes"]).ok(), "66\n");
    check(&there, "z");
    there.zonectl(&["boot", "z", "-i", "none"]).ok();
    assert_eq!(there.sh("z", "cat /later"), "later\n");
    there.zonectl(&["rollback", "z@one"]).ok();
    assert_eq!(there.sh("z", "cat /mine; ls /later 2>&1 | grep -c 'No such'"), "mine\n1\n");
    there.zonectl(&["attach", "y", text(&copy)]).code(2).says(&["zone.json"]);

    here.zonectl(&["attach", "z", text(&folder)]).ok();
    check(&here, "z");
    here.zonectl(&["rollback", "z@one"]).ok();
    check(&here, "z");
}

#[test]
fn kills_leave_a_zone_in_one_place() {
    let disk = Mounted::new(&["mkfs.ext4", "-q"], "loop", 64);
    let mut zoned = Zoned::start_alone();
    installed(&zoned, "z");
    zoned.zonectl(&["snapshot", "z@one"]).ok();
    let mut dice = Dice::new();
    let folders = [zoned.scratch().to_owned(), disk.at.clone()];
    for round in 0..40 {
        // To another file system as often as not.
        let to = folders[dice.below(2) as usize].join(format!("place{round}"));
        let path = zoned.zone("z").expect("z")["path"].as_str().expect("a path").to_owned();
        let words: &[&str] = match (zoned.state("z").as_deref(), dice.below(2)) {
            (Some("configured"), _) => &["attach", "z", &path],
            (_, 0) => &["move", "z", text(&to)],
            _ => &["detach", "z"],
        };
        let client = zoned.spawn(words);
        std::thread::sleep(std::time::Duration::from_micros(dice.below(100_000)));
        zoned.kill9();
        client.finish();
        zoned.start_again();
        if zoned.state("z").as_deref() == Some("configured") {
            let places = [path.clone(), text(&zoned.root().join("zones/z")).to_owned()];
            let place = places.iter().find(|place| Path::new(place).join("zone.json").exists());
            let place = place.unwrap_or_else(|| panic!("round {round}: {words:?}: nothing at {path}"));
            zoned.zonectl(&["attach", "z", place]).ok();
        }
        check(&zoned, "z");
        // What was begun elsewhere is gone.
        let now = zoned.zone("z").expect("z")["path"].as_str().expect("a path").to_owned();
        for folder in &folders {
            let places = fs::read_dir(folder).expect("read it").flatten().map(|entry| entry.path());
            for place in places.filter(|place| text(place).contains("/place") && text(place) != now) {
                let left = fs::read_dir(&place).expect("read it").count();
                assert_eq!(left, 0, "round {round}: {words:?}: something is left in {}", place.display());
            }
        }
    }
    zoned.forget("z");
    drop(zoned);
}
