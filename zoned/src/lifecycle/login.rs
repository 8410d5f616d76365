//! login: a program in a running zone.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use zone_api::{ApiError, Login, SessionEvent};

use super::Zones;
use super::host::{Session, SessionRequest};
use crate::state::Verb;

impl Zones {
    /// Whether a login would find its zone running, before the client's connection is given away.
    ///
    /// # Errors
    /// When it would not.
    pub fn may_login(&self, name: &str) -> Result<(), ApiError> {
        self.live_for(name, Verb::Login).map(drop)
    }

    /// Gives a client's connection to the zone's monitor, to run a program on it.
    ///
    /// # Errors
    /// The client was told.
    pub fn login(&self, name: &str, login: Login, session: Session) -> Result<(), ApiError> {
        self.hand_over(name, Verb::Login, session, SessionRequest::Login(login))
    }

    pub(super) fn hand_over(
        &self,
        name: &str,
        verb: Verb,
        session: Session,
        request: SessionRequest,
    ) -> Result<(), ApiError> {
        let client = session.conn.try_clone();
        let live = match self.live_for(name, verb) {
            Ok(live) => live,
            Err(error) => {
                refuse(client, &error);
                return Err(error);
            }
        };
        live.control.session(session, request).inspect_err(|error| refuse(client, error))
    }
}

/// Tells the client of a session that it has none.
pub(super) fn refuse(client: std::io::Result<OwnedFd>, error: &ApiError) {
    let event = SessionEvent::Refused { error: error.clone(), status: None };
    let told = client.and_then(|client| {
        let mut line = serde_json::to_vec(&event)?;
        line.push(b'\n');
        let mut client = UnixStream::from(client);
        // It fits a socket's buffer; a client that does not read is not waited for.
        client.set_nonblocking(true)?;
        client.write_all(&line)
    });
    if let Err(error) = told {
        tracing::debug!(%error, "a client left before it was told why it has no session");
    }
}
