//! move, detach and attach: the folder that a zone's own files are in, and how it comes to be another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zone_api::{ApiError, Attached, Create, ErrorKind};

use super::registry::Entry;
use super::stack::ROOT;
use super::{Zones, because, room};
use crate::config::{Config, edit};
use crate::confine::owners;
use crate::image;
use crate::state::{Change, Durable, FILE as STATE, Record, Snapshot, Verb, atomic, snapshots};
use crate::storage::{LayerId, backend, settle};

/// What a detached zone's folder says of it.
const MANIFEST: &str = "zone.json";
/// Folder in it for the layers that it is made of.
const LAYERS: &str = "layers";
/// Longest manifest that is read.
const LONGEST: u64 = 4 << 20;
/// Version of the manifest's form.
const VERSION: u32 = 1;
/// What stays where zoned keeps its records.
const RECORDS: [&str; 3] = [STATE, "log", snapshots::FOLDER];

/// `zone.json`
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    name: String,
    /// TOML.
    config: String,
    uuid: Uuid,
    arch: Option<String>,
    layers: Vec<LayerId>,
    at: Option<String>,
    snapshots: BTreeMap<String, Snapshot>,
    host: HostFacts,
}

/// What of a host a guest may come to feel.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct HostFacts {
    kernel: String,
    machine: String,
    cpus: usize,
    /// MiB.
    memory: u64,
}

impl HostFacts {
    fn here() -> Self {
        let (kernel, machine) = nix::sys::utsname::uname().map_or_else(
            |_| (String::new(), String::new()),
            |name| {
                (name.release().to_string_lossy().into_owned(), name.machine().to_string_lossy().into_owned())
            },
        );
        let memory = rustix::system::sysinfo();
        let memory = (memory.totalram as u64 * u64::from(memory.mem_unit)) >> 20;
        Self { kernel, machine, cpus: std::thread::available_parallelism().map_or(1, usize::from), memory }
    }

    fn differences(&self, here: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut tell = |what: &str, there: &dyn std::fmt::Display, here: &dyn std::fmt::Display| {
            if there.to_string() != here.to_string() {
                found.push(format!("{what}: {there} there, {here} here"));
            }
        };
        tell("kernel", &self.kernel, &here.kernel);
        tell("machine", &self.machine, &here.machine);
        tell("processors", &self.cpus, &here.cpus);
        tell("memory in MiB", &self.memory, &here.memory);
        found
    }
}

impl Zones {
    /// Folder of a zone's own files: its root, what it wrote, its console's log.
    pub(super) fn data(&self, name: &str) -> PathBuf {
        let table = self.lock();
        table.zones.get(name).map_or_else(|| self.store.folder(name), |entry| self.data_of(name, entry))
    }

    pub(super) fn data_of(&self, name: &str, entry: &Entry) -> PathBuf {
        if entry.ephemeral {
            return self.paths.root.join("ephemeral").join(name);
        }
        entry.record.path.clone().unwrap_or_else(|| self.store.folder(name))
    }

    /// Puts a zone's own files into another folder, which is made.
    ///
    /// # Errors
    /// They are where they were.
    pub fn relocate(self: &Arc<Self>, name: &str, path: &Path) -> Result<(), ApiError> {
        let what = || format!("move {name}");
        let claim = self.claim(name, Verb::Move)?;
        self.finish_change(name)?;
        let wrong = |error: io::Error| because(what(), &room(path.parent().unwrap_or(path), error));
        self.check_place(path).map_err(|why| ApiError::new(ErrorKind::Invalid, what(), why))?;
        let old = self.data(name);
        let made = make_place(path).map_err(wrong)?;
        let near =
            fs::metadata(&old).and_then(|old| Ok(old.dev() == fs::metadata(path)?.dev())).map_err(wrong)?;
        let moved = if near {
            self.change_root(name, Change::Move(path.to_owned()))
        } else {
            self.copy_to(name, &old, path)
        };
        if let Err(error) = moved {
            if near
                && self.data(name) == old
                && let Err(later) = self.move_back(name, &old, path)
            {
                tracing::warn!(zone = name, error = %later, "what was moved cannot be moved back");
                return Err(error.hint("the move is finished by the next thing that is done with the zone"));
            }
            if made && self.data(name) == old {
                // It was empty, or was emptied again.
                fs::remove_dir(path).ok();
            }
            return Err(error);
        }
        self.note(name, &format!("moved to {}", path.display()));
        drop(claim);
        Ok(())
    }

