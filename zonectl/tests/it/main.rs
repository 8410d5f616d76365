//! The zonectl binary against a zoned made of canned answers.

mod consoles;
mod fake;
mod sessions;
mod terminal;
mod verbs;
