//! uninstall: the end of a zone's root.

use std::sync::Arc;

use zone_api::ApiError;

use super::Zones;
use super::trash::ROOT_PARTS;
use crate::state::{Durable, Verb};

impl Zones {
    /// Removes a zone's root and what grew on it.
    ///
    /// # Errors
    /// The zone is then incomplete, and uninstall can be tried again.
    pub fn uninstall(self: &Arc<Self>, name: &str) -> Result<(), ApiError> {
        let _claim = self.claim(name, Verb::Uninstall)?;
        let begun = Some("uninstall did not finish".to_owned());
        self.save(name, |record| record.to(Durable::Incomplete, Some(Verb::Uninstall), begun))?;
        if let Err(error) = self.discard(&self.store.folder(name), &ROOT_PARTS) {
            let why = format!("uninstall failed: {error}");
            self.note(name, &why);
            self.save(name, |record| record.to(Durable::Incomplete, None, Some(why)))?;
            return Err(error);
        }
        self.save(name, |record| record.emptied())?;
        if let Some(entry) = self.lock().zones.get_mut(name) {
            entry.snapshots.clear();
        }
        self.sweep_layers();
        self.note(name, "uninstalled");
        Ok(())
    }
}