    /// A folder that a zone's files can be in.
    fn check_place(&self, path: &Path) -> Result<(), String> {
        if !path.is_absolute() || path.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(format!("{} is no absolute path", path.display()));
        }
        if path.starts_with(&self.paths.root) {
            return Err(format!("{} is in the folder that zoned keeps itself", path.display()));
        }
        let table = self.lock();
        let taken = table.zones.values().filter_map(|entry| entry.record.path.as_deref());
        if let Some(other) =
            taken.into_iter().find(|other| other.starts_with(path) || path.starts_with(other))
        {
            return Err(format!("{} is of another zone", other.display()));
        }
        Ok(())
    }

    /// To another file system.
    fn copy_to(&self, name: &str, old: &Path, path: &Path) -> Result<(), ApiError> {
        let wrong = |error: io::Error| because(format!("move {name}"), &error);
        // Before Linux 5.19 they have the zone's ids while it runs, and are given those at its next boot.
        owners::give(old, 0).map_err(|failure| because(format!("move {name}"), &failure))?;
        self.save(name, |record| Record { change: Some(Change::CopyTo(path.to_owned())), ..record.clone() })?;
        let copied =
            image::copy_all(old, path, &RECORDS).map_err(|error| because(format!("move {name}"), &error));
        let settled = copied.and_then(|()| settle(path).map_err(wrong));
        if let Err(error) = settled {
            self.finish_change(name)?;
            return Err(error);
        }
        self.save(name, |record| {
            let change = Some(Change::Clear(old.to_owned(), Vec::new()));
            Record { path: Some(path.to_owned()), change, ..record.clone() }
        })?;
        // Where it will be booted it is limited anew.
        self.lift_limit(name, old);
        self.finish_change(name)
    }

    /// Carries out a move within a file system, from any point.
    pub(super) fn move_parts(&self, name: &str, path: &Path) -> Result<(), ApiError> {
        let old = self.data(name);
        let moved = || {
            // Where one could not be taken back, its folder may be gone.
            if !path.is_dir() {
                make_place(path)?;
            }
            put_parts(&old, path)
        };
        moved().map_err(|error: io::Error| because(format!("move {name}"), &error))?;
        self.save(name, |record| Record { path: Some(path.to_owned()), change: None, ..record.clone() })?;
        if old != self.store.folder(name) {
            fs::remove_dir(&old).ok();
        }
        Ok(())
    }

    /// Takes back a move within a file system that could not be carried out.
    fn move_back(&self, name: &str, old: &Path, path: &Path) -> Result<(), ApiError> {
        put_parts(path, old).map_err(|error| because(format!("move {name} back"), &error))?;
        self.save(name, |record| Record { change: None, ..record.clone() })
    }

    /// Takes back a move to another file system that was cut off.
    pub(super) fn drop_copy(&self, name: &str, path: &Path) -> Result<(), ApiError> {
        self.host.empty(path).map_err(|error| because(format!("empty {}", path.display()), &error))?;
        self.save(name, |record| Record { change: None, ..record.clone() })
    }

    /// Removes a zone's own files, and their folder where that is not the record's.
    pub(super) fn empty_place(&self, folder: &Path) -> Result<(), ApiError> {
        let left = parts(folder).unwrap_or_default();
        let left: Vec<&str> = left.iter().filter_map(|part| part.to_str()).collect();
        self.discard(folder, &left)?;
        if !folder.starts_with(self.store.zones()) {
            // Whatever else is in it was put there by others.
            fs::remove_dir(folder).ok();
        }
        Ok(())
    }

    /// Lets go of a zone's folder, which then has all that another zoned needs to attach it. Gives the manifest; with `dry` that
    /// is all.
    ///
    /// # Errors
    /// The zone is then installed.
    pub fn detach(self: &Arc<Self>, name: &str, dry: bool) -> Result<String, ApiError> {
        let claim = self.claim(name, Verb::Detach)?;
        self.finish_change(name)?;
        let text = self.manifest(name)?;
        if dry {
            return Ok(text);
        }
        let folder = self.data(name);
        if let Err(error) = self.change_root(name, Change::Detach) {
            self.take_back(name, &folder)?;
            return Err(error);
        }
        self.note(name, &format!("detached; its root is in {}", folder.display()));
        drop(claim);
        Ok(text)
    }

    fn manifest(&self, name: &str) -> Result<String, ApiError> {
        let config = self.config_text(name)?;
        let table = self.lock();
        let entry = table.zones.get(name).ok_or_else(|| super::no_such_zone("detach", name))?;
        let manifest = Manifest {
            version: VERSION,
            name: name.to_owned(),
            config,
            uuid: entry.record.uuid,
            arch: entry.record.arch.clone(),
            layers: entry.record.layers.clone(),
            at: entry.record.at.clone(),
            snapshots: entry.snapshots.clone(),
            host: HostFacts::here(),
        };
        let text = serde_json::to_string_pretty(&manifest);
        Ok(text.map_err(|error| because(format!("detach {name}"), &error))? + "\n")
    }

    /// Carries out a detach, from any point: layers that nobody else uses go along, of others a copy.
    pub(super) fn pack(&self, name: &str) -> Result<(), ApiError> {
        let (folder, text) = (self.data(name), self.manifest(name)?);
        let wrong = |error: io::Error| because(format!("detach {name}"), &room(&folder, error));
        let own = folder.join(LAYERS);
        let shared = self.layers_of_others(name);
        let of_zone = self.layers_of_all(name);
        let packed = || {
            // Its number will be another's.
            backend::of(&folder).free(&folder)?;
            if !own.is_dir() {
                fs::DirBuilder::new().mode(0o700).create(&own)?;
            }
            for id in &of_zone {
                let (from, to) = (self.layers.folder(id), own.join(id.to_string()));
                if to.exists() || !shared.contains(id) && self.layers.take_out(id, &to)? {
                    continue;
                }
                copy_whole(&from, &to)?;
            }
            settle(&folder)?;
            atomic::write(&folder.join(MANIFEST), text.as_bytes(), 0o600)
        };
        packed().map_err(wrong)?;
        self.lift_limit(name, &folder);
        let left = Change::Clear(self.store.folder(name), vec![snapshots::FOLDER.to_owned()]);
        self.save(name, |record| Record { change: Some(left), ..record.emptied() })?;
        if let Some(entry) = self.lock().zones.get_mut(name) {
            entry.snapshots.clear();
        }
        // It is let go of: an error from here on would bring the folder's layers back.
        if let Err(error) = self.carry_out(name) {
            tracing::warn!(zone = name, %error, "the files of its snapshots are still there");
        }
        Ok(())
    }

    /// Puts the layers in a zone's folder where they belong, as far as they are not there, and takes its manifest away.
    fn take_back(&self, name: &str, folder: &Path) -> Result<(), ApiError> {
        let wrong = |error: io::Error| because(format!("put the layers of {name} back"), &error);
        match fs::remove_file(folder.join(MANIFEST)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(error)),
            _ => {}
        }
        for id in self.layers_of_all(name) {
            let (from, to) = (folder.join(LAYERS).join(id.to_string()), self.layers.folder(&id));
            if !self.layers.has(&id) && from.exists() {
                fs::rename(&from, &to).map_err(wrong)?;
                to.parent().map_or(Ok(()), atomic::sync_folder).map_err(wrong)?;
            }
        }
        self.save(name, |record| {
            let change = Some(Change::Clear(folder.to_owned(), vec![LAYERS.to_owned()]));
            Record { change, ..record.clone() }
        })?;
        self.finish_change(name)
    }

    fn layers_of_all(&self, name: &str) -> BTreeSet<LayerId> {
        let table = self.lock();
        table.zones.get(name).map(Entry::layers).unwrap_or_default()
    }

    /// Those that another zone, or an image, is made of too.
    fn layers_of_others(&self, name: &str) -> BTreeSet<LayerId> {
        let mut all = self.layers_of_other_zones(name);
        let table = self.lock();
        let own = table.zones.get(name).map(Entry::layers).unwrap_or_default();
        all.extend(own.into_iter().filter(|id| matches!(id, LayerId::Digest(_))));
        all
    }

    fn layers_of_other_zones(&self, name: &str) -> BTreeSet<LayerId> {
        let table = self.lock();
        let others = table.zones.iter().filter(|(other, _)| *other != name);
        others.flat_map(|(_, entry)| entry.layers()).collect()
    }

    /// Makes a zone's root of a folder that was detached, here or on another host. With `dry` it is only told what differs.
    ///
    /// # Errors
    /// The folder is as it was; a zone that was made for it is gone again.
    pub fn attach(
        self: &Arc<Self>,
        name: &str,
        path: &Path,
        dry: bool,
        force: bool,
    ) -> Result<Attached, ApiError> {
        let what = || format!("attach {name}");
        let invalid = |why: String| ApiError::new(ErrorKind::Invalid, what(), why);
        crate::config::check_name(name).map_err(invalid)?;
        let manifest = read_manifest(path).map_err(invalid)?;
        let is_new = self.zone(name).is_err();
        let toml = edit::rename(&manifest.config, name).map_err(|error| error.to_api())?;
        let config = if is_new {
            Config::parse(&toml, &path.join(MANIFEST).display().to_string())
                .map_err(|error| error.to_api())?
        } else {
            self.config(name)?
        };
        let verified = self.host.verify(&config);
        let attached = Attached {
            differences: manifest.host.differences(&HostFacts::here()),
            findings: verified.findings.clone(),
        };
        if dry {
            return Ok(attached);
        }
        if !verified.ok && !force {
            return Err(ApiError::new(ErrorKind::Failed, what(), verified.findings.join("; "))
                .hint("attach -F attaches it all the same"));
        }
        if is_new {
            self.create(&Create { name: name.to_owned(), toml: Some(toml), ..Create::default() })?;
        }
        let done = self.take_folder(name, path, &manifest);
        if done.is_err()
            && is_new
            && let Err(error) = self.delete(name, false)
        {
            tracing::warn!(zone = name, %error, "the zone that could not be attached is still there");
        }
        done.map(|()| attached)
    }

    fn take_folder(self: &Arc<Self>, name: &str, path: &Path, manifest: &Manifest) -> Result<(), ApiError> {
        let what = || format!("attach {name}");
        let wrong = |error: io::Error| because(what(), &error);
        let _claim = self.claim(name, Verb::Attach)?;
        let own = self.store.folder(name);
        let is_own = same(path, &own);
        if !is_own {
            self.check_place(path).map_err(|why| ApiError::new(ErrorKind::Invalid, what(), why))?;
        }
        // Two zones of this host must not have one uuid: hardware addresses follow from it.
        let is_free = !self.lock().zones.values().any(|entry| entry.record.uuid == manifest.uuid);
        self.save(name, |record| Record {
            uuid: if is_free { manifest.uuid } else { record.uuid },
            layers: manifest.layers.clone(),
            at: manifest.at.clone(),
            arch: manifest.arch.clone(),
            path: (!is_own).then(|| path.to_owned()),
            change: Some(Change::Attach),
            ..record.to(Durable::Installed, None, None)
        })?;
        if let Err(error) = self.finish_change(name) {
            // What was taken into the store goes back.
            self.take_out_again(name, path, manifest).map_err(wrong)?;
            self.save(name, Record::emptied)?;
            if let Some(entry) = self.lock().zones.get_mut(name) {
                entry.snapshots.clear();
            }
            self.discard(&self.store.folder(name), &[snapshots::FOLDER])?;
            return Err(error);
        }
        self.note(name, &format!("attached from {}", path.display()));
        Ok(())
    }

    /// Carries out an attach, from any point.
    pub(super) fn unpack(&self, name: &str) -> Result<(), ApiError> {
        let wrong = |error: io::Error| because(format!("attach {name}"), &room(self.layers.images(), error));
        let path = self.data(name);
        let manifest = read_manifest(&path)
            .map_err(|why| ApiError::new(ErrorKind::Failed, format!("attach {name}"), why))?;
        if let Some(entry) = self.lock().zones.get_mut(name) {
            // From here on nobody takes its layers for unused.
            entry.snapshots.clone_from(&manifest.snapshots);
        }
        // Whoever brought it here may not have waited for the disk.
        settle(&path).map_err(wrong)?;
        for id in manifest.all_layers() {
            let (from, to) = (path.join(LAYERS).join(id.to_string()), self.layers.folder(id));
            if self.layers.has(id) {
                continue;
            }
            match fs::rename(&from, &to) {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    let draft = self.layers.draft().map_err(wrong)?;
                    copy_whole(&from, &draft.folder().join("whole")).map_err(wrong)?;
                    fs::rename(draft.folder().join("whole"), &to).map_err(wrong)?;
                }
                other => other
                    .map_err(|error| because(format!("attach {name}: take in {}", from.display()), &error))?,
            }
            to.parent().map_or(Ok(()), atomic::sync_folder).map_err(wrong)?;
        }
        for (snap, snapshot) in &manifest.snapshots {
            snapshots::write(&self.store.folder(name), snap, snapshot).map_err(wrong)?;
        }
        if !manifest.layers.is_empty() {
            self.make_upper(name, &manifest.layers)?;
        }
        self.save(name, |record| {
            let change = Some(Change::Clear(path.clone(), vec![MANIFEST.to_owned(), LAYERS.to_owned()]));
            Record { change, ..record.clone() }
        })?;
        self.carry_out(name)
    }

    fn take_out_again(&self, name: &str, path: &Path, manifest: &Manifest) -> io::Result<()> {
        let mut shared = self.layers_of_other_zones(name);
        shared.append(&mut self.images.used_layers());
        for id in manifest.all_layers() {
            let to = path.join(LAYERS).join(id.to_string());
            if to.exists() || !self.layers.has(id) {
                continue;
            }
            if shared.contains(id) || !self.layers.take_out(id, &to)? {
                copy_whole(&self.layers.folder(id), &to)?;
            }
        }
        settle(path)
    }

    /// Fails where the zone's folder holds a root that was detached: it would be lost.
    pub(super) fn refuse_detached(&self, what: &str, name: &str) -> Result<(), ApiError> {
        let folder = self.store.folder(name);
        if !folder.join(MANIFEST).exists() {
            return Ok(());
        }
        let why = format!("{} holds a root that was detached", folder.display());
        Err(ApiError::new(ErrorKind::WrongState, format!("{what} {name}"), why)
            .hint(format!("zonectl attach {name} {}, or move that folder away", folder.display())))
    }
}

