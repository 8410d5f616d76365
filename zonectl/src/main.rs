//! zonectl.
fn main() {}
