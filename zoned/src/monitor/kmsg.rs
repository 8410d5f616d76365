//! A zone's own kernel log: the ring behind syslog(2), and /proc/kmsg.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brands::task::Log;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::sys::process;

/// Bytes that the ring holds; CONFIG_LOG_BUF_SHIFT=17 of a usual kernel.
const SIZE: usize = 128 * 1024;

/// How often a waiting reader is looked at for signals: a received call waits unkillably but for
/// fatal ones, so the others are ours to notice.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
struct Ring {
    bytes: VecDeque<u8>,
    /// Bytes ever dropped from the front; positions below count from the first byte ever logged.
    dropped: usize,
    read: usize,
    cleared: usize,
}

impl Ring {
    fn end(&self) -> usize {
        self.dropped + self.bytes.len()
    }

    fn from(&self, position: usize, max: usize) -> Vec<u8> {
        let start = position.max(self.dropped) - self.dropped;
        self.bytes.iter().skip(start).take(max).copied().collect()
    }
}

/// The ring, shared by all that answer calls.
#[derive(Debug, Default)]
pub struct Kmsg {
    ring: Mutex<Ring>,
    news: Condvar,
    /// The zone's /proc/kmsg.
    file: Option<File>,
}

impl Kmsg {
    /// One whose lines can be read from a FIFO, too.
    pub fn feeding(fifo: Option<OwnedFd>) -> Self {
        Self { file: fifo.map(File::from), ..Self::default() }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a line at level 6, with its newline.
    pub fn log(&self, line: &str) {
        let line = format!("<6>{line}\n");
        if let Some(mut file) = self.file.as_ref() {
            // A FIFO that nobody empties loses lines, as a ring does.
            let _ = file.write(line.as_bytes());
        }
        let mut ring = self.ring();
        ring.bytes.extend(line.bytes());
        while ring.bytes.len() > SIZE {
            ring.bytes.pop_front();
            ring.dropped += 1;
        }
        drop(ring);
        self.news.notify_all();
    }

    /// Takes up to `max` unread bytes; waits for some until `caller` has a signal to handle.
    pub fn take(&self, max: usize, caller: &Caller) -> Result<Vec<u8>, Errno> {
        let nothing_new = |ring: &mut Ring| ring.read.max(ring.dropped) == ring.end();
        let mut ring = self.ring();
        loop {
            let waited = self.news.wait_timeout_while(ring, LOOK, nothing_new);
            ring = waited.unwrap_or_else(PoisonError::into_inner).0;
            if max == 0 || !nothing_new(&mut ring) {
                break;
            }
            drop(ring);
            if caller.is_wanted_elsewhere() {
                return Err(Errno::EINTR);
            }
            ring = self.ring();
        }
        let taken = ring.from(ring.read, max);
        ring.read = ring.read.max(ring.dropped) + taken.len();
        Ok(taken)
    }
}

/// The ring as a handler reads it.
#[derive(Debug)]
pub struct View<'a>(pub &'a Kmsg);

/// Who waits for the log.
#[derive(Debug, Default)]
pub struct Caller {
    /// /proc/PID of a guest; nobody's signals are waited for without.
    pub directory: Option<OwnedFd>,
}

impl Caller {
    /// Whether a signal waits that the caller would handle (SigPnd, ShdPnd, SigBlk and SigIgn of
    /// proc_pid_status(5)), or the caller is gone.
    fn is_wanted_elsewhere(&self) -> bool {
        let Some(directory) = &self.directory else { return true };
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let opened = openat(directory, "status", flags, Mode::empty()).map(File::from);
        let mut status = String::new();
        if !opened.is_ok_and(|mut file| file.read_to_string(&mut status).is_ok()) {
            return true;
        }
        let mask = |key: &str| process::status_set(&status, key).unwrap_or(0);
        (mask("SigPnd:") | mask("ShdPnd:")) & !mask("SigBlk:") & !mask("SigIgn:") != 0
    }
}

impl Log for View<'_> {
    fn last(&mut self, max: usize, all: bool) -> Vec<u8> {
        let ring = self.0.ring();
        let oldest = if all { ring.dropped } else { ring.cleared.max(ring.dropped) };
        ring.from(oldest.max(ring.end().saturating_sub(max)), max)
    }

    fn clear(&mut self) {
        let mut ring = self.0.ring();
        ring.cleared = ring.end();
    }

    fn unread(&mut self) -> usize {
        let ring = self.0.ring();
        ring.end() - ring.read.max(ring.dropped)
    }

    fn size(&mut self) -> usize {
        SIZE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_take_what_is_new_and_see_what_is_last() {
        let kmsg = Kmsg::default();
        let mut view = View(&kmsg);
        assert_eq!(kmsg.take(100, &Caller::default()), Err(Errno::EINTR));
        kmsg.log("one");
        kmsg.log("two");
        assert_eq!(view.unread(), 14);
        assert_eq!(kmsg.take(7, &Caller::default()).unwrap(), b"<6>one\n");
        assert_eq!(view.last(7, false), b"<6>two\n");
        view.clear();
        assert_eq!(view.last(100, false), b"");
        assert_eq!(view.last(100, true), b"<6>one\n<6>two\n");
        assert_eq!(view.unread(), 7);
    }

    #[test]
    fn the_ring_is_bounded() {
        let kmsg = Kmsg::default();
        for i in 0..20_000 {
            kmsg.log(&format!("line {i}"));
        }
        let mut view = View(&kmsg);
        assert_eq!(view.last(usize::MAX, true).len(), SIZE);
        assert_eq!(view.unread(), SIZE);
        assert!(kmsg.take(SIZE, &Caller::default()).unwrap().ends_with(b"line 19999\n"));
    }

    #[test]
    fn a_waiting_reader_is_woken() {
        let kmsg = Kmsg::default();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| kmsg.take(100, &Caller::default()));
            kmsg.log("late");
            assert_eq!(reader.join().unwrap().unwrap(), b"<6>late\n");
        });
    }
}
