//! stat, top, events, log and metrics of real zones.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use zones_tests::{Zoned, busybox_root, eventually};

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn figures_and_events_of_zones() {
    let mut zoned = Zoned::start();
    let source = format!("dir:{}", busybox_root().display());
    zoned.install(
        "burner",
        &source,
        &["capped-cpu.ncpus=0.1", "capped-memory.physical=32M", "max-processes=50"],
    );
    let events = zoned.spawn(&["events", "--json"]);
    sleep(Duration::from_millis(500));
    zoned.zonectl(&["boot", "burner", "-i", "none"]).ok();
    let login = zoned.spawn(&["login", "burner", "--", "sh", "-c", "while :; do :; done"]);
    sleep(Duration::from_secs(1));

    let report = document(&zoned.zonectl(&["stat", "burner", "2", "1", "--json"]).ok());
    let zone = &report["zones"][0];
    assert_eq!(
        (zone["name"].as_str(), zone["state"].as_str()),
        (Some("burner"), Some("running")),
        "{report}"
    );
    let of_cap = zone["cpu"]["of_cap"].as_f64().expect("a cap");
    assert!((75.0..=125.0).contains(&of_cap), "{report}");
    assert_eq!(zone["memory"]["cap"].as_f64(), Some(32.0 * 1048576.0), "{report}");
    assert!(zone["memory"]["used"].as_f64() > Some(0.0), "{report}");
    assert!(zone["lwps"]["used"].as_f64() >= Some(2.0), "{report}");

    // The kernel counts, so a new zoned goes on where the old one was.
    let before = zoned.cpu_seconds("burner");
    // What happens right before zoned goes is told once, now or when it is back.
    zoned.zonectl(&["create", "spare"]).ok();
    zoned.start_again();
    zoned.wait_for("burner", "running");
    assert!(zoned.cpu_seconds("burner") >= before);
    check_metrics(&zoned.zonectl(&["metrics"]).ok());
    sleep(Duration::from_secs(1));

    login.signal(Signal::SIGTERM);
    login.finish();
    // More than it may have: killed in the zone, told as an event.
    zoned.zonectl(&["login", "burner", "--", "sh", "-c", "x=x; while :; do x=$x$x; done"]);
    eventually("an OOM kill is counted", 10, || {
        let report = document(&zoned.zonectl(&["stat", "--json"]).ok());
        report["zones"][0]["oom_kills"].as_u64() >= Some(1)
    });
    sleep(Duration::from_secs(2));
    zoned.zonectl(&["halt", "burner"]).ok();
    zoned.wait_for("burner", "installed");
    sleep(Duration::from_secs(1));
    events.signal(Signal::SIGTERM);
    let told = events.finish().stdout;
    let kinds: Vec<String> =
        told.lines().map(|l| document(l)["kind"].as_str().expect("a kind").to_owned()).collect();
    for kind in ["boot", "state", "oom", "halt"] {
        assert!(kinds.iter().any(|k| k == kind), "no {kind} in {told}");
    }
    assert_eq!(told.matches("created with brand").count(), 1, "{told}");
    let log = document(&zoned.zonectl(&["log", "burner", "-n", "1", "--json"]).ok());
    assert_eq!(log.as_array().map(Vec::len), Some(1), "{log}");
    assert_eq!(log[0]["text"], "halted");
}

fn check_metrics(text: &str) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit_once(' ').map(|(_, value)| value.parse::<f64>());
        assert!(matches!(value, Some(Ok(_))), "{line}");
    }
    let mut promtool = Command::new("sh");
    promtool.args(["-c", "command -v promtool"]);
    if !promtool.output().is_ok_and(|found| found.status.success()) {
        eprintln!("SKIPPED promtool check metrics: promtool is not installed");
        return;
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("write metrics");
    let mut check = Command::new("sh");
    let checked = check
        .args(["-c", "promtool check metrics < \"$0\""])
        .arg(file.path())
        .output()
        .expect("run promtool");
    assert!(checked.status.success(), "{}\n{text}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn top_shows_sorts_and_leaves_the_terminal_as_it_was() {
    let zoned = Zoned::start();
    let source = format!("dir:{}", busybox_root().display());
    for name in ["quiet", "other"] {
        zoned.install(name, &source, &[]);
        zoned.zonectl(&["boot", name, "-i", "none"]).ok();
    }
    let refused = zoned.zonectl(&["top"]);
    assert_eq!(refused.status, Some(2));
    assert!(refused.stderr.contains("zonectl stat"), "{refused}");
    let mut terminal = zones_tests::Terminal::start(&zoned.command(&["top", "-d", "0.2"]));
    terminal.expect("quiet", 10);
    terminal.send("n");
    // The star behind ZONE: only what changes is drawn.
    terminal.expect("\x1b[2;5H", 10);
    terminal.send("q");
    // Back from the other screen (console_codes(4), xterm's 1049).
    terminal.expect("\x1b[?1049l", 10);
    assert!(terminal.finish(10).success());
}

#[test]
fn top_ends_by_a_signal_follows_its_terminal_and_can_be_without_colour() {
    let zoned = Zoned::start();
    zoned.install("quiet", &format!("dir:{}", busybox_root().display()), &[]);
    zoned.zonectl(&["boot", "quiet", "-i", "none"]).ok();
    // A colour of 256 for the foreground (console_codes(4)); reverse and bold are none.
    let has_colour = |seen: &str| seen.contains("\x1b[38;5;");
    for plain in [false, true] {
        let mut command = zoned.command(&["top", "-d", "0.2"]);
        if plain {
            command.env("NO_COLOR", "1");
        }
        let mut terminal = zones_tests::Terminal::start(&command);
        terminal.expect("quiet", 10);
        terminal.resize(40, 132);
        // Something is drawn where there was no terminal before.
        terminal.expect("\x1b[40;", 10);
        terminal.signal(Signal::SIGTERM);
        terminal.expect("\x1b[?1049l", 10);
        let seen = terminal.seen().to_owned();
        terminal.finish(10);
        assert_eq!(has_colour(&seen), !plain, "{seen:?}");
    }
}
