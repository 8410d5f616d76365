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
        let (own, data) = (self.store.folder(name), self.data(name));
        let mut removed = self.discard(&own, &ROOT_PARTS);
        if data != own {
            removed = removed.and_then(|()| self.empty_place(&data));
        }
        if let Err(error) = removed {
            let why = format!("uninstall failed: {error}");
            self.note(name, &why);
            self.save(name, |record| record.to(Durable::Incomplete, None, Some(why)))?;
            return Err(error);
        }
        self.lift_limit(name, data.ancestors().find(|folder| folder.is_dir()).unwrap_or(&own));
        self.save(name, |record| record.emptied())?;
        if let Some(entry) = self.lock().zones.get_mut(name) {
            entry.snapshots.clear();
        }
        self.sweep_layers();
        self.note(name, "uninstalled");
        Ok(())
    }
}
