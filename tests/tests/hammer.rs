//! A guest that makes every call that its monitor answers, from many threads whose memory, descriptors and lives end
//! meanwhile: the monitor goes on, answers others in time and is as small as before.
//!
//! ZONES_HAMMER_SECONDS is how long each zone is hammered, ZONES_SEED what its choices begin from.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use brands::abi::Abi;
use brands::cond::Test;
use zoned::config::Config;
use zoned::monitor::brand::{Branded, Disks};
use zones_tests::{Client, Dice, Zoned, busybox_root, eventually, figure, program};

/// Longest that a call of another program may take while all CPUs are taken by those that hammer.
const MOST_WAIT_MS: f64 = 3000.0;

/// Longest that a login may take meanwhile.
const MOST_LOGIN: Duration = Duration::from_secs(15);

/// KiB that a monitor may have more than before while it is hammered, and after.
const MOST_GROWN: u64 = 24 << 10;
const MOST_LEFT: u64 = 12 << 10;

/// Threads that it may have meanwhile: 64 for the calls of each of a few listeners, and one more for each that is with a guest.
const MOST_THREADS: u64 = 320;

/// Descriptors that it may have meanwhile.
const MOST_DESCRIPTORS: u64 = 1000;

fn seconds() -> u64 {
    std::env::var("ZONES_HAMMER_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(6)
}

/// The calls of an ABI that a zone's filter notifies, as the program takes them, with what the rows look for.
fn table(config: &Config, abi: Abi) -> String {
    let disks = Disks { wide_inodes: true, has_quota: true };
    let branded = Branded::of(config, None, &[], disks, None).expect("the brand compiles");
    let mut text = String::new();
    for (_, nr, rows) in branded.compiled.calls().filter(|(of, _, _)| *of == abi) {
        let _ = write!(text, "{nr}");
        // Rows that differ in a flag alone add nothing beyond some.
        for row in rows.iter().take(12) {
            let tests = row.cond.tests();
            for (i, (at, test)) in tests.iter().enumerate() {
                let value = match *test {
                    Test::Is(value) | Test::Bits { value, .. } => value,
                    Test::IsNot(value) => value ^ 1,
                    Test::BitsNot { mask, .. } => mask,
                    Test::AtLeast(value) => value.into(),
                    Test::Below(value) => u64::from(value).saturating_sub(1),
                };
                let _ = write!(text, "{}{at}:{value:x}", if i == 0 { ' ' } else { ',' });
            }
        }
        text.push('\n');
    }
    text
}

/// What a monitor takes of the host.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    /// KiB, its part of what is shared among them.
    memory: u64,
    threads: u64,
    descriptors: u64,
}

impl Figures {
    fn of(monitor: i32) -> Self {
        let memory = figure(&format!("/proc/{monitor}/smaps_rollup"), "Pss").expect("its memory");
        let threads = figure(&format!("/proc/{monitor}/status"), "Threads").expect("its status");
        let descriptors =
            fs::read_dir(format!("/proc/{monitor}/fd")).expect("its descriptors").count() as u64;
        Self { memory, threads, descriptors }
    }

