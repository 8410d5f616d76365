//! Layers on disk: made beside the store, renamed into it whole, removed when nobody names them.
//!
//! ```text
//! ROOT/images/sha256/HEX/    a layer of an image, by the digest of its unpacked archive
//! ROOT/layers/UUID/          a layer that came of a zone
//!      fs/ or own/upper/     the files, as an overlay wants them: ids 0 to 65535, whiteouts, `user.overlay.opaque`
//!      layer.json            [`Meta`]
//! ROOT/images/tmp/           what is being made; emptied when zoned starts
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::backend;
use crate::image;
use crate::state::atomic;

/// Name of a layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LayerId {
    /// `sha256:HEX`: an image's, by the digest of its unpacked archive (OCI image specification, DiffID).
    Digest(String),
    /// A UUID: a zone's.
    Own(Uuid),
}

/// Text that names no layer.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} names no layer")]
pub struct BadLayerId(String);

impl FromStr for LayerId {
    type Err = BadLayerId;

    fn from_str(text: &str) -> Result<Self, BadLayerId> {
        let bad = || BadLayerId(text.chars().take(100).collect());
        match text.strip_prefix("sha256:") {
            Some(hex) if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                Ok(Self::Digest(hex.to_owned()))
            }
            Some(_) => Err(bad()),
            None => Uuid::try_parse(text).map(Self::Own).map_err(|_| bad()),
        }
    }
}

impl TryFrom<String> for LayerId {
    type Error = BadLayerId;

    fn try_from(text: String) -> Result<Self, BadLayerId> {
        text.parse()
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(hex) => write!(f, "sha256:{hex}"),
            Self::Own(uuid) => write!(f, "{uuid}"),
        }
    }
}

impl LayerId {
    /// A new one for what a zone wrote.
    pub fn new_own() -> Self {
        Self::Own(Uuid::new_v4())
    }
}

/// What is known of a layer; `layer.json`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Seconds since 1970 at which it was made.
    pub made: u64,
    /// Files, folders and links in it.
    pub files: u64,
    /// Bytes of disk that they take.
    pub disk: u64,
}

/// The layers of this host.
#[derive(Debug)]
pub struct Layers {
    images: PathBuf,
    own: PathBuf,
    /// Those that something under way needs and no record names yet.
    pins: Mutex<BTreeMap<LayerId, usize>>,
}

impl Layers {
    /// Those below `root`; the folders are made by [`Self::recover`].
    pub fn new(root: &Path) -> Arc<Self> {
        let (images, own) = (root.join("images"), root.join("layers"));
        Arc::new(Self { images, own, pins: Mutex::default() })
    }

    /// Makes the folders, and removes what was being made or removed when zoned ended.
    ///
    /// # Errors
    /// When a folder cannot be made, or something cannot be removed.
    pub fn recover(&self) -> io::Result<()> {
        for folder in [&self.images, &self.images.join("sha256"), &self.own, &self.temp()] {
            match fs::DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Err(_) => {}
                // What comes to be in it is to last.
                Ok(()) => folder.parent().map_or(Ok(()), atomic::sync_folder)?,
            }
        }
        image::empty(&self.temp())
    }

    /// Sees to it that layers which are here are so after a crash: who put one here may not have come to it yet.
    ///
    /// # Errors
    /// As open(2) and fsync(2) have them.
    pub fn settle(&self) -> io::Result<()> {
        atomic::sync_folder(&self.images.join("sha256"))?;
        atomic::sync_folder(&self.own)
    }

    /// ROOT/images.
    pub fn images(&self) -> &Path {
        &self.images
    }

    fn temp(&self) -> PathBuf {
        self.images.join("tmp")
    }

    /// Folder of a layer.
    pub fn folder(&self, id: &LayerId) -> PathBuf {
        match id {
            LayerId::Digest(hex) => self.images.join("sha256").join(hex),
            LayerId::Own(uuid) => self.own.join(uuid.to_string()),
        }
    }

    /// Its files.
    pub fn tree(&self, id: &LayerId) -> PathBuf {
        let folder = self.folder(id);
        // A subvolume of btrfs, as a zone had it.
        let own = backend::upper(&folder);
        if own.is_dir() { own } else { folder.join("fs") }
    }

    /// Whether it is here.
    pub fn has(&self, id: &LayerId) -> bool {
        self.folder(id).join("layer.json").is_file()
    }

    /// What is known of it.
    ///
    /// # Errors
    /// When it is not here.
    pub fn meta(&self, id: &LayerId) -> io::Result<Meta> {
        Ok(serde_json::from_slice(&fs::read(self.folder(id).join("layer.json"))?)?)
    }

    /// All that are here.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn all(&self) -> io::Result<BTreeSet<LayerId>> {
        let mut found = BTreeSet::new();
        for (folder, prefix) in [(self.images.join("sha256"), "sha256:"), (self.own.clone(), "")] {
            for entry in fs::read_dir(folder)? {
                let name = entry?.file_name();
                found.extend(name.to_str().and_then(|name| format!("{prefix}{name}").parse().ok()));
            }
        }
        Ok(found)
    }

    /// A folder beside the store to make a layer, or anything else, in.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn draft(self: &Arc<Self>) -> io::Result<Draft> {
        let folder = self.temp().join(Uuid::new_v4().to_string());
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Draft { layers: Arc::clone(self), folder })
    }

    /// Keeps layers from being removed while the result is there. To be had before it is looked whether one is here.
    pub fn pin(self: &Arc<Self>, ids: impl IntoIterator<Item = LayerId>) -> Pin {
        let ids: Vec<LayerId> = ids.into_iter().collect();
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &ids {
            *pins.entry(id.clone()).or_default() += 1;
        }
        drop(pins);
        Pin { layers: Arc::clone(self), ids }
    }

    /// Renames the layer to `to`, out of the store, unless something under way needs it or `to` is on another file system;
    /// whether it did.
    ///
    /// # Errors
    /// As rename(2) has them.
    pub fn take_out(&self, id: &LayerId, to: &Path) -> io::Result<bool> {
        let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        if pins.contains_key(id) {
            return Ok(false);
        }
        match fs::rename(self.folder(id), to) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Takes a layer out of the store, unless something under way needs it; gives the folder that is to be removed. `used` says
    /// whether a record names it, and is asked while nobody can pin anything: who holds a pin until his record is written is
    /// either seen here or there.
    ///
    /// # Errors
    /// It is in the store then.
    pub fn set_aside(&self, id: &LayerId, used: impl FnOnce() -> bool) -> io::Result<Option<PathBuf>> {
        let bin = self.temp().join(Uuid::new_v4().to_string());
        {
            let pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
            if pins.contains_key(id) || used() {
                return Ok(None);
            }
            fs::rename(self.folder(id), &bin)?;
        }
        // Or a crash could leave it in the store with a part of its files.
        self.folder(id).parent().map_or(Ok(()), atomic::sync_folder)?;
        Ok(Some(bin))
    }
}

