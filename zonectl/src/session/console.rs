//! The console of a zone, from boot to boot.

use std::io::{self, IsTerminal, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};

use zone_api::client::Session;
use zone_api::{SessionEvent, SessionInput, State};

use super::escape::Escape;
use super::pump::{PIECE, read_some, ready, write_all};
use super::signals::{Caught, Signals};
use super::terminal::{self, RawMode};
use super::{Finished, Outputs};
use crate::failure::Failure;

/// Shows the console until its user leaves or the zone's monitor ends.
pub(crate) fn console(what: &str, mut session: Session, quiet: bool, escapes: bool) -> Result<u8, Failure> {
    let failed = |e: io::Error| Failure::local(what, &e);
    let typing = io::stdin().is_terminal();
    let signals = Signals::catch(typing).map_err(failed)?;
    // A byte comes when the user leaves.
    let (left, leave) = io::pipe().map_err(failed)?;
    let mut attached: Option<Attached> = None;
    'session: loop {
        while let Some((event, descriptors)) = session.received()? {
            match event {
                SessionEvent::Started { zone, .. } => {
                    // One writer stays here: the pipe's end would look like a user who left.
                    let leave = leave.try_clone().map_err(failed)?;
                    if typing && !quiet {
                        say(false, &format!("console of {zone}; ~. leaves"));
                    }
                    attached = Some(Attached::start(zone, descriptors, leave, escapes).map_err(failed)?);
                    resize(&mut session);
                }
                SessionEvent::Refused { error, status } => return Err(Failure::Error(error, status)),
                SessionEvent::State { state } => {
                    if let Some(attached) = attached.as_ref().filter(|_| !quiet) {
                        attached.tell(state);
                    }
                }
                SessionEvent::Exited { .. } | SessionEvent::Killed { .. } => break 'session,
                SessionEvent::Younger { .. } | SessionEvent::Timings { .. } => {}
            }
        }
        let [talks, caught, leaves] =
            ready([session.as_fd(), signals.as_fd(), left.as_fd()]).map_err(failed)?;
        if caught {
            while let Some(caught) = signals.next().map_err(failed)? {
                match caught {
                    Caught::Resized => resize(&mut session),
                    Caught::Suspended => {
                        if let Some(raw) = attached.as_ref().and_then(|a| a.raw.as_ref()) {
                            raw.suspend().map_err(failed)?;
                        }
                        resize(&mut session);
                    }
                    Caught::Ending(signal) => return Ok(128 + signal),
                }
            }
        }
        if leaves {
            return Ok(0);
        }
        if talks && !session.fill().map_err(failed)? {
            break;
        }
    }
    let Some(attached) = attached else {
        return Err(failed(io::Error::other("its zone went away")));
    };
    match attached.outputs.finish(&signals).map_err(failed)? {
        Finished::Signal(signal) => Ok(128 + signal),
        Finished::All(Ok(())) => Ok(0),
        Finished::All(Err(e)) => Err(Failure::stdout(&e)),
    }
}

/// Tells the monitor the size of our terminal, where we have one.
fn resize(session: &mut Session) {
    if let Some(window) = terminal::window() {
        // A monitor that is gone shows at the next read.
        let _ = session.send(&SessionInput::Resize { rows: window.ws_row, columns: window.ws_col });
    }
}

struct Attached {
    zone: String,
    outputs: Outputs,
    raw: Option<RawMode>,
}

impl Attached {
    fn start(zone: String, descriptors: Vec<OwnedFd>, leave: PipeWriter, escapes: bool) -> io::Result<Self> {
        let missing = || io::Error::other("the session came without its descriptor");
        let ours = descriptors.into_iter().next().ok_or_else(missing)?;
        let raw = RawMode::enter()?;
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let mut outputs = Outputs::new()?;
        outputs.add(ours.try_clone()?, stdout, Some(leave.try_clone()?))?;
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || typed(&stdin, &ours, leave, escapes))?;
        Ok(Self { zone, outputs, raw })
    }

    /// A line about a zone that ends or comes back.
    fn tell(&self, state: State) {
        say(self.raw.is_some(), &format!("{} is {}", self.zone, state.word()));
    }
}

/// A line of ours between those of the zone. In raw mode the terminal does not return its carriage by itself.
fn say(raw: bool, line: &str) {
    let end = if raw { "\r\n" } else { "\n" };
    let start = if raw { "\r\n" } else { "" };
    // A courtesy: a stderr that is gone changes nothing.
    let _ = write!(io::stderr(), "{start}[{line}]{end}");
}

/// Carries what is typed until its end. That end is not the console's, which is left by `~.`, a signal or the
/// end of the zone, so that a script can type ahead and read on.
fn typed(from: &OwnedFd, to: &OwnedFd, mut leave: PipeWriter, escapes: bool) {
    let mut escape = Escape::new();
    let mut buffer = vec![0; PIECE];
    let mut out = Vec::with_capacity(PIECE);
    while let Ok(n @ 1..) = read_some(from.as_fd(), &mut buffer) {
        out.clear();
        let leaves = if escapes {
            escape.feed(&buffer[..n], &mut out)
        } else {
            out.extend_from_slice(&buffer[..n]);
            false
        };
        if write_all(to.as_fd(), &out).is_err() {
            break;
        }
        if leaves {
            // The reader waits for this as long as the session does.
            let _ = leave.write_all(b".");
            return;
        }
    }
    let _ = write_all(to.as_fd(), escape.rest());
}
