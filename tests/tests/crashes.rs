//! kill -9 of zoned at any moment: what is there afterwards is a zone in a state of the table.

use std::thread::sleep;
use std::time::{Duration, Instant};

use zones_tests::{Dice, Zoned, busybox_root, pack};

const STATES: [&str; 7] =
    ["configured", "incomplete", "installed", "ready", "running", "shutting_down", "down"];

/// Takes the zone as far as a state from wherever it is, by ordinary commands.
fn bring(zoned: &Zoned, goal: &str, source: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let state = zoned.state("z").expect("the zone is configured");
        if state == goal {
            return;
        }
        assert!(Instant::now() < end, "from {state} to {goal}: not within 60 s");
        let done = match (state.as_str(), goal) {
            ("incomplete", _) | ("installed", "configured") => zoned.zonectl(&["uninstall", "z", "-F"]),
            ("configured", _) => zoned.zonectl(&["install", "z", source]),
            ("ready" | "running", "configured" | "installed") => zoned.zonectl(&["halt", "z"]),
            ("installed" | "ready", _) => zoned.zonectl(&["boot", "z"]),
            // On its way by itself.
            _ => {
                sleep(Duration::from_millis(20));
                continue;
            }
        };
        // What an old zoned left under way may end between the question and the command.
        if done.status == Some(4) {
            sleep(Duration::from_millis(20));
        } else {
            done.ok();
        }
    }
}

/// How long an operation takes when nobody is killed.
fn time(zoned: &Zoned, words: &[&str]) -> Duration {
    let start = Instant::now();
    zoned.zonectl(words).ok();
    start.elapsed()
}

#[test]
fn after_a_hundred_kills_every_zone_is_in_a_state_and_can_go_on() {
    let mut dice = Dice::new();
    let mut zoned = Zoned::start_alone();
    let tar = zoned.scratch().join("root.tar");
    pack(&busybox_root(), &tar);
    let source = format!("tar:{}", tar.display());
    zoned.zonectl(&["create", "z", "kernel=2.6.18"]).ok();

    let install = ["install", "z", &source];
    let operations: [(&[&str], &str); 4] = [
        (&install, "configured"),
        (&["boot", "z"], "installed"),
        (&["halt", "z"], "running"),
        (&["uninstall", "z", "-F"], "installed"),
    ];
    let usual = [install.as_slice(), &["boot", "z"], &["halt", "z"], &["uninstall", "z", "-F"]]
        .map(|w| time(&zoned, w));
    eprintln!("install, boot, halt, uninstall take {usual:?}");

    for round in 0..100 {
        let which = dice.below(4) as usize;
        let (words, from) = operations[which];
        bring(&zoned, from, &source);
        let moment = Duration::from_micros(dice.below(usual[which].as_micros() as u64 * 5 / 4));
        let client = zoned.spawn(words);
        sleep(moment);
        zoned.kill9();
        client.finish();
        zoned.start_again();
        let state =
            zoned.state("z").unwrap_or_else(|| panic!("round {round}: the zone is lost after {words:?}"));
        let story = format!("round {round}: {words:?} killed after {moment:?}: {state}");
        assert!(STATES.contains(&state.as_str()), "{story}");
        eprintln!("{story}");
        bring(&zoned, "running", &source);
        assert_eq!(zoned.zonectl(&["login", "z", "--", "uname", "-r"]).ok().trim(), "2.6.18", "{story}");
        if round % 5 == 4 {
            bring(&zoned, "configured", &source);
        }
    }
    bring(&zoned, "configured", &source);
}
