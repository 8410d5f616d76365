//! halt: the end at once.

use std::sync::Arc;
use std::time::Duration;

use zone_api::ApiError;

use super::Zones;
use crate::state::Verb;

/// How long a monitor may take to end its zone; then it is done without it.
pub(super) const GRACE: Duration = Duration::from_secs(10);

impl Zones {
    /// Ends a zone at once, a shutdown under way too.
    ///
    /// # Errors
    /// When nothing of it runs, or another operation is under way.
    pub fn halt(self: &Arc<Self>, name: &str) -> Result<(), ApiError> {
        let _claim = self.claim_over(name, Verb::Halt, &[Verb::Shutdown])?;
        self.end(name);
        Ok(())
    }

    /// Ends the zone's monitor, by itself or without it.
    pub(super) fn end(&self, name: &str) {
        let Some(live) = self.asked(name) else { return };
        let told = live.control.halt();
        if let Err(error) = &told {
            tracing::warn!(zone = name, %error, "its monitor does not answer; it is ended without it");
        }
        if told.is_err() || !self.wait_gone(name, live.epoch, GRACE) {
            self.finish(name, live.epoch, "halted", None, false);
        }
    }

    /// From now on the zone's end is no surprise.
    pub(super) fn asked(&self, name: &str) -> Option<super::registry::Live> {
        let mut table = self.lock();
        let live = table.zones.get_mut(name)?.live.as_mut()?;
        live.asked = true;
        Some(live.clone())
    }
}
