//! Images that go out, as archives: of an OCI layout, and as docker save writes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use rustix::fs::{Mode, OFlags};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::archive::BLOCK;
use super::digest::Digest;
use super::error::ImageError;
use super::header::{Head, Records, blocks};
use super::import::REF;
use super::manifest::{CONFIG, Descriptor, LAYER, MANIFEST, Manifest};
use super::split::LayerTar;
use super::store::{Image, Images};
use crate::storage::Layers;

/// How many layers are packed at once.
const AT_ONCE: usize = 2;

/// What kind of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of an OCI image layout.
    Oci,
    /// As docker save writes it.
    Docker,
}

/// How layers are packed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packed {
    /// Not.
    Plain,
    /// By gzip.
    Gzip,
    /// By zstd.
    Zstd,
}

/// An image to be written.
#[derive(Debug)]
pub struct Export<'a> {
    /// It; its layers are pinned.
    pub image: &'a Image,
    /// What it is called in the archive.
    pub reference: &'a str,
    /// Kind of archive.
    pub kind: Kind,
    /// How its layers are packed.
    pub packed: Packed,
}

/// A layer that is ready to be written.
struct Ready {
    digest: Digest,
    size: u64,
    from: Box<dyn Read + Send>,
}

/// Writes the archive. Each layer is held against its digest on its way: one that is damaged breaks it off.
///
/// # Errors
/// What was written until then is no whole archive.
pub fn export(images: &Images, export: &Export<'_>, to: &mut dyn Write) -> Result<(), ImageError> {
    let Export { image, reference, kind, packed } = *export;
    let config = images.blob(&image.config)?;
    let mut tar = Tar { to, written: 0 };
    let mut layers: Vec<&Digest> = Vec::new();
    for layer in &image.layers {
        if !layers.contains(&layer) {
            layers.push(layer);
        }
    }
    if kind == Kind::Oci {
        tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    }
    let name = |digest: &Digest, end: &str| match kind {
        Kind::Oci => format!("blobs/sha256/{}", digest.hex()),
        Kind::Docker => format!("{}.{end}", digest.hex()),
    };
    tar.file(&name(&image.config, "json"), &config)?;
    let mut blobs: BTreeMap<&Digest, (Digest, u64)> = BTreeMap::new();
    in_order(images.layers(), &layers, packed, |layer, ready| {
        // Docker's names are those of what is in them.
        tar.stream(
            &name(if kind == Kind::Docker { layer } else { &ready.digest }, "tar"),
            ready.size,
            ready.from,
        )?;
        blobs.insert(layer, (ready.digest, ready.size));
        Ok(())
    })?;
    let wrong = |error: serde_json::Error| ImageError::bad_image("the manifest", error.to_string());
    match kind {
        Kind::Docker => {
            let files: Vec<String> = image.layers.iter().map(|layer| name(layer, "tar")).collect();
            let manifest =
                json!([{"Config": name(&image.config, "json"), "RepoTags": [reference], "Layers": files}]);
            tar.file("manifest.json", &serde_json::to_vec(&manifest).map_err(wrong)?)?;
        }
        Kind::Oci => {
            let plain = |media_type: String, digest: Digest, size: u64| Descriptor {
                media_type,
                digest,
                size,
                platform: None,
                annotations: None,
            };
            let end = match packed {
                Packed::Plain => "",
                Packed::Gzip => "+gzip",
                Packed::Zstd => "+zstd",
            };
            let descriptors = image.layers.iter().filter_map(|layer| blobs.get(layer));
            let layers = descriptors
                .map(|(digest, size)| plain(format!("{LAYER}{end}"), digest.clone(), *size))
                .collect();
            let manifest = Manifest {
                schema_version: 2,
                media_type: Some(MANIFEST.to_owned()),
                config: Some(plain(CONFIG.to_owned(), image.config.clone(), config.len() as u64)),
                layers: Some(layers),
                manifests: None,
            };
            let bytes = serde_json::to_vec(&manifest).map_err(wrong)?;
            tar.file(&name(&Digest::of(&bytes), "json"), &bytes)?;
            let mut entry = plain(MANIFEST.to_owned(), Digest::of(&bytes), bytes.len() as u64);
            entry.annotations = Some([(REF.to_owned(), reference.to_owned())].into());
            let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]});
            tar.file("index.json", &serde_json::to_vec(&index).map_err(wrong)?)?;
        }
    }
    tar.put(&[0; 2 * BLOCK as usize])?;
    tar.to.flush().map_err(unwritten)
}

fn unwritten(error: io::Error) -> ImageError {
    ImageError::file("write", b"the archive", error)
}

