//! clone: a zone whose root begins as another's.

use std::sync::Arc;

use toml_edit::{ArrayOfTables, DocumentMut, Item};
use zone_api::{ApiError, Create, ErrorKind};

use super::{Zones, because};
use crate::config::edit;
use crate::image::profile;
use crate::state::{Durable, Record, Verb};

impl Zones {
    /// Makes `to` a zone with the root of `from`, as it is now or as it was at a snapshot. A zone that is not there
    /// is configured as `from` is. Gives what the operator should know.
    ///
    /// # Errors
    /// A zone that was made for it is gone again; one that was there is configured.
    pub fn clone_zone(
        self: &Arc<Self>,
        from: &str,
        snap: Option<&str>,
        to: &str,
    ) -> Result<Vec<String>, ApiError> {
        let made = self.make_clone(from, snap, to);
        if made.is_err() {
            // What it was to be made of.
            self.sweep_layers();
        }
        made
    }

    fn make_clone(
        self: &Arc<Self>,
        from: &str,
        snap: Option<&str>,
        to: &str,
    ) -> Result<Vec<String>, ApiError> {
        self.known(from, "clone")?;
        if from == to {
            let why = "it cannot be a clone of itself";
            return Err(ApiError::new(ErrorKind::Invalid, format!("clone {from}"), why));
        }
        let (layers, _pin) = match snap {
            Some(snap) => {
                let (snapshot, pin) = self.pinned(from, snap)?;
                (snapshot.layers, pin)
            }
            None => {
                let _claim = self.claim(from, Verb::Snapshot)?;
                let taken = self.capture(from)?;
                (taken.layers, taken._pin)
            }
        };
        let mut notes = Vec::new();
        let is_new = self.zone(to).is_err();
        if is_new {
            let (toml, said) = self.config_like(from, to)?;
            notes = said;
            self.create(&Create { name: to.to_owned(), toml: Some(toml), ..Create::default() })?;
        }
        let done = self.fill_clone(from, layers, to);
        if done.is_err()
            && is_new
            && let Err(error) = self.delete(to, true)
        {
            tracing::warn!(zone = to, %error, "the zone of a clone that failed is still there");
        }
        done?;
        let at = snap.map_or_else(String::new, |snap| format!("@{snap}"));
        self.note(to, &format!("cloned from {from}{at}"));
        Ok(notes)
    }

    fn fill_clone(
        self: &Arc<Self>,
        from: &str,
        layers: Vec<crate::storage::LayerId>,
        to: &str,
    ) -> Result<(), ApiError> {
        let _claim = self.claim(to, Verb::Clone)?;
        self.refuse_detached("clone to", to)?;
        let arch = self.lock().zones.get(from).and_then(|entry| entry.record.arch.clone());
        let begun = Some("clone did not finish".to_owned());
        // There is nothing of it yet that could be lost: what is cut off is incomplete, and names the layers.
        self.save(to, |record| Record {
            layers: layers.clone(),
            arch,
            ..record.to(Durable::Incomplete, Some(Verb::Clone), begun)
        })?;
        match self.make_upper(to, &layers) {
            Ok(()) => {
                self.adapt(to, &|_| {});
                if let Err(error) = self.in_root(to, |root, _| profile::forget_machine(root)) {
                    self.note(to, &format!("its /etc/machine-id is that of {from}: {error}"));
                }
                super::install::settle(&self.data(to))?;
                self.save(to, |record| record.to(Durable::Installed, None, None))
            }
            Err(error) => {
                self.note(to, &format!("clone failed: {error}"));
                self.save(to, |record| record.emptied())?;
                Err(error)
            }
        }
    }

    /// The configuration of `from` for a zone `to`, without what only one zone can have.
    fn config_like(&self, from: &str, to: &str) -> Result<(String, Vec<String>), ApiError> {
        let what = || format!("clone {from}");
        let text = edit::rename(&self.config_text(from)?, to).map_err(|error| error.to_api())?;
        let mut document: DocumentMut =
            text.parse().map_err(|error| because(what(), &error as &toml_edit::TomlError))?;
        let mut notes = Vec::new();
        if document.get("hostname").and_then(Item::as_str).is_some_and(|name| name == from) {
            document.remove("hostname");
        }
        document.remove("hostid");
        if document.get("autoboot").and_then(Item::as_bool) == Some(true) {
            document.remove("autoboot");
            notes.push(format!("{to} does not boot by itself as {from} does: set autoboot=true"));
        }
        for net in document
            .get_mut("net")
            .and_then(Item::as_array_of_tables_mut)
            .into_iter()
            .flat_map(ArrayOfTables::iter_mut)
        {
            for key in ["address", "mac-addr"] {
                if let Some(was) = net.remove(key) {
                    let was = was.as_str().unwrap_or_default().to_owned();
                    notes.push(format!("{to} does not have the {key} {was} of {from}"));
                }
            }
        }
        Ok((document.to_string(), notes))
    }
}
