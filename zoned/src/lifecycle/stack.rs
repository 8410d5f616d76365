//! What a zone's root is made of, and how that changes: its folders become layers, or give way to others.
//!
//! A change is written down before it begins, and each of its steps can be done again; so a crash at any of them is made
//! good by doing all of it once more.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use zone_api::{ApiError, ErrorKind};

use super::host::RootSpec;
use super::registry::Entry;
use super::{Zones, because, room};
use crate::config::{Config, size_in_bytes};
use crate::confine::owners;
use crate::state::{Change, Record, atomic, now};
use crate::storage::backend::{self, OWN, UPPER, WORK};
use crate::storage::{LayerId, Meta, Pin, flatten, settle};

/// Layers that a zone's root has at most. An overlay can have 500; each costs a look for a file that is in none.
const MOST: usize = 100;

/// The root of a zone without layers.
pub(super) const ROOT: &str = "root";

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

    /// Whether something may be made of layers that no record names: nothing is removed then.
    pub(super) fn is_unsure(&self) -> bool {
        // What a folder that is being attached brings is named only once it is all here.
        let attaching = |entry: &Entry| matches!(entry.record.change, Some(Change::Attach));
        self.unsure.load(Ordering::Relaxed) || self.lock().zones.values().any(attaching)
    }

    /// Removes the layers of zones that are in no use any more. Those of images stay until they are pruned.
    pub(super) fn sweep_layers(&self) {
        if self.is_unsure() {
            return;
        }
        let all = match self.layers.all() {
            Ok(all) => all,
            Err(error) => return tracing::warn!(%error, "layers that nobody uses cannot be found"),
        };
        let used = self.used_layers();
        for id in all.difference(&used).filter(|id| matches!(id, LayerId::Own(_))) {
            // What an operation made a layer of meanwhile is in its record, or pinned.
            if let Err(error) = self.remove_layer(id, || self.used_layers().contains(id)) {
                tracing::warn!(layer = %id, %error, "nobody uses it, and it cannot be removed");
            }
        }
    }

    /// Removes a layer unless it is in use; whether it did.
    pub(super) fn remove_layer(&self, id: &LayerId, used: impl Fn() -> bool) -> io::Result<bool> {
        let Some(bin) = self.store.with_reserve(|| self.layers.set_aside(id, &used))? else {
            return Ok(false);
        };
        self.store.with_reserve(|| crate::image::remove(&bin)).map(|()| true)
    }

    /// What a zone that is to be started has as its root.
    pub(super) fn ready_root(&self, name: &str) -> Result<RootSpec, ApiError> {
        self.finish_change(name)?;
        self.forget_indexes(name).map_err(|error| because(format!("begin {name} anew"), &error))?;
        if self.record(name)?.layers.len() > MOST {
            self.fold(name)?;
            self.squash(name)?;
        }
        let layers = self.record(name)?.layers;
        if layers.is_empty() {
            return Ok(RootSpec::Installed);
        }
        if let Some(missing) = layers.iter().find(|id| !self.layers.has(id)) {
            let why = format!("layer {missing} is not there");
            return Err(ApiError::new(ErrorKind::Failed, format!("find the root of {name}"), why)
                .hint("zonectl image verify says what else is missing"));
        }
        if !self.host.stacks_layers() {
            self.change_root(name, Change::Flatten)?;
            return Ok(RootSpec::Installed);
        }
        Ok(RootSpec::Layered(self.trees(&layers)))
    }

    /// Has the next snapshot of a zone that is to be started be whole. The host may have lost of its files what was not on the
    /// disk yet, and somebody may have changed them.
    fn forget_indexes(&self, name: &str) -> io::Result<()> {
        let made: BTreeSet<LayerId> = {
            let table = self.lock();
            let snapshots = table.zones.get(name).into_iter().flat_map(|entry| entry.snapshots.values());
            snapshots.filter_map(|snapshot| snapshot.layers.first().cloned()).collect()
        };
        made.iter().try_for_each(|id| backend::forget_index(&self.layers.folder(id)))
    }

    pub(super) fn trees(&self, layers: &[LayerId]) -> Vec<PathBuf> {
        layers.iter().map(|id| self.layers.tree(id)).collect()
    }

    /// Makes layers of all that a zone has as folders of its own, so that its root is layers alone. Nothing of it
    /// runs.
    pub(super) fn fold(&self, name: &str) -> Result<(), ApiError> {
        let wrong =
            |error: io::Error| because(format!("make a layer of {name}"), &room(self.layers.images(), error));
        self.finish_change(name)?;
        let folder = self.data(name);
        // Layers are the same for all zones.
        owners::give(&folder, 0).map_err(|failure| because(format!("make a layer of {name}"), &failure))?;
        let layers = self.record(name)?.layers;
        let mut parts = Vec::new();
        if !is_empty(&backend::upper(&folder)).map_err(wrong)? {
            parts.push(backend::part(&folder));
        }
        if layers.is_empty() {
            parts.push(ROOT);
        }
        if parts.is_empty() {
            return Ok(());
        }
        settle(&folder).map_err(wrong)?;
        let (change, _pin) = self.prepare_fold(&parts).map_err(wrong)?;
        self.change_root(name, change)
    }

    /// Makes the layers that parts of a zone's folder are to become, without their files.
    pub(super) fn prepare_fold(&self, parts: &[&str]) -> io::Result<(Change, Pin)> {
        let mut fold: Vec<(String, LayerId)> = Vec::new();
        let ids: Vec<LayerId> = parts.iter().map(|_| LayerId::new_own()).collect();
        let pin = self.layers.pin(ids.clone());
        for (part, id) in parts.iter().zip(ids) {
            let folder = self.layers.folder(&id);
            fs::DirBuilder::new().mode(0o700).create(&folder)?;
            let meta = Meta { made: now(), ..Meta::default() };
            atomic::write(&folder.join("layer.json"), &serde_json::to_vec(&meta)?, 0o600)?;
            folder.parent().map_or(Ok(()), atomic::sync_folder)?;
            fold.push(((*part).to_owned(), id));
        }
        Ok((Change::Fold(fold), pin))
    }

    /// Writes a change down and carries it out.
    pub(super) fn change_root(&self, name: &str, change: Change) -> Result<(), ApiError> {
        self.save(name, |record| Record { change: Some(change), ..record.clone() })?;
        self.finish_change(name)
    }

    /// Carries out what was written down, if anything.
    pub(super) fn finish_change(&self, name: &str) -> Result<(), ApiError> {
        if self.record(name)?.change.is_none() {
            return Ok(());
        }
        self.carry_out(name)?;
        self.sweep_layers();
        Ok(())
    }

    /// The same; layers that nobody uses any more are left.
    pub(super) fn carry_out(&self, name: &str) -> Result<(), ApiError> {
        let record = self.record(name)?;
        let Some(change) = record.change else { return Ok(()) };
        let layers = match &change {
            Change::Move(path) => return self.move_parts(name, path),
            Change::CopyTo(path) => return self.drop_copy(name, path),
            Change::Detach => return self.pack(name),
            Change::Attach => return self.unpack(name),
            Change::Configure(edits) => return self.configure(name, edits),
            Change::Clear(folder, parts) => return self.clear(name, folder, parts),
            Change::Receive { layers, snapshot } => {
                self.replace_root(name, layers)?;
                return self.received(name, layers, snapshot.as_deref());
            }
            Change::Fold(parts) => {
                self.fold_parts(name, parts, &record.layers)?;
                let new = parts.iter().map(|(_, id)| id.clone());
                new.chain(record.layers).collect()
            }
            Change::Replace(layers) => {
                self.replace_root(name, layers)?;
                layers.clone()
            }
            Change::Flatten => {
                self.own_root(name, &record.layers)?;
                Vec::new()
            }
        };
        self.save(name, |record| Record { layers, change: None, ..record.clone() })
    }

    fn replace_root(&self, name: &str, layers: &[LayerId]) -> Result<(), ApiError> {
        // What comes now belongs to the ids that layers have.
        self.discard(&self.data(name), &[ROOT, OWN, UPPER, WORK, owners::MARK])?;
        self.make_upper(name, layers)
    }

    /// Removes what is left of another place of a zone's files. That it cannot be does not keep the zone from anything.
    fn clear(&self, name: &str, folder: &Path, parts: &[String]) -> Result<(), ApiError> {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let cleared = if parts.is_empty() { self.empty_place(folder) } else { self.discard(folder, &parts) };
        if let Err(error) = cleared {
            tracing::warn!(zone = name, %error, "what it does not need any more is still there");
        }
        self.save(name, |record| Record { change: None, ..record.clone() })
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
            let mut all = vec![backend::upper(&folder)];
            all.extend(self.trees(layers));
            flatten(&all, &new)?;
            settle(&new)?;
            fs::rename(&new, &root)?;
            atomic::sync_folder(&folder)
        };
        made().map_err(|error: io::Error| because(format!("make a root of the layers of {name}"), &error))?;
        self.discard(&folder, &[OWN, UPPER, WORK])?;
        self.make_upper(name, &[])
    }

    fn fold_parts(&self, name: &str, parts: &[(String, LayerId)], below: &[LayerId]) -> Result<(), ApiError> {
        let folder = self.data(name);
        for (part, id) in parts {
            if part == UPPER {
                // A layer is nobody's own.
                backend::of(&folder)
                    .free(&folder)
                    .map_err(|error| because(format!("make a layer of {}", folder.display()), &error))?;
            }
            let name = if part == OWN { OWN } else { "fs" };
            let (from, to) = (folder.join(part), self.layers.folder(id).join(name));
            let moved = || {
                if !to.exists() {
                    match fs::rename(&from, &to) {
                        // The zone was moved to another file system than that of the layers.
                        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                            let new = to.with_extension("new");
                            crate::image::remove(&new)?;
                            backend::copy_still(&from, &new)?;
                            settle(&new)?;
                            fs::rename(&new, &to)?;
                        }
                        other => other?,
                    }
                }
                if part == OWN {
                    crate::image::remove(&to.join(WORK))?;
                }
                atomic::sync_folder(&self.layers.folder(id))?;
                // What was copied.
                self.discard(&folder, &[part]).map_err(io::Error::other)
            };
            moved().map_err(|error| {
                because(format!("make a layer of {}", from.display()), &room(self.layers.images(), error))
            })?;
        }
        if parts.iter().any(|(part, _)| part != ROOT) {
            self.discard(&folder, &[WORK])?;
            let layers: Vec<_> = parts.iter().map(|(_, id)| id).chain(below).cloned().collect();
            self.make_upper(name, &layers)?;
        }
        Ok(())
    }

    /// The folders that a zone over `layers` writes to, where they are missing.
    pub(super) fn make_upper(&self, name: &str, layers: &[LayerId]) -> Result<(), ApiError> {
        let folder = self.data(name);
        let below = layers.first().map_or_else(|| folder.join(ROOT), |id| self.layers.tree(id));
        let make = || {
            if !backend::upper(&folder).exists() {
                backend::of(&folder).make(&folder)?;
                let upper = backend::upper(&folder);
                let new = upper.with_file_name(".upper.new");
                crate::image::remove(&new)?;
                fs::DirBuilder::new().mode(0o755).create(&new)?;
                alike(&new, &below)?;
                fs::rename(&new, &upper)?;
            }
            // `work/work` is made by the overlay, else.
            // Nothing is synced: empty folders that a crash takes are made anew.
            fs::DirBuilder::new().recursive(true).mode(0o700).create(backend::work(&folder).join(WORK))
        };
        // A change that was begun is to be finished, also where it took what was left.
        let made = self.store.with_reserve(make);
        made.map_err(|error| because(format!("make {}", folder.display()), &room(&folder, error)))
    }

    /// Sees that the zone's own files take no more than its configuration says.
    pub(super) fn limit_disk(&self, name: &str, config: &Config) -> Result<(), ApiError> {
        let lives = self.live(name).is_some();
        let wanted = config.capped_disk.as_ref().and_then(|disk| size_in_bytes(&disk.size).ok());
        let record = self.record(name)?;
        if wanted.is_none() && record.capped.is_none() {
            return Ok(());
        }
        self.make_upper(name, &record.layers)?;
        let folder = self.data(name);
        let limited = backend::of(&folder).limit(&folder, self.project(&record), wanted, lives);
        limited.map_err(|error| {
            let hint = if lives {
                format!("zonectl reboot {name} boots it with the limit, or says why it cannot be held")
            } else {
                format!("zonectl unset {name} capped-disk.size boots it without a limit")
            };
            because(format!("hold the files of {name} to its capped-disk.size"), &error).hint(hint)
        })?;
        self.save(name, |record| Record { capped: wanted, ..record.clone() })
    }

    /// The number of a zone in quotas of file systems.
    fn project(&self, record: &Record) -> u32 {
        self.settings.id_base + record.id_slot
    }

    /// Gives back a zone's number on the file system of `folder`, which may have been another's than the zone's is now.
    pub(super) fn lift_limit(&self, name: &str, folder: &Path) {
        let lifted = self.record(name).map(|record| {
            let lift = || backend::of(folder).lift(folder, self.project(&record));
            record.capped.map_or(Ok(()), |_| lift())
        });
        if let Ok(Err(error)) = lifted {
            tracing::warn!(zone = name, %error, folder = %folder.display(), "its limit of disk is still there");
        }
    }

    /// Makes one layer of a zone's many where they have become too many. Nothing of it runs, and its folder is empty.
    pub(super) fn squash(&self, name: &str) -> Result<(), ApiError> {
        let layers = self.record(name)?.layers;
        if layers.len() <= MOST {
            return Ok(());
        }
        let flat = LayerId::new_own();
        let _pin = self.layers.pin([flat.clone()]);
        self.flat_layer(&layers, &flat).map_err(|e| {
            because(format!("make one layer of those of {name}"), &room(self.layers.images(), e))
        })?;
        self.change_root(name, Change::Replace(vec![flat]))
    }

    fn flat_layer(&self, layers: &[LayerId], id: &LayerId) -> io::Result<()> {
        let view = crate::storage::View::of(&self.trees(layers))?;
        let draft = self.layers.draft()?;
        backend::copy_still(&view.path(), &draft.tree())?;
        draft.publish(id, &Meta { made: now(), ..Meta::default() })
    }
}

/// The topmost folder of an overlay is the upper one, whatever those below have.
fn alike(folder: &Path, like: &Path) -> io::Result<()> {
    let like = fs::metadata(like)?;
    chown(folder, Some(like.uid()), Some(like.gid()))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(like.mode() & 0o7777))?;
    fs::File::open(folder)?.set_modified(like.modified()?)
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        other => Ok(other?.next().is_none()),
    }
}
