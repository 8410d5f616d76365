//! What fails under zones, and in zoned itself: a file system of the host's that does not answer any more; a process of ours that
//! is killed, and a system call that fails, at any step of any verb.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use zones_tests::{
    Act, Census, Dice, Fault, How, Lab, Outcome, Who, Zoned, busybox_root, eventually, pack, program, text,
};

fn server() -> PathBuf {
    program("hung", "amd64", &[]).expect("hung.c compiles")
}

#[test]
fn its_program_compiles() {
    assert!(server().is_file());
}

/// A file system whose server takes what it is asked, and answers nothing.
struct Hung {
    at: PathBuf,
    server: Child,
}

impl Hung {
    fn new(at: PathBuf) -> Self {
        fs::create_dir(&at).expect("make a folder");
        let mut command = Command::new(server());
        let server = command.arg(&at).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        let is_mounted = || {
            let mounts = fs::read_to_string("/proc/self/mounts").expect("read the mounts");
            mounts.lines().any(|line| line.split(' ').nth(1) == Some(text(&at)))
        };
        eventually("that it is mounted", 10, is_mounted);
        Self { at, server }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let ended = self.server.wait().expect("wait");
        assert!(ended.success() || std::thread::panicking(), "{ended}");
    }
}

#[test]
fn a_file_system_that_does_not_answer_holds_up_its_own_zone_alone() {
    let zoned = Zoned::start();
    let hung = Hung::new(zoned.scratch().join("hung"));
    let source = format!("dir:{}", busybox_root().display());
    for name in ["waits", "other"] {
        zoned.install(name, &source, &[]);
    }
    zoned.zonectl(&["add", "waits", "fs", "dir=/mnt", &format!("special={}", text(&hung.at))]).ok();
    let boot = zoned.spawn(&["boot", "waits", "-i", "none"]);
    let waits = || zoned.zonectl(&["list", "-c"]).ok().contains("boot under way");
    eventually("that the boot waits", 10, waits);
    zoned.zonectl(&["boot", "other", "-i", "none"]).ok();
    assert_eq!(zoned.sh("other", "echo here"), "here\n");
    assert!(waits(), "a file system that does not answer was mounted");
    // The kernel ends no process that waits for it; nobody else waits with that.
    let begun = Instant::now();
    let told = ["its monitor, process", "does not end", "a file system that does not answer", "/stack"];
    zoned.zonectl(&["halt", "waits"]).code(1).says(&told);
    boot.finish().code(1).says(&["boot waits", "it was halted"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());
    assert_eq!(zoned.state("waits").as_deref(), Some("installed"));
    zoned.zonectl(&["boot", "waits", "-i", "none"]).code(1).says(&told);
    assert_eq!(zoned.sh("other", "echo here"), "here\n");
    // Once it is gone all is as if it had never been.
    drop(hung);
    zoned.zonectl(&["remove", "waits", "fs", "dir=/mnt"]).ok();
    zoned.zonectl(&["boot", "waits", "-i", "none"]).ok();
    assert_eq!(zoned.sh("waits", "echo here"), "here\n");
    zoned.zonectl(&["halt", "waits"]).ok();
    zoned.zonectl(&["halt", "other"]).ok();
    // Its end counts what is left.
    drop(zoned);
}

#[test]
fn a_guest_lets_go_of_a_file_system_of_its_own_that_does_not_answer() {
    let zoned = Zoned::start();
    zoned.install("z", &format!("dir:{}", busybox_root().display()), &["kernel=2.6.18"]);
    let folder = server();
    let folder = folder.parent().expect("a folder").display();
    zoned.zonectl(&["add", "z", "device", "match=/dev/fuse"]).ok();
    zoned.zonectl(&["add", "z", "fs", "dir=/srv", &format!("special={folder}"), "options=ro"]).ok();
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    let program = server();
    let program = program.file_name().and_then(|name| name.to_str()).expect("a name");
    let script = format!(
        "mkdir /h; sleep 100 | /srv/{program} /h > /said & until grep -q hung /said; do sleep 0.1; done; \
         timeout 20 umount -l /h && echo gone"
    );
    assert_eq!(zoned.sh("z", &script), "gone\n");
    zoned.zonectl(&["halt", "z"]).ok();
    drop(zoned);
}

/// A verb and what it may come to.
struct Verb {
    words: &'static [&'static str],
    /// State of zone `z` before.
    from: &'static str,
    /// What is done before it, and may come to nothing.
    before: &'static [&'static [&'static str]],
    /// State afterwards.
    then: &'static str,
    /// What else a fault may leave: what the operator is told of, and can go on from.
    or: &'static [&'static str],
    /// A command that succeeds once it was done.
    shows: &'static [&'static str],
}

