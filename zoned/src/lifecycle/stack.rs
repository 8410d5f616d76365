//! What a zone's root is made of, and how that changes: its folders become layers, or give way to others.
//!
//! A change is written down before it begins, and each of its steps can be done again; so a crash at any of them is made
//! good by doing all of it once more.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use zone_api::{ApiError, ErrorKind};

use super::host::RootSpec;
use super::{Zones, because};
use crate::confine::{outside, owners};
use crate::state::{Change, Record, atomic, now};
use crate::storage::{LayerId, Meta, backend, flatten, settle};

/// Layers that a zone's root has at most. An overlay can have 500; each costs a look for a file that is in none.
const MOST: usize = 100;

/// Folder that a zone writes to.
pub(super) const UPPER: &str = "upper";
/// The root of a zone without layers.
pub(super) const ROOT: &str = "root";
/// The overlay's own.
pub(super) const WORK: &str = "work";

impl Zones {
    fn record(&self, name: &str) -> Result<Record, ApiError> {
        let table = self.lock();
        let entry = table.zones.get(name).ok_or_else(|| super::no_such_zone("find", name))?;
        Ok(entry.record.clone())
    }

    /// Layers that a zone or a snapshot is made of.
    pub fn used_layers(&self) -> BTreeSet<LayerId> {
        let table = self.lock();
        let mut used = BTreeSet::new();
        for entry in table.zones.values() {
            used.append(&mut entry.layers());
        }
        used
    }

    /// Removes the layers of zones that are in no use any more. Those of images stay until they are pruned.
    pub(super) fn sweep_layers(&self) {
        // The list first: what comes to be in use after it was made is not on it, or is pinned.
        let all = match self.layers.all() {
            Ok(all) => all,
            Err(error) => return tracing::warn!(%error, "layers that nobody uses cannot be found"),
        };
        let used = self.used_layers();
        for id in all.difference(&used).filter(|id| matches!(id, LayerId::Own(_))) {
            if let Err(error) = self.layers.remove(id) {
                tracing::warn!(layer = %id, %error, "nobody uses it, and it cannot be removed");
            }
        }
    }

    /// What a zone that is to be started has as its root.
    pub(super) fn ready_root(&self, name: &str) -> Result<RootSpec, ApiError> {
        self.finish_change(name)?;
        let layers = self.record(name)?.layers;
        if layers.is_empty() {
            return Ok(RootSpec::Installed);
        }
        if let Some(missing) = layers.iter().find(|id| !self.layers.has(id)) {
            let why = format!("layer {missing} is not there");
            return Err(ApiError::new(ErrorKind::Failed, format!("find the root of {name}"), why)
                .hint("zonectl image verify says what else is missing"));
        }
        if !self.has_layers() {
            self.change_root(name, Change::Flatten)?;
            return Ok(RootSpec::Installed);
        }
        Ok(RootSpec::Layered(self.trees(&layers)))
    }

    pub(super) fn trees(&self, layers: &[LayerId]) -> Vec<PathBuf> {
        layers.iter().map(|id| self.layers.tree(id)).collect()
    }

    /// Makes layers of all that a zone has as folders of its own, so that its root is layers alone. Nothing of it
    /// runs.
    pub(super) fn fold(&self, name: &str) -> Result<(), ApiError> {
        let wrong = |error: io::Error| because(format!("make a layer of {name}"), &error);
        self.finish_change(name)?;
        let folder = self.data(name);
        // Layers are the same for all zones.
        owners::give(&folder, 0).map_err(|failure| because(format!("make a layer of {name}"), &failure))?;
        let layers = self.record(name)?.layers;
        let mut parts = Vec::new();
        if !is_empty(&folder.join(UPPER)).map_err(wrong)? {
            parts.push(UPPER);
        }
        if layers.is_empty() {
            parts.push(ROOT);
        }
        if parts.is_empty() {
            return Ok(());
        }
        settle(&folder).map_err(wrong)?;
        let change = self.prepare_fold(&parts).map_err(wrong)?;
        self.change_root(name, change)
    }

    /// The root folder alone, of a zone that may run.
    pub(super) fn prepare_fold(&self, parts: &[&str]) -> io::Result<Change> {
        let mut fold = Vec::new();
        for part in parts {
            let id = LayerId::new_own();
            let folder = self.layers.folder(&id);
            fs::DirBuilder::new().mode(0o700).create(&folder)?;
            let meta = Meta { made: now(), ..Meta::default() };
            atomic::write(&folder.join("layer.json"), &serde_json::to_vec(&meta)?, 0o600)?;
            folder.parent().map_or(Ok(()), atomic::sync_folder)?;
            fold.push(((*part).to_owned(), id));
        }
        Ok(Change::Fold(fold))
    }

    /// Writes a change down and carries it out.
    pub(super) fn change_root(&self, name: &str, change: Change) -> Result<(), ApiError> {
        self.save(name, |record| Record { change: Some(change), ..record.clone() })?;
        self.finish_change(name)
    }

