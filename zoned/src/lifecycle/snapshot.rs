//! snapshot: all of a zone's root at one instant, kept under a name; and the way back to it.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zone_api::{ApiError, ErrorKind};

use super::registry::Live;
use super::stack::ROOT;
use super::{Zones, because, room};
use crate::config;
use crate::state::{Change, Record, Snapshot, Verb, now, snapshots};
use crate::storage::{LayerId, Meta, Pin, backend};

/// Layers with what changed only, one over the other, that a snapshot has at most.
const MOST_CHANGES: usize = 16;

/// A root as it was at one instant.
pub(super) struct Taken {
    pub(super) layers: Vec<LayerId>,
    /// For how long the zone was held still; none: it did not run.
    pub(super) held: Option<Duration>,
    /// Keeps the layers until a record names them.
    pub(super) _pin: Pin,
}

impl Zones {
    /// Keeps the root of a zone as it is now under a name.
    ///
    /// # Errors
    /// There is then no such snapshot, and the zone is as it was.
    pub fn snapshot(self: &Arc<Self>, name: &str, snap: &str) -> Result<zone_api::Snapshot, ApiError> {
        let made = self.make_snapshot(name, snap);
        if made.is_err() {
            // What it is made of.
            self.sweep_layers();
        }
        made
    }

    fn make_snapshot(self: &Arc<Self>, name: &str, snap: &str) -> Result<zone_api::Snapshot, ApiError> {
        let what = || format!("snapshot {name}@{snap}");
        config::check_name(snap).map_err(|why| ApiError::new(ErrorKind::Invalid, what(), why))?;
        let _claim = self.claim(name, Verb::Snapshot)?;
        if self.snapshot_of(name, snap).is_ok() {
            return Err(ApiError::new(ErrorKind::WrongState, what(), "there is one of that name").hint(
                format!("zonectl snapshots {name} lists them; zonectl snapshot -d {name}@{snap} removes it"),
            ));
        }
        let taken = self.capture(name)?;
        let (parent, arch) = {
            let table = self.lock();
            let record = table.zones.get(name).map(|entry| &entry.record);
            (record.and_then(|record| record.at.clone()), record.and_then(|record| record.arch.clone()))
        };
        let held = taken.held.map(|held| u64::try_from(held.as_micros()).unwrap_or(u64::MAX));
        let snapshot = Snapshot { made: now(), layers: taken.layers, parent, arch, held };
        snapshots::write(&self.store.folder(name), snap, &snapshot)
            .map_err(|error| because(what(), &room(self.store.zones(), error)))?;
        if let Some(entry) = self.lock().zones.get_mut(name) {
            entry.snapshots.insert(snap.to_owned(), snapshot.clone());
        }
        if let Err(error) = self.save(name, |record| Record { at: Some(snap.to_owned()), ..record.clone() }) {
            // The snapshot is there; only the tree would have the next one at another branch.
            tracing::warn!(zone = name, %error, "its state cannot be kept");
        }
        self.note(name, &format!("snapshot {snap} made{}", told(taken.held)));
        Ok(shown(snap, &snapshot, false))
    }

    /// Layers that are a zone's root now. The caller has claimed it.
    pub(super) fn capture(&self, name: &str) -> Result<Taken, ApiError> {
        let taken = self.capture_any(name);
        if taken.is_err() {
            // What it was to be made of.
            self.sweep_layers();
        }
        taken
    }

    fn capture_any(&self, name: &str) -> Result<Taken, ApiError> {
        match self.live(name) {
            Some(live) => self.capture_live(name, &live),
            None => {
                self.fold(name)?;
                self.squash(name)?;
                let layers = self.layers_of(name);
                Ok(Taken { _pin: self.layers.pin(layers.clone()), layers, held: None })
            }
        }
    }

    pub(super) fn layers_of(&self, name: &str) -> Vec<LayerId> {
        self.lock().zones.get(name).map(|entry| entry.record.layers.clone()).unwrap_or_default()
    }