/// Packs layers beside one another and gives them to `take` one after the other.
fn in_order<'d>(
    store: &Layers,
    layers: &[&'d Digest],
    packed: Packed,
    mut take: impl FnMut(&'d Digest, Ready) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    if packed == Packed::Plain {
        return layers.iter().try_for_each(|layer| take(layer, plain(store, layer)?));
    }
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (next, stop) = (&next, &stop);
    thread::scope(|scope| {
        let (ready, coming) = mpsc::channel();
        for _ in 0..AT_ONCE.min(layers.len()) {
            let ready = ready.clone();
            scope.spawn(move || {
                while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if ready.send((*layer, pack(store, layer, packed, stop))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(ready);
        let mut waiting = BTreeMap::new();
        let result = layers.iter().try_for_each(|layer| {
            while !waiting.contains_key(layer) {
                let (done, result) =
                    coming.recv().map_err(|_| ImageError::bad_image("a layer", "it could not be packed"))?;
                waiting.insert(done, result);
            }
            match waiting.remove(layer) {
                Some(found) => take(layer, found?),
                None => Ok(()),
            }
        });
        // Nobody waits for the others then.
        stop.store(true, Ordering::Relaxed);
        result
    })
}

fn of_layer(layer: &Digest) -> impl Fn(io::Error) -> ImageError {
    let what = format!("layer {layer}");
    move |error| ImageError::bad_image(&what, crate::causes::chain(&error))
}

/// A layer as it is, hashed while it is read.
fn plain(store: &Layers, layer: &Digest) -> Result<Ready, ImageError> {
    let folder = store.folder(&layer.layer());
    let wrong = of_layer(layer);
    let size = LayerTar::length(&folder).map_err(&wrong)?;
    let from =
        Checked { from: LayerTar::read(&folder).map_err(&wrong)?, hash: Sha256::new(), want: layer.clone() };
    Ok(Ready { digest: layer.clone(), size, from: Box::new(from) })
}

/// Fails at its end where what was read is not what it should be.
struct Checked {
    from: LayerTar,
    hash: Sha256,
    want: Digest,
}

impl Read for Checked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.hash.update(&buf[..n]);
        if n == 0 && !buf.is_empty() {
            let found = Digest::end(std::mem::take(&mut self.hash));
            if found != self.want {
                let why = format!("a file in it was changed: its digest is {found}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
        Ok(n)
    }
}

/// Counts and hashes what goes through.
struct Hashed<W> {
    to: W,
    hash: Sha256,
    len: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.to.write(buf)?;
        self.hash.update(&buf[..n]);
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A layer packed into a file that has no name and goes with its descriptor.
fn pack(store: &Layers, layer: &Digest, packed: Packed, stop: &AtomicBool) -> Result<Ready, ImageError> {
    let wrong = of_layer(layer);
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file: File = rustix::fs::open(store.images(), flags, Mode::RUSR | Mode::WUSR)
        .map_err(|e| ImageError::Open { path: store.images().to_owned(), source: e.into() })?
        .into();
    let mut from = plain(store, layer)?.from;
    let to = Hashed { to: BufWriter::with_capacity(128 << 10, file), hash: Sha256::new(), len: 0 };
    let mut pump = |to: &mut dyn Write| -> io::Result<()> {
        let mut piece = vec![0; 128 << 10];
        loop {
            match from.read(&mut piece)? {
                0 => return Ok(()),
                _ if stop.load(Ordering::Relaxed) => return Err(io::ErrorKind::BrokenPipe.into()),
                n => to.write_all(&piece[..n])?,
            }
        }
    };
    let packed = (|| match packed {
        Packed::Plain => {
            let mut to = to;
            pump(&mut to)?;
            Ok(to)
        }
        Packed::Gzip => {
            let mut to = flate2::write::GzEncoder::new(to, flate2::Compression::default());
            pump(&mut to)?;
            to.finish()
        }
        Packed::Zstd => {
            let mut to = zstd::stream::write::Encoder::new(to, 3)?;
            pump(&mut to)?;
            to.finish()
        }
    })();
    let Hashed { to, hash, len } = packed.map_err(&wrong)?;
    let mut file = to.into_inner().map_err(|error| wrong(error.into_error()))?;
    file.rewind().map_err(&wrong)?;
    Ok(Ready { digest: Digest::end(hash), size: len, from: Box::new(file) })
}

/// An archive of plain files.
struct Tar<'a> {
    to: &'a mut dyn Write,
    written: u64,
}

impl Tar<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.to.write_all(bytes).map_err(unwritten)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        self.stream(name, bytes.len() as u64, bytes)
    }

    fn stream(&mut self, name: &str, size: u64, mut from: impl Read) -> Result<(), ImageError> {
        let wrong = |error| ImageError::bad_image(name, crate::causes::chain(&error));
        let head = Head {
            kind: b'0',
            name: name.as_bytes(),
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            size,
            device: (0, 0),
        };
        self.put(&blocks(&head, Records::default()))?;
        let (mut left, mut piece) = (size, vec![0; 128 << 10]);
        loop {
            let n = from.read(&mut piece).map_err(wrong)?;
            if n == 0 {
                break;
            }
            left = left
                .checked_sub(n as u64)
                .ok_or_else(|| ImageError::bad_image(name, "it is longer than it should be"))?;
            self.put(&piece[..n])?;
        }
        if left > 0 {
            return Err(ImageError::bad_image(name, "it is shorter than it should be"));
        }
        let missing = self.written.next_multiple_of(BLOCK) - self.written;
        self.put(&[0; BLOCK as usize][..missing as usize])
    }
}
