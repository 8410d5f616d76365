//! A program that exceeds a limit of its zone gets what Linux gives for it, and what a zone is told of its machine is its
//! share.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use zones_tests::{Outcome, Zoned, busybox_root, eventually, program};

/// A zone with these settings and resources, running, with the program of tests/programs.
struct Limited {
    zoned: Zoned,
}

const NAME: &str = "z";

impl Limited {
    fn new(settings: &[&str], resources: &[&[&str]]) -> Self {
        Self::over(settings, resources, &format!("dir:{}", busybox_root().display()))
    }

    fn over(settings: &[&str], resources: &[&[&str]], source: &str) -> Self {
        let zoned = Zoned::start();
        let words: Vec<&str> = ["create", NAME].iter().chain(settings).copied().collect();
        zoned.zonectl(&words).ok();
        for resource in resources {
            let words: Vec<&str> = ["add", NAME].iter().chain(*resource).copied().collect();
            zoned.zonectl(&words).ok();
        }
        zoned.zonectl(&["install", NAME, source]).ok();
        let program = exceed();
        fs::copy(program, zoned.root().join("zones").join(NAME).join("root/exceed"))
            .expect("copy the program");
        zoned.zonectl(&["boot", NAME, "-i", "none"]).ok();
        Self { zoned }
    }

    fn login(&self, words: &[&str]) -> Outcome {
        let words: Vec<&str> = ["login", NAME, "--"].iter().chain(words).copied().collect();
        self.zoned.zonectl(&words)
    }

    fn exceed(&self, words: &[&str]) -> Outcome {
        self.login(&[&["/exceed"], words].concat())
    }

    fn sh(&self, script: &str) -> String {
        self.login(&["sh", "-c", script]).ok()
    }
}

fn exceed() -> std::path::PathBuf {
    program("exceed", "amd64", &["-pthread"]).expect("exceed.c compiles")
}

#[test]
fn its_program_compiles() {
    // Where there is no compiler it has been here before.
    assert!(exceed().is_file());
}

