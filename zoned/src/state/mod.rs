//! Where zones stand: legal moves between states, and the one writer of state files.

pub mod atomic;
mod store;
mod transition;

pub(crate) use store::now;
pub use store::{Durable, Found, Record, Restarts, StateError, Store};
pub use transition::{Outcome, Verb, check, monitor_may, outcome};
