//! console: a zone's own terminal.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use zone_api::ApiError;

use super::host::{Session, SessionRequest};
use super::{Zones, no_such_zone};
use crate::state::{Verb, check};

/// Most clients that may wait for one zone's boot.
const MOST_WAITING: usize = 64;

impl Zones {
    /// Whether the zone has a console, or will have one when it is booted.
    ///
    /// # Errors
    /// When it has none.
    pub fn may_console(&self, name: &str) -> Result<(), ApiError> {
        let zone = self.zone(name)?;
        check(name, zone.state, Verb::Console).map(drop)
    }

    /// Gives a client's connection to the zone's monitor, to be its console; where the zone is not booted,
    /// once it is.
    ///
    /// # Errors
    /// The client was told.
    pub fn console(&self, name: &str, session: Session) -> Result<(), ApiError> {
        let mut table = self.lock();
        let entry = table.zones.get_mut(name).ok_or_else(|| no_such_zone(format!("console {name}"), name))?;
        if entry.live.is_some() {
            drop(table);
            return self.hand_over(name, Verb::Console, session, SessionRequest::Console);
        }
        entry.waiting.retain(is_there);
        if entry.waiting.len() < MOST_WAITING {
            entry.waiting.push(session);
        }
        Ok(())
    }

    /// Hands over the clients that waited for this boot.
    pub(super) fn connect_waiting(&self, name: &str) {
        let waiting = match self.lock().zones.get_mut(name) {
            Some(entry) => std::mem::take(&mut entry.waiting),
            None => return,
        };
        for session in waiting.into_iter().filter(is_there) {
            if let Err(error) = self.hand_over(name, Verb::Console, session, SessionRequest::Console) {
                tracing::warn!(zone = name, %error, "a client that waited for its console does not get it");
            }
        }
    }
}

/// Whether the client is still connected.
fn is_there(session: &Session) -> bool {
    let mut fds = [PollFd::new(session.conn.as_fd(), PollFlags::empty())];
    let polled = poll(&mut fds, PollTimeout::ZERO).is_ok();
    polled && !fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}
