//! sha256 digests, as images spell them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::storage::LayerId;

/// `sha256:` and 64 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::end(Sha256::new_with_prefix(bytes))
    }

    pub(super) fn end(hash: Sha256) -> Self {
        let mut hex = String::with_capacity(64);
        for byte in hash.finalize() {
            for digit in [byte >> 4, byte & 15] {
                hex.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        Self(hex)
    }

    /// The digits alone.
    pub fn hex(&self) -> &str {
        &self.0
    }

    /// The layer of that DiffID.
    pub fn layer(&self) -> LayerId {
        LayerId::Digest(self.0.clone())
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown: String = super::error::shown(text.as_bytes());
        match text.split_once(':') {
            Some(("sha256", hex))
                if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) =>
            {
                Ok(Self(hex.to_owned()))
            }
            Some(("sha512" | "blake3", _)) => Err(format!("{shown}: only sha256 digests are known here")),
            _ => Err(format!("{shown} is no digest")),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum_and_nothing_else_is_one() {
        let abc = Digest::of(b"abc");
        assert_eq!(abc.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(abc.to_string().parse(), Ok(abc.clone()));
        let upper = abc.to_string().to_uppercase();
        for bad in ["", "sha256:", "sha256:../../etc", "ba78", upper.as_str()] {
            assert!(bad.parse::<Digest>().unwrap_err().contains("is no digest"), "{bad}");
        }
        assert!("sha512:00".parse::<Digest>().unwrap_err().contains("only sha256"));
    }
}