impl Manifest {
    /// Those of the root and of its snapshots.
    fn all_layers(&self) -> BTreeSet<&LayerId> {
        self.layers.iter().chain(self.snapshots.values().flat_map(|snapshot| &snapshot.layers)).collect()
    }
}

fn read_manifest(path: &Path) -> Result<Manifest, String> {
    use std::io::Read;
    if !path.is_absolute() {
        return Err(format!("{} is no absolute path", path.display()));
    }
    let file = path.join(MANIFEST);
    let mut text = String::new();
    fs::File::open(&file).and_then(|opened| opened.take(LONGEST).read_to_string(&mut text)).map_err(
        |error| format!("{}: {}: is it the folder of a detached zone?", file.display(), error.kind()),
    )?;
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|error| format!("{} makes no sense: {error}", file.display()))?;
    if manifest.version != VERSION {
        return Err(format!(
            "{} is of version {}, this zoned knows {VERSION}",
            file.display(),
            manifest.version
        ));
    }
    for snap in manifest.snapshots.keys() {
        crate::config::check_name(snap)?;
    }
    let folders = [(ROOT, manifest.layers.is_empty()), (backend::part(path), !manifest.layers.is_empty())];
    match folders.iter().find(|(folder, needed)| *needed && !path.join(folder).is_dir()) {
        Some((folder, _)) => Err(format!("{} has no folder {folder}", path.display())),
        None => Ok(manifest),
    }
}