const LISTED: &[&str] = &["list", "-c"];

const VERBS: [Verb; 17] = [
    Verb {
        words: &["create", "c", "kernel=2.6.18"],
        from: "installed",
        before: &[&["delete", "c", "-F"]],
        then: "installed",
        or: &[],
        shows: &["get", "c", "kernel"],
    },
    Verb {
        words: &["delete", "c", "-F"],
        from: "installed",
        before: &[&["create", "c"]],
        then: "installed",
        or: &[],
        shows: LISTED,
    },
    Verb {
        words: &["install", "z", "tar:TAR"],
        from: "configured",
        before: &[],
        then: "installed",
        or: &["incomplete"],
        shows: LISTED,
    },
    Verb {
        words: &["boot", "z", "-i", "none"],
        from: "installed",
        before: &[],
        then: "running",
        or: &[],
        shows: &["login", "z", "--", "true"],
    },
    Verb { words: &["ready", "z"], from: "installed", before: &[], then: "ready", or: &[], shows: LISTED },
    Verb {
        words: &["boot", "z", "-i", "none"],
        from: "ready",
        before: &[],
        then: "running",
        or: &["installed"],
        shows: &["login", "z", "--", "true"],
    },
    Verb { words: &["halt", "z"], from: "running", before: &[], then: "installed", or: &[], shows: LISTED },
    Verb {
        words: &["shutdown", "z", "-t", "1"],
        from: "running",
        before: &[],
        then: "installed",
        or: &[],
        shows: LISTED,
    },
    Verb {
        words: &["reboot", "z"],
        from: "running",
        before: &[],
        then: "running",
        or: &["installed"],
        shows: &["login", "z", "--", "true"],
    },
    Verb {
        words: &["login", "z", "--", "sh", "-c", "echo here"],
        from: "running",
        before: &[],
        then: "running",
        or: &["installed"],
        shows: LISTED,
    },
    Verb {
        words: &["run", "--", "sh", "-c", "echo here"],
        from: "installed",
        before: &[],
        then: "installed",
        or: &[],
        shows: LISTED,
    },
    Verb {
        words: &["set", "z", "capped-memory.physical=96M"],
        from: "running",
        before: &[&["set", "z", "capped-memory.physical=64M"]],
        then: "running",
        or: &["installed"],
        shows: &["login", "z", "--", "grep", "-q", "MemTotal: *98304 kB", "/proc/meminfo"],
    },
    Verb {
        words: &["snapshot", "z@t"],
        from: "running",
        before: &[&["snapshot", "-d", "z@t"]],
        then: "running",
        or: &["installed"],
        shows: &["send", "z@t"],
    },
    Verb {
        words: &["rollback", "z@s"],
        from: "running",
        before: &[&["login", "z", "--", "touch", "/root/new"]],
        then: "running",
        or: &["installed"],
        shows: &["login", "z", "--", "test", "!", "-e", "/root/new"],
    },
    Verb {
        words: &["clone", "z@s", "c"],
        from: "installed",
        before: &[&["uninstall", "c", "-F"], &["delete", "c", "-F"]],
        then: "installed",
        or: &[],
        shows: &["send", "c"],
    },
    Verb {
        words: &["move", "z", "PLACE"],
        from: "installed",
        before: &[&["move", "z", "OTHER"]],
        then: "installed",
        or: &["incomplete"],
        shows: LISTED,
    },
    Verb {
        words: &["uninstall", "z", "-F"],
        from: "installed",
        before: &[],
        then: "configured",
        or: &["incomplete"],
        shows: LISTED,
    },
];

/// Who is killed at whose steps.
const KILLS: [(Who, Who); 12] = [
    (Who::Zoned, Who::Zoned),
    (Who::Zygote, Who::Zygote),
    (Who::Spare, Who::Spare),
    (Who::Monitor, Who::Monitor),
    (Who::Inside, Who::Inside),
    (Who::Zonectl, Who::Zonectl),
    // Who waits for another dies while it works.
    (Who::Monitor, Who::Zoned),
    (Who::Inside, Who::Zoned),
    (Who::Inside, Who::Monitor),
    (Who::Zoned, Who::Monitor),
    (Who::Zoned, Who::Zonectl),
    (Who::Monitor, Who::Zonectl),
];

