//! The console of a zone.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zone_api::{SessionEvent, SessionInput, State};

use crate::fake::{Fake, Monitor};
use crate::terminal::OnTerminal;

/// Attaches a client; gives the zone's end of the console.
fn attach(monitor: &Monitor) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    monitor.started(true, &[theirs.as_fd()]);
    ours
}

#[test]
fn tilde_dot_leaves_and_the_zone_gets_the_rest() {
    let (send, typed) = mpsc::channel();
    let fake = Fake::with_session(move |mut monitor| {
        let mut console = attach(&monitor);
        let size = monitor.input();
        assert_eq!(size, Some(SessionInput::Resize { rows: 30, columns: 100 }));
        console.write_all(b"login: ").unwrap();
        let mut text = [0; 7];
        console.read_exact(&mut text).unwrap();
        monitor.event(&SessionEvent::State { state: State::ShuttingDown });
        monitor.event(&SessionEvent::State { state: State::Running });
        console.write_all(b"login again: ").unwrap();
        assert_eq!(monitor.input(), Some(SessionInput::Resize { rows: 40, columns: 90 }));
        let mut rest = String::new();
        console.read_to_string(&mut rest).unwrap();
        send.send((String::from_utf8_lossy(&text).into_owned(), rest)).unwrap();
        assert_eq!(monitor.input(), None, "the client left");
    });
    let mut terminal = OnTerminal::start(fake.command(&["console", "z"]));
    terminal.expect("[console of z; ~. leaves]");
    terminal.expect("login: ");
    assert!(!terminal.is_cooked());
    terminal.send("root\r~~x");
    terminal.expect("[z is shutting_down]");
    terminal.expect("[z is running]");
    terminal.expect("login again: ");
    terminal.resize(40, 90);
    terminal.send("\x03\r~.not sent");
    let (code, _) = terminal.finish();
    assert_eq!(code, Some(0));
    assert_eq!(typed.recv().unwrap(), ("root\r~x".to_owned(), "\x03\r".to_owned()));
    assert_eq!(fake.lines(), ["POST /v1/zones/z/console"]);
}

#[test]
fn a_script_types_ahead_and_reads_until_the_zone_ends() {
    let fake = Fake::with_session(|mut monitor| {
        let mut console = attach(&monitor);
        let mut text = [0; 9];
        console.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"poweroff\n");
        // By now stdin has long been at its end.
        std::thread::sleep(std::time::Duration::from_millis(100));
        console.write_all(b"System halted\r\n").unwrap();
        monitor.event(&SessionEvent::State { state: State::Installed });
    });
    let outcome = fake.feed(&["console", "z"], b"poweroff\n".to_vec()).code(0);
    assert_eq!(outcome.out, "System halted\r\n");
    assert_eq!(outcome.err, "[z is installed]\n");
}

#[test]
fn a_script_can_leave_or_send_every_byte() {
    let (send, typed) = mpsc::channel();
    let zone = move |send: mpsc::Sender<String>| {
        move |monitor: Monitor| {
            let mut console = attach(&monitor);
            let mut text = String::new();
            // Without a way to leave, the input alone says when it is over.
            while !text.contains('!') {
                let mut byte = [0];
                if console.read(&mut byte).unwrap() == 0 {
                    break;
                }
                text.push(char::from(byte[0]));
            }
            send.send(text).unwrap();
        }
    };
    let fake = Fake::with_session(zone(send.clone()));
    fake.feed(&["console", "z"], b"ls\n~.".to_vec()).code(0);
    assert_eq!(typed.recv().unwrap(), "ls\n");
    let fake = Fake::with_session(zone(send));
    fake.feed(&["console", "-E", "z"], b"ls\n~.!".to_vec()).code(0);
    assert_eq!(typed.recv().unwrap(), "ls\n~.!");
}

#[test]
fn signals_leave_and_restore_the_terminal() {
    let zone = |mut monitor: Monitor| {
        let mut console = attach(&monitor);
        console.write_all(b"login: ").unwrap();
        while monitor.input().is_some() {}
    };
    let fake = Fake::with_session(zone);
    let mut terminal = OnTerminal::start(fake.command(&["console", "z"]));
    terminal.expect("login: ");
    terminal.signal(Signal::SIGTERM);
    assert_eq!(terminal.finish().0, Some(143));

    let fake = Fake::with_session(zone);
    let mut command = fake.command(&["console", "z"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 7]).unwrap();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_reader_that_leaves_ends_it() {
    let fake = Fake::with_session(|mut monitor| {
        let mut console = attach(&monitor);
        while console.write_all(&[b'x'; 4096]).is_ok() {}
        while monitor.input().is_some() {}
    });
    let mut command = fake.command(&["console", "z"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
