//! Kernel releases that a zone can be told it runs on.

/// A kernel release: 2.6.18, 3.10, 6.1. Ordered; a missing last number is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level {
    /// As in 2.6.18: 2, 6, 18.
    pub parts: [u16; 3],
}