/// The number that a program said, and the word after it.
fn said(text: &str) -> (u64, &str) {
    let (number, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    (number.parse().unwrap_or_else(|_| panic!("no number: {text:?}")), rest)
}

#[test]
fn processes_and_threads_beyond_the_number_are_eagain() {
    let zone = Limited::new(&["max-lwps=40"], &[]);
    let text = zone.exceed(&["processes"]).ok();
    let (count, why) = said(&text);
    assert!((30..40).contains(&count) && why == "Resource temporarily unavailable", "{text}");
    let text = zone.exceed(&["threads"]).ok();
    let (count, why) = said(&text);
    assert!((30..40).contains(&count) && why == "Resource temporarily unavailable", "{text}");
    // It holds at once when it is changed; the lower of the two counts.
    zone.zoned.zonectl(&["set", NAME, "max-processes=20"]).ok();
    assert!(said(&zone.exceed(&["processes"]).ok()).0 < 20);
}

/// What a zone at its limit of processes does to others: next to nothing, while it forks on and on.
#[test]
fn forking_on_at_the_limit_takes_nobodys_time() {
    let zone = Limited::new(&["max-lwps=40"], &[&["capped-cpu", "ncpus=1.5"]]);
    let told = |text: &str| zone.zoned.zonectl(&["log", NAME]).ok().matches(text).count();
    let seconds = || zone.zoned.cpu_seconds(NAME);
    let wait_until_held =
        |times| eventually("it is held down", 20, || told("held down: it forks on and on") == times);
    // One that gives up, and tries again after a while, is not held down.
    zone.exceed(&["processes"]).ok();
    let storm = zone.zoned.spawn(&["login", NAME, "--", "/exceed", "storm", "12000"]);
    wait_until_held(1);
    let (begun, before) = (Instant::now(), seconds());
    sleep(Duration::from_secs(2));
    let (used, passed) = (seconds() - before, begun.elapsed().as_secs_f64());
    // Of its one and a half.
    assert!(used < passed * 0.3, "{used} s of CPU time in {passed} s");
    // Another limit is another chance, which it does not take.
    zone.zoned.zonectl(&["set", NAME, "capped-cpu.ncpus=1"]).ok();
    wait_until_held(2);
    storm.finish();
    eventually("it is let go", 20, || told("no longer held down") == 1);
    let (used, _) = said(&zone.exceed(&["cpu", "1000"]).ok()).to_owned();
    assert!(used > 300, "{used} ms of 1000 with a CPU of its own");
}

#[test]
fn a_zone_that_says_nothing_of_tasks_has_a_share_of_the_hosts() {
    let zone = Limited::new(&[], &[]);
    let max: u64 = ["pid_max", "threads-max"]
        .map(|f| fs::read_to_string(format!("/proc/sys/kernel/{f}")).unwrap().trim().parse().unwrap())
        .into_iter()
        .min()
        .unwrap();
    let pid = zone.zoned.init_of(NAME);
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let group =
        groups.lines().find_map(|l| l.split_once(":pids:")).map(|(_, g)| format!("/sys/fs/cgroup/pids{g}"));
    let group = group.unwrap_or_else(|| format!("/sys/fs/cgroup{}", groups.trim().trim_start_matches("0::")));
    let told: u64 = fs::read_to_string(format!("{group}/pids.max")).unwrap().trim().parse().unwrap();
    assert_eq!(told, (max * 15 / 100).max(512));
}

#[test]
fn memory_beyond_the_cap_ends_the_program_and_nothing_else() {
    let zone = Limited::new(&[], &[&["capped-memory", "physical=48M", "swap=0"]]);
    let init = zone.zoned.init_of(NAME);
    zone.exceed(&["memory", "24"]).ok();
    zone.exceed(&["memory", "96"]).code(137);
    assert_eq!(zone.zoned.init_of(NAME), init, "process 1 outlives it");
    assert_eq!(zone.zoned.state(NAME).as_deref(), Some("running"));
    zone.zoned.zonectl(&["set", NAME, "capped-memory.physical=192M"]).ok();
    zone.exceed(&["memory", "96"]).ok();
}

#[test]
fn locked_memory_beyond_the_cap_is_enomem() {
    let zone = Limited::new(&["limit-privileges=default,!ipc_lock"], &[&["capped-memory", "locked=256K"]]);
    assert_eq!(zone.exceed(&["locked"]).ok().trim(), "256 Cannot allocate memory");
}

#[test]
fn cpu_time_beyond_the_cap_is_waited_for() {
    let zone = Limited::new(&[], &[&["capped-cpu", "ncpus=0.2"]]);
    let (used, _) = said(&zone.exceed(&["cpu", "2000"]).ok()).to_owned();
    assert!(used < 700, "{used} ms of 2000 with a fifth of a CPU");
    zone.zoned.zonectl(&["set", NAME, "capped-cpu.ncpus=0.1"]).ok();
    let (used, _) = said(&zone.exceed(&["cpu", "2000"]).ok()).to_owned();
    assert!(used < 400, "{used} ms of 2000 with a tenth of a CPU");
}

#[test]
fn writes_beyond_the_bandwidth_are_waited_for() {
    let zone = Limited::new(&[], &[&["capped-io", "write-bandwidth=4M"]]);
    // 128 blocks of 64 KiB are 8 MiB.
    let (took, _) = said(&zone.exceed(&["disk", "/file", "128"]).ok()).to_owned();
    assert!((1500..20_000).contains(&took), "8 MiB took {took} ms at 4 MiB a second");
    zone.zoned.zonectl(&["remove", NAME, "capped-io", "write-bandwidth=4M"]).ok();
    let (free, _) = said(&zone.exceed(&["disk", "/file", "128"]).ok()).to_owned();
    assert!(free < took / 2, "{free} ms without a limit, {took} ms with one");
}

#[test]
fn names_of_illumos_bound_the_same() {
    let zone = Limited::new(
        &[],
        &[
            &["rctl", "name=zone.max-lwps", "value=40"],
            &["rctl", "name=zone.max-physical-memory", "value=48M"],
            &["rctl", "name=zone.cpu-cap", "value=100"],
        ],
    );
    assert!(said(&zone.exceed(&["processes"]).ok()).0 < 40);
    zone.exceed(&["memory", "96"]).code(137);
    assert_eq!(zone.sh("nproc").trim(), "1");
}

/// Each view of CPUs and memory that busybox has, for a zone of one CPU and 64 MiB. Its free(1) asks sysinfo(2), which
/// nobody answers but the kernel in a zone of brand native.
fn views(zone: &Limited, sysinfo: bool) {
    assert_eq!(zone.sh("nproc").trim(), "1");
    assert_eq!(zone.sh("grep -c ^processor /proc/cpuinfo").trim(), "1");
    assert_eq!(zone.sh("grep -c '^cpu[0-9]' /proc/stat").trim(), "1");
    assert_eq!(
        zone.sh("cat /sys/devices/system/cpu/online").trim().parse::<u32>().ok().map(|_| ()),
        Some(())
    );
    assert_eq!(zone.sh("awk '/^MemTotal/ { print $2 }' /proc/meminfo").trim(), "65536");
    if sysinfo {
        let free = zone.sh("free -k");
        let total = free.lines().find(|l| l.starts_with("Mem:")).and_then(|l| l.split_whitespace().nth(1));
        assert_eq!(total, Some("65536"), "{free}");
    }
    let top = zone.sh("top -bn1 | head -n 3");
    let memory = top.lines().next().unwrap_or_default();
    let kib: u64 =
        memory.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u64>().ok()).take(2).sum();
    assert_eq!(kib, 65536, "{top}");
    let load = zone.sh("cat /proc/loadavg");
    let one = load.split_whitespace().next().and_then(|one| one.parse::<f64>().ok());
    assert!(one.is_some_and(|one| one < 1.0), "{load}");
}

const ONE_AND_64: [&[&str]; 2] = [&["capped-cpu", "ncpus=0.5"], &["capped-memory", "physical=64M"]];

