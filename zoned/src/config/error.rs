//! What is wrong with a configuration, and where.

use std::path::PathBuf;

use zone_api::{ApiError, ErrorKind};

/// A configuration that is not valid, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file could not be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something in the text is wrong.
    #[error("{}{why}", place(origin, *line, key.as_deref()))]
    Invalid {
        /// File, or what stands for it.
        origin: String,
        /// Line, counted from 1.
        line: Option<usize>,
        /// Key, dotted.
        key: Option<String>,
        /// What is wrong with it.
        why: String,
    },
    /// An edit that cannot be made.
    #[error("{what}: {why}")]
    Edit {
        /// The edit: `set colour`.
        what: String,
        /// Why not.
        why: String,
    },
}

fn place(origin: &str, line: Option<usize>, key: Option<&str>) -> String {
    let mut place = origin.to_owned();
    if let Some(line) = line {
        place.push_str(&format!(":{line}"));
    }
    place.push_str(": ");
    if let Some(key) = key {
        place.push_str(&format!("{key}: "));
    }
    place
}

impl ConfigError {
    /// The same of a text that its author never saw: without a line, and called `what`.
    pub(crate) fn of_request(self, what: &str) -> Self {
        match self {
            Self::Invalid { key, why, .. } => Self::Invalid { origin: what.to_owned(), line: None, key, why },
            other => other,
        }
    }

    /// As the API tells it.
    pub fn to_api(&self) -> ApiError {
        match self {
            Self::Read { path, source } => {
                let why = crate::causes::chain(source);
                ApiError::new(ErrorKind::Failed, format!("read {}", path.display()), why)
            }
            Self::Write { path, source } => {
                let why = crate::causes::chain(source);
                ApiError::new(ErrorKind::Failed, format!("write {}", path.display()), why)
            }
            Self::Invalid { origin, line, key, why } => {
                let what = match line {
                    Some(line) => format!("{origin}:{line}"),
                    None => origin.clone(),
                };
                let why = match key {
                    Some(key) => format!("{key}: {why}"),
                    None => why.clone(),
                };
                ApiError::new(ErrorKind::Invalid, what, why)
            }
            Self::Edit { what, why } => ApiError::new(ErrorKind::Invalid, what.clone(), why.clone()),
        }
    }
}
