//! Names of images: `[HOST[:PORT]/]PATH[:TAG]`, the grammar of the OCI distribution specification.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const LONGEST: usize = 255;
const LONGEST_TAG: usize = 128;

/// A name with its tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName {
    path: String,
    tag: String,
}

impl ImageName {
    /// What stands before the tag.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

/// Letters and digits in groups, with `.`, `_`, `__` or dashes between.
fn is_component(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let separators = |text: &str| {
        text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
    };
    plain(*first) && plain(*last) && separators(text)
}

/// `example.com`, `localhost:5000`, `[::1]:5000`
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    let is_label = |label: &str| {
        let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(is_label),
    };
    is_name && port.is_none_or(is_port)
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let starts = text.bytes().next().is_some_and(word);
    starts && text.len() <= LONGEST_TAG && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

impl FromStr for ImageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = super::error::shown(text.as_bytes());
        let bad = |why: &str| Err(format!("{shown} is no name for an image: {why}"));
        if text.len() > LONGEST {
            return bad("it is longer than 255 characters");
        }
        // A colon before the last slash is a port's.
        let (path, tag) = match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (text, "latest"),
        };
        if path.contains('@') {
            return bad("a digest can be named where an image is looked for, not where one gets its name");
        }
        if !is_tag(tag) {
            return bad("its tag must be letters, digits, _, . and -, 128 at most");
        }
        let parts: Vec<&str> = path.split('/').collect();
        let is_named_host = |first: &str| {
            first.contains(['.', ':', '['])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase())
        };
        let parts = match &parts[..] {
            [host, rest @ ..] if !rest.is_empty() && is_named_host(host) => {
                if !is_host(host) {
                    return bad("what stands before the first slash is no host");
                }
                rest
            }
            all => all,
        };
        match parts.iter().all(|part| is_component(part)) {
            true => Ok(Self { path: path.to_owned(), tag: tag.to_owned() }),
            false => bad("it must be NAME[:TAG] of small letters and digits, with ., _ or - between them"),
        }
    }
}

impl TryFrom<String> for ImageName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_registries_take_them() {
        for (text, whole) in [
            ("debian", "debian:latest"),
            ("debian:12-slim", "debian:12-slim"),
            ("library/debian", "library/debian:latest"),
            ("docker.io/library/debian:12", "docker.io/library/debian:12"),
            ("localhost:5000/a/b__c.d-e", "localhost:5000/a/b__c.d-e:latest"),
            ("[::1]:5000/a:V1.0", "[::1]:5000/a:V1.0"),
            ("localhost/x", "localhost/x:latest"),
            ("a---b", "a---b:latest"),
        ] {
            assert_eq!(text.parse::<ImageName>().unwrap().to_string(), whole);
        }
    }

    #[test]
    fn others_are_refused_with_a_sentence() {
        let (long, tag) = ("a".repeat(256), format!("a:{}", "t".repeat(129)));
        for text in [
            "",
            ":",
            "a:",
            "A",
            "-a",
            "a-",
            "a/",
            "/a",
            "a//b",
            "../a",
            "a/../b",
            "a b",
            "a\n",
            "a:b:c",
            "a:.b",
            "a@sha256:00",
            "ex_ample.com:x/a",
            "a:99999999/b",
            "a___b",
            "a..b",
            long.as_str(),
            tag.as_str(),
        ] {
            let why = text.parse::<ImageName>().unwrap_err();
            assert!(why.contains("is no name for an image: "), "{text}: {why}");
        }
    }
}
