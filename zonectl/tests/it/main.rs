//! The zonectl binary against a zoned made of canned answers.

#![allow(clippy::unwrap_used, reason = "in a test the line that panics says enough")]

mod consoles;
mod fake;
mod sessions;
mod terminal;
mod verbs;
