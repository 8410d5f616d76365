//! Programs on pipes.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use zone_api::{ApiError, ErrorKind, LedgerEntry, SessionEvent, SessionInput};

use crate::fake::Fake;

/// 4 MiB with every byte value in it.
fn bytes() -> Vec<u8> {
    (0..1_u32 << 20).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn three_pipes_carry_every_byte_and_the_status() {
    let fake = Fake::with_session(|mut monitor| {
        let (mut stdin, mut stdout, mut stderr) = monitor.pipes();
        let copied = std::io::copy(&mut stdin, &mut stdout).unwrap();
        write!(stderr, "{copied} bytes").unwrap();
        monitor.event(&SessionEvent::Exited { status: 7 });
    });
    let outcome = fake.feed(&["login", "z", "-u", "anna", "--", "cat", "-u"], bytes()).code(7);
    assert!(outcome.bytes == bytes());
    assert_eq!(outcome.err, "4194304 bytes");
    let asked = &fake.asked()[0];
    assert_eq!(asked.line, "POST /v1/zones/z/login");
    let login = json!({"user": "anna", "command": ["cat", "-u"], "tty": null, "term": null});
    assert_eq!(asked.json(), login);
}

#[test]
fn a_file_on_stdout_gets_it_all() {
    let fake = Fake::with_session(|mut monitor| {
        let (_stdin, mut stdout, _stderr) = monitor.pipes();
        stdout.write_all(&bytes()).unwrap();
        monitor.event(&SessionEvent::Exited { status: 0 });
    });
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let status = fake
        .command(&["run", "--", "x"])
        .stdin(Stdio::null())
        .stdout(file.reopen().unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert!(read == bytes());
}

#[test]
fn a_full_disk_is_an_error_although_the_program_did_well() {
    let fake = Fake::with_session(|mut monitor| {
        let (_stdin, mut stdout, _stderr) = monitor.pipes();
        stdout.write_all(b"x").unwrap();
        monitor.event(&SessionEvent::Exited { status: 0 });
    });
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = fake.command(&["login", "z", "x"]).stdin(Stdio::null()).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no space left"));
}

#[test]
fn ends_have_their_status() {
    let error = ApiError::new(ErrorKind::Failed, "login z", "there is no program x").hint("see PATH");
    let ends = [
        (SessionEvent::Killed { signal: 15 }, 143),
        (SessionEvent::Exited { status: 255 }, 255),
        (SessionEvent::Refused { error: error.clone(), status: Some(127) }, 127),
        (SessionEvent::Refused { error: error.clone(), status: None }, 1),
    ];
    for (end, code) in ends {
        let fake = Fake::with_session(move |mut monitor| monitor.event(&end));
        let outcome = fake.run(&["login", "z", "x"]).code(code);
        if code == 127 {
            assert_eq!(outcome.err, "zonectl: login z: there is no program x\nhint: see PATH\n");
        }
    }
}

#[test]
fn a_zone_that_goes_away_is_an_error_after_its_last_words() {
    let fake = Fake::with_session(|monitor| {
        let (_stdin, mut stdout, _stderr) = monitor.pipes();
        stdout.write_all(b"last").unwrap();
    });
    let outcome = fake.run(&["login", "z", "x"]).code(1);
    assert_eq!(
        (outcome.out.as_str(), outcome.err.as_str()),
        ("last", "zonectl: login z: its zone went away\n")
    );
}

#[test]
fn a_daemon_that_keeps_the_pipes_keeps_nobody() {
    let (release, released) = mpsc::channel::<()>();
    let fake = Fake::with_session(move |mut monitor| {
        let (_stdin, mut stdout, _stderr) = monitor.pipes();
        stdout.write_all(&[b'x'; 60_000]).unwrap();
        monitor.event(&SessionEvent::Exited { status: 0 });
        let _ = released.recv();
    });
    assert_eq!(fake.run(&["login", "z", "service", "start"]).code(0).out.len(), 60_000);
    drop(release);
}

#[test]
fn signals_go_to_the_program() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        let fake = Fake::with_session(|mut monitor| {
            let (_stdin, mut stdout, _stderr) = monitor.pipes();
            stdout.write_all(b"up\n").unwrap();
            let Some(SessionInput::Signal { signal }) = monitor.input() else { panic!("a signal is due") };
            stdout.write_all(b"down\n").unwrap();
            monitor.event(&SessionEvent::Killed { signal });
        });
        // Whatever we were started with: nohup(1) has some ignored.
        let mut command = fake.command_by("env", &["--default-signal"], &["login", "z", "sleep"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 3]).unwrap();
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "down\n");
        assert_eq!(child.wait().unwrap().code(), Some(128 + signal as i32));
    }
}

