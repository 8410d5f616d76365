//! Snapshots, rollback and clones, of zones that run and of zones that do not.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::Value;
use zones_tests::{Dice, How, Lab, Zoned, busybox_root, eventually, is_too_old, run, shares_layers, text};

fn installed(zoned: &Zoned, name: &str) {
    zoned.zonectl(&["create", name]).ok();
    zoned.zonectl(&["install", name, &format!("dir:{}", busybox_root().display())]).ok();
}

fn running(zoned: &Zoned, name: &str) {
    installed(zoned, name);
    zoned.zonectl(&["boot", name, "-i", "none"]).ok();
}

fn snapshots(zoned: &Zoned, name: &str) -> Vec<Value> {
    serde_json::from_str(&zoned.zonectl(&["--json", "snapshots", name]).ok()).expect("JSON")
}

/// Folders of the store that hold what came of zones.
fn layers(zoned: &Zoned) -> Vec<PathBuf> {
    let all = fs::read_dir(zoned.root().join("layers")).expect("the store");
    all.map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn everything_is_back_after_rm_rf() {
    let zoned = Zoned::start();
    running(&zoned, "z");
    let list = "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run \\) -prune -o \
                -exec stat -c '%n %F %a %u:%g %s' {} + | sort";
    zoned.sh(
        "z",
        "mkdir -p /data/deep; echo kept > /data/deep/file; chown 33:33 /data; ln /bin/busybox /data/ln",
    );
    let before = zoned.sh("z", list);
    zoned.snapshot("z", "good");
    let held = &snapshots(&zoned, "z")[0]["held_us"];
    assert!(held.is_number() == shares_layers(), "{held}");
    zoned.zonectl(&[
        "login",
        "z",
        "--",
        "sh",
        "-c",
        "rm -rf / 2>/dev/null; echo gone > /gone; [ ! -e /bin/sh ]",
    ]);
    zoned.zonectl(&["login", "z", "--", "/bin/busybox", "true"]).code(127);
    zoned.zonectl(&["halt", "z"]).ok();
    zoned.zonectl(&["rollback", "z@good"]).ok();
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    assert_eq!(zoned.sh("z", list), before);
}

#[test]
fn snapshots_are_a_tree_and_each_can_be_gone_back_to() {
    let zoned = Zoned::start();
    running(&zoned, "z");
    // One by one, of a zone that runs and of one that does not.
    for (i, live) in [true, true, false, true, false, false].into_iter().enumerate() {
        zoned.sh("z", &format!("echo {i} > /state; echo {i} > /file{i}"));
        let live = live && shares_layers();
        if !live {
            zoned.zonectl(&["halt", "z"]).ok();
        }
        zoned.zonectl(&["snapshot", &format!("z@s{i}")]).ok();
        if !live {
            zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
        }
    }
    let mut dice = Dice::new();
    for _ in 0..12 {
        let i = dice.below(6);
        // Halted and booted by itself.
        zoned.zonectl(&["rollback", &format!("z@s{i}")]).ok();
        let seen = zoned.sh("z", "cat /state; ls -d /file* | wc -l");
        assert_eq!(seen, format!("{i}\n{}\n", i + 1));
        zoned.sh("z", "echo other > /state; rm /file0");
    }
    zoned.zonectl(&["rollback", "z@s1"]).ok();
    zoned.snapshot("z", "branch");
    let all = snapshots(&zoned, "z");
    let parent = |name: &str| all.iter().find(|s| s["name"] == name).expect("it is there")["parent"].clone();
    assert_eq!((parent("s0"), parent("s1"), parent("branch")), (Value::Null, "s0".into(), "s1".into()));
    zoned.zonectl(&["snapshot", "z@s1"]).code(4).says(&["there is one of that name"]);
    zoned.zonectl(&["rollback", "z@none"]).code(1).says(&["no snapshot none"]);
    zoned.zonectl(&["snapshot", "z@.."]).code(2);
    let told = zoned.zonectl(&["snapshot", "z"]).code(2);
    assert!(told.stderr.contains("NAME@SNAP"), "{told}");

    // What others need stays; the rest goes.
    zoned.zonectl(&["snapshot", "-d", "z@s1"]).ok();
    let all = snapshots(&zoned, "z");
    assert_eq!(all.iter().find(|s| s["name"] == "branch").expect("it is there")["parent"], "s0");
    zoned.zonectl(&["rollback", "z@s5"]).ok();
    assert_eq!(zoned.sh("z", "cat /state"), "5\n");
    zoned.zonectl(&["halt", "z"]).ok();
    zoned.zonectl(&["uninstall", "z", "-F"]).ok();
    assert_eq!(layers(&zoned), Vec::<PathBuf>::new());
}

#[test]
fn clones_share_and_go_their_own_ways() {
    if is_too_old("clones_share_and_go_their_own_ways") {
        return;
    }
    let lab = Lab::new();
    let zoned = lab.zoned();
    installed(&zoned, "z");
    zoned.zonectl(&["set", "z", "max-processes=77", "autoboot=true", "hostname=z"]).ok();
    zoned.zonectl(&["add", "z", "net", "physical=zones0", "address=10.88.7.7/16"]).ok();
    let cloned = zoned.zonectl(&["clone", "z", "still"]);
    assert!(cloned.stdout.contains("10.88.7.7") || cloned.stderr.contains("10.88.7.7"), "{cloned}");
    assert_eq!(zoned.zonectl(&["get", "still", "max-processes"]).ok(), "77\n");
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    zoned.sh("z", "echo first > /mine");
    zoned.zonectl(&["snapshot", "z@one"]).ok();
    zoned.sh("z", "echo second > /mine");
    zoned.zonectl(&["clone", "z", "now"]).ok();
    zoned.zonectl(&["create", "then", "max-processes=55"]).ok();
    zoned.zonectl(&["clone", "z@one", "then"]).ok();
    zoned.zonectl(&["clone", "z", "then"]).code(4);
    zoned.zonectl(&["clone", "z", "z"]).code(2);
    zoned.zonectl(&["clone", "none", "x"]).code(3);
    assert_eq!(zoned.zonectl(&["get", "then", "max-processes"]).ok(), "55\n");
    for name in ["still", "now", "then"] {
        zoned.zonectl(&["boot", name, "-i", "none"]).ok();
    }
    assert_eq!(zoned.sh("still", "cat /mine 2>/dev/null; hostname"), "still\n");
    assert_eq!(zoned.sh("now", "cat /mine; hostname"), "second\nnow\n");
    assert_eq!(zoned.sh("then", "cat /mine; hostname"), "first\nthen\n");
    // No write of one is seen in another, and the first can go.
    for name in ["still", "now", "then"] {
        zoned.sh(name, &format!("rm /bin/cat; echo {name} > /mine; echo {name} > /etc/passwd"));
    }
    assert_eq!(zoned.sh("z", "cat /mine; head -c 4 /etc/passwd"), "second\nroot");
    zoned.zonectl(&["delete", "z", "-F"]).ok();
    for name in ["still", "now", "then"] {
        zoned.zonectl(&["reboot", name]).ok();
        assert_eq!(
            zoned.sh(name, "read a < /mine; echo $a; [ -e /bin/cat ] || echo none"),
            format!("{name}\nnone\n")
        );
        zoned.zonectl(&["delete", name, "-F"]).ok();
    }
    assert_eq!(layers(&zoned), Vec::<PathBuf>::new());
}

#[test]
fn a_zone_with_a_hundred_snapshots_is_still_one() {
    let zoned = Zoned::start();
    installed(&zoned, "z");
    for i in 0..110 {
        zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
        zoned.sh("z", &format!("echo {i} >> /count"));
        zoned.zonectl(&["halt", "z"]).ok();
        zoned.zonectl(&["snapshot", &format!("z@s{i}")]).ok();
    }
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    assert_eq!(zoned.sh("z", "wc -l < /count"), "110\n");
    zoned.zonectl(&["rollback", "z@s5"]).ok();
    assert_eq!(zoned.sh("z", "wc -l < /count"), "6\n");
}

#[test]
fn a_snapshot_of_a_zone_that_writes_is_one_instant() {
    if is_too_old("a_snapshot_of_a_zone_that_writes_is_one_instant") {
        return;
    }
    one_instant(&Zoned::start());
}

fn one_instant(zoned: &Zoned) {
    running(zoned, "z");
    // Two files that are written one after the other: the first is never behind the second.
    let script = "mkdir /w; i=0; while :; do i=$((i+1)); echo $i > /w/a; echo $i > /w/b; \
                  mkdir -p /w/d$((i%7)); echo $i > /w/d$((i%7))/f; rm -rf /w/d$(((i+3)%7)); done";
    let writer = zoned.spawn(&["login", "z", "--", "sh", "-c", script]);
    std::thread::sleep(Duration::from_millis(300));
    for i in 0..8 {
        zoned.zonectl(&["snapshot", &format!("z@s{i}")]).ok();
        zoned.zonectl(&["clone", &format!("z@s{i}"), &format!("c{i}")]).ok();
    }
    for i in 0..8 {
        let name = format!("c{i}");
        zoned.zonectl(&["boot", &name, "-i", "none"]).ok();
        let seen = zoned.sh(&name, "echo $(cat /w/a) $(cat /w/b)");
        let numbers: Vec<u64> = seen.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        // A file is empty between its truncation and its write.
        if let [a, b] = numbers[..] {
            assert!(a == b || a == b + 1, "{seen}");
        }
        zoned.zonectl(&["halt", &name]).ok();
        zoned.forget(&name);
    }
    zoned.zonectl(&["halt", "z"]).ok();
    writer.finish();
    zoned.forget("z");
}

/// From here on no cgroup2 is mounted, for this thread and what it starts, but the freezer of v1 is.
fn with_v1_alone() {
    unshare(CloneFlags::CLONE_NEWNS).expect("unshare");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("make mounts private");
    let table = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    for line in table.lines().filter(|line| line.contains(" - cgroup2 ")) {
        umount2(line.split(' ').nth(4).expect("a mount point"), MntFlags::MNT_DETACH).expect("umount");
    }
    if !table.lines().any(is_freezer) {
        let place = "/sys/fs/cgroup";
        mount(Some("cgroup"), place, Some("cgroup"), MsFlags::empty(), Some("freezer"))
            .expect("a v1 freezer");
    }
}

fn is_freezer(line: &str) -> bool {
    line.contains(" - cgroup ") && line.ends_with("freezer")
}

/// Holds a zone still behind zoned's back, as a zoned that is killed does; its processes.
fn freeze(zoned: &Zoned, v1: bool) -> Vec<i32> {
    let groups =
        fs::read_to_string(format!("/proc/{}/cgroup", zoned.init_of("z"))).expect("groups of the zone");
    let (mark, file, word, state, shows) = if v1 {
        (":freezer:", "freezer.state", "FROZEN", "freezer.state", "FROZEN")
    } else {
        ("0::", "cgroup.freeze", "1", "cgroup.events", "frozen 1")
    };
    let group = groups.lines().find_map(|line| Some(line.split_once(mark)?.1)).expect("it has a freezer");
    let table = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    let is = |line: &&str| if v1 { is_freezer(line) } else { line.contains(" - cgroup2 ") };
    let point = table.lines().find(is).and_then(|line| line.split(' ').nth(4)).expect("it is mounted");
    let text = |file: &str| fs::read_to_string(format!("{point}{group}/{file}")).expect("read the group");
    fs::write(format!("{point}{group}/{file}"), word).expect("freeze it");
    eventually("it is held still", 10, || text(state).contains(shows));
    text("cgroup.procs").lines().map(|pid| pid.parse().expect("a number")).collect()
}

/// Orphans are this process's to collect.
fn are_gone(pids: &[i32]) {
    let are_gone = || {
        for pid in pids {
            let _ = waitpid(Pid::from_raw(*pid), Some(WaitPidFlag::WNOHANG));
        }
        !pids.iter().any(|pid| PathBuf::from(format!("/proc/{pid}")).exists())
    };
    eventually("its processes are gone", 10, are_gone);
}

/// Whoever dies while a zone is held still: it goes on, or ends, and nothing of it is left.
fn held_zones_go_on_or_end(zoned: &mut Zoned, v1: bool) {
    let boot = |zoned: &Zoned| zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    let end = |pid: i32| kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill it");
    let at_once = |began: Instant| assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    installed(zoned, "z");
    // zoned.
    boot(zoned);
    freeze(zoned, v1);
    zoned.kill9();
    zoned.start_again();
    assert_eq!(zoned.sh("z", "echo there"), "there\n");
    // The zone is halted.
    let held = freeze(zoned, v1);
    let began = Instant::now();
    zoned.zonectl(&["halt", "z"]).ok();
    at_once(began);
    are_gone(&held);
    // Its monitor.
    boot(zoned);
    let held = freeze(zoned, v1);
    end(zoned.monitor_of("z"));
    zoned.wait_for("z", "installed");
    are_gone(&held);
    // Both, while somebody logs in.
    boot(zoned);
    let monitor = zoned.monitor_of("z");
    freeze(zoned, v1);
    let login = zoned.spawn(&["login", "z", "--", "true"]);
    std::thread::sleep(Duration::from_millis(300));
    let held = freeze(zoned, v1);
    assert_eq!(held.len(), 2, "process 1 and who logs in");
    zoned.kill9();
    end(monitor);
    let began = Instant::now();
    zoned.start_again();
    at_once(began);
    assert_ne!(login.finish().status, Some(0));
    are_gone(&held);
    assert_eq!(zoned.state("z").as_deref(), Some("installed"));
    // Its process 1, which v1 keeps until it is let go of.
    boot(zoned);
    let held = freeze(zoned, v1);
    end(zoned.init_of("z"));
    zoned.kill9();
    zoned.start_again();
    zoned.wait_for("z", "installed");
    are_gone(&held);
    zoned.forget("z");
}

#[test]
fn a_zone_that_is_held_still_goes_on_or_ends() {
    let mut zoned = Zoned::start_alone();
    held_zones_go_on_or_end(&mut zoned, false);
}

#[test]
fn cgroup_v1_alone_holds_zones_still() {
    with_v1_alone();
    let mut zoned = Zoned::start_alone();
    if !is_too_old("one_instant") {
        one_instant(&zoned);
    }
    held_zones_go_on_or_end(&mut zoned, true);
}

#[test]
fn without_a_freezer_a_snapshot_is_of_a_zone_that_does_not_run() {
    if is_too_old("without_a_freezer_a_snapshot_is_of_a_zone_that_does_not_run") {
        return;
    }
    with_v1_alone();
    let table = fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    let point = table
        .lines()
        .find(|line| is_freezer(line))
        .and_then(|line| line.split(' ').nth(4))
        .expect("it is mounted");
    umount2(point, MntFlags::MNT_DETACH).expect("umount");
    let zoned = Zoned::start();
    running(&zoned, "z");
    zoned.zonectl(&["snapshot", "z@live"]).code(1).says(&["can be frozen: mount cgroup2", "or halt it"]);
    assert_eq!(zoned.sh("z", "echo there"), "there\n");
    zoned.zonectl(&["halt", "z"]).ok();
    zoned.zonectl(&["snapshot", "z@still"]).ok();
}

#[test]
fn the_next_snapshot_of_a_zone_that_runs_has_only_what_changed() {
    if is_too_old("the_next_snapshot_of_a_zone_that_runs_has_only_what_changed") {
        return;
    }
    let mut zoned = Zoned::start();
    running(&zoned, "z");
    let look = "cd /; find d bin etc | sort | while read f; do stat -c '%n %F %a %u:%g %s %Y' $f; done; \
                find d -type f | sort | xargs stat -c '%n %h'; find d -type f | sort | xargs md5sum; ls -a /";
    zoned.sh("z", "mkdir /d; for i in $(seq 40); do mkdir /d/$i; dd if=/dev/urandom of=/d/$i/f bs=64k count=1 2>/dev/null; done; \
                   echo old > /d/moved; ln /d/1/f /d/hard; mkdir -p /d/20/deep/er; rm /bin/vi");
    let pause = || std::thread::sleep(std::time::Duration::from_millis(1200));
    let top = |snap: &str| {
        let all = snapshots(&zoned, "z");
        let found = all.iter().find(|s| s["name"] == snap).expect("it is there")["layers"].clone();
        let layers: Vec<String> = serde_json::from_value(found).expect("names");
        let tree = zoned.root().join("layers").join(&layers[0]).join("fs");
        (
            layers,
            run(&["du", "-sk", text(&tree)]).split_whitespace().next().and_then(|n| n.parse::<u64>().ok()),
        )
    };
    pause();
    zoned.zonectl(&["snapshot", "z@s0"]).ok();
    let mut seen = vec![zoned.sh("z", look)];
    let mut size = vec![top("s0").1.expect("a size")];
    let changes = [
        "echo new > /d/2/new; rm /d/3/f; rmdir /d/3; mv /d/moved /d/renamed; chmod 600 /d/4/f; rm -r /d/5; mkdir /d/5; echo 5 > /d/5/g",
        "rm -r /d/6; echo file > /d/6; rm /d/2/new; mkdir /d/2/new; chown 33:44 /d/7; touch -d @1000 /d/8/f; rm /bin/ls; mv /d/9 /d/nine",
        "echo more >> /d/hard; rm /d/6; mv /d/nine /d/6; rm -r /etc; mkdir /etc; echo root:x:0:0::/:/bin/sh > /etc/passwd; touch /bin/ls",
        "",
    ];
    for (i, change) in changes.iter().enumerate() {
        pause();
        zoned.sh("z", change);
        zoned.zonectl(&["snapshot", &format!("z@s{}", i + 1)]).ok();
        seen.push(zoned.sh("z", look));
        let (layers, kib) = top(&format!("s{}", i + 1));
        size.push(kib.expect("a size"));
        assert_eq!(layers.len(), 3 + i, "{layers:?}");
    }
    assert!(size[0] > 2500 && size[1..].iter().all(|kib| *kib < 300), "{size:?}");
    // Of a zone that was booted nothing is taken for the same.
    zoned.zonectl(&["halt", "z"]).ok();
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    zoned.zonectl(&["snapshot", "z@booted"]).ok();
    assert_eq!(top("booted").0.len(), 2);
    // The next zoned goes on.
    pause();
    zoned.start_again();
    zoned.zonectl(&["snapshot", "z@again"]).ok();
    let all = snapshots(&zoned, "z");
    assert_eq!(
        all.iter().find(|s| s["name"] == "again").expect("it is there")["layers"].as_array().map(Vec::len),
        Some(3)
    );
    for i in [3, 1, 4, 0, 2] {
        zoned.zonectl(&["rollback", &format!("z@s{i}")]).ok();
        assert!(zoned.sh("z", look) == seen[i], "s{i}");
    }
    // What is below others stays until nobody needs it.
    zoned.zonectl(&["snapshot", "-d", "z@s0"]).ok();
    zoned.zonectl(&["snapshot", "-d", "z@s1"]).ok();
    zoned.zonectl(&["rollback", "z@s3"]).ok();
    assert!(zoned.sh("z", look) == seen[3]);
    zoned.zonectl(&["delete", "z", "-F"]).ok();
    assert_eq!(layers(&zoned), Vec::<PathBuf>::new());
}

#[test]
fn after_so_many_changes_a_snapshot_is_whole_again() {
    if is_too_old("after_so_many_changes_a_snapshot_is_whole_again") {
        return;
    }
    let zoned = Zoned::start();
    running(&zoned, "z");
    zoned.sh("z", "echo 0 > /first");
    let mut depths = Vec::new();
    for i in 0..20 {
        zoned.sh("z", &format!("echo {i} >> /count"));
        zoned.zonectl(&["snapshot", &format!("z@s{i}")]).ok();
        let all = snapshots(&zoned, "z");
        let made = all.iter().find(|s| s["name"] == format!("s{i}").as_str()).expect("it is there");
        depths.push(made["layers"].as_array().expect("layers").len());
    }
    let want: Vec<usize> = (2..19).chain(2..5).collect();
    assert_eq!(depths, want);
    for i in [16, 3, 19] {
        zoned.zonectl(&["rollback", &format!("z@s{i}")]).ok();
        assert_eq!(zoned.sh("z", "wc -l < /count; cat /first"), format!("{}\n0\n", i + 1));
    }
}

#[test]
fn a_zoned_that_is_killed_leaves_no_zone_held_and_nothing_half() {
    if is_too_old("a_zoned_that_is_killed_leaves_no_zone_held_and_nothing_half") {
        return;
    }
    let mut zoned = Zoned::start_alone();
    running(&zoned, "z");
    zoned.sh(
        "z",
        "for i in $(seq 200); do dd if=/dev/zero of=/f$i bs=16k count=1 2>/dev/null; done; echo kept > /kept",
    );
    zoned.zonectl(&["snapshot", "z@base"]).ok();
    zoned.zonectl(&["create", "c"]).ok();
    let mut dice = Dice::new();
    for round in 0..60 {
        let name = format!("z@r{round}");
        let words: [&[&str]; 4] = [
            &["snapshot", &name],
            &["clone", "z", "c"],
            &["rollback", "z@base"],
            &["snapshot", "-d", "z@r0"],
        ];
        let words = words[dice.below(4) as usize];
        let client = zoned.spawn(words);
        std::thread::sleep(Duration::from_micros(dice.below(90_000)));
        zoned.kill9();
        let acknowledged = client.finish().status == Some(0);
        zoned.start_again();
        let story = format!("round {round}: {words:?}");
        if acknowledged && words[0] == "snapshot" && words.len() == 2 {
            assert!(
                snapshots(&zoned, "z").iter().any(|s| name.ends_with(s["name"].as_str().unwrap_or("?"))),
                "{story}"
            );
        }
        if zoned.state("z").as_deref() == Some("installed") {
            zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
        }
        assert_eq!(zoned.sh("z", "cat /kept; ls /f* | wc -l"), "kept\n200\n", "{story}");
        for snapshot in snapshots(&zoned, "z") {
            for layer in snapshot["layers"].as_array().expect("layers") {
                let layer = layer.as_str().expect("a name");
                assert!(zoned.root().join("layers").join(layer).join("fs").is_dir(), "{story}: {snapshot}");
            }
        }
        if zoned.state("c").as_deref() != Some("configured") {
            zoned.zonectl(&["uninstall", "c", "-F"]).ok();
        }
    }
    zoned.zonectl(&["delete", "z", "-F"]).ok();
    assert_eq!(layers(&zoned), Vec::<PathBuf>::new());
}

#[test]
fn a_kernel_that_cannot_share_layers_gives_each_zone_its_own() {
    // As Linux before 5.19 does.
    let how = How { env: vec![("ZONED_GIVE_FILES".into(), "1".into())], ..How::default() };
    let zoned = Zoned::start_as(how);
    running(&zoned, "z");
    zoned.sh("z", "echo one > /mine; chown 33:44 /mine; rm /bin/vi; mkdir /d; ln /mine /d/hard");
    zoned.zonectl(&["snapshot", "z@live"]).code(1).says(&["before linux 5.19", "halt z first"]);
    zoned.zonectl(&["halt", "z"]).ok();
    zoned.zonectl(&["snapshot", "z@one"]).ok();
    zoned.zonectl(&["clone", "z", "c"]).ok();
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    zoned.sh("z", "echo two > /mine; rm -r /d");
    zoned.zonectl(&["boot", "c", "-i", "none"]).ok();
    let seen = "stat -c '%u:%g %h' /mine; cat /mine /d/hard; [ -e /bin/vi ] || echo gone; hostname";
    assert_eq!(zoned.sh("c", seen), "33:44 2\none\none\ngone\nc\n");
    zoned.zonectl(&["rollback", "z@one"]).ok();
    assert_eq!(zoned.sh("z", seen), "33:44 2\none\none\ngone\nz\n");
    for name in ["z", "c"] {
        zoned.zonectl(&["delete", name, "-F"]).ok();
    }
    assert_eq!(layers(&zoned), Vec::<PathBuf>::new());
}
