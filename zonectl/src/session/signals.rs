//! Signals as events: a descriptor says which came, so nothing happens between two instructions of ours.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a signal means to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caught {
    /// Our terminal has another size.
    Resized,
    /// Somebody wants us to stop for a while (kill -TSTP; no key does it in raw mode).
    Suspended,
    /// A signal that asks for an end: its number.
    Ending(u8),
}

/// The signals of a session, blocked in this thread and those that it starts.
#[derive(Debug)]
pub(super) struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Catches from here on; SIGTSTP only with a pty, since without one its default is right.
    pub(super) fn catch(pty: bool) -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGWINCH] {
            set.add(signal);
        }
        if pty {
            set.add(Signal::SIGTSTP);
        }
        set.thread_block()?;
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { descriptor })
    }

    /// The next one that came, if any.
    pub(super) fn next(&self) -> io::Result<Option<Caught>> {
        let Some(info) = self.descriptor.read_signal()? else { return Ok(None) };
        let number = u8::try_from(info.ssi_signo).unwrap_or(u8::MAX);
        Ok(Some(match Signal::try_from(i32::from(number)) {
            Ok(Signal::SIGWINCH) => Caught::Resized,
            Ok(Signal::SIGTSTP) => Caught::Suspended,
            _ => Caught::Ending(number),
        }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
