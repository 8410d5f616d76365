//! The images of this host: names, the documents that they stand for, and by them the layers.
//!
//! ```text
//! ROOT/images/names.json          names → [`Image`]
//! ROOT/images/blobs/sha256/HEX    manifests and configurations, as they came
//! ROOT/images/sha256/HEX/         layers, see [`crate::storage`]
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::manifest::{self, Config};
use super::name::ImageName;
use super::{ImageError, layer};
use crate::state::atomic;
use crate::storage::{LayerId, Layers};

/// Version of the file's form.
const VERSION: u32 = 1;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Of its manifest: the image's own.
    pub manifest: Digest,
    /// Of its configuration.
    pub config: Digest,
    /// Its layers, the lowest first, as its configuration has them.
    pub layers: Vec<Digest>,
    /// As Go spells it.
    pub architecture: String,
    /// When it was made (RFC 3339), where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Seconds since 1970 at which it came.
    pub imported: u64,
}

impl Image {
    /// As `uname -m` says it.
    pub fn machine(&self) -> &str {
        manifest::machine(&self.architecture).unwrap_or(&self.architecture)
    }

    /// Its layers as a zone's record has them: the topmost first, each once. A layer that is there twice is covered by
    /// its upper self, and the kernel takes none twice.
    pub fn stack(&self) -> Vec<LayerId> {
        let mut seen = BTreeSet::new();
        let layers = self.layers.iter().rev().map(Digest::layer);
        layers.filter(|layer| seen.insert(layer.clone())).collect()
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Names {
    version: u32,
    names: BTreeMap<ImageName, Image>,
}

/// The images.
#[derive(Debug)]
pub struct Images {
    layers: Arc<Layers>,
    names: Mutex<BTreeMap<ImageName, Image>>,
}

impl Images {
    /// Those beside `layers`; none are known until [`Self::recover`].
    pub fn new(layers: Arc<Layers>) -> Self {
        Self { layers, names: Mutex::default() }
    }

    /// The layers.
    pub fn layers(&self) -> &Arc<Layers> {
        &self.layers
    }

    fn names_path(&self) -> PathBuf {
        self.layers.images().join("names.json")
    }

    fn blobs(&self) -> PathBuf {
        self.layers.images().join("blobs/sha256")
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ImageName, Image>> {
        // What is in it is put there at once.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the names; a file that makes no sense is moved aside. The layers' folders are there.
    ///
    /// # Errors
    /// When a folder cannot be made or the file not be read.
    pub fn recover(&self) -> io::Result<()> {
        let blobs = self.blobs();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&blobs)?;
        for folder in [self.layers.images(), blobs.parent().unwrap_or(&blobs)] {
            atomic::sync_folder(folder)?;
        }
        let path = self.names_path();
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        match serde_json::from_slice::<Names>(&bytes) {
            Ok(found) if found.version == VERSION => *self.lock() = found.names,
            other => {
                let why =
                    other.err().map_or("its version is not known".to_owned(), |error| error.to_string());
                tracing::error!(why, "the names of images made no sense and were moved to names.json.bad");
                fs::rename(&path, path.with_extension("json.bad"))?;
            }
        }
        Ok(())
    }

    /// All that have a name.
    pub fn all(&self) -> BTreeMap<ImageName, Image> {
        self.lock().clone()
    }

    /// The image of a name, or of a manifest's digest; with `NAME@DIGEST` of both.
    pub fn find(&self, text: &str) -> Option<(Option<ImageName>, Image)> {
        let names = self.lock();
        if let Some((_, digest)) = text.rsplit_once('@') {
            return names
                .iter()
                .find(|(_, image)| image.manifest.to_string() == digest)
                .map(|(_, image)| (None, image.clone()));
        }
        if let Ok(digest) = text.parse::<Digest>() {
            return names.values().find(|image| image.manifest == digest).map(|image| (None, image.clone()));
        }
        let name: ImageName = text.parse().ok()?;
        names.get(&name).map(|image| (Some(name), image.clone()))
    }

    /// Gives an image its name, which may have been another's, and keeps its documents. Its layers are in the store,
    /// and pinned.
    ///
    /// # Errors
    /// All is as it was then, but for documents that nobody names.
    pub fn keep(&self, name: &ImageName, image: &Image, documents: &[&[u8]]) -> io::Result<()> {
        self.layers.settle()?;
        let mut names = self.lock();
        for bytes in documents {
            atomic::write(&self.blobs().join(Digest::of(bytes).hex()), bytes, 0o600)?;
        }
        let mut changed = names.clone();
        changed.insert(name.clone(), image.clone());
        self.write(&changed)?;
        *names = changed;
        Ok(())
    }

    /// Takes a name away; whether it was there.
    ///
    /// # Errors
    /// It is there then.
    pub fn forget(&self, name: &ImageName) -> io::Result<bool> {
        let mut names = self.lock();
        let mut changed = names.clone();
        if changed.remove(name).is_none() {
            return Ok(false);
        }
        self.write(&changed)?;
        *names = changed;
        Ok(true)
    }

    fn write(&self, names: &BTreeMap<ImageName, Image>) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(&Names { version: VERSION, names: names.clone() })?;
        bytes.push(b'\n');
        atomic::write(&self.names_path(), &bytes, 0o600)
    }

    /// A document, checked against its digest.
    ///
    /// # Errors
    /// When it is not there, or damaged.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>, ImageError> {
        let path = self.blobs().join(digest.hex());
        let open = |source| ImageError::Open { path: path.clone(), source };
        let mut bytes = Vec::new();
        fs::File::open(&path)
            .map_err(open)?
            .take(manifest::LARGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(open)?;
        layer::same(&format!("blob {digest}"), &Digest::of(&bytes), digest)?;
        Ok(bytes)
    }

    /// The configuration of an image.
    ///
    /// # Errors
    /// When it is not there, or damaged.
    pub fn config(&self, image: &Image) -> Result<Config, ImageError> {
        manifest::parse(&format!("configuration {}", image.config), &self.blob(&image.config)?)
    }

    /// Layers that names need.
    pub fn used_layers(&self) -> BTreeSet<LayerId> {
        self.lock().values().flat_map(|image| image.layers.iter().map(Digest::layer)).collect()
    }

    /// Removes documents that no name needs, and gives their digests; with `dry` gives them only.
    ///
    /// # Errors
    /// Some may be gone then.
    pub fn prune_blobs(&self, dry: bool) -> io::Result<Vec<Digest>> {
        // While it is held, none is written.
        let names = self.lock();
        let used: BTreeSet<&Digest> =
            names.values().flat_map(|image| [&image.manifest, &image.config]).collect();
        let mut gone = Vec::new();
        for entry in fs::read_dir(self.blobs())? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
            if digest.as_ref().is_some_and(|digest| used.contains(digest)) {
                continue;
            }
            if !dry {
                fs::remove_file(entry.path())?;
            }
            gone.extend(digest);
        }
        Ok(gone)
    }

    /// Moves a damaged document away.
    ///
    /// # Errors
    /// It is still there then.
    pub fn discard_blob(&self, digest: &Digest) -> io::Result<()> {
        fs::remove_file(self.blobs().join(digest.hex()))
    }
}
