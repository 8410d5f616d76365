//! zoned under clients that are many, slow and broken: it answers the others, and takes no more than it may.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Group, Pid, SysconfVar, sysconf};
use zones_tests::{Caller, How, Reply, Zoned, ask, busybox_root, eventually, figure, read_reply, run};

/// An honest client waits no longer, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// What zoned may grow by under a thousand clients, in MiB.
const GROWTH: u64 = 128;

const LIST: &[u8] = b"GET /v1/zones?all HTTP/1.1\r\nHost: zoned\r\n\r\n";

fn zoned(descriptors: u32) -> Zoned {
    let most = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit").1;
    setrlimit(Resource::RLIMIT_NOFILE, 8192.min(most), most).expect("raise the soft limit");
    Zoned::start_as(How { descriptors: Some(descriptors), ..How::default() })
}

/// Figure of /proc/PID/status, in its unit.
fn status(zoned: &Zoned, key: &str) -> u64 {
    figure(&format!("/proc/{}/status", zoned.pid()), key).expect("zoned runs")
}

fn descriptors(zoned: &Zoned) -> usize {
    fs::read_dir(format!("/proc/{}/fd", zoned.pid())).expect("zoned runs").count()
}

/// CPU time that zoned has used.
fn cpu(zoned: &Zoned) -> Duration {
    let text = fs::read_to_string(format!("/proc/{}/stat", zoned.pid())).expect("zoned runs");
    let fields = text.rsplit_once(')').expect("a name").1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
    let hertz = sysconf(SysconfVar::CLK_TCK).expect("sysconf").expect("a number") as u64;
    Duration::from_millis(ticks * 1000 / hertz)
}

/// The list, as an honest client gets it.
#[track_caller]
fn list(zoned: &Zoned, who: Caller) -> (Reply, Duration) {
    let begun = Instant::now();
    let reply = ask(&zoned.socket(), who, "GET", "/v1/zones?all", &[], b"");
    (reply.unwrap_or_else(|e| panic!("the list for {who:?}: {e}\n{}", zoned.log())), begun.elapsed())
}

#[track_caller]
fn is_served(zoned: &Zoned, who: Caller) -> Duration {
    let (reply, took) = list(zoned, who);
    assert_eq!(reply.status, 200, "{who:?}: {}", reply.text());
    assert!(took < PATIENCE, "{who:?} waited for {took:?}");
    took
}

/// Sends what goes without waiting.
fn push(stream: &mut UnixStream, bytes: &[u8]) {
    stream.set_nonblocking(true).expect("fcntl");
    let mut rest = bytes;
    while let Ok(count @ 1..) = stream.write(rest) {
        rest = &rest[count..];
    }
    stream.set_nonblocking(false).expect("fcntl");
}

/// One of the thousand, by its number.
fn misbehave(kind: usize, stream: &mut UnixStream) {
    match kind {
        0 => push(stream, LIST),
        // Not one of them is read.
        1 => push(stream, &b"GET /v1/openapi.json HTTP/1.1\r\nHost: zoned\r\n\r\n".repeat(200)),
        2 => push(stream, &LIST[..20]),
        3 => {
            push(stream, b"GET /v1/zones HTTP/1.1\r\n");
            push(stream, &b"X-Header: and so on and so on\r\n".repeat(40_000));
        }
        4 => {
            push(stream, b"POST /v1/zones HTTP/1.1\r\nHost: zoned\r\nContent-Length: 1000000000\r\n\r\n");
            push(stream, &[b' '; 1 << 20]);
        }
        5 => {
            push(stream, b"POST /v1/zones HTTP/1.1\r\nHost: zoned\r\nTransfer-Encoding: chunked\r\n\r\n");
            push(
                stream,
                &b"1000\r\n"
                    .iter()
                    .copied()
                    .chain([b' '; 4096])
                    .chain(*b"\r\n")
                    .collect::<Vec<_>>()
                    .repeat(255),
            );
        }
        6 => push(stream, b"GET /v1/events HTTP/1.1\r\nHost: zoned\r\n\r\n"),
        7 => push(stream, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello by TLS \0\0\0"),
        // Says nothing.
        _ => {}
    }
}

/// What is left to read of a connection, and whether it ended within the time.
fn end_of(stream: &mut UnixStream, within: Duration) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(within)).expect("a timeout");
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => Some(all),
        // It was closed with something unread.
        Err(error) => (error.kind() == ErrorKind::ConnectionReset).then_some(all),
    }
}

