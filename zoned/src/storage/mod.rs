//! What zones' roots are made of: layers that any number of zones share, and who keeps which.
//!
//! A zone's root is a list of layers, none of which is ever changed, and a folder `upper` of its own that the zone
//! writes to. Snapshots, clones and images are lists of layers and nothing more, so making one costs a
//! file, however large the root is.

pub mod backend;
mod flatten;
mod layer;
mod project;
mod stack;
pub mod stream;
mod view;

#[cfg(test)]
mod tests;

pub use flatten::flatten;
pub use stack::{Found, Stack};

pub use layer::{BadLayerId, Draft, LayerId, Layers, Meta, Pin};
pub use view::{View, settle};
