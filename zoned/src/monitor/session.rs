//! Programs that clients started in a zone, and clients at its console.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::unistd::Pid;
use zone_api::{ApiError, ErrorKind, SessionEvent, SessionInput};

use crate::confine::Failure;
use crate::sys::child::Child;
use crate::sys::process::Ended;
use crate::sys::scm;

/// Longest line that a client may send.
const MOST_LINE: usize = 4096;

/// How long a client may take to read the last that it is told.
const MOST_WAIT: Duration = Duration::from_secs(5);

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    input: Vec<u8>,
}

impl Client {
    /// Takes over a connection and what was already read from it.
    pub fn new(connection: OwnedFd, already: Vec<u8>) -> io::Result<Self> {
        let stream = UnixStream::from(connection);
        stream.set_nonblocking(true)?;
        Ok(Self { stream, input: already })
    }

    /// Tells the client something; one that does not read is no longer told. `fds` go with the
    /// line's first byte.
    pub fn tell(&self, event: &SessionEvent, fds: &[BorrowedFd<'_>]) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        if let Ok(sent) = scm::send(&self.stream, &line, fds)
            && let Some(rest) = line.get(sent..)
        {
            let _ = (&self.stream).write_all(rest);
        }
    }

    /// From now on telling waits for a client that is slow to read, but not for ever.
    pub fn wait_for_room(&self) {
        let _ = self.stream.set_nonblocking(false);
        let _ = self.stream.set_write_timeout(Some(MOST_WAIT));
    }

    /// What the client sent meanwhile; `None` when it is gone.
    pub fn receive(&mut self) -> Option<Vec<SessionInput>> {
        let mut buffer = [0; 1024];
        let gone = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break e.kind() != io::ErrorKind::WouldBlock,
            }
            if self.input.len() > MOST_LINE {
                break true;
            }
        };
        let mut inputs = Vec::new();
        while let Some(end) = self.input.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            inputs.extend(serde_json::from_slice::<SessionInput>(&line));
        }
        (!gone || !inputs.is_empty()).then_some(inputs)
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// How far a program is.
#[derive(Debug)]
pub enum Stage {
    /// On its way to exec.
    Starting(Child),
    /// It runs.
    Running(OwnedFd),
    /// It is over, but a tracer in the zone has not let go of it (ptrace(2)).
    Held(OwnedFd),
}

/// A program in the zone; `client` is `None` for those that the monitor itself started, and once
/// the client is gone.
#[derive(Debug)]
pub struct Session {
    /// Who asked for it.
    pub client: Option<Client>,
    /// Its number, while it is not reaped.
    pub pid: Pid,
    /// How far it is.
    pub stage: Stage,
    /// Its terminal's master, or the other ends of its pipes: for the client, once it runs; kept where there is none, so that a
    /// complaint does not end the program (SIGPIPE).
    pub streams: Vec<OwnedFd>,
    /// Whether it has a terminal.
    pub tty: bool,
}

impl Session {
    /// Tells the client that it runs and hands over its streams.
    pub fn tell_started(&mut self, zone: &str) {
        if let Some(client) = &self.client {
            let streams = std::mem::take(&mut self.streams);
            let fds: Vec<_> = streams.iter().map(AsFd::as_fd).collect();
            client.tell(&SessionEvent::Started { zone: zone.to_owned(), tty: self.tty }, &fds);
        }
    }

    /// Tells the client how it ended.
    pub fn tell_ended(&self, ended: Ended) {
        if let Some(client) = &self.client {
            client.tell(&event_of(ended), &[]);
        }
    }
}

/// The event of a program's end.
pub fn event_of(ended: Ended) -> SessionEvent {
    match ended {
        Ended::Exited(status) => SessionEvent::Exited { status },
        Ended::Killed(signal) => SessionEvent::Killed { signal },
    }
}

/// The event of a program that could not be started, with the shell's status for it: 127 not
/// found, 126 not to be executed.
pub fn refusal(what: &str, failure: &Failure) -> SessionEvent {
    let is_exec = failure.operation == "execute";
    let (status, why) = match failure.source.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) if is_exec => {
            (127, format!("{}: there is no such program", failure.object))
        }
        Some(libc::EACCES) if is_exec => (126, format!("{}: it may not be executed", failure.object)),
        Some(libc::ENOEXEC) if is_exec => {
            (126, format!("{}: it is not a program for this machine", failure.object))
        }
        _ if is_exec => (126, failure.sentence()),
        _ => (1, failure.sentence()),
    };
    let error = ApiError::new(ErrorKind::Failed, what, why);
    SessionEvent::Refused { error, status: Some(status) }
}
