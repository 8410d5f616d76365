//! Where zones stand: legal moves between states, and the one writer of state files.

pub mod atomic;
mod reserve;
pub mod snapshots;
mod store;
mod transition;

pub use snapshots::Snapshot;
pub(crate) use store::now;
pub use store::{Change, Durable, FILE, Found, Record, Restarts, StateError, Store};
pub use transition::{Outcome, Verb, check, monitor_may, outcome};
