//! Why something could not be had from a registry.

use std::io;
use std::time::Duration;

use zone_api::ErrorKind;

use crate::causes::chain;

/// Why, and whether it is worth another try.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: ErrorKind,
    pub(super) why: String,
    pub(super) hint: Option<&'static str>,
    /// It may pass.
    pub(super) is_passing: bool,
    /// How long the registry asks to be left alone.
    pub(super) wait: Option<Duration>,
}

impl Fault {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Failed, why: why.into(), hint: None, is_passing: false, wait: None }
    }

    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self { is_passing: true, ..Self::new(why) }
    }

    pub(super) fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    pub(super) fn file(what: &str, error: impl Into<io::Error>) -> Self {
        Self::new(format!("{what}: {}", chain(&error.into())))
    }

    /// What became of a connection or of a request on it.
    pub(super) fn http(host: &str, error: ureq::Error) -> Self {
        let said = match &error {
            // Without the word that tells where in the library it came from.
            ureq::Error::Io(inner) => chain(inner),
            other => chain(other),
        };
        let why = format!("{host}: {said}");
        match error {
            ureq::Error::HostNotFound => Self::passing(format!("{host}: no such host"))
                .hint("is its name right, and does this host reach a name server?"),
            ureq::Error::Rustls(rustls::Error::InvalidCertificate(_)) => Self::new(why).hint(
                "its certificate must come from an authority that this host knows: put the authority's into \
                 /usr/local/share/ca-certificates and run update-ca-certificates",
            ),
            ureq::Error::Io(ref inner) if names_certificate(inner) => Self::new(why).hint(
                "its certificate must come from an authority that this host knows: put the authority's into \
                 /usr/local/share/ca-certificates and run update-ca-certificates",
            ),
            ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::ConnectionFailed
            | ureq::Error::Protocol(_)
            | ureq::Error::Rustls(_) => Self::passing(why),
            _ => Self::new(why),
        }
    }
}

/// TLS fails within reads and writes of the connection.
fn names_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}
