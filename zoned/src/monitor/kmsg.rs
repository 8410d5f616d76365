//! A zone's own kernel log: the ring behind syslog(2).

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brands::task::Log;
use nix::errno::Errno;

/// Bytes that the ring holds; CONFIG_LOG_BUF_SHIFT=17 of a usual kernel.
const SIZE: usize = 128 * 1024;

/// How long a reader waits for something new before it is sent EINTR: as long as a signal may
/// have to wait for it.
const PATIENCE: Duration = Duration::from_millis(500);

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
}

impl Kmsg {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a line at level 6, with its newline.
    pub fn log(&self, line: &str) {
        let mut ring = self.ring();
        ring.bytes.extend(format!("<6>{line}\n").bytes());
        while ring.bytes.len() > SIZE {
            ring.bytes.pop_front();
            ring.dropped += 1;
        }
        drop(ring);
        self.news.notify_all();
    }
}

/// One call's view of the ring.
#[derive(Debug)]
pub struct View<'a>(pub &'a Kmsg);

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

    fn take(&mut self, max: usize) -> Result<Vec<u8>, Errno> {
        let ring = self.0.ring();
        let (mut ring, _) = self
            .0
            .news
            .wait_timeout_while(ring, PATIENCE, |ring| ring.read.max(ring.dropped) == ring.end())
            .unwrap_or_else(PoisonError::into_inner);
        let taken = ring.from(ring.read, max);
        if taken.is_empty() && max > 0 {
            return Err(Errno::EINTR);
        }
        ring.read = ring.read.max(ring.dropped) + taken.len();
        Ok(taken)
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
        assert_eq!(view.take(100), Err(Errno::EINTR));
        kmsg.log("one");
        kmsg.log("two");
        assert_eq!(view.unread(), 14);
        assert_eq!(view.take(7).unwrap(), b"<6>one\n");
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
        assert!(view.take(SIZE).unwrap().ends_with(b"line 19999\n"));
    }

    #[test]
    fn a_waiting_reader_is_woken() {
        let kmsg = Kmsg::default();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| View(&kmsg).take(100));
            kmsg.log("late");
            assert_eq!(reader.join().unwrap().unwrap(), b"<6>late\n");
        });
    }
}
