//! delete: the end of a zone's configuration.

use std::io;
use std::sync::Arc;

use zone_api::{ApiError, State};

use super::{Zones, because};
use crate::state::{Verb, atomic};

impl Zones {
    /// Forgets a zone. With `force` it is halted and uninstalled first.
    ///
    /// # Errors
    /// When it is not merely configured, or something of it cannot be removed.
    pub fn delete(self: &Arc<Self>, name: &str, force: bool) -> Result<(), ApiError> {
        if force {
            let state = self.zone(name)?.state;
            if self.live(name).is_some() {
                self.halt(name)?;
            }
            if state != State::Configured {
                self.uninstall(name)?;
            }
        }
        let claim = self.claim(name, Verb::Delete)?;
        if !force {
            self.refuse_detached("delete", name)?;
        }
        // The record before the configuration: a crash between them leaves a configured zone.
        self.trash_zone(name)?;
        self.host.forget(name);
        let path = self.config_path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.lock().remove(name);
                return Err(because(format!("remove {}", path.display()), &error));
            }
            _ => {}
        }
        self.lock().remove(name);
        drop(claim);
        self.sweep_layers();
        tracing::info!(zone = name, "deleted");
        atomic::sync_folder(&self.paths.configs)
            .map_err(|error| because(format!("sync {}", self.paths.configs.display()), &error))
    }
}