#[test]
fn a_thousand_clients_of_all_kinds() {
    let zoned = zoned(16_384);
    zoned.zonectl(&["create", "z"]).ok();
    is_served(&zoned, Caller::ROOT);
    let (before, memory) = (descriptors(&zoned), status(&zoned, "VmRSS") >> 10);

    let users = ["daemon", "bin", "sys", "mail", "sync", "nobody"].map(Caller::named);
    let begun = Instant::now();
    let mut clients: Vec<UnixStream> = (0..1000)
        .map(|n| {
            // Half of them root's; the others of users, known and unknown, more than there are places for.
            let who = match n % 2 {
                0 => Caller::ROOT,
                _ if n % 4 == 1 => users[n / 4 % users.len()],
                _ => Caller { uid: 100_000 + n as u32, gid: 100_000 },
            };
            let mut client = who.connect(&zoned.socket()).expect("connect");
            misbehave(n / 4 % 10, &mut client);
            client
        })
        .collect();
    // They come a byte a second: a head, and a body.
    let connect = || Caller::ROOT.connect(&zoned.socket()).expect("connect");
    let mut slow: Vec<UnixStream> = (0..30).map(|_| connect()).collect();
    let mut body = connect();
    body.write_all(b"POST /v1/zones HTTP/1.1\r\nHost: zoned\r\nContent-Length: 100\r\n\r\n").expect("send");
    let mut silent = connect();

    let done = AtomicBool::new(false);
    let mut longest = Duration::ZERO;
    thread::scope(|scope| {
        scope.spawn(|| {
            for byte in LIST {
                for stream in &mut slow {
                    push(stream, &[*byte]);
                }
                push(&mut body, b" ");
                if done.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(Duration::from_secs(1));
            }
        });
        let tty = Group::from_name("tty").expect("groups").map_or(5, |group| group.gid.as_raw());
        while begun.elapsed() < Duration::from_secs(33) {
            longest = longest.max(is_served(&zoned, Caller::ROOT));
            // Who has no place is told so; he need not wait for that either.
            let (reply, took) = list(&zoned, Caller { uid: 54_321, gid: tty });
            assert!(matches!(reply.status, 200 | 503) && took < PATIENCE, "{} {took:?}", reply.status);
            // Those who follow are told, and do not read.
            zoned.zonectl(&["set", "z", "autoboot=false"]).ok();
            thread::sleep(Duration::from_millis(200));
        }
        done.store(true, Ordering::Relaxed);
    });
    let grown = (status(&zoned, "VmHWM") >> 10).saturating_sub(memory);
    let held = descriptors(&zoned);
    eprintln!(
        "at most {longest:?} for the list, {grown} MiB more at the most, {held} descriptors of {before}"
    );
    assert!(grown <= GROWTH, "zoned grew by {grown} MiB");

    // Half a minute is what a head or a body has.
    assert!(end_of(&mut silent, Duration::from_secs(5)).is_some(), "who says nothing stays");
    assert!(slow.iter_mut().all(|s| end_of(s, Duration::from_secs(5)).is_some()), "a slow head stays");
    let late = read_reply(&mut body, true).expect("an answer");
    assert_eq!(late.status, 408, "{}", late.text());
    // What a client of each kind got in the end.
    for (n, status) in [(0, "200"), (12, "431"), (16, "413"), (28, "400")] {
        let text = end_of(&mut clients[n], Duration::from_secs(40)).expect("it is closed");
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "client {n}: {text:?}");
    }
    drop((clients, slow, body, silent));
    eventually("its descriptors are as before", 60, || descriptors(&zoned) <= before);
    is_served(&zoned, Caller::STRANGER);
}

