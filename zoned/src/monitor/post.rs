//! Which of a listener's threads receives its calls.
//!
//! One has the post: it receives a call, answers it, and receives the next, with nobody to hand anything to in between.
//! Behind it the deputy looks now and then whether the call that it saw last time is still being answered: a handler may
//! wait for a file system, or for memory that a guest never brings. The deputy takes the post then, and who had it finds
//! itself without. A handler that knows that it will wait leaves the post beforehand. The others stand in line to be the
//! deputy. While nothing is being answered the deputy sleeps, so that an idle zone wakes nobody.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a call may be answered before others need not wait for it.
const TICK: Duration = Duration::from_millis(4);

/// What the holder does, in the two lowest bits of a stage.
const WHAT: u64 = 3;
const FREE: u64 = 0;
const RECEIVING: u64 = 1;
const ANSWERING: u64 = 2;

/// One change of a stage, so that two answers one after the other are not taken for one.
const CHANGE: u64 = 4;

/// `stage`, changed to another thing that the holder does.
const fn next(stage: u64, what: u64) -> u64 {
    (stage & !WHAT).wrapping_add(CHANGE) | what
}

/// The post at one listener.
#[derive(Debug, Default)]
pub struct Post {
    stage: AtomicU64,
    /// Held by the deputy.
    line: Mutex<()>,
    /// Threads in line, the deputy among them.
    waiting: AtomicUsize,
    /// Whether the deputy sleeps until it is woken.
    sleeps: AtomicBool,
    deputy: Mutex<Option<Thread>>,
}

/// A call that the holder of a post answers.
#[derive(Debug)]
pub struct Answering<'a> {
    post: &'a Post,
    stage: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Post {
    /// How many threads wait for the post.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Waits for the post.
    pub fn take(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let in_line = lock(&self.line);
        *lock(&self.deputy) = Some(thread::current());
        let (mut seen, mut since) = (self.stage.load(Ordering::SeqCst), Instant::now());
        loop {
            let stage = self.stage.load(Ordering::SeqCst);
            if stage != seen {
                (seen, since) = (stage, Instant::now());
            }
            let is_old = since.elapsed() >= TICK;
            match stage & WHAT {
                FREE if self.change(stage, RECEIVING) => break,
                ANSWERING if is_old && self.change(stage, RECEIVING) => break,
                RECEIVING if is_old => self.sleep(stage),
                _ => thread::park_timeout(TICK),
            }
        }
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        drop(in_line);
    }

    /// Gives up the post, which this thread has and answers no call at.
    pub fn leave(&self) {
        let stage = self.stage.load(Ordering::SeqCst);
        if self.change(stage, FREE) {
            self.wake();
        }
    }

    /// Begins the answer to a call that this thread, which has the post, received.
    pub fn begin(&self) -> Answering<'_> {
        let stage = next(self.stage.load(Ordering::SeqCst), ANSWERING);
        // Nobody else changes what is RECEIVING.
        self.stage.store(stage, Ordering::SeqCst);
        if self.sleeps.load(Ordering::SeqCst) {
            self.wake();
        }
        Answering { post: self, stage }
    }

    fn change(&self, stage: u64, what: u64) -> bool {
        self.stage.compare_exchange(stage, next(stage, what), Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn sleep(&self, stage: u64) {
        self.sleeps.store(true, Ordering::SeqCst);
        // One who changed it before that did not see that somebody sleeps.
        if self.stage.load(Ordering::SeqCst) == stage {
            thread::park();
        }
        self.sleeps.store(false, Ordering::SeqCst);
    }

    fn wake(&self) {
        if let Some(deputy) = &*lock(&self.deputy) {
            deputy.unpark();
        }
    }
}

impl Answering<'_> {
    /// Leaves the post to the deputy, since this answer will wait for something.
    pub fn pass(&self) {
        if self.post.change(self.stage, FREE) {
            self.post.wake();
        }
    }

    /// Ends the answer; whether this thread still has the post.
    pub fn end(self) -> bool {
        self.post.change(self.stage, RECEIVING)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_answers_quickly_keeps_the_post() {
        let post = Post::default();
        post.take();
        for _ in 0..1000 {
            assert!(post.begin().end());
        }
    }

    #[test]
    fn a_post_that_is_left_is_taken_at_once() {
        let post = Post::default();
        post.take();
        thread::scope(|scope| {
            scope.spawn(|| post.take());
            while post.waiting() == 0 {
                thread::yield_now();
            }
            let answering = post.begin();
            answering.pass();
            while post.waiting() == 1 {
                thread::yield_now();
            }
            answering.pass();
            assert!(!answering.end());
        });
    }

    #[test]
    fn an_answer_that_takes_long_loses_the_post_also_when_the_deputy_slept() {
        let post = Post::default();
        post.take();
        thread::scope(|scope| {
            let (taken, told) = mpsc::channel();
            scope.spawn({
                let post = &post;
                move || {
                    post.take();
                    taken.send(()).unwrap();
                }
            });
            while !post.sleeps.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            assert!(told.try_recv().is_err(), "nothing was being answered");
            let answering = post.begin();
            told.recv().unwrap();
            assert!(!answering.end());
        });
    }

    #[test]
    fn those_in_line_get_it_one_after_the_other() {
        let post = Post::default();
        let had = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        post.take();
                        assert_eq!(had.fetch_add(1, Ordering::SeqCst), 0, "one has it at a time");
                        had.fetch_sub(1, Ordering::SeqCst);
                        post.leave();
                    }
                });
            }
        });
    }
}
