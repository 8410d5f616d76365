//! A program in a zone, seen from the terminal or the pipes that zonectl was started with.

mod console;
mod escape;
mod pump;
mod signals;
mod terminal;

use std::io::{self, IsTerminal, PipeReader, PipeWriter, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use zone_api::client::Session;
use zone_api::{ApiError, ErrorKind, LedgerEntry, Login, Mark, SessionEvent, SessionInput};

pub(crate) use console::console;

use crate::failure::Failure;
use pump::{AtEnd, ready};
use signals::{Caught, Signals};
use terminal::RawMode;

/// What `-t` and `-T` ask for; without them the terminal decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pty {
    Always,
    Never,
    Fitting,
}

/// A request for a program, with a pty where one fits.
pub(crate) fn request(user: Option<String>, command: Vec<String>, pty: Pty) -> Login {
    let wanted = match pty {
        Pty::Always => true,
        Pty::Never => false,
        Pty::Fitting => fits(io::stdin().is_terminal(), io::stdout().is_terminal(), command.is_empty()),
    };
    let term = wanted.then(|| std::env::var("TERM").ok()).flatten();
    Login { user, command, tty: wanted.then(terminal::size), term }
}

/// A shell goes on a pty when there is someone to type. A program's output that goes to a file must not pass
/// through one, which would rewrite its line ends and mix stdout with stderr.
fn fits(stdin: bool, stdout: bool, shell: bool) -> bool {
    stdin && (stdout || shell)
}

/// How a program ended.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// Exit status; 128 and the signal's number where a signal ended it.
    pub(crate) status: u8,
    /// The signal that ended it.
    pub(crate) signal: Option<u8>,
    /// What a strict run's level did not have.
    pub(crate) younger: Option<Younger>,
    /// What a run's zone took, where that was asked for.
    pub(crate) marks: Vec<Mark>,
}

/// The calls of a strict run that are younger than its level.
#[derive(Debug, Default)]
pub(crate) struct Younger {
    pub(crate) level: String,
    /// The lowest level that has them all.
    pub(crate) lowest: String,
    pub(crate) entries: Vec<LedgerEntry>,
}

impl End {
    fn exited(status: u8) -> Self {
        Self { status, ..Self::default() }
    }

    fn killed(signal: u8) -> Self {
        Self { status: 128_u8.saturating_add(signal), signal: Some(signal), ..Self::default() }
    }
}

/// Where what a program writes to its stdout goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdout {
    Ours,
    /// To our stderr, since ours is for a document.
    Stderr,
}

/// Carries a program's input and output until it ended and all that it wrote is out.
pub(crate) fn program(what: &str, session: &mut Session, pty: bool, stdout: Stdout) -> Result<End, Failure> {
    let failed = |e: io::Error| Failure::local(what, &e);
    let signals = Signals::catch(pty).map_err(failed)?;
    let mut running: Option<Running> = None;
    let mut younger: Option<Younger> = None;
    let ended = 'session: loop {
        while let Some((event, descriptors)) = session.received()? {
            match event {
                SessionEvent::Started { tty, .. } => {
                    running = Some(Running::start(tty, descriptors, stdout).map_err(failed)?);
                }
                SessionEvent::Refused { error, status } => break 'session Err(Failure::Error(error, status)),
                SessionEvent::Younger { level, lowest, entries } => {
                    let all = younger.get_or_insert_default();
                    (all.level, all.lowest) = (level, lowest);
                    all.entries.extend(entries);
                }
                SessionEvent::Exited { status } => break 'session Ok(End { younger, ..End::exited(status) }),
                SessionEvent::Killed { signal } => break 'session Ok(End { younger, ..End::killed(signal) }),
                SessionEvent::State { .. } | SessionEvent::Timings { .. } => {}
            }
        }
        let [talks, caught] = ready([session.as_fd(), signals.as_fd()]).map_err(failed)?;
        if caught {
            while let Some(caught) = signals.next().map_err(failed)? {
                match (caught, &running) {
                    (Caught::Resized, Some(running)) => running.resize(),
                    (Caught::Suspended, Some(running)) => running.suspend().map_err(failed)?,
                    (Caught::Resized | Caught::Suspended, None) => {}
                    (Caught::Ending(signal), Some(running)) if running.master.is_none() => {
                        // The program's end decides about ours; a monitor that is gone shows below.
                        let _ = session.send(&SessionInput::Signal { signal });
                    }
                    (Caught::Ending(signal), _) => return Ok(End::killed(signal)),
                }
            }
        }
        if talks && !session.fill().map_err(failed)? {
            let why = "its zone went away";
            break Err(Failure::from(ApiError::new(ErrorKind::Failed, what, why)));
        }
    };
    let Some(running) = running else { return ended };
    match (running.outputs.finish(&signals).map_err(failed)?, ended) {
        (Finished::Signal(signal), _) => Ok(End::killed(signal)),
        (Finished::All(Ok(())), ended) | (Finished::All(Err(_)), ended @ Err(_)) => ended,
        (Finished::All(Err(e)), Ok(end)) => match Failure::stdout(&e) {
            // The program was told by SIGPIPE, and its status tells of it.
            Failure::ReaderGone => Ok(end),
            Failure::Error(error, _) => Err(Failure::Error(error, Some(end.status.max(1)))),
        },
    }
}

