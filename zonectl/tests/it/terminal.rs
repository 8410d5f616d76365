//! zonectl on a terminal, and programs that have one.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcgetwinsize, tcsetwinsize};
use serde_json::json;
use zone_api::SessionEvent;

use crate::fake::{Answer, Fake};

const PATIENCE: Duration = Duration::from_secs(20);

/// zonectl with a terminal as stdin, stdout and stderr.
pub(crate) struct OnTerminal {
    pub(crate) child: Child,
    master: File,
    slave: OwnedFd,
    seen: String,
}

impl OnTerminal {
    pub(crate) fn start(mut command: Command) -> Self {
        let pty = openpty(None, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        tcsetwinsize(&pty.master, size(30, 100)).unwrap();
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "vt100");
        let child = command.spawn().unwrap();
        Self { child, master: pty.master.into(), slave: pty.slave, seen: String::new() }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for a text on the screen.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.seen.contains(text) {
            assert!(Instant::now() < end, "no {text:?} in {:?}", self.seen);
            self.look();
        }
    }

    fn look(&mut self) {
        let mut polled = [PollFd::new(&self.master, PollFlags::IN)];
        let tick = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        if poll(&mut polled, Some(&tick)).unwrap() > 0 {
            let mut bytes = [0; 4096];
            let n = self.master.read(&mut bytes).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    }

    /// Whether the terminal edits lines and echoes, as a shell expects it.
    pub(crate) fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    #[track_caller]
    pub(crate) fn wait_cooked(&mut self, cooked: bool) {
        let end = Instant::now() + PATIENCE;
        while self.is_cooked() != cooked {
            assert!(Instant::now() < end, "the terminal is not cooked={cooked}: {:?}", self.seen);
            self.look();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, size(rows, columns)).unwrap();
        // The kernel tells the foreground of a controlling terminal, which this one is not.
        self.signal(Signal::SIGWINCH);
    }

    /// Waits for the end; gives the exit code and all that was seen.
    #[track_caller]
    pub(crate) fn finish(mut self) -> (Option<i32>, String) {
        let end = Instant::now() + PATIENCE;
        loop {
            self.look();
            if let Some(status) = self.child.try_wait().unwrap() {
                self.look();
                assert!(self.is_cooked(), "the terminal was not restored");
                return (status.code(), std::mem::take(&mut self.seen));
            }
            assert!(Instant::now() < end, "it does not end: {:?}", self.seen);
        }
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A zone whose program has a pty, reads a line, waits for the window to be right, and exits with 5.
fn with_pty(rows: u16, columns: u16) -> Fake {
    Fake::with_session(move |mut monitor| {
        let pty = openpty(None, None).unwrap();
        monitor.started(true, &[pty.master.as_fd()]);
        drop(pty.master);
        let mut slave = File::from(pty.slave);
        slave.write_all(b"ready\n").unwrap();
        let mut line = [0; 64];
        let n = slave.read(&mut line).unwrap();
        let end = Instant::now() + PATIENCE;
        while tcgetwinsize(&slave).unwrap() != size(rows, columns) {
            assert!(Instant::now() < end, "the window stays {:?}", tcgetwinsize(&slave));
            std::thread::sleep(Duration::from_millis(5));
        }
        let said = String::from_utf8_lossy(&line[..n]).trim().to_owned();
        write!(slave, "<{said}>").unwrap();
        monitor.event(&SessionEvent::Exited { status: 5 });
        drop(slave);
        let _ = monitor.input();
    })
}

#[test]
fn a_shell_on_a_terminal() {
    let fake = with_pty(30, 100);
    let mut terminal = OnTerminal::start(fake.command(&["login", "z"]));
    terminal.expect("ready");
    assert!(!terminal.is_cooked());
    terminal.send("hello\r");
    let (code, seen) = terminal.finish();
    assert_eq!(code, Some(5));
    assert!(seen.ends_with("<hello>"), "{seen:?}");
    assert_eq!(
        fake.asked()[0].json(),
        json!({"user": null, "command": [], "tty": [30, 100], "term": "vt100"})
    );
}

#[test]
fn a_new_size_and_control_characters_reach_the_program() {
    let fake = with_pty(50, 132);
    let mut terminal = OnTerminal::start(fake.command(&["login", "z"]));
    terminal.expect("ready");
    terminal.resize(50, 132);
    // ^Z and ^\ are typed, not acted upon here; ^V keeps the program's own terminal from acting.
    terminal.send("\x16\x1a\x16\x1c\r");
    let (code, seen) = terminal.finish();
    assert_eq!(code, Some(5));
    assert!(seen.ends_with("<\x1a\x1c>"), "{seen:?}");
}

#[test]
fn signals_restore_the_terminal() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        let fake = with_pty(30, 100);
        let mut terminal = OnTerminal::start(fake.command(&["login", "z"]));
        terminal.expect("ready");
        terminal.signal(signal);
        assert_eq!(terminal.finish().0, Some(128 + signal as i32));
    }
}

#[test]
fn a_zone_that_goes_away_restores_the_terminal() {
    let fake = Fake::with_session(|monitor| {
        let pty = openpty(None, None).unwrap();
        monitor.started(true, &[pty.master.as_fd()]);
        drop(pty.master);
        File::from(pty.slave).write_all(b"ready\n").unwrap();
    });
    let mut terminal = OnTerminal::start(fake.command(&["login", "z"]));
    terminal.expect("its zone went away");
    assert_eq!(terminal.finish().0, Some(1));
}

#[test]
fn a_stop_gives_the_terminal_back_for_a_while() {
    let fake = with_pty(30, 100);
    let mut terminal = OnTerminal::start(fake.command(&["login", "z"]));
    terminal.expect("ready");
    terminal.signal(Signal::SIGTSTP);
    terminal.wait_cooked(true);
    let stat = format!("/proc/{}/stat", terminal.child.id());
    let end = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
        assert!(Instant::now() < end, "it does not stop");
        std::thread::sleep(Duration::from_millis(5));
    }
    terminal.signal(Signal::SIGCONT);
    terminal.wait_cooked(false);
    terminal.send("on\r");
    let (code, seen) = terminal.finish();
    assert_eq!(code, Some(5));
    assert!(seen.contains("<on>"), "{seen:?}");
}