    fn capture_live(&self, name: &str, live: &Live) -> Result<Taken, ApiError> {
        let what = || format!("copy what {name} wrote");
        if !self.host.stacks_layers() {
            let why = "this kernel shows each zone a root of its own (before Linux 5.19)";
            return Err(
                ApiError::new(ErrorKind::Failed, what(), why).hint(format!("zonectl halt {name} first"))
            );
        }
        self.finish_change(name)?;
        if self.layers_of(name).is_empty() {
            self.share_root(name, live)?;
        }
        let below = self.layers_of(name);
        let id = LayerId::new_own();
        let last = self.last_layers(name, &below);
        let pin = self.layers.pin(below.iter().chain(&last).cloned().chain([id.clone()]));
        let over = last.first().map(|id| self.layers.folder(id));
        let mut held = Duration::ZERO;
        let mut copied = || {
            let draft = self.layers.draft()?;
            let mut still = |work: &mut dyn FnMut() -> std::io::Result<()>| {
                let began = Instant::now();
                let hold = |still| self.host.hold(name, still).map_err(std::io::Error::other);
                let done = hold(true).and_then(|()| work());
                // Whatever came of it, the zone goes on.
                let done = hold(false).and(done);
                held = began.elapsed();
                done
            };
            let folder = draft.folder();
            let is_change =
                backend::of(folder).copy(&self.data(name), folder, over.as_deref(), &mut still)?;
            draft.publish(&id, &Meta { made: now(), ..Meta::default() }).map(|()| is_change)
        };
        let is_change = copied().map_err(|error| because(what(), &room(self.layers.images(), error)))?;
        let last = if is_change { last } else { Vec::new() };
        let layers = [id].into_iter().chain(last).chain(below).collect();
        Ok(Taken { layers, held: Some(held), _pin: pin })
    }

    /// Layers of the last snapshot that was made of what a zone over `below` wrote, the topmost first and without those of
    /// `below`, where another can go over them.
    fn last_layers(&self, name: &str, below: &[LayerId]) -> Vec<LayerId> {
        let table = self.lock();
        let last = table.zones.get(name).and_then(|entry| entry.snapshots.get(entry.record.at.as_ref()?));
        let own = last.and_then(|last| last.layers.strip_suffix(below)).unwrap_or_default();
        // With more it is time for one that is whole again.
        if own.len() <= MOST_CHANGES { own.to_vec() } else { Vec::new() }
    }

    /// Makes a layer of the root of a zone that runs over it: a rename, of which the overlay does not notice anything.
    fn share_root(&self, name: &str, live: &Live) -> Result<(), ApiError> {
        let device = |path: &std::path::Path| std::fs::metadata(path).map(|found| found.dev()).ok();
        if device(&self.data(name)) != device(self.layers.images()) {
            let why = "its root is on another file system than the layers";
            return Err(ApiError::new(ErrorKind::Failed, format!("share the root of {name}"), why)
                .hint(format!("halt {name} once for its first snapshot or clone")));
        }
        let (change, _pin) = self.prepare_fold(&[ROOT]).map_err(|error| {
            because(format!("share the root of {name}"), &room(self.layers.images(), error))
        })?;
        let Change::Fold(parts) = &change else { return Ok(()) };
        let layers: Vec<LayerId> = parts.iter().map(|(_, id)| id.clone()).collect();
        self.save(name, |record| Record { change: Some(change.clone()), ..record.clone() })?;
        // Before the rename: from now on its monitor boots it from there.
        if let Err(error) = live.control.restack(&self.trees(&layers)) {
            self.save(name, |record| Record { change: None, ..record.clone() })?;
            return Err(error.hint(format!("its monitor may be of an older zoned: halt and boot {name}")));
        }
        self.finish_change(name)
    }

    /// A zone's snapshots, the oldest first.
    ///
    /// # Errors
    /// When there is no such zone.
    pub fn snapshots(&self, name: &str) -> Result<Vec<zone_api::Snapshot>, ApiError> {
        self.known(name, "snapshots")?;
        let table = self.lock();
        let entry = table.zones.get(name).ok_or_else(|| super::no_such_zone("snapshots", name))?;
        let at = entry.record.at.as_deref();
        let mut all: Vec<_> =
            entry.snapshots.iter().map(|(snap, snapshot)| shown(snap, snapshot, at == Some(snap))).collect();
        all.sort_by(|a, b| (a.made, &a.name).cmp(&(b.made, &b.name)));
        Ok(all)
    }

    pub(super) fn snapshot_of(&self, name: &str, snap: &str) -> Result<Snapshot, ApiError> {
        let table = self.lock();
        let found = table.zones.get(name).and_then(|entry| entry.snapshots.get(snap)).cloned();
        found.ok_or_else(|| {
            let why = format!("zone {name} has no snapshot {snap}");
            ApiError::new(ErrorKind::NotFound, format!("find {name}@{snap}"), why)
                .hint(format!("zonectl snapshots {name} lists them"))
        })
    }