    fn most(self, other: Self) -> Self {
        Self {
            memory: self.memory.max(other.memory),
            threads: self.threads.max(other.threads),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
}

/// When a process was begun, which tells it from another of its number.
fn begun(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

/// The worst of what a calm program in a zone met, in ms.
#[track_caller]
fn worst(said: &str, zone: &str) -> f64 {
    let line =
        said.lines().find_map(|line| line.strip_prefix("calm ")).unwrap_or_else(|| panic!("{zone}: {said}"));
    let figures: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [count, p50, p99, worst] = figures[..] else { panic!("{zone}: {line}") };
    eprintln!("{zone}: {count} calm calls, p50 {p50} ms, p99 {p99} ms, at most {worst} ms");
    worst
}

fn login(zoned: &Zoned, zone: &str, words: &[&str]) -> Client {
    zoned.spawn(&[&["login", zone, "--"], words].concat())
}

fn hammer(settings: &[&str]) {
    let zoned = Zoned::start_alone();
    let mut dice = Dice::new();
    let long = seconds();
    for zone in ["hammered", "other"] {
        zoned.install(zone, &format!("dir:{}", busybox_root().display()), settings);
        let root = zoned.root().join("zones").join(zone).join("root/bin");
        let config = Config::parse(&zoned.zonectl(&["export", zone]).ok(), zone).expect("its configuration");
        for (name, abi) in [("amd64", Abi::X86_64), ("i386", Abi::I386)] {
            let program = program("hammer", name, &["-pthread"]).expect("hammer.c compiles");
            fs::copy(program, root.join(format!("hammer-{name}"))).expect("copy the program");
            let table = table(&config, abi);
            assert!(table.lines().count() > 10, "{settings:?} answers few calls of {name}\n{table}");
            fs::write(root.join(format!("calls-{name}")), table).expect("write its table");
        }
    }
    for zone in ["other", "hammered"] {
        zoned.zonectl(&["boot", zone, "-i", "none"]).ok();
        zoned.zonectl(&["login", zone, "--", "true"]).ok();
    }
    let monitor = zoned.monitor_of("hammered");
    let since = begun(monitor);
    let before = Figures::of(monitor);

    let mut others = login(&zoned, "other", &["hammer-amd64", "calm", &long.to_string()]);
    // Of one listener with those that hammer.
    let script = format!(
        "for a in amd64 i386; do hammer-$a /bin/calls-$a {} {long} & done; hammer-amd64 calm {long}; wait",
        dice.below(u64::from(u32::MAX))
    );
    let mut hammers = login(&zoned, "hammered", &["sh", "-c", &script]);
    let (mut most, mut slowest) = (before, Duration::ZERO);
    let end = Instant::now() + Duration::from_secs(long);
    let mut told = Instant::now();
    while Instant::now() < end && hammers.runs() && others.runs() {
        for zone in ["other", "hammered"] {
            let from = Instant::now();
            let said = zoned.zonectl(&["login", zone, "--", "true"]);
            // What it would run may be mounted over by now.
            assert!(matches!((zone, said.status), (_, Some(0)) | ("hammered", Some(126 | 127))), "{said}");
            slowest = slowest.max(from.elapsed());
        }
        assert_eq!(begun(monitor), since, "the monitor is another");
        let now = Figures::of(monitor);
        most = most.most(now);
        if told.elapsed() > Duration::from_secs(15) {
            eprintln!("{now:?}");
            told = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let said = hammers.finish().ok();
    eprint!("{settings:?}\n{said}");
    let others = others.finish().ok();
    assert_eq!(said.matches("answered well").count(), 2, "both hammered to the end");
    let (near, far) = (worst(&said, "hammered"), worst(&others, "other"));
    assert!(near < MOST_WAIT_MS && far < MOST_WAIT_MS, "a calm program waited {near} and {far} ms");
    assert!(slowest < MOST_LOGIN, "a login took {slowest:?}");
    assert_eq!(begun(monitor), since, "the monitor is another");
    // What the logins had is gone with them.
    eventually("the monitor has its descriptors back", 20, || {
        Figures::of(monitor).descriptors <= before.descriptors + 2
    });
    eventually("the monitor's threads are as many as before", 20, || {
        Figures::of(monitor).threads <= before.threads + 2
    });
    let after = Figures::of(monitor);
    eprintln!("before {before:?}\nmost   {most:?}\nafter  {after:?}; slowest login {slowest:?}");
    assert!(most.memory <= before.memory + MOST_GROWN, "it grew from {before:?} to {most:?}");
    assert!(after.memory <= before.memory + MOST_LEFT, "it stayed at {after:?} from {before:?}");
    assert!(most.threads <= MOST_THREADS && most.descriptors <= MOST_DESCRIPTORS, "it had {most:?}");
    for zone in ["hammered", "other"] {
        zoned.zonectl(&["halt", zone]).ok();
    }
}

/// Callers that wait for what never comes hold up no other of their listener, and leave no threads behind.
#[test]
fn many_that_wait_for_the_log_hold_up_nobody() {
    let zoned = Zoned::start_alone();
    zoned.install("z", &format!("dir:{}", busybox_root().display()), &["kernel=2.6.18"]);
    let program = program("hammer", "amd64", &["-pthread"]).expect("hammer.c compiles");
    fs::copy(program, zoned.root().join("zones/z/root/bin/hammer")).expect("copy the program");
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    let monitor = zoned.monitor_of("z");
    // Its listener is that of the shell, which goes on afterwards.
    let script = "hammer waits 300 3 & sleep 1; hammer calm 1; wait; sleep 2; hammer calm 1; read end";
    let mut waits = login(&zoned, "z", &["sh", "-c", script]);
    let mut most = Figures::default();
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        most = most.most(Figures::of(monitor));
        std::thread::sleep(Duration::from_millis(100));
    }
    eventually("threads that nobody waits for end", 10, || Figures::of(monitor).threads < 40);
    assert!(waits.runs(), "their listener is there still");
    waits.send(b"\n");
    let said = waits.finish();
    let said = said.stdout;
    assert!(most.threads > 300, "each has a thread: {most:?}");
    assert!(worst(&said, "z") < MOST_WAIT_MS, "{said}");
}

#[test]
fn at_an_old_level_of_32_bits() {
    hammer(&["kernel=2.0.36"]);
}

#[test]
fn at_a_level_whose_vsyscall_page_is_rewritten() {
    hammer(&["kernel=2.6.18", "vsyscall=rewrite"]);
}

#[test]
fn at_a_strict_level() {
    hammer(&["kernel=5.4", "strict=true"]);
}

#[test]
fn where_calls_are_built_from_older_ones() {
    hammer(&["kernel=6.12", "host-kernel=4.4"]);
}
