//! console: a zone's own terminal.

use zone_api::ApiError;

use super::Zones;
use super::host::{Session, SessionRequest};
use crate::state::Verb;

impl Zones {
    /// Whether the zone has a console now.
    ///
    /// # Errors
    /// When it has none.
    pub fn may_console(&self, name: &str) -> Result<(), ApiError> {
        self.live_for(name, Verb::Console).map(drop)
    }

    /// Gives a client's connection to the zone's monitor, to be its console.
    ///
    /// # Errors
    /// The client was told.
    pub fn console(&self, name: &str, session: Session) -> Result<(), ApiError> {
        self.hand_over(name, Verb::Console, session, SessionRequest::Console)
    }
}
