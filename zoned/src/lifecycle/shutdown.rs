//! shutdown: init is asked to end, and may take its time.

use std::sync::Arc;
use std::time::Duration;

use zone_api::{ApiError, Boot, ErrorKind, Shutdown, State};

use super::Zones;
use super::halt::GRACE;
use crate::state::Verb;

/// Seconds for init, where nobody says.
const TIMEOUT: u32 = 60;

impl Zones {
    /// Asks a zone's init to end, halts it after the timeout, and boots it again where that is wanted.
    ///
    /// # Errors
    /// When it cannot be, or does not boot again.
    pub fn shutdown(self: &Arc<Self>, name: &str, how: &Shutdown) -> Result<(), ApiError> {
        let claim = self.claim(name, Verb::Shutdown)?;
        let ephemeral = self.lock().zones.get(name).is_some_and(|entry| entry.ephemeral);
        if ephemeral && how.reboot {
            let why = format!("zone {name} exists only while its program runs");
            return Err(ApiError::new(ErrorKind::WrongState, format!("shutdown {name}"), why));
        }
        let timeout = Duration::from_secs(how.timeout.unwrap_or(TIMEOUT).into());
        let Some(live) = self.live(name) else { return Ok(()) };
        if live.state == State::Ready {
            // There is no init to ask.
            self.end(name);
        } else if how.reboot {
            let told = live.control.shutdown(timeout, true);
            let anew = told.is_ok()
                && self.wait(name, live.epoch, timeout + GRACE, |now| {
                    now.is_none_or(|now| now.reboots > live.reboots)
                });
            if anew && self.live(name).is_some_and(|now| now.epoch == live.epoch) {
                return Ok(());
            }
            self.end(name);
        } else {
            self.asked(name);
            let told = live.control.shutdown(timeout, false);
            if told.is_err() || !self.wait_gone(name, live.epoch, timeout + GRACE) {
                self.end(name);
            }
        }
        let halted = self.lock().zones.get(name).is_none_or(|entry| entry.overridden);
        if how.reboot && !halted {
            return self.start(&claim, Boot::default(), false);
        }
        Ok(())
    }
}
