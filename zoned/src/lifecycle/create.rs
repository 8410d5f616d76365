//! create: a configuration, and with it a zone.

use std::sync::Arc;

use zone_api::{ApiError, Create, ErrorKind};

use super::Zones;
use super::registry::{Claim, Entry};
use crate::config::{self, edit};
use crate::state::{Record, Verb, check};

impl Zones {
    /// Configures a new zone.
    ///
    /// # Errors
    /// When there is one of that name, or the configuration is not valid. Nothing is kept then.
    pub fn create(self: &Arc<Self>, create: &Create) -> Result<(), ApiError> {
        let name = create.name.as_str();
        config::check_name(name)
            .map_err(|why| ApiError::new(ErrorKind::Invalid, format!("create {name}"), why))?;
        let given = create.toml.clone().unwrap_or_default();
        let text = edit::rename(&given, name).map_err(|error| error.to_api())?;
        let (text, config) = edit::apply(&text, &create.edits, name).map_err(|error| {
            let error =
                if create.toml.is_some() { error } else { error.of_request(&format!("create {name}")) };
            error.to_api()
        })?;
        self.check_order(name, &config)?;
        let claim = self.claim_new(name, Record::new, Verb::Create, false)?;
        let kept = edit::write(&self.config_path(name), &text)
            .map_err(|error| error.to_api())
            .and_then(|()| self.save(name, Record::clone));
        if let Err(error) = kept {
            std::fs::remove_file(self.config_path(name)).ok();
            std::fs::remove_dir(self.store.folder(name)).ok();
            self.lock().remove(name);
            return Err(error);
        }
        self.note(name, &format!("created with brand {}", config.brand));
        drop(claim);
        Ok(())
    }

    /// Makes the entry of a zone that is not there yet, claimed.
    pub(super) fn claim_new(
        self: &Arc<Self>,
        name: &str,
        record: impl FnOnce(u32) -> Record,
        verb: Verb,
        ephemeral: bool,
    ) -> Result<Claim, ApiError> {
        // One whose configuration was put there by hand is taken up by this.
        if let Ok(zone) = self.zone(name) {
            check(name, zone.state, verb)?;
        }
        let mut table = self.lock();
        if let Some(entry) = table.zones.get(name) {
            check(name, entry.state(), verb)?;
        }
        let slot = self.free_slot(&table)?;
        let mut entry = Entry::new(record(slot), ephemeral);
        entry.busy = Some(verb);
        table.add(name, entry);
        Ok(Claim::of_new(Arc::clone(self), name.to_owned()))
    }
}
