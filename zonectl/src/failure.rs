//! How a verb fails.

use std::io;

use zone_api::{ApiError, ErrorKind};

/// Why a verb did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error, with the exit status where it is not the kind's own.
    Error(ApiError, Option<u8>),
    /// Whoever read our stdout closed it.
    ReaderGone,
}

impl Failure {
    /// Something on this side of the socket that did not work.
    pub(crate) fn local(what: impl Into<String>, error: &io::Error) -> Self {
        ApiError::new(ErrorKind::Failed, what, reason(error)).into()
    }

    /// The words of the command line make no sense.
    pub(crate) fn usage(what: impl Into<String>, why: impl Into<String>) -> Self {
        ApiError::new(ErrorKind::Invalid, what, why).into()
    }

    /// What writing to stdout came to.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        Self::local("write to stdout", error)
    }

    /// Exit status: a reader that left has what it wanted, as with `zonectl list | head -1`.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Error(error, status) => status.unwrap_or_else(|| error.kind.exit_code()),
            Self::ReaderGone => 0,
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Error(error, None)
    }
}

/// The sentence of an error without its number, lower case.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_exit_code() {
        let status = |kind| Failure::from(ApiError::new(kind, "a", "b")).status();
        let kinds = [
            ErrorKind::Failed,
            ErrorKind::Invalid,
            ErrorKind::NoSuchZone,
            ErrorKind::WrongState,
            ErrorKind::Unreachable,
            ErrorKind::NotPermitted,
            ErrorKind::NotFound,
        ];
        assert_eq!(kinds.map(status), [1, 2, 3, 4, 5, 6, 1]);
        let refused = Failure::Error(ApiError::new(ErrorKind::Failed, "a", "b"), Some(127));
        assert_eq!(refused.status(), 127);
        assert_eq!(Failure::stdout(&io::Error::from(io::ErrorKind::BrokenPipe)).status(), 0);
        assert_eq!(Failure::stdout(&io::Error::from_raw_os_error(28)).status(), 1);
    }
}
