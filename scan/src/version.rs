//! Versions of libraries and kernels: up to three numbers.

use std::fmt;

use brands::level::Level;
use serde::{Serialize, Serializer};

/// As in 2.3.4; a missing number is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub [u16; 3]);

impl Version {
    /// Reads the numbers that `text` begins with; at least one dot.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(str::parse::<u16>);
        let (first, second) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self([first, second, numbers.next().and_then(Result::ok).unwrap_or(0)]))
    }

    /// As a level.
    pub fn level(self) -> Level {
        let [a, b, c] = self.0;
        Level::new(a, b, c)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0;
        write!(f, "{a}.{b}")?;
        if c > 0 { write!(f, ".{c}") } else { Ok(()) }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}
