//! reboot: the end at once, and a new boot by the same monitor, so that the console stays.

use std::sync::Arc;

use zone_api::ApiError;

use super::Zones;
use crate::state::Verb;

impl Zones {
    /// Ends a zone at once and boots it again.
    ///
    /// # Errors
    /// When it does not run, or does not boot again: it is then installed.
    pub fn reboot(self: &Arc<Self>, name: &str) -> Result<(), ApiError> {
        let _claim = self.claim(name, Verb::Reboot)?;
        let live = self.live_for(name, Verb::Reboot)?;
        live.control.reboot()?;
        self.look_again(name, live.epoch, false);
        Ok(())
    }

    /// Presses Ctrl-Alt-Del in a zone. It does not wait for what the guest makes of it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn ctrl_alt_del(self: &Arc<Self>, name: &str) -> Result<(), ApiError> {
        let live = self.live_for(name, Verb::CtrlAltDel)?;
        live.control.ctrl_alt_del()?;
        self.note(name, "Ctrl-Alt-Del");
        Ok(())
    }
}