/// Holds layers in the store.
#[derive(Debug)]
pub struct Pin {
    layers: Arc<Layers>,
    ids: Vec<LayerId>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.layers.pins.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &self.ids {
            if let Some(count) = pins.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(id);
                }
            }
        }
    }
}

/// A layer in the making, removed when it is dropped.
#[derive(Debug)]
pub struct Draft {
    layers: Arc<Layers>,
    folder: PathBuf,
}

impl Draft {
    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where its files belong; not made yet.
    pub fn tree(&self) -> PathBuf {
        self.folder.join("fs")
    }

    /// Puts it into the store, on disk as a whole; one that is there already stays. The caller pins it.
    ///
    /// # Errors
    /// It is then not there.
    pub fn publish(self, id: &LayerId, meta: &Meta) -> io::Result<()> {
        atomic::write(&self.folder.join("layer.json"), &serde_json::to_vec(meta)?, 0o600)?;
        // Reports what could not be written back too, since Linux 5.8.
        rustix::fs::syncfs(File::open(&self.folder)?)?;
        let folder = self.layers.folder(id);
        match fs::rename(&self.folder, &folder) {
            // Somebody else was faster.
            Err(_) if self.layers.has(id) => {}
            other => other?,
        }
        folder.parent().map_or(Ok(()), atomic::sync_folder)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = image::remove(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "it is removed when zoned starts again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> (tempfile::TempDir, Arc<Layers>) {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::new(dir.path());
        layers.recover().unwrap();
        (dir, layers)
    }

    fn made(layers: &Arc<Layers>) -> LayerId {
        let (id, draft) = (LayerId::new_own(), layers.draft().unwrap());
        fs::create_dir(draft.tree()).unwrap();
        fs::write(draft.tree().join("file"), "content").unwrap();
        draft.publish(&id, &Meta { files: 1, ..Meta::default() }).unwrap();
        id
    }

    #[test]
    fn names_come_back_as_they_were_and_no_others_are_taken() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for text in [digest.as_str(), "67e55044-10b1-426f-9247-bb680e5fe0c8"] {
            assert_eq!(text.parse::<LayerId>().unwrap().to_string(), text);
        }
        let upper = digest.to_uppercase();
        for text in ["", "sha256:", "sha256:../../x", "../x", "sha512:00", upper.as_str()] {
            assert!(text.parse::<LayerId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_draft_is_published_whole_or_gone() {
        let (_dir, layers) = layers();
        let id = made(&layers);
        assert!(layers.has(&id));
        assert_eq!(layers.meta(&id).unwrap().files, 1);
        assert_eq!(fs::read_to_string(layers.tree(&id).join("file")).unwrap(), "content");
        assert_eq!(layers.all().unwrap(), BTreeSet::from([id]));
        drop(layers.draft().unwrap());
        assert_eq!(fs::read_dir(layers.temp()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_pinned_stays() {
        let (_dir, layers) = layers();
        let id = made(&layers);
        let (first, second) = (layers.pin([id.clone()]), layers.pin([id.clone()]));
        drop(first);
        assert!(layers.set_aside(&id, || false).unwrap().is_none() && layers.has(&id));
        drop(second);
        assert!(layers.set_aside(&id, || true).unwrap().is_none() && layers.has(&id));
        let bin = layers.set_aside(&id, || false).unwrap().unwrap();
        assert!(bin.join("fs").exists() && !layers.has(&id));
        assert_eq!(bin.parent(), Some(layers.temp().as_path()));
    }

    #[test]
    fn what_a_crash_left_is_removed_at_the_next_start() {
        let (_dir, layers) = layers();
        std::mem::forget(layers.draft().unwrap());
        assert_eq!(fs::read_dir(layers.temp()).unwrap().count(), 1);
        layers.recover().unwrap();
        assert_eq!(fs::read_dir(layers.temp()).unwrap().count(), 0);
    }
}
