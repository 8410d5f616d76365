//! ledger: what a zone's brand did, by call.

use std::io;

use zone_api::{ApiError, LedgerEntry};

use super::{Zones, because};
use crate::monitor::ledger;

impl Zones {
    /// The ledger of a zone, live or not.
    ///
    /// # Errors
    /// When there is no such zone, or its ledger cannot be read.
    pub fn ledger(&self, name: &str) -> Result<Vec<LedgerEntry>, ApiError> {
        let folder = self.known(name, "ledger")?;
        if let Some(live) = self.live(name) {
            live.control.ledger(false)?;
        }
        ledger::read(&folder).map_err(|error| because(format!("ledger {name}"), &error))
    }

    /// Begins a zone's ledger anew.
    ///
    /// # Errors
    /// When there is no such zone, or its ledger cannot be written.
    pub fn reset_ledger(&self, name: &str) -> Result<(), ApiError> {
        let folder = self.known(name, "ledger")?;
        if let Some(live) = self.live(name) {
            return live.control.ledger(true);
        }
        match std::fs::remove_file(folder.join(ledger::FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(because(format!("ledger {name}"), &error))
            }
            _ => Ok(()),
        }
    }
}