/// As [`program`], for a zone that exists while its program runs: comes back when nothing of it is left, which
/// zoned tells by closing the connection.
pub(crate) fn program_of_its_own_zone(
    what: &str,
    mut session: Session,
    pty: bool,
    stdout: Stdout,
) -> Result<End, Failure> {
    let mut ended = program(what, &mut session, pty, stdout);
    // Where we leave before the program does, this ends it.
    let _ = session.stream.shutdown(Shutdown::Write);
    let _ = session.stream.set_read_timeout(Some(PATIENCE));
    loop {
        while let Ok(Some((event, _))) = session.received() {
            if let (SessionEvent::Timings { marks }, Ok(end)) = (event, &mut ended) {
                end.marks = marks;
            }
        }
        if !matches!(session.fill(), Ok(true)) {
            break;
        }
    }
    ended
}

/// How long the end of a run's zone is waited for, once its program ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that was started.
struct Running {
    outputs: Outputs,
    /// The pty's master, for its size.
    master: Option<OwnedFd>,
    /// Last, so that the terminal is itself again only when all output is out.
    raw: Option<RawMode>,
}

impl Running {
    fn start(tty: bool, descriptors: Vec<OwnedFd>, stdout: Stdout) -> io::Result<Self> {
        let missing = || io::Error::other("the session came without its descriptors");
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or_else(missing);
        let mut outputs = Outputs::new()?;
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let stdout = match stdout {
            Stdout::Ours => io::stdout().as_fd().try_clone_to_owned()?,
            Stdout::Stderr => io::stderr().as_fd().try_clone_to_owned()?,
        };
        if !tty {
            let (into, out, err) = (next()?, next()?, next()?);
            let stderr = io::stderr().as_fd().try_clone_to_owned()?;
            outputs.add(out, stdout, None)?;
            outputs.add(err, stderr, None)?;
            std::thread::Builder::new()
                .name("stdin".to_owned())
                .spawn(move || pump::input(stdin, into, AtEnd::Close))?;
            return Ok(Self { outputs, master: None, raw: None });
        }
        let master = next()?;
        let (typed, shown) = (master.try_clone()?, master.try_clone()?);
        let mut running = Self { outputs, master: Some(master), raw: RawMode::enter()? };
        // The window may have changed since its size was sent.
        running.resize();
        running.outputs.add(shown, stdout, None)?;
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || pump::input(stdin, typed, AtEnd::TypeEof))?;
        Ok(running)
    }

    /// Gives the pty the size of our terminal; the kernel tells its programs.
    fn resize(&self) {
        if let (Some(master), Some(size)) = (&self.master, terminal::window()) {
            // A master that is at its end has nobody to be told.
            let _ = rustix::termios::tcsetwinsize(master, size);
        }
    }

    fn suspend(&self) -> io::Result<()> {
        if let Some(raw) = &self.raw {
            raw.suspend()?;
        }
        self.resize();
        Ok(())
    }
}

/// The threads that carry output.
struct Outputs {
    threads: Vec<JoinHandle<io::Result<()>>>,
    /// Closing it asks the threads to end once nothing is left to read.
    stop: PipeWriter,
    stopped: Arc<PipeReader>,
    /// At its end when every thread is.
    done: PipeReader,
    alive: PipeWriter,
}

/// How the wait for the last output ended.
enum Finished {
    All(io::Result<()>),
    Signal(u8),
}

impl Outputs {
    fn new() -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let (done, alive) = io::pipe()?;
        Ok(Self { threads: Vec::new(), stop, stopped: Arc::new(stopped), done, alive })
    }

    /// Carries what comes `from` in a thread of its own, which puts a byte on `gone` when `to` takes no more.
    fn add(&mut self, from: OwnedFd, to: OwnedFd, gone: Option<PipeWriter>) -> io::Result<()> {
        let (stopped, alive) = (Arc::clone(&self.stopped), self.alive.try_clone()?);
        let thread = std::thread::Builder::new().name("output".to_owned()).spawn(move || {
            // Closed when the thread is at its end.
            let _alive = alive;
            let result = pump::output(from, to, &*stopped);
            if let (Err(_), Some(mut gone)) = (&result, gone) {
                // Its other end lives as long as the session.
                let _ = gone.write_all(b"!");
            }
            result
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Waits until what the program wrote is out. Others that still hold its pipes are not waited for: a
    /// daemon that it started would keep its caller for ever.
    fn finish(self, signals: &Signals) -> io::Result<Finished> {
        let Self { threads, stop, stopped: _stopped, done, alive } = self;
        drop((stop, alive));
        loop {
            let [all, caught] = ready([done.as_fd(), signals.as_fd()])?;
            if all {
                break;
            }
            if caught && let Some(Caught::Ending(signal)) = signals.next()? {
                return Ok(Finished::Signal(signal));
            }
        }
        let panicked = |_| Err(io::Error::other("a thread that carries output panicked"));
        let results = threads.into_iter().map(|t| t.join().unwrap_or_else(panicked));
        // All are joined; the first error is the one to tell.
        Ok(Finished::All(results.fold(Ok(()), io::Result::and)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pty_only_where_someone_types_and_nothing_is_rewritten() {
        assert!(fits(true, true, false), "a program on a terminal");
        assert!(fits(true, true, true), "a shell on a terminal");
        assert!(!fits(true, false, false), "tar c > file");
        assert!(!fits(false, true, false), "a program fed by a pipe");
        assert!(!fits(false, false, true), "a shell fed with a script");
    }

    #[test]
    fn requests() {
        let login = request(None, vec!["id".into()], Pty::Never);
        assert_eq!((login.tty, login.term), (None, None));
        assert!(request(None, Vec::new(), Pty::Always).tty.is_some());
    }
}
