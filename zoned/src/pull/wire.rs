//! What zoned and the process that pulls say to each other, over the socket that is the latter's standard input: one request
//! with the descriptor of the folder, then lines of news.

use serde::{Deserialize, Serialize};
use zone_api::ErrorKind;

/// Longest request.
pub(super) const LONGEST_REQUEST: usize = 128 << 10;
/// Longest line of news.
pub(super) const LONGEST_NEWS: u64 = 16 << 10;

/// What to pull.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    /// `docker://…`
    pub(super) reference: String,
    /// Architectures that will do, as Go spells them, the best first.
    pub(super) architectures: Vec<String>,
    /// Whether the registry may be spoken to without TLS.
    pub(super) may_be_plain: bool,
    pub(super) login: Option<Login>,
}

/// What a registry knows somebody by.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Login {
    /// User and password.
    Password(String, String),
    /// What stands for both once somebody has logged in.
    Identity(String),
}

/// How far it is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum News {
    Step {
        step: String,
        total: Option<u64>,
    },
    At(u64),
    Note(String),
    /// All is there; the digest of the manifest.
    Done(String),
    Failed {
        kind: ErrorKind,
        why: String,
        hint: Option<String>,
    },
}