#[test]
fn one_user_keeps_nobody_out() {
    let zoned = zoned(16_384);
    zoned.zonectl(&["create", "z"]).ok();
    zoned.zonectl(&["add", "z", "admin", "user=daemon", "auths=login"]).ok();
    // Ids that a user has by subuid(5), and one user's own.
    let nameless = (0..400).map(|n| Caller { uid: 100_000 + n, gid: 100_000 });
    let own = (0..100).map(|_| Caller::named("bin"));
    let mut clients: Vec<UnixStream> =
        nameless.chain(own).map(|who| who.connect(&zoned.socket()).expect("connect")).collect();
    for who in [Caller::ROOT, Caller::named("daemon"), Caller::named("mail")] {
        is_served(&zoned, who);
    }
    // Who is turned away has a second to ask.
    thread::sleep(Duration::from_secs(2));
    for who in [Caller::STRANGER, Caller::named("bin")] {
        let (reply, took) = list(&zoned, who);
        assert_eq!(reply.status, 503, "{}", reply.text());
        assert!(reply.text().contains("connections") && reply.text().contains("hint"), "{}", reply.text());
        assert!(took < PATIENCE, "{took:?}");
        // Nor does zonectl break off: it has a sentence.
        let (uid, gid) = (who.uid.to_string(), who.gid.to_string());
        let zonectl = zoned.command(&["list"]);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &uid, "--regid", &gid, "--clear-groups"]);
        let copy = zoned.scratch().join("zonectl");
        fs::copy(zonectl.get_program(), &copy).expect("copy");
        let outcome = command.arg(copy).args(zonectl.get_args()).output().expect("run setpriv");
        let complaint = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert_eq!(outcome.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("connections"), "{complaint}");
    }
    let mut kept = 0;
    for client in &mut clients {
        let sent = client.write_all(LIST);
        let reply = sent.and_then(|()| read_reply(client, true));
        kept += usize::from(reply.is_ok_and(|reply| reply.status == 200));
    }
    assert_eq!(kept, 64, "32 of each");
    drop(clients);
    eventually("there is a place again", 10, || list(&zoned, Caller::STRANGER).0.status == 200);

    // Threads that have nothing to do go after ten seconds.
    eventually("its threads are gone", 30, || status(&zoned, "Threads") < 24);
    // What was begun and left takes a place until it is done: no more threads than places.
    for _ in 0..400 {
        let mut client = Caller::STRANGER.connect(&zoned.socket()).expect("connect");
        push(&mut client, b"GET /v1/doctor HTTP/1.1\r\nHost: zoned\r\n\r\n");
    }
    let threads = status(&zoned, "Threads");
    is_served(&zoned, Caller::ROOT);
    is_served(&zoned, Caller::named("daemon"));
    eprintln!("{threads} threads");
    assert!(threads < 64, "{threads} threads for one user");
}

#[test]
fn a_client_without_descriptors_says_so() {
    let zoned = &zoned(128);
    let mut done = 0;
    // With three it cannot even load its libraries.
    for most in 4..16 {
        let asked = zoned.command(&["list"]);
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nofile={most}:{most}")).arg(asked.get_program()).args(asked.get_args());
        let output = limited.output().expect("run prlimit");
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => done += 1,
            Some(1) => assert!(said.contains("too many open files"), "{most}: {said}"),
            // The loader's.
            Some(127) => assert!(said.contains("error while loading"), "{most}: {said}"),
            code => panic!("with {most} descriptors: {code:?} {said}"),
        }
    }
    assert!(done > 0, "it never had enough");
}

#[test]
fn without_descriptors_zoned_waits_and_zones_go_on() {
    let zoned = &zoned(128);
    let root = format!("dir:{}", busybox_root().display());
    for name in ["one", "two"] {
        zoned.install(name, &root, &["ip-type=none"]);
        zoned.zonectl(&["boot", name, "-i", "none"]).ok();
    }
    let (init, other) = (zoned.init_of("one"), zoned.init_of("two"));

    // Root itself has no more than a quarter of them; the rest is for zones.
    let idle: Vec<UnixStream> =
        (0..200).map(|_| Caller::ROOT.connect(&zoned.socket()).expect("connect")).collect();
    eventually("the others are turned away", 10, || descriptors(zoned) < 80);
    assert_eq!(list(zoned, Caller::ROOT).0.status, 503);
    drop(idle);
    eventually("it serves again", 5, || list(zoned, Caller::ROOT).0.status == 200);

    // None at all: a limit that zoned does not know of.
    eventually("nobody is connected", 10, || descriptors(zoned) < 40);
    let pid = zoned.pid().to_string();
    let now = descriptors(zoned) + 2;
    run(&["prlimit", "--pid", &pid, &format!("--nofile={now}:128")]);
    let idle: Vec<UnixStream> =
        (0..100).map(|_| Caller::ROOT.connect(&zoned.socket()).expect("connect")).collect();
    thread::sleep(Duration::from_millis(500));
    assert!(descriptors(zoned) >= now - 1, "it has {} descriptors of {now}", descriptors(zoned));
    let used = cpu(zoned);
    thread::sleep(Duration::from_secs(2));
    let used = cpu(zoned) - used;
    eprintln!("{used:?} of CPU time in 2 s without descriptors");
    assert!(used < Duration::from_millis(200), "{used:?} of CPU time in 2 s");
    assert!(fs::metadata(format!("/proc/{init}")).is_ok(), "the zone ended");
    // A zone that ends meanwhile has ended.
    kill(Pid::from_raw(other), Signal::SIGKILL).expect("kill");
    thread::sleep(Duration::from_millis(500));
    drop(idle);
    eventually("it serves again", 5, || list(zoned, Caller::ROOT).0.status == 200);
    run(&["prlimit", "--pid", &pid, "--nofile=128:128"]);
    assert_eq!(zoned.init_of("one"), init);
    assert_eq!(zoned.sh("one", "echo well").trim(), "well");
    zoned.wait_for("two", "installed");
    zoned.zonectl(&["boot", "two", "-i", "none"]).ok();
    assert_eq!(zoned.sh("two", "echo well").trim(), "well");
}