/// What was wrong once: a verb, a fault, and the call before which it is.
const FOUND: [(&str, Who, Act, &str); 6] = [
    // It waited for ever for a monitor that was dead, and zoned for it.
    ("boot", Who::Inside, Act::Kill(Who::Monitor), "recvmsg"),
    // It waited for an answer of a file system of the monitor's, which did not end since it had the device itself. Nothing
    // could kill it.
    ("boot", Who::Monitor, Act::Kill(Who::Monitor), "writev /dev/fuse"),
    ("ready", Who::Spare, Act::Kill(Who::Spare), "sendmsg"),
    // It was the end of zoned.
    ("create", Who::Zoned, Act::Fail("ENOSPC"), "epoll_ctl"),
    // Nothing could be done with the zone any more.
    ("move", Who::Zoned, Act::Fail("ENOSPC"), "rename /"),
    ("move", Who::Zoned, Act::Fail("EIO"), "rename /"),
];

/// A host whose zone `z` goes through all that, beside a zone `other` that no fault concerns.
struct Place {
    zoned: Zoned,
    tar: String,
    /// The monitor of `other`, which is left alone.
    spare: i32,
    other: i32,
}

impl Place {
    fn new(lab: &Lab) -> Self {
        let zoned = lab.zoned_as(How { alone: true, ..How::default() });
        let tar = zoned.scratch().join("root.tar");
        pack(&busybox_root(), &tar);
        let tar = format!("tar:{}", text(&tar));
        zoned.install("other", &tar, &["kernel=2.6.18"]);
        zoned.zonectl(&["boot", "other", "-i", "none"]).ok();
        let (spare, other) = (zoned.monitor_of("other"), zoned.init_of("other"));
        Self { zoned, tar, spare, other }
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let scratch = |name: &str| text(&self.zoned.scratch().join(name)).to_owned();
        let word = |word: &&str| match *word {
            "tar:TAR" => self.tar.clone(),
            "PLACE" | "OTHER" => scratch(word),
            other => other.to_owned(),
        };
        words.iter().map(word).collect()
    }

