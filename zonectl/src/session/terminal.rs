//! Our terminal: its size, and raw mode that always ends.

use std::io;

use nix::sys::signal::{Signal, raise};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr};

/// Size of a terminal that does not know its own.
const USUAL: (u16, u16) = (24, 80);

/// Size of the window that we are in.
pub(super) fn window() -> Option<Winsize> {
    let known = |w: &Winsize| w.ws_row > 0 && w.ws_col > 0;
    tcgetwinsize(io::stdin()).ok().filter(known).or_else(|| tcgetwinsize(io::stdout()).ok().filter(known))
}

/// The same as rows and columns.
pub(super) fn size() -> (u16, u16) {
    window().map_or(USUAL, |w| (w.ws_row, w.ws_col))
}

/// Raw mode of the terminal on stdin, until it is dropped: on return, error and panic alike.
#[derive(Debug)]
pub(super) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Enters it; `None` where stdin is no terminal.
    pub(super) fn enter() -> io::Result<Option<Self>> {
        let Ok(before) = tcgetattr(io::stdin()) else { return Ok(None) };
        let mode = Self { before };
        mode.resume()?;
        Ok(Some(mode))
    }

    fn resume(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        Ok(tcsetattr(io::stdin(), OptionalActions::Now, &raw)?)
    }

    fn leave(&self) {
        // Without waiting for output: on a terminal stopped by ^S that would never end.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }

    /// Stops us with the terminal as it was; returns when we go on.
    pub(super) fn suspend(&self) -> io::Result<()> {
        self.leave();
        // SIGTSTP itself is blocked; SIGSTOP cannot be.
        raise(Signal::SIGSTOP)?;
        self.resume()
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        self.leave();
    }
}
