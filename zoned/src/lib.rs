//! zoned.