    fn run(&self, words: &[&str]) -> Outcome {
        let words = self.words(words);
        self.zoned.zonectl(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The same until nothing else is under way.
    fn run_in_turn(&self, words: &[&str]) -> Result<Outcome, String> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let outcome = self.run(words);
            if outcome.status == Some(0) {
                return Ok(outcome);
            }
            let is_busy = outcome.status == Some(4) && outcome.stderr.contains("under way");
            if !is_busy || Instant::now() > end {
                return Err(format!("it does not work afterwards: {outcome}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its state, once nothing is under way.
    fn state(&self) -> Result<String, String> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let zone = self.zoned.zone("z").ok_or("the zone is lost")?;
            let state = zone["state"].as_str().unwrap_or_default().to_owned();
            if zone["busy"].is_null() && !["shutting_down", "down"].contains(&state.as_str()) {
                return Ok(state);
            }
            if Instant::now() > end {
                return Err(format!("it does not settle: {zone}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Takes the zone to a state from wherever it is, by ordinary commands.
    fn bring(&self, goal: &str) -> Result<(), String> {
        loop {
            let state = self.state()?;
            if state == goal {
                return Ok(());
            }
            match (state.as_str(), goal) {
                ("incomplete", _) | ("installed", "configured") => {
                    self.run_in_turn(&["uninstall", "z", "-F"])?
                }
                ("configured", _) => {
                    self.run_in_turn(&["install", "z", "tar:TAR"])?;
                    self.run_in_turn(&["boot", "z", "-i", "none"])?;
                    self.run_in_turn(&["login", "z", "--", "sh", "-c", "echo kept >/root/kept"])?;
                    self.run_in_turn(&["snapshot", "z@s"])?
                }
                ("installed", "ready") => self.run_in_turn(&["ready", "z"])?,
                ("ready" | "running", "installed" | "configured") | ("running", "ready") => {
                    self.run_in_turn(&["halt", "z"])?
                }
                _ => self.run_in_turn(&["boot", "z", "-i", "none"])?,
            };
        }
    }

    fn prepare(&self, verb: &Verb) -> Result<(), String> {
        self.bring(verb.from)?;
        verb.before.iter().for_each(|words| drop(self.run(words)));
        Ok(())
    }

    /// One fault, and all that is to be so afterwards.
    fn suffer(&mut self, verb: &Verb, fault: Fault) -> Result<String, String> {
        self.prepare(verb)?;
        let words = self.words(verb.words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (outcome, did) = self.zoned.with_fault(fault, self.spare, &words);
        let Some(did) = did else { return Ok("it did not come to that".into()) };
        let wrong = |what: &str| Err(format!("{did}: {what}\n{outcome}"));
        match fault.act {
            Act::Kill(Who::Zoned) => self.zoned.start_again(),
            _ if self.zoned.zonectl(LISTED).status != Some(0) => {
                self.zoned.start_again();
                return wrong("zoned is gone");
            }
            _ => {}
        }
        // The operator is told.
        let is_client = matches!(fault.act, Act::Kill(Who::Zonectl));
        match outcome.status {
            None if is_client => {}
            None => return wrong("the client died"),
            Some(124) => return wrong("the client waits"),
            Some(0) => {}
            Some(_) if !outcome.stderr.contains("zonectl: ") => return wrong("no sentence"),
            Some(_) if outcome.stderr.contains("panicked") => return wrong("a panic"),
            Some(_) => {}
        }
        // No state is lost.
        let state = self.state().map_err(|e| format!("{did}: {e}\n{outcome}"))?;
        let may_be = [verb.from, verb.then];
        if !may_be.contains(&state.as_str()) && !verb.or.contains(&state.as_str()) {
            return wrong(&format!("the zone is {state}"));
        }
        let is_down = ["configured", "incomplete", "installed"].contains(&state.as_str());
        if is_down && matches!(fault.act, Act::Kill(_)) && self.zoned.run_dir().join("z").exists() {
            return wrong(&format!("the zone is {state} and its run folder is there"));
        }
        if self.zoned.init_of("other") != self.other {
            return wrong("another zone was booted again");
        }
        // The verb works when it is asked for again.
        let again = (|| {
            let is_done = self.run(verb.shows).status == Some(0) && state == verb.then;
            if outcome.status == Some(0) && !is_done && !matches!(fault.act, Act::Kill(_)) {
                return Err("it says that it was done".to_owned());
            }
            if !is_done || verb.from == verb.then {
                self.prepare(verb)?;
                self.run_in_turn(verb.words)?;
            }
            self.run_in_turn(verb.shows)?;
            if !["configured", "incomplete"].contains(&verb.then) && verb.from != "configured" {
                self.bring("running")?;
                self.run_in_turn(&["login", "z", "--", "grep", "-q", "kept", "/root/kept"])?;
            }
            Ok(())
        })();
        match again {
            Err(what) => wrong(&what),
            Ok(()) => {
                Ok(format!("{did}: {} {}", outcome.status.map_or(-1, |code| code), outcome.stderr.trim()))
            }
        }
    }

    fn forget(&self) {
        for words in [
            // Whatever was killed while it waited to be a monitor is reaped when the next is made.
            &["run", "--", "true"][..],
            &["halt", "z"],
            &["uninstall", "c", "-F"],
            &["uninstall", "z", "-F"],
            &["delete", "c", "-F"],
            &["delete", "z", "-F"],
        ] {
            self.run(words);
        }
        for name in ["PLACE", "OTHER"] {
            // Folders are the operator's to remove.
            let _ = fs::remove_dir(self.zoned.scratch().join(name));
        }
    }

    fn make(&self) {
        self.zoned.zonectl(&["create", "z", "kernel=2.6.18"]).ok();
        self.zoned.zonectl(&["add", "z", "net", "physical=zones0"]).ok();
        self.zoned.zonectl(&["add", "z", "capped-memory", "physical=64M"]).ok();
        self.bring("installed").expect("a zone");
    }
}

/// Rounds for each verb: those of ZONES_FAULT_ROUNDS, where `all` is each fault at each step. Of them those whose story has each
/// word of ZONES_FAULT are played.
fn rounds() -> usize {
    match std::env::var("ZONES_FAULT_ROUNDS") {
        Ok(all) if all == "all" => usize::MAX,
        Ok(number) => number.parse().expect("ZONES_FAULT_ROUNDS is a number"),
        Err(_) => 2,
    }
}

/// Faults of the kinds, at steps that the verb has. A kind with many steps has no more of them than another.
fn choose(dice: &mut Dice, kinds: &[(Who, Act)], count: impl Fn(Who, Act) -> usize) -> Vec<Fault> {
    let is_there = |(at, act): &&(Who, Act)| {
        let who = if let Act::Kill(who) = act { *who } else { *at };
        count(*at, *act) > 0 && (who == *at || count(who, Act::Kill(who)) > 0)
    };
    let kinds: Vec<_> = kinds.iter().filter(is_there).collect();
    if rounds() == usize::MAX {
        let all = |(at, act): &&(Who, Act)| {
            let (at, act) = (*at, *act);
            (1..=count(at, act)).map(move |step| Fault { at, act, step }).collect::<Vec<_>>()
        };
        return kinds.iter().flat_map(all).collect();
    }
    let any = |_| {
        let (at, act) = *kinds[dice.below(kinds.len() as u64) as usize];
        Fault { at, act, step: 1 + dice.below(count(at, act) as u64) as usize }
    };
    (0..rounds()).map(any).collect()
}

/// Whether there is more than before of what a line of a census names.
fn has_grown(line: &str) -> bool {
    let (_, counts) = line.rsplit_once(": ").expect("a line has counts");
    let mut counts = counts.split(' ').filter_map(|word| word.parse::<usize>().ok());
    counts.next() < counts.next()
}

fn sweep(kinds: &[(Who, Act)]) {
    let mut dice = Dice::new();
    let lab = Lab::new();
    let mut place = Place::new(&lab);
    // Whatever is made once is there.
    place.make();
    place.bring("running").expect("it boots");
    place.forget();
    // Other zoneds of this machine have groups, too.
    let group = fs::read_to_string(format!("/proc/{}/cgroup", place.other)).expect("other runs");
    let (_, ours) = group.trim().rsplit_once('@').expect("its group is named after it");
    let ours = ours.split('/').next().unwrap_or_default();
    let only = std::env::var("ZONES_FAULT").unwrap_or_default();
    let is_wanted = |story: &str| only.split(' ').all(|word| story.contains(word));
    let mut wrong = Vec::new();
    for (number, verb) in VERBS.iter().enumerate() {
        let census = Census::settled(&place.zoned);
        let links = lab.census();
        place.make();
        place.prepare(verb).expect("it is ready for the verb");
        let words = place.words(verb.words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (outcome, steps) = place.zoned.steps(place.spare, &words);
        outcome.ok();
        let known = FOUND
            .iter()
            .filter(|(found, at, act, _)| *found == verb.words[0] && kinds.contains(&(*at, *act)));
        let mut faults: Vec<_> = known.filter_map(|(_, at, act, call)| steps.find(*at, *act, call)).collect();
        faults.extend(choose(&mut dice, kinds, |at, act| steps.count(at, act)));
        for fault in faults {
            let begun = Instant::now();
            let story = format!("{number}: {} from {}: {fault}", verb.words.join(" "), verb.from);
            if !is_wanted(&story) {
                continue;
            }
            match place.suffer(verb, fault) {
                Ok(how) => eprintln!("{story}: {how} ({} ms)", begun.elapsed().as_millis()),
                Err(what) => {
                    eprintln!("WRONG {story}: {what}");
                    let _ = place.state();
                    wrong.push(format!("{story}: {what}"));
                }
            }
        }
        place.forget();
        let mut left = census.diff(&Census::settled(&place.zoned));
        left.retain(|line| {
            let is_others = line.contains("/run/netns/") || line.contains("/zoned/") && !line.contains(ours);
            // What could not be removed goes with the next zoned, and what a killed monitor had started is reaped with it.
            let goes =
                ["/.trash/", "/images/tmp/", "process nft (zombie)"].iter().any(|what| line.contains(what));
            !is_others && !goes && has_grown(line)
        });
        left.truncate(20);
        if !left.is_empty() || links != lab.census() {
            let what = format!(
                "{number} {}: left: {}\n{links}\n{}",
                words.join(" "),
                left.join("\n  "),
                lab.census()
            );
            eprintln!("WRONG {what}");
            wrong.push(what);
        }
    }
    place.zoned.start_again();
    let bins = ["zones/.trash", "images/tmp"].map(|bin| place.zoned.root().join(bin));
    let is_empty = |bin: &PathBuf| fs::read_dir(bin).map_or(true, |mut entries| entries.next().is_none());
    eventually("what could not be removed is gone", 10, || bins.iter().all(is_empty));
    let log = fs::read_to_string(place.zoned.scratch().join("zoned.log")).unwrap_or_default();
    wrong.extend(log.lines().filter(|line| line.contains("panicked")).map(str::to_owned));
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_process_killed_at_any_step_of_any_verb_loses_nothing_and_leaves_nothing() {
    sweep(&KILLS.map(|(at, who)| (at, Act::Kill(who))));
}

#[test]
fn a_call_that_fails_at_any_step_of_any_verb_is_told_and_the_verb_works_afterwards() {
    let ours = [Who::Zoned, Who::Zygote, Who::Spare, Who::Monitor, Who::Inside];
    let kinds = ours.iter().flat_map(|at| Act::ERRORS.map(|act| (*at, act)));
    sweep(&kinds.collect::<Vec<_>>());
}