    /// A snapshot, the layers of which stay for as long as the pin does.
    pub(super) fn pinned(&self, name: &str, snap: &str) -> Result<(Snapshot, Pin), ApiError> {
        let found = self.snapshot_of(name, snap)?;
        let pin = self.layers.pin(found.layers.iter().cloned());
        // It may have been removed, or detached with its zone, before it was pinned.
        self.snapshot_of(name, snap)?;
        match found.layers.iter().find(|id| !self.layers.has(id)) {
            None => Ok((found, pin)),
            Some(missing) => {
                let why = format!("layer {missing} is not there");
                Err(ApiError::new(ErrorKind::NotFound, format!("find {name}@{snap}"), why))
            }
        }
    }

    /// Forgets a snapshot. What others are made of stays.
    ///
    /// # Errors
    /// When it is not there, or its file cannot be removed.
    pub fn delete_snapshot(self: &Arc<Self>, name: &str, snap: &str) -> Result<(), ApiError> {
        let _claim = self.claim(name, Verb::Snapshot)?;
        let gone = self.snapshot_of(name, snap)?;
        let folder = self.store.folder(name);
        // Those that came after it are now of the one before it.
        let children: Vec<(String, Snapshot)> = {
            let table = self.lock();
            let all = table.zones.get(name).map(|entry| entry.snapshots.clone()).unwrap_or_default();
            all.into_iter().filter(|(_, other)| other.parent.as_deref() == Some(snap)).collect()
        };
        let removed = || {
            for (child, snapshot) in &children {
                let snapshot = Snapshot { parent: gone.parent.clone(), ..snapshot.clone() };
                snapshots::write(&folder, child, &snapshot)?;
                if let Some(entry) = self.lock().zones.get_mut(name) {
                    entry.snapshots.insert(child.clone(), snapshot);
                }
            }
            snapshots::remove(&folder, snap)
        };
        removed()
            .map_err(|error| because(format!("remove {name}@{snap}"), &room(self.store.zones(), error)))?;
        let stood = match self.lock().zones.get_mut(name) {
            Some(entry) => {
                entry.snapshots.remove(snap);
                entry.record.at.as_deref() == Some(snap)
            }
            None => false,
        };
        if stood {
            self.save(name, |record| Record { at: gone.parent.clone(), ..record.clone() })?;
        }
        self.note(name, &format!("snapshot {snap} removed"));
        self.sweep_layers();
        Ok(())
    }

    /// Gives a zone the root that it had at a snapshot; what it wrote since is gone. One that runs is halted and
    /// booted again.
    ///
    /// # Errors
    /// When there is no such snapshot, or the zone cannot be booted again.
    pub fn rollback(self: &Arc<Self>, name: &str, snap: &str) -> Result<(), ApiError> {
        self.known(name, "rollback")?;
        self.snapshot_of(name, snap)?;
        // It runs on where this cannot be brought to its end.
        self.store
            .require_room()
            .map_err(|error| because(format!("rollback {name}"), &room(self.store.zones(), error)))?;
        let ran = self.live(name).is_some();
        if ran {
            self.halt(name)?;
        }
        let rolled = self.replace_by(name, snap);
        if !ran {
            return rolled;
        }
        // Whatever came of it, a zone that ran runs.
        let booted = self.boot(name, zone_api::Boot::default());
        rolled.and(booted)
    }

    fn replace_by(self: &Arc<Self>, name: &str, snap: &str) -> Result<(), ApiError> {
        let _claim = self.claim(name, Verb::Rollback)?;
        let snapshot = self.snapshot_of(name, snap)?;
        self.save(name, |record| Record {
            change: Some(Change::Replace(snapshot.layers.clone())),
            at: Some(snap.to_owned()),
            arch: snapshot.arch.clone().or_else(|| record.arch.clone()),
            ..record.clone()
        })?;
        self.finish_change(name)?;
        self.note(name, &format!("rolled back to {snap}"));
        Ok(())
    }
}

fn told(held: Option<Duration>) -> String {
    held.map_or_else(String::new, |held| format!(", held still for {:.1} ms", held.as_secs_f64() * 1e3))
}

fn shown(name: &str, snapshot: &Snapshot, current: bool) -> zone_api::Snapshot {
    zone_api::Snapshot {
        name: name.to_owned(),
        made: snapshot.made,
        parent: snapshot.parent.clone(),
        current,
        layers: snapshot.layers.iter().map(LayerId::to_string).collect(),
        held_us: snapshot.held,
    }
}