#[test]
fn a_zone_is_told_of_its_share_at_each_level_and_without_one() {
    for settings in [&["brand=native"][..], &["kernel=2.6.18"], &["kernel=3.10"]] {
        let zone = Limited::new(settings, &ONE_AND_64);
        eprintln!("{settings:?}");
        views(&zone, settings != ["brand=native"]);
        zone.zoned.zonectl(&["set", NAME, "capped-memory.physical=128M"]).ok();
        assert_eq!(zone.sh("awk '/^MemTotal/ { print $2 }' /proc/meminfo").trim(), "131072");
    }
}

#[test]
fn own_cpus_are_nobody_elses_and_come_back() {
    let host = std::thread::available_parallelism().unwrap().get();
    if host < 2 {
        return eprintln!("SKIPPED: one CPU can be nobody's own");
    }
    let zone = Limited::new(&[], &[]);
    let nproc = || zone.zoned.zonectl(&["run", "--", "nproc"]).ok().trim().parse::<usize>().unwrap();
    // Other zones of this machine may have some already.
    let before = nproc();
    zone.zoned.zonectl(&["add", NAME, "dedicated-cpu", "ncpus=1"]).ok();
    assert_eq!(zone.sh("nproc").trim(), "1");
    assert_eq!(nproc(), before - 1);
    let many = format!("dedicated-cpu.ncpus={host}");
    zone.zoned.zonectl(&["set", NAME, &many]).says(&["dedicated-cpu", "CPUs"]);
    assert_ne!(zone.zoned.zonectl(&["verify", NAME]).status, Some(0));
    zone.zoned.zonectl(&["set", NAME, &format!("dedicated-cpu.ncpus=1-{host}")]).ok();
    zone.zoned.zonectl(&["halt", NAME]).ok();
    assert_eq!(nproc(), before);
}

#[test]
fn the_monitor_outlives_its_zone_when_memory_runs_out() {
    let zone = Limited::new(&[], &[]);
    let adjusted = |pid: i32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    // Without CAP_SYS_RESOURCE, number 24 of capabilities(7), nobody lowers his own.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = status.lines().find_map(|l| l.strip_prefix("CapEff:\t")).unwrap();
    if u64::from_str_radix(capabilities, 16).unwrap() & 1 << 24 == 0 {
        eprintln!("SKIPPED: without CAP_SYS_RESOURCE the monitor is worth as much as any");
    } else {
        assert_eq!(adjusted(zone.zoned.monitor_of(NAME)).trim(), "-900");
    }
    assert_eq!(adjusted(zone.zoned.init_of(NAME)).trim(), "0");
    assert_eq!(zone.sh("cat /proc/self/oom_score_adj").trim(), "0");
    assert_ne!(zone.login(&["sh", "-c", "echo -1 > /proc/self/oom_score_adj"]).status, Some(0));
}

/// Seconds since the boot that the reader sees, and when that boot was.
fn uptime(text: &str) -> (f64, u64) {
    let mut words = text.split_whitespace();
    let up = words.next().and_then(|word| word.parse().ok());
    let btime = text.split_once("btime ").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    up.zip(btime).unwrap_or_else(|| panic!("no times: {text}"))
}

#[test]
fn the_time_since_boot_is_the_zones_own() {
    if !Path::new("/proc/self/ns/time").exists() {
        return eprintln!("SKIPPED: this kernel has no time namespaces");
    }
    let host = fs::read_to_string("/proc/uptime").expect("read the host's uptime");
    let host: f64 = host.split(' ').next().and_then(|up| up.parse().ok()).expect("a number");
    // Native, told by the kernel alone; with a cap, by files of the monitor's; at a level, by handlers too.
    for (settings, resources) in [
        (&["brand=native"][..], &[][..]),
        (&["brand=native"][..], &ONE_AND_64[..1]),
        (&["kernel=2.6.18"][..], &ONE_AND_64[..1]),
    ] {
        let begun = Instant::now();
        let zone = Limited::new(settings, resources);
        let (up, btime) = uptime(&zone.sh("cat /proc/uptime; grep btime /proc/stat"));
        assert!(up <= begun.elapsed().as_secs_f64() + 1.0, "{settings:?}: up {up} s");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        assert!(btime.abs_diff(now.as_secs()) <= up as u64 + 2, "{settings:?}: booted at {btime}");
        // sysinfo(2), and the clock of processes: nothing began before the zone did.
        let days = host / 86_400.0;
        if days >= 1.0 {
            assert!(!zone.sh("uptime").contains(" day"), "{settings:?}");
        }
        let started = zone.sh("awk '{ print $22 }' /proc/self/stat");
        let started: f64 = started.trim().parse().expect("ticks");
        assert!(started / 100.0 <= up + 5.0, "{settings:?}: started after {started} ticks, up {up} s");
        // A reboot begins anew.
        sleep(Duration::from_millis(1500));
        zone.zoned.zonectl(&["reboot", NAME]).ok();
        zone.zoned.wait_for(NAME, "running");
        let begun = Instant::now();
        let (again, _) = uptime(&zone.sh("cat /proc/uptime; grep btime /proc/stat"));
        assert!(again <= begun.elapsed().as_secs_f64() + 1.4, "{settings:?}: {again} s after a reboot");
    }
}