#[test]
fn a_signal_that_was_ignored_stays_so() {
    let fake = Fake::with_session(|mut monitor| {
        let (_stdin, mut stdout, _stderr) = monitor.pipes();
        stdout.write_all(b"up\n").unwrap();
        assert_eq!(monitor.input(), Some(SessionInput::Signal { signal: 15 }));
        monitor.event(&SessionEvent::Exited { status: 0 });
    });
    // As nohup(1) starts its command.
    let as_nohup = ["-c", "trap '' HUP; exec \"$@\"", "sh"];
    let mut command = fake.command_by("sh", &as_nohup, &["login", "z", "sleep"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 3]).unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    kill(pid, Signal::SIGHUP).unwrap();
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_leaves_ends_the_program_by_sigpipe() {
    let fake = Fake::with_session(|mut monitor| {
        let (_stdin, mut stdout, _stderr) = monitor.pipes();
        while stdout.write_all(&[b'y'; 4096]).is_ok() {}
        monitor.event(&SessionEvent::Killed { signal: 13 });
    });
    let mut command = fake.command(&["login", "z", "yes"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(141), 0));
}

#[test]
fn a_program_that_reads_no_more_does_not_disturb() {
    let fake = Fake::with_session(|mut monitor| {
        let (stdin, mut stdout, _stderr) = monitor.pipes();
        drop(stdin);
        stdout.write_all(b"done").unwrap();
        monitor.event(&SessionEvent::Exited { status: 3 });
    });
    assert_eq!(fake.feed(&["login", "z", "true"], bytes()).code(3).out, "done");
}

#[test]
fn descriptors_that_did_not_come_are_an_error() {
    let fake = Fake::with_session(|mut monitor| {
        monitor.started(false, &[std::io::stdin().as_fd()]);
        let _ = monitor.input();
    });
    assert!(fake.run(&["login", "z", "x"]).code(1).err.contains("descriptors"));
}

#[test]
fn run_sends_its_zone() {
    let fake = Fake::with_session(|mut monitor| monitor.event(&SessionEvent::Exited { status: 0 }));
    fake.run(&[
        "run",
        "--kernel",
        "2.6.18",
        "--root",
        "tar:/a.tar",
        "--bind",
        "/b",
        "x=y",
        "--",
        "uname",
        "-r",
    ])
    .code(0);
    let asked = &fake.asked()[0];
    assert_eq!(asked.line, "POST /v1/run");
    let body = asked.json();
    assert_eq!(body["root"], "tar:/a.tar");
    assert_eq!(body["binds"], json!(["/b"]));
    assert_eq!(body["edits"][1], json!({"op": "set", "key": "x", "value": "y"}));
    assert_eq!(body["login"]["command"], json!(["uname", "-r"]));
}

/// A run whose level has neither of two calls; its program writes a line.
fn strict_run(status: u8) -> Fake {
    Fake::with_session(move |mut monitor| {
        let (_stdin, mut stdout, _stderr) = monitor.pipes();
        stdout.write_all(b"out\n").unwrap();
        drop(stdout);
        for (call, needs) in [("getrandom", "3.17"), ("statx", "4.11")] {
            let entry = LedgerEntry {
                call: call.into(),
                abi: "x86_64".into(),
                done: "masked".into(),
                count: 2,
                needs: Some(needs.into()),
                program: "ls".into(),
                first: 1,
            };
            let (level, lowest) = ("3.10".into(), "4.11".into());
            monitor.event(&SessionEvent::Younger { level, lowest, entries: vec![entry] });
        }
        monitor.event(&SessionEvent::Exited { status });
    })
}

#[test]
fn a_strict_run_tells_what_its_level_did_not_have() {
    let words =
        |more: &[&'static str]| [&["run", "--strict", "--kernel", "3.10"], more, &["--", "ls"]].concat();
    let outcome = strict_run(3).run(&words(&[])).code(3);
    assert_eq!(outcome.out, "out\n");
    assert_eq!(
        outcome.err,
        "zonectl: made calls younger than 3.10:\n\
         CALL       ABI     NEEDS  COUNT  PROGRAM\n\
         getrandom  x86_64  3.17   2      ls\n\
         statx      x86_64  4.11   2      ls\n\
         the lowest level that has them all: 4.11\n"
    );
    let outcome = strict_run(0).run(&words(&["--gate", "-q"])).code(1);
    assert_eq!(outcome.err, "zonectl: run ls: it asked for what 3.10 did not have; 4.11 has it\n");
    assert_eq!(strict_run(3).run(&words(&["--gate", "-q"])).code(3).err, "");
    for status in [0, 3] {
        let outcome = strict_run(status).run(&words(&["--json"])).code(i32::from(status));
        assert_eq!(outcome.err, "out\n");
        let call =
            |name, needs| json!({"call": name, "abi": "x86_64", "needs": needs, "count": 2, "program": "ls"});
        let expected = json!({
            "status": status, "signal": null, "level": "3.10", "lowest_level": "4.11",
            "younger": [call("getrandom", "3.17"), call("statx", "4.11")], "would_run": status == 0,
        });
        assert_eq!(outcome.json(), expected);
    }
}

#[test]
fn a_strict_run_that_had_all_says_so() {
    let fake = Fake::with_session(|mut monitor| {
        drop(monitor.pipes());
        let (level, lowest) = ("3.10".into(), "3.10".into());
        monitor.event(&SessionEvent::Younger { level, lowest, entries: Vec::new() });
        monitor.event(&SessionEvent::Exited { status: 0 });
    });
    let outcome = fake.run(&["run", "--strict", "--gate", "--kernel", "3.10", "--", "x"]).code(0);
    assert_eq!(outcome.err, "zonectl: made no call younger than 3.10\n");
}
