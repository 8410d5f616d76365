//! What fuzz targets reach of this module.

use std::path::Path;

use super::login;
use super::puller::Document;
use super::reference::Reference;
use super::registry::{Challenge, escaped};
use super::wire::{News, Request};

/// Reads what stands in a header WWW-Authenticate.
pub fn challenge(text: &str) {
    if let Some(found) = Challenge::parse(text) {
        escaped(found.get("service").unwrap_or_default());
    }
}

/// Reads the name of an image in a registry.
pub fn reference(text: &str) {
    let Ok(reference) = text.parse::<Reference>() else { return };
    let again: Reference = reference.to_string().parse().expect("it was written by us");
    assert_eq!(again.to_string(), reference.to_string());
    (reference.name(), reference.is_local());
    assert!(!reference.wanted().is_empty() && !reference.api_host().is_empty());
}

/// Reads a document of a registry's, and what zoned and the process that pulls say to each other.
pub fn documents(bytes: &[u8]) {
    if let Ok(document) = Document::parse(bytes, "it") {
        let _ = document.is_sound(&["amd64".to_owned(), "386".to_owned()]);
    }
    let _ = serde_json::from_slice::<Request>(bytes);
    let _ = serde_json::from_slice::<News>(bytes);
}

/// Looks for a login in the file at `path`, which has that text.
pub fn logins(path: &Path, text: &[u8], reference: &str) {
    let Ok(reference) = reference.parse() else { return };
    if std::fs::write(path, text).is_ok() {
        let _ = login::find(path, &reference);
    }
}
