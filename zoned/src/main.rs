//! zoned.
fn main() {}