/// Copies a layer's folder; it is there as a whole or not at all.
fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    let new = to.with_extension("new");
    image::remove(&new)?;
    fs::DirBuilder::new().mode(0o700).create(&new)?;
    image::copy_all(from, &new, &[]).map_err(|error| io::Error::other(crate::causes::chain(&error)))?;
    settle(&new)?;
    fs::rename(&new, to)
}

/// Makes a folder for a zone's files, or takes an empty one; whether it was made.
fn make_place(path: &Path) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::read_dir(path)?.next().is_some() {
                return Err(io::Error::new(error.kind(), format!("{} is not empty", path.display())));
            }
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
            Ok(false)
        }
        Err(error) => Err(io::Error::new(error.kind(), format!("make {}: {error}", path.display()))),
        Ok(()) => path.parent().map_or(Ok(()), atomic::sync_folder).map(|()| true),
    }
}

/// Renames a zone's own files from a folder to another, from any point.
fn put_parts(from: &Path, to: &Path) -> io::Result<()> {
    for part in parts(from)? {
        let (old, new) = (from.join(&part), to.join(&part));
        if new.symlink_metadata().is_err() {
            let wrong = |error: io::Error| {
                let why = io::Error::from(error.kind());
                io::Error::new(error.kind(), format!("rename {} to {}: {why}", old.display(), new.display()))
            };
            fs::rename(&old, &new).map_err(wrong)?;
        }
    }
    atomic::sync_folder(to)?;
    atomic::sync_folder(from)
}

/// Names of a zone's own files in its folder.
fn parts(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if !RECORDS.contains(&text.as_ref()) && !text.starts_with('.') && !text.starts_with(STATE) {
            found.push(name);
        }
    }
    Ok(found)
}

fn same(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    id(a).is_some_and(|a| Some(a) == id(b))
}
