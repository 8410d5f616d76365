//! What a new zoned finds: zones that run, zones that ended meanwhile, operations that were cut off.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use zone_api::{ApiError, State};

use super::host::MonitorHandle;
use super::registry::{Entry, Live};
use super::run::is_run_name;
use super::{Paths, Zones, because};
use crate::config;
use crate::state::{Durable, Found, Record, atomic};

impl Zones {
    /// Makes the folders that zones are kept in.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn make_folders(paths: &Paths) -> Result<(), ApiError> {
        for (folder, mode) in [
            (&paths.root, 0o711),
            // Set-user-id files of guests must be out of reach for users of the host.
            (&paths.root.join("zones"), 0o700),
            (&paths.root.join("ephemeral"), 0o700),
            (&paths.configs, 0o755),
        ] {
            make_folder(folder, mode)?;
        }
        Ok(())
    }

    /// Finds all zones, live ones first by their monitors; tears down the others' leftovers.
    ///
    /// # Errors
    /// When the folders cannot be made or read; a single zone in disorder is told in the log.
    pub fn recover(self: &Arc<Self>) -> Result<(), ApiError> {
        Self::make_folders(&self.paths)?;
        self.layers.recover().map_err(|error| because("set up the store of layers", &error))?;
        self.images.recover().map_err(|error| because("set up the store of images", &error))?;
        let mut names = self.store.names().map_err(|error| because("find zones", &error))?;
        for name in &names {
            if !self.config_path(name).is_file() {
                tracing::warn!(zone = name, "it has a folder and no configuration");
            }
        }
        names.extend(self.config_names());
        // All of them before anything is finished: what a zone is made of is known by its record alone. And those with a
        // range of ids before others are given one.
        let found = names.iter().map(|name| (name.as_str(), self.store.read(name)));
        let (known, new): (Vec<_>, Vec<_>) =
            found.partition(|(_, found)| matches!(found, Ok(Found::Record(_))));
        // What cannot be read now may have one that is its own.
        let new_names: Vec<_> =
            new.iter().filter(|(_, found)| found.is_ok()).map(|(name, _)| *name).collect();
        for (name, found) in known.into_iter().chain(new) {
            self.take_up_as(name, found);
        }
        for name in &names {
            self.resume(name);
        }
        self.resume_restarts();
        self.adopt_all();
        new_names.into_iter().for_each(|name| self.part_ids(name));
        self.sweep_ephemeral();
        self.sweep_layers();
        self.empty_trash();
        Ok(())
    }

    /// Gives a zone that has no root another range of ids where it was given that of a `run` which lives on.
    fn part_ids(&self, name: &str) {
        let mut table = self.lock();
        let Some(entry) = table.zones.get(name).filter(|entry| entry.live.is_none()) else { return };
        if !table.slots.is_shared(entry.record.id_slot) {
            return;
        }
        let parted = self.free_slot(&table).map(|slot| table.set_slot(name, slot));
        drop(table);
        if let Err(error) = parted.and_then(|()| self.save(name, Record::clone)) {
            tracing::error!(zone = name, %error, "it has the host ids of another zone");
        }
    }

    /// An operation on a record that a crash cut off is told as that.
    fn resume(&self, name: &str) {
        let cut = self.lock().zones.get(name).and_then(|entry| entry.record.verb);
        let Some(verb) = cut else {
            if let Err(error) = self.carry_out(name) {
                tracing::error!(zone = name, %error, "a change of its root is not finished");
            }
            return;
        };
        let why = format!("{verb} was interrupted");
        let saved = self.save(name, |record| record.to(Durable::Incomplete, None, Some(why.clone())));
        if let Err(error) = saved {
            tracing::error!(zone = name, %error, "its state cannot be kept");
        }
        self.note(name, &format!("incomplete: {why}"));
    }

    /// Folders in the run folder are of zones that live, or that did; others', as in a run folder that is
    /// not ours alone, are left.
    fn adopt_all(self: &Arc<Self>) {
        let Ok(entries) = std::fs::read_dir(&self.paths.run) else { return };
        for entry in entries.flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| is_folder && config::check_name(name).is_ok())
            else {
                continue;
            };
            // A snapshot that was cut off may hold it still. First: a login that is held by v1 has a copy of its monitor's
            // socket, and keeps it open where the monitor is gone.
            if let Err(error) = self.host.hold(name, false) {
                tracing::debug!(zone = name, %error, "it was not held");
            }
            match self.host.adopt(name) {
                Some(handle) => self.adopt(name, handle),
                None => self.bury(name),
            }
        }
    }

    fn adopt(self: &Arc<Self>, name: &str, handle: MonitorHandle) {
        let status = match handle.control.status() {
            Ok(status) => status,
            Err(error) => {
                tracing::warn!(zone = name, %error, "its monitor does not answer");
                return self.bury(name);
            }
        };
        let mut table = self.lock();
        match table.zones.get(name).map(|entry| entry.record.id_slot) {
            None => {
                let record = Record::new(status.id_slot).to(Durable::Installed, None, None);
                table.add(name, Entry::new(record, status.ephemeral));
            }
            // Its record is lost, and its files have the ids that it runs with.
            Some(slot) if slot != status.id_slot => table.set_slot(name, status.id_slot),
            Some(_) => {}
        }
        drop(table);
        tracing::info!(zone = name, id = status.id, state = status.state.word(), "found again");
        // A snapshot that was cut off may have moved its root.
        let layers = self.layers_of(name);
        if !layers.is_empty()
            && let Err(error) = handle.control.restack(&self.trees(&layers))
        {
            tracing::warn!(zone = name, %error, "its monitor does not know of its layers");
        }
        self.go_live(name, handle, |epoch, control| Live {
            control,
            epoch,
            id: status.id,
            state: status.state,
            init_pid: status.init_pid,
            summary: status.summary,
            since: std::time::Instant::now(),
            reboots: 0,
            asked: false,
            ending: false,
        });
    }

    /// A zone whose monitor is gone: nothing of it may be left.
    fn bury(self: &Arc<Self>, name: &str) {
        if !self.lock().zones.contains_key(name) && !is_run_name(name) {
            tracing::warn!(folder = name, "a folder in the run folder belongs to no zone");
            return;
        }
        let mut why = "its monitor was killed while zoned was away".to_owned();
        let left = self.host.teardown(name);
        if let Err(error) = &left {
            why = format!("{why}; and something of it is left: {error}");
        }
        let known = match self.lock().zones.get_mut(name) {
            Some(entry) => {
                entry.dirty = left.is_err();
                entry.state() == State::Installed
            }
            None => false,
        };
        if known {
            self.note(name, &why);
            if let Err(error) = self.save_reason(name, Some(why.clone())) {
                tracing::error!(zone = name, %error, "its state cannot be kept");
            }
            self.keep_up(name, true, &why, None);
        } else {
            tracing::warn!(zone = name, "{why}");
        }
    }

    /// Folders of `run` zones that no longer live.
    fn sweep_ephemeral(&self) {
        let Ok(entries) = std::fs::read_dir(self.paths.root.join("ephemeral")) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if self.live(name).is_some() {
                continue;
            }
            if let Err(error) = self.host.teardown(name) {
                tracing::error!(zone = name, %error, "something of it is left");
            }
            if let Err(error) = self.trash_folder(&entry.path()) {
                tracing::warn!(%error, "what a run left is still there");
            }
        }
    }
}

fn make_folder(folder: &Path, mode: u32) -> Result<(), ApiError> {
    let wrong = |error: std::io::Error| because(format!("make {}", folder.display()), &error);
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).map_err(wrong)?;
    }
    match std::fs::DirBuilder::new().mode(mode).create(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && folder.is_dir() => {}
        Err(error) => return Err(wrong(error)),
        Ok(()) => folder.parent().map_or(Ok(()), atomic::sync_folder).map_err(wrong)?,
    }
    // One that was there before may be open to more than it should.
    if mode == 0o700 {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).map_err(wrong)?;
    }
    Ok(())
}