#[test]
fn a_pty_can_be_forced_and_its_input_ends_with_an_eof() {
    let fake = Fake::with_session(|mut monitor| {
        let pty = openpty(None, None).unwrap();
        monitor.started(true, &[pty.master.as_fd()]);
        drop(pty.master);
        let mut slave = File::from(pty.slave);
        let mut text = String::new();
        slave.read_to_string(&mut text).unwrap();
        write!(slave, "<{text:?}>").unwrap();
        monitor.event(&SessionEvent::Exited { status: 0 });
        drop(slave);
        let _ = monitor.input();
    });
    let outcome = fake.feed(&["login", "z", "-t"], b"echo a\n".to_vec()).code(0);
    assert!(outcome.out.ends_with("<\"echo a\\n\">"), "{:?}", outcome.out);
    assert_eq!(fake.asked()[0].json()["tty"], json!([24, 80]));
}

#[test]
fn what_cannot_be_undone_is_asked_on_a_terminal() {
    let fake = Fake::new(|_| Answer::Text(String::new()));
    let mut terminal = OnTerminal::start(fake.command(&["delete", "z"]));
    terminal.expect("[y/N] ");
    terminal.send("no\n");
    let (code, seen) = terminal.finish();
    assert_eq!(code, Some(1));
    assert!(seen.contains("delete z: not confirmed"), "{seen}");
    assert_eq!(fake.lines(), [""; 0]);
    let mut terminal = OnTerminal::start(fake.command(&["delete", "z"]));
    terminal.expect("[y/N] ");
    terminal.send("y\n");
    assert_eq!(terminal.finish().0, Some(0));
    assert_eq!(OnTerminal::start(fake.command(&["uninstall", "z", "-F"])).finish().0, Some(0));
    assert_eq!(fake.lines(), ["DELETE /v1/zones/z", "POST /v1/zones/z/uninstall?force=true"]);
}

#[test]
fn a_bar_leaves_room_for_notes_and_goes_away() {
    let fake = Fake::new(|_| {
        Answer::Lines(vec![
            json!({"event": "step", "step": "unpacking", "total": 1 << 20}),
            json!({"event": "at", "done": 1 << 19}),
            json!({"event": "note", "text": "left out 2 device nodes"}),
            json!({"event": "done"}),
        ])
    });
    let (code, seen) = OnTerminal::start(fake.command(&["install", "z", "dir:/x"])).finish();
    assert_eq!(code, Some(0));
    assert!(seen.contains("z: left out 2 device nodes\r\n"), "{seen:?}");
    // EL and no line after it: the bar is cleared (console_codes(4)).
    assert!(seen.ends_with("\x1b[2K"), "{seen:?}");
}

#[test]
fn colours_are_for_terminals_and_can_be_refused() {
    let fake = Fake::new(|_| Answer::Json(200, json!([])));
    let (_, seen) = OnTerminal::start(fake.command(&["list"])).finish();
    assert!(seen.contains("\x1b[1mID"), "{seen:?}");
    let mut command = fake.command(&["list"]);
    command.env("NO_COLOR", "1");
    let (_, seen) = OnTerminal::start(command).finish();
    assert!(!seen.contains('\x1b'), "{seen:?}");
}
