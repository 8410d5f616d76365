//! One zone takes all that it can of what the host has for all: the host and another zone go on meanwhile.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use zones_tests::{Client, Zoned, busybox_root, eventually, figure, program};

fn exhaust() -> PathBuf {
    program("exhaust", "amd64", &[]).expect("exhaust.c compiles")
}

/// Zones `greedy` and `other`, with the program as /bin/exhaust.
fn zones(settings: &[&str]) -> Zoned {
    let zoned = Zoned::start();
    for name in ["greedy", "other"] {
        zoned.install(name, &format!("dir:{}", busybox_root().display()), settings);
        zoned.zonectl(&["add", name, "capped-memory", "physical=192M", "swap=0"]).ok();
        fs::copy(exhaust(), zoned.root().join(format!("zones/{name}/root/bin/exhaust")))
            .expect("copy the program");
        zoned.zonectl(&["boot", name, "-i", "none"]).ok();
    }
    zoned
}

/// Begins to take in `greedy`, and waits until there is no more.
fn takes(zoned: &Zoned, kind: &str) -> Client {
    let script = format!("exhaust {kind} > /tmp/{kind}; echo ended >> /tmp/{kind}");
    let mut client = zoned.spawn(&["login", "greedy", "--", "sh", "-c", &script]);
    let said = zoned.root().join(format!("zones/greedy/upper/tmp/{kind}"));
    let says = || fs::read_to_string(&said).is_ok_and(|text| text.contains(' '));
    // Where memory is at its end, its shell may be ended with it.
    eventually(&format!("all {kind} are taken"), 90, || says() || !client.runs());
    eprintln!("{kind}: {}", fs::read_to_string(&said).unwrap_or_default().trim());
    client
}

/// Takes the greedy zone down and boots it again; with its memory at an end it may have gone by itself.
fn end(zoned: &Zoned, client: Client) {
    zoned.zonectl(&["halt", "greedy"]);
    client.finish();
    zoned.wait_for("greedy", "installed");
    zoned.zonectl(&["boot", "greedy", "-i", "none"]).ok();
}

/// Megabytes that the host could give.
fn available() -> u64 {
    figure("/proc/meminfo", "MemAvailable").expect("a number") >> 10
}

/// The host, the other zone, and who comes into the greedy one.
fn others_go_on(zoned: &Zoned, kind: &str) {
    let host = Command::new(exhaust()).args([kind, "one"]).stdin(Stdio::null()).status();
    assert!(host.expect("it runs").success(), "the host has no {kind}");
    zoned.zonectl(&["login", "other", "--", "exhaust", kind, "one"]).ok();
    let begun = Instant::now();
    zoned.zonectl(&["list", "-c"]).ok();
    assert!(begun.elapsed() < Duration::from_secs(10), "zoned answers after {:?}", begun.elapsed());
    zoned.zonectl(&["reboot", "other"]).ok();
    zoned.wait_for("other", "running");
}

#[test]
fn what_one_zone_takes_is_not_the_others() {
    let zoned = zones(&["max-processes=200"]);
    for kind in ["processes", "inotify", "keys", "mounts"] {
        let client = takes(&zoned, kind);
        others_go_on(&zoned, kind);
        end(&zoned, client);
    }
}

/// What the kernel keeps for a zone is memory of the zone.
fn leaves_the_host_its_memory(kind: &str) {
    let zoned = zones(&[]);
    let before = available();
    let client = takes(&zoned, kind);
    let taken = before.saturating_sub(available());
    assert!(taken < 600, "{kind} took {taken} MiB of the host, with 192 as the cap");
    others_go_on(&zoned, kind);
    zoned.zonectl(&["halt", "greedy"]);
    client.finish();
}

#[test]
fn full_pipes_of_one_zone_leave_the_host_its_memory() {
    leaves_the_host_its_memory("pipes");
}

#[test]
fn unread_datagrams_of_one_zone_leave_the_host_its_memory() {
    leaves_the_host_its_memory("sockets");
}

#[test]
fn files_in_memory_of_one_zone_leave_the_host_its_memory() {
    leaves_the_host_its_memory("inodes");
}

#[test]
fn terminals_that_one_zone_took_are_left_to_the_host() {
    let zoned = zones(&[]);
    let client = takes(&zoned, "ptys");
    let host = Command::new(exhaust()).args(["ptys", "one"]).stdin(Stdio::null()).status();
    assert!(host.expect("it runs").success(), "the host has no terminals");
    // Without one they go on.
    zoned.zonectl(&["login", "other", "--", "true"]).ok();
    zoned.zonectl(&["list", "-c"]).ok();
    // And end, whoever has their terminals.
    zoned.zonectl(&["halt", "other"]).ok();
    client.finish();
    zoned.zonectl(&["halt", "greedy"]).ok();
    zoned.zonectl(&["boot", "other", "-i", "none"]).ok();
}

#[test]
fn what_is_written_to_a_console_does_not_fill_the_disk_nor_the_monitor() {
    let zoned = zones(&[]);
    let resident = || {
        let status = format!("/proc/{}/status", zoned.monitor_of("greedy"));
        figure(&status, "VmRSS").expect("its status") >> 10
    };
    let before = resident();
    let script = "i=0; while [ $i -lt 24 ]; do yes 'a line of the console that says next to nothing' | head -c 1048576 > /dev/console; \
                  i=$((i+1)); done";
    zoned.sh("greedy", script);
    let folder = zoned.root().join("zones/greedy");
    let logs = fs::read_dir(&folder).expect("list the zone's folder").flatten();
    let logs = logs.filter(|e| e.file_name().to_string_lossy().starts_with("console"));
    let size: u64 = logs.filter_map(|e| Some(e.metadata().ok()?.len())).sum();
    assert!(size < 8 << 20, "24 MiB to the console are {size} bytes of log");
    assert!(resident() < before + 16, "the monitor had {before} MiB and has {}", resident());
    zoned.zonectl(&["login", "other", "--", "true"]).ok();
}
