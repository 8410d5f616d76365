//! An error with what caused it, for people.

use std::error::Error;

/// An error and its causes as one clause of ours: the system's texts begin with a capital and end with a
/// number that nobody asked for.
pub(crate) fn chain(error: &dyn Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    let mut text: String = match (letters.next(), letters.as_str()) {
        // A word of capitals stays one.
        (Some(first), rest) if rest.starts_with(|c: char| c.is_lowercase()) => {
            first.to_lowercase().chain(rest.chars()).collect()
        }
        _ => text.to_owned(),
    };
    if let Some(cause) = error.source() {
        text.push_str(": ");
        text.push_str(&chain(cause));
    }
    text
}
