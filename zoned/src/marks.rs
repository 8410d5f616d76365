//! When each step of a zone's start and end was done, for those who ask (`run --timings`). A monitor is of one zone, so
//! its marks are the process's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use zone_api::Mark;

static ASKED: AtomicBool = AtomicBool::new(false);
static MARKS: Mutex<Vec<Mark>> = Mutex::new(Vec::new());

/// From now on marks are kept, after those of `before`.
pub fn begin(before: Vec<Mark>) {
    *MARKS.lock().unwrap_or_else(PoisonError::into_inner) = before;
    ASKED.store(true, Ordering::Relaxed);
}

/// Whether somebody asked.
pub fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Marks `step` as done now.
pub fn done(step: &str) {
    if is_asked() {
        add(now(step));
    }
}

/// `step`, done now.
pub fn now(step: &str) -> Mark {
    let since_1970 = clock_gettime(ClockId::CLOCK_REALTIME).map(Duration::from).unwrap_or_default();
    Mark { step: step.to_owned(), at: since_1970.as_nanos() as u64 }
}

/// A mark that was made elsewhere.
pub fn add(mark: Mark) {
    MARKS.lock().unwrap_or_else(PoisonError::into_inner).push(mark);
}

/// All of them, which are forgotten.
pub fn take() -> Vec<Mark> {
    std::mem::take(&mut MARKS.lock().unwrap_or_else(PoisonError::into_inner))
}
