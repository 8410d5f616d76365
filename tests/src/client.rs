//! One call of zonectl: started, watched, waited for, judged.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// No call of the tests takes longer, installs from a mirror apart.
const PATIENCE: Duration = Duration::from_secs(120);

/// A zonectl that runs.
#[derive(Debug)]
pub struct Client {
    words: String,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Client {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let words = command.get_args().skip(2).map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start {command:?}: {e}"));
        let stdin = child.stdin.take();
        Self { words, child, stdin }
    }

    /// Writes to its stdin, which stays open until [`Client::finish`].
    pub fn send(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            // A client that ended already says why in its outcome.
            let _ = stdin.write_all(bytes);
        }
    }

    /// Whether it is still there.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// Closes its stdin and waits for its end.
    pub fn finish(mut self) -> Outcome {
        drop(self.stdin.take());
        let (done, watch) = mpsc::channel::<()>();
        let pid = Pid::from_raw(self.child.id() as i32);
        let dog = thread::spawn(move || {
            let late = watch.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                let _ = kill(pid, Signal::SIGKILL);
            }
            late
        });
        let output = self.child.wait_with_output().expect("a child can be waited for");
        drop(done);
        let late = dog.join().unwrap_or(false);
        let (status, signal) = (output.status.code(), output.status.signal());
        let ended = match (late, status, signal) {
            (true, ..) => format!("no end within {} s", PATIENCE.as_secs()),
            (_, Some(code), _) => format!("exit {code}"),
            _ => format!("signal {}", signal.unwrap_or(0)),
        };
        let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
        Outcome { words: self.words, status, ended, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// How a call of zonectl ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    words: String,
    ended: String,
    /// Exit code, unless a signal ended it.
    pub status: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Outcome {
    /// Asserts exit code 0 and gives what it printed.
    #[track_caller]
    pub fn ok(self) -> String {
        self.code(0).stdout
    }

    /// Asserts an exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert!(self.status == Some(code), "expected exit {code}\n{self}");
        self
    }

    /// Asserts that the sentence on stderr is one of zonectl's and names all these.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        let sentence = self.stderr.lines().any(|l| l.starts_with("zonectl: "));
        assert!(sentence, "expected a line 'zonectl: what failed: why' on stderr\n{self}");
        for word in words {
            let there = self.stderr.to_lowercase().contains(&word.to_lowercase());
            assert!(there, "expected '{word}' on stderr\n{self}");
        }
        assert!(!self.stderr.contains("panicked"), "a panic is no sentence\n{self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "zonectl {}: {}\nstdout: {}\nstderr: {}", self.words, self.ended, self.stdout, self.stderr)
    }
}
