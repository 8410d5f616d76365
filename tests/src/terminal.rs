//! A program on a pty, and someone who types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A program with a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    child: Child,
    seen: String,
    /// Up to where [`Terminal::expect`] has read.
    read: usize,
}

impl Terminal {
    /// Starts a program on a new pty of 24 lines and 80 columns, which is its controlling terminal.
    pub fn start(command: &Command) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a host gives ptys");
        let end = || Stdio::from(pty.slave.try_clone().expect("a descriptor can be duplicated"));
        let mut started = Command::new("setsid");
        started.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        started.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        started.env("TERM", "vt100").stdin(end()).stdout(end()).stderr(end());
        let child = started.spawn().unwrap_or_else(|e| panic!("start {command:?}: {e}"));
        Self { master: pty.master.into(), child, seen: String::new(), read: 0 }
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("the program is there");
    }

    /// Gives the terminal another size, which the program is told of by SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) {
        let mut stty = Command::new("stty");
        stty.args(["rows", &rows.to_string(), "cols", &columns.to_string()]);
        let status = stty.stdin(self.master.try_clone().expect("a descriptor can be duplicated")).status();
        assert!(status.expect("run stty").success());
    }

    /// Types.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the program reads its terminal");
    }

    /// Waits for one of the texts in what was not read yet; gives the index of the first to come.
    #[track_caller]
    pub fn expect_any(&mut self, texts: &[&str], seconds: u64) -> usize {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            let unread = &self.seen[self.read..];
            let hit =
                texts.iter().enumerate().filter_map(|(i, t)| Some((unread.find(t)? + t.len(), i))).min();
            if let Some((length, which)) = hit {
                self.read += length;
                return which;
            }
            let more = self.fill(end);
            assert!(more, "expected {texts:?} on the terminal within {seconds} s, seen:\n{}", self.seen);
        }
    }

    /// Waits for a text.
    #[track_caller]
    pub fn expect(&mut self, text: &str, seconds: u64) {
        self.expect_any(&[text], seconds);
    }

    /// Everything seen so far.
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// Waits for the program's end.
    #[track_caller]
    pub fn finish(mut self, seconds: u64) -> ExitStatus {
        let end = Instant::now() + Duration::from_secs(seconds);
        while self.fill(end) {}
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the program did not end within {seconds} s, seen:\n{}", self.seen);
    }

    /// Reads once; false at the end of the time or of the program.
    fn fill(&mut self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now()).as_millis();
        let timeout = PollTimeout::try_from(left.min(60_000) as i32).unwrap_or(PollTimeout::ZERO);
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut fds, timeout), Ok(1..)) {
            return false;
        }
        let mut bytes = [0; 4096];
        // EIO: nobody has the other end open any more (pty(7)).
        let Ok(n @ 1..) = self.master.read(&mut bytes) else { return false };
        self.seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
