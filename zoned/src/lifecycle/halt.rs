//! halt: the end at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zone_api::ApiError;

use super::Zones;
use crate::state::Verb;

/// How long a monitor may take to end its zone; then it is done without it.
pub(super) const GRACE: Duration = Duration::from_secs(10);

impl Zones {
    /// Ends a zone at once, a boot or shutdown under way too.
    ///
    /// # Errors
    /// When nothing of it runs, or another operation is under way.
    pub fn halt(self: &Arc<Self>, name: &str) -> Result<(), ApiError> {
        if let Some(ended) = self.end_boot(name)
            && self.live(name).is_none()
        {
            return ended;
        }
        let _claim = self.claim_over(name, Verb::Halt, &[Verb::Shutdown])?;
        self.end(name);
        Ok(())
    }

    /// Ends a boot that is under way, which may wait for ever for a file system of the host's; none: there is none, or
    /// it goes on.
    fn end_boot(&self, name: &str) -> Option<Result<(), ApiError>> {
        let boots = |mark: bool| {
            let mut table = self.lock();
            let entry = table.zones.get_mut(name);
            let booting = entry
                .filter(|entry| entry.live.is_none() && matches!(entry.busy, Some(Verb::Boot | Verb::Ready)));
            booting.map(|entry| entry.overridden |= mark).is_some()
        };
        if !boots(true) {
            return None;
        }
        let until = Instant::now() + GRACE;
        let mut ended = Ok(());
        while boots(false) && Instant::now() < until {
            // It may not have a monitor yet.
            ended = self.host.teardown(name);
            std::thread::sleep(Duration::from_millis(20));
        }
        (!boots(false)).then_some(ended)
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