    /// Carries out what was written down, if anything.
    pub(super) fn finish_change(&self, name: &str) -> Result<(), ApiError> {
        let record = self.record(name)?;
        let Some(change) = record.change else { return Ok(()) };
        let layers = match &change {
            Change::Move(path) => return self.move_parts(name, path),
            Change::CopyTo(path) => return self.drop_copy(name, path),
            Change::Detach => return self.pack(name),
            Change::Attach => return self.unpack(name),
            Change::Fold(parts) => {
                self.fold_parts(name, parts, &record.layers)?;
                let new = parts.iter().map(|(_, id)| id.clone());
                new.chain(record.layers).collect()
            }
            Change::Replace(layers) => {
                self.discard(&self.data(name), &[ROOT, UPPER, WORK])?;
                self.make_upper(name, layers)?;
                layers.clone()
            }
            Change::Flatten => {
                self.own_root(name, &record.layers)?;
                Vec::new()
            }
        };
        self.save(name, |record| Record { layers, change: None, ..record.clone() })?;
        self.sweep_layers();
        Ok(())
    }

    /// A copy of all that the zone sees of its layers and its own folder, as its root.
    fn own_root(&self, name: &str, layers: &[LayerId]) -> Result<(), ApiError> {
        let folder = self.data(name);
        let (root, new) = (folder.join(ROOT), folder.join(".root.new"));
        let made = || {
            if root.exists() {
                return Ok(());
            }
            crate::image::remove(&new)?;
            fs::DirBuilder::new().mode(0o755).create(&new)?;
            let mut all = vec![folder.join(UPPER)];
            all.extend(self.trees(layers));
            flatten(&all, &new)?;
            settle(&new)?;
            fs::rename(&new, &root)?;
            atomic::sync_folder(&folder)
        };
        made().map_err(|error: io::Error| because(format!("make a root of the layers of {name}"), &error))?;
        self.discard(&folder, &[UPPER, WORK])?;
        self.make_upper(name, &[])
    }

    fn fold_parts(&self, name: &str, parts: &[(String, LayerId)], below: &[LayerId]) -> Result<(), ApiError> {
        let folder = self.data(name);
        for (part, id) in parts {
            let (from, to) = (folder.join(part), self.layers.tree(id));
            let moved = || {
                if !to.exists() {
                    match fs::rename(&from, &to) {
                        // The zone was moved to another file system than that of the layers.
                        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                            let new = to.with_extension("new");
                            crate::image::remove(&new)?;
                            backend::of(&self.layers.folder(id)).copy_still(&from, &new)?;
                            settle(&new)?;
                            fs::rename(&new, &to)?;
                        }
                        other => other?,
                    }
                }
                atomic::sync_folder(&self.layers.folder(id))?;
                // What was copied.
                self.discard(&folder, &[part]).map_err(io::Error::other)
            };
            moved().map_err(|error| because(format!("make a layer of {}", from.display()), &error))?;
        }
        if parts.iter().any(|(part, _)| part == UPPER) {
            self.discard(&folder, &[WORK])?;
            let layers: Vec<_> = parts.iter().map(|(_, id)| id).chain(below).cloned().collect();
            self.make_upper(name, &layers)?;
        }
        Ok(())
    }

    /// The folders that a zone over `layers` writes to, where they are missing.
    pub(super) fn make_upper(&self, name: &str, layers: &[LayerId]) -> Result<(), ApiError> {
        let folder = self.data(name);
        let (upper, below) = (folder.join(UPPER), layers.first().map(|id| self.layers.tree(id)));
        let make = || {
            if !upper.exists() {
                let new = folder.join(".upper.new");
                crate::image::remove(&new)?;
                backend::of(&folder).make(&new)?;
                alike(&new, below.as_deref())?;
                fs::rename(&new, &upper)?;
            }
            // `work/work` is the overlay's own.
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(WORK).join(WORK))?;
            atomic::sync_folder(&folder)
        };
        make().map_err(|error: io::Error| because(format!("make {}", upper.display()), &error))
    }

    /// Makes one layer of a zone's many where they have become too many. Nothing of it runs, and its folder is empty.
    pub(super) fn squash(&self, name: &str) -> Result<(), ApiError> {
        let layers = self.record(name)?.layers;
        if layers.len() <= MOST {
            return Ok(());
        }
        let flat = self
            .flat_layer(&layers)
            .map_err(|e| because(format!("make one layer of those of {name}"), &e))?;
        let _pin = self.layers.pin([flat.clone()]);
        self.change_root(name, Change::Replace(vec![flat]))
    }

    fn flat_layer(&self, layers: &[LayerId]) -> io::Result<LayerId> {
        let view = crate::storage::View::of(&self.trees(layers))?;
        let (id, draft) = (LayerId::new_own(), self.layers.draft()?);
        backend::of(draft.folder()).copy_still(&view.path(), &draft.tree())?;
        draft.publish(&id, &Meta { made: now(), ..Meta::default() })?;
        Ok(id)
    }

    /// Whether this kernel can show layers to a zone at all; before Linux 5.19 each has a root of its own.
    pub(super) fn has_layers(&self) -> bool {
        outside::maps_ids()
    }
}

/// The topmost folder of an overlay is the upper one, whatever those below have.
fn alike(folder: &Path, like: Option<&Path>) -> io::Result<()> {
    let (mode, uid, gid) = match like {
        None => (0o755, 0, 0),
        Some(like) => {
            let found = fs::metadata(like)?;
            (found.mode() & 0o7777, found.uid(), found.gid())
        }
    };
    chown(folder, Some(uid), Some(gid))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
    let Some(like) = like else { return Ok(()) };
    fs::File::open(folder)?.set_modified(fs::metadata(like)?.modified()?)
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        other => Ok(other?.next().is_none()),
    }
}
