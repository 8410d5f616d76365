//! Images that come in from files: OCI layouts, archives of `docker save`, and tars that become the one layer of an image.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use zone_api::{ErrorKind, Progress};

use super::copy::refuse_overlap;
use super::digest::Digest;
use super::error::{ImageError, shown};
use super::layer::{self, Told};
use super::manifest::{
    self, CONFIG, Config, Descriptor, History, LAYER, MANIFEST, Manifest, RootFs, check_layer, machine,
    parse, parse_manifest,
};
use super::name::ImageName;
use super::pipe::pipe;
use super::shelf::{Piece, Shelf};
use super::split::LayerTar;
use super::store::{Image, Images};
use super::tree::LeftOut;
use super::writer::{Form, write_tree};
use super::{Execution, Meter, Source};
use crate::state::now;
use crate::storage::Pin;

/// How many layers are unpacked at once.
const AT_ONCE: usize = 2;
/// Indexes in indexes.
const DEEPEST: usize = 4;
/// Manifests that are looked at to find one for this host.
const MOST_MANIFESTS: usize = 256;

/// An image that came in, its layers in the store and held there.
#[derive(Debug)]
pub struct Imported {
    /// It.
    pub image: Image,
    /// How its program is started, and what else it says of itself.
    pub config: Config,
    /// Its manifest and its configuration, as they came.
    pub documents: [Vec<u8>; 2],
    /// The name that it came with.
    pub name: Option<ImageName>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// Keeps its layers.
    pub pin: Pin,
}

/// An image that was found in a source.
struct Found {
    manifest: Option<Vec<u8>>,
    config: Vec<u8>,
    layers: Vec<Blob>,
    name: Option<ImageName>,
}

struct Blob {
    what: String,
    told: Told,
    /// Where its bytes are; none where the store has the layer and the source does not.
    piece: Option<Piece>,
}

/// Brings the layers of an image into the store. It gets no name yet.
///
/// `archive` is what a source whose path is `-` reads; `want_arch` is what the image is to be for, where it is for several.
///
/// # Errors
/// Layers that came in until then stay, and are not used.
pub fn import(
    images: &Images,
    source: &Source,
    archive: Option<Box<dyn Read + Send>>,
    want_arch: Option<&str>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Imported, ImageError> {
    let archive = match (source.is_stream(), archive) {
        (true, None) => {
            let why = "no archive was sent along".to_owned();
            return Err(ImageError::BadSource { given: source.to_string(), why });
        }
        (is_stream, archive) => archive.filter(|_| is_stream),
    };
    match source {
        Source::Oci { path, tag } => {
            let shelf = open(images, path, archive, progress)?;
            let found = oci(&shelf, tag.as_deref(), want_arch)?;
            bring(images, found, progress)
        }
        Source::DockerArchive { path, reference } => {
            let shelf = open(images, path, archive, progress)?;
            if shelf.find("manifest.json")?.is_none() && shelf.find("repositories")?.is_some() {
                return of_repositories(images, &shelf, reference.as_deref(), progress);
            }
            let found = docker(&shelf, reference.as_deref())?;
            bring(images, found, progress)
        }
        Source::Tar(path) => {
            let open = |source| ImageError::Open { path: path.clone(), source };
            let file = std::fs::File::open(path).map_err(open)?;
            let total = file.metadata().map_err(open)?;
            one_layer(images, source, file, total.is_file().then_some(total.len()), want_arch, progress)
        }
        Source::Stream => match archive {
            Some(archive) => one_layer(images, source, archive, None, want_arch, progress),
            None => Err(ImageError::bad_image("tar:-", "no archive was sent along")),
        },
        Source::Dir(path) => {
            // It would be read while it is written.
            refuse_overlap(path, images.layers().images())?;
            of_tree(images, source, path, want_arch, progress)
        }
        Source::Debootstrap(_) => {
            let room = |source| ImageError::Open { path: images.layers().images().to_owned(), source };
            let draft = images.layers().draft().map_err(room)?;
            let root = draft.folder().join("root");
            let made = super::install(source, &root, None, want_arch, progress)?;
            let mut found = of_tree(images, source, &root, want_arch, progress)?;
            found.notes.extend(made.notes);
            Ok(found)
        }
        Source::Image(_) | Source::Registry(_) => {
            let why = "it is no file of this host".to_owned();
            Err(ImageError::BadSource { given: source.to_string(), why })
        }
    }
}

fn open(
    images: &Images,
    path: &Path,
    archive: Option<Box<dyn Read + Send>>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Shelf, ImageError> {
    let meter = std::cell::OnceCell::new();
    let read = |n| meter.get_or_init(|| Meter::begin(progress, "reading the archive", None)).add(n);
    Shelf::open(path, archive, images.layers().images(), &read)
}

/// A blob of a layout that is a document.
fn document(shelf: &Shelf, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>, ImageError> {
    let what = format!("blob {digest}");
    let name = format!("blobs/sha256/{}", digest.hex());
    let bytes = shelf.document(&name)?.ok_or_else(|| ImageError::bad_image(&what, "it is not there"))?;
    layer::same(&what, &Digest::of(&bytes), digest)?;
    match size {
        Some(size) if size != bytes.len() as u64 => {
            Err(ImageError::bad_image(&what, format!("it has {} bytes, and was to have {size}", bytes.len())))
        }
        _ => Ok(bytes),
    }
}

/// What names an image in a layout.
pub(super) const REF: &str = "org.opencontainers.image.ref.name";
/// As containerd and newer Dockers name an image whole.
const FULL_NAME: &str = "io.containerd.image.name";

fn note<'a>(descriptor: &'a Descriptor, key: &str) -> Option<&'a str> {
    descriptor.annotations.as_ref()?.get(key).map(String::as_str)
}

/// An image of an OCI layout.
fn oci(shelf: &Shelf, tag: Option<&str>, want_arch: Option<&str>) -> Result<Found, ImageError> {
    let index = shelf.document("index.json")?;
    let index = index
        .ok_or_else(|| ImageError::bad_image("the layout", "it has no index.json: is it an OCI layout?"))?;
    let entries = parse_manifest("index.json", &index)?.manifests.unwrap_or_default();
    let is_named =
        |entry: &&Descriptor, tag: &str| note(entry, REF) == Some(tag) || note(entry, FULL_NAME) == Some(tag);
    let chosen: Vec<&Descriptor> = match tag {
        Some(tag) => entries.iter().filter(|entry| is_named(entry, tag)).collect(),
        None => {
            let latest: Vec<_> = entries.iter().filter(|entry| is_named(entry, "latest")).collect();
            let names: BTreeSet<_> = entries.iter().filter_map(|entry| note(entry, REF)).collect();
            if names.len() > 1 && !latest.is_empty() { latest } else { entries.iter().collect() }
        }
    };
    let names: BTreeSet<&str> = chosen.iter().filter_map(|entry| note(entry, REF)).collect();
    if chosen.is_empty() || names.len() > 1 {
        let names: BTreeSet<_> =
            entries.iter().filter_map(|entry| note(entry, REF)).map(|n| shown(n.as_bytes())).collect();
        let names: Vec<_> = names.into_iter().take(20).collect();
        let why = match (tag, names.is_empty()) {
            (Some(tag), true) => format!("it has no image {}, and none with a tag", shown(tag.as_bytes())),
            (Some(tag), false) => {
                format!("it has no image {}; it has {}", shown(tag.as_bytes()), names.join(", "))
            }
            (None, true) => "it has no images".to_owned(),
            (None, false) => format!("it has several images, say which: {}", names.join(", ")),
        };
        return Err(ImageError::BadImage { what: "the layout".to_owned(), why, kind: ErrorKind::Invalid });
    }
    let name = chosen.iter().find_map(|entry| {
        let full =
            note(entry, FULL_NAME).or_else(|| note(entry, REF).filter(|name| name.contains(['/', ':'])));
        full.and_then(|name| name.parse().ok())
    });
    let mut seen = 0;
    let mut candidates = Vec::new();
    for entry in chosen {
        candidates_of(shelf, entry, 0, &mut seen, &mut candidates)?;
    }
    let (manifest, bytes) = choose(candidates, want_arch)?;
    let config =
        manifest.config.ok_or_else(|| ImageError::bad_image("the manifest", "it names no configuration"))?;
    let config_bytes = document(shelf, &config.digest, Some(config.size))?;
    let layers = with_blobs(shelf, &config_bytes, manifest.layers.unwrap_or_default())?;
    Ok(Found { manifest: Some(bytes), config: config_bytes, layers, name })
}

/// A manifest that could be the one: for what machine, it, its bytes.
type Candidate = (Option<&'static str>, Manifest, Vec<u8>);

/// Images for this kind of host below an entry of an index.
fn candidates_of(
    shelf: &Shelf,
    entry: &Descriptor,
    depth: usize,
    seen: &mut usize,
    into: &mut Vec<Candidate>,
) -> Result<(), ImageError> {
    let of_platform = match &entry.platform {
        // Attestations of buildx are for the machine unknown.
        Some(platform) if platform.os != "linux" || machine(&platform.architecture).is_none() => {
            return Ok(());
        }
        Some(platform) => machine(&platform.architecture),
        None => None,
    };
    *seen += 1;
    if *seen > MOST_MANIFESTS {
        return Err(ImageError::bad_image("the layout", "it has more than 256 manifests for one image"));
    }
    let what = format!("manifest {}", entry.digest);
    let bytes = document(shelf, &entry.digest, Some(entry.size))?;
    let manifest = parse_manifest(&what, &bytes)?;
    if let Some(inner) = &manifest.manifests {
        if depth == DEEPEST {
            return Err(ImageError::bad_image(&what, "it is an index in an index in an index, and so on"));
        }
        return inner.iter().try_for_each(|entry| candidates_of(shelf, entry, depth + 1, seen, into));
    }
    let machine = match (of_platform, &manifest.config) {
        (None, Some(config)) if config.size <= manifest::LARGEST => {
            let bytes = document(shelf, &config.digest, Some(config.size))?;
            let config: Config = parse(&format!("configuration {}", config.digest), &bytes)?;
            config.check(&format!("image {}", entry.digest))?;
            config.machine()
        }
        (known, _) => known,
    };
    into.push((machine, manifest, bytes));
    Ok(())
}

/// The one for `want`, else for the host itself, else any.
fn choose(mut candidates: Vec<Candidate>, want: Option<&str>) -> Result<(Manifest, Vec<u8>), ImageError> {
    let want = want.map(|want| if want == "x86_64" { want } else { "i686" });
    let rank = |machine: Option<&str>| match machine {
        found if want.is_some() => usize::from(found != want),
        Some("x86_64") => 0,
        Some(_) => 1,
        None => 2,
    };
    candidates.sort_by_key(|(machine, ..)| rank(*machine));
    match candidates.into_iter().next() {
        Some((_, manifest, bytes)) => Ok((manifest, bytes)),
        None => Err(ImageError::bad_image(
            "the image",
            "it is for other machines: this host runs linux on amd64 and 386",
        )),
    }
}

/// The layers of a manifest with the digests that its configuration has for them.
fn with_blobs(shelf: &Shelf, config: &[u8], layers: Vec<Descriptor>) -> Result<Vec<Blob>, ImageError> {
    let config: Config = parse("the configuration", config)?;
    config.check("the image")?;
    let archives = config.rootfs.diff_ids;
    if archives.len() != layers.len() {
        let why = format!("it has {} layers, and its configuration {}", layers.len(), archives.len());
        return Err(ImageError::bad_image("the manifest", why));
    }
    let blob = |(descriptor, archive): (Descriptor, Digest)| {
        check_layer(&descriptor)?;
        let piece = shelf.find(&format!("blobs/sha256/{}", descriptor.digest.hex()))?;
        let told = Told { blob: Some((descriptor.digest.clone(), descriptor.size)), archive: Some(archive) };
        Ok(Blob { what: format!("layer {}", descriptor.digest), told, piece })
    };
    layers.into_iter().zip(archives).map(blob).collect()
}

/// An image of manifest.json, which `docker save` writes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// An image of an archive of `docker save`, or of podman's.
fn docker(shelf: &Shelf, reference: Option<&str>) -> Result<Found, ImageError> {
    let what = "manifest.json";
    let bytes = shelf.document(what)?;
    let bytes = bytes.ok_or_else(|| {
        ImageError::bad_image("the archive", "it has no manifest.json: is it of docker save?")
    })?;
    let saved: Vec<Saved> = parse(what, &bytes)?;
    let wanted = reference.map(|reference| (reference, reference.parse::<ImageName>().ok()));
    let is_wanted = |saved: &&Saved| {
        let tags = saved.repo_tags.iter().flatten();
        wanted.as_ref().is_none_or(|(text, name)| {
            tags.into_iter().any(|tag| tag == text || name.is_some() && tag.parse().ok() == *name)
        })
    };
    let mut chosen = saved.iter().filter(is_wanted);
    let (Some(image), None) = (chosen.next(), chosen.next()) else {
        let tags = saved.iter().flat_map(|saved| saved.repo_tags.iter().flatten());
        let tags: Vec<_> = tags.take(20).map(|tag| shown(tag.as_bytes())).collect();
        let why = match (reference, saved.is_empty()) {
            (_, true) => "it has no images".to_owned(),
            (Some(name), _) => {
                format!("it has no one image {}; it has {}", shown(name.as_bytes()), tags.join(", "))
            }
            (None, _) => format!("it has several images, say which: {}", tags.join(", ")),
        };
        return Err(ImageError::BadImage { what: "the archive".to_owned(), why, kind: ErrorKind::Invalid });
    };
    let config_bytes = shelf.document(&image.config)?;
    let config_bytes = config_bytes.ok_or_else(|| {
        ImageError::bad_image(
            "the archive",
            format!("its configuration {} is not there", shown(image.config.as_bytes())),
        )
    })?;
    let config: Config = parse("the configuration", &config_bytes)?;
    config.check("the image")?;
    let archives = config.rootfs.diff_ids;
    if archives.len() != image.layers.len() {
        let why = format!("it has {} layers, and its configuration {}", image.layers.len(), archives.len());
        return Err(ImageError::bad_image(what, why));
    }
    let mut layers = Vec::new();
    for (name, archive) in image.layers.iter().zip(archives) {
        let shown = shown(name.as_bytes());
        // Newer ones are layouts, too, and say what the blob is to be.
        let digest =
            name.strip_prefix("blobs/sha256/").and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        let piece = shelf.find(name)?;
        let blob = digest.and_then(|digest| Some((digest, piece.as_ref()?.len())));
        layers.push(Blob {
            what: format!("layer {shown}"),
            told: Told { blob, archive: Some(archive) },
            piece,
        });
    }
    let name = reference.map(str::to_owned).or_else(|| image.repo_tags.iter().flatten().next().cloned());
    let name = name.and_then(|name| name.parse().ok());
    let manifest = own_manifest(shelf, &config_bytes)?;
    Ok(Found { manifest, config: config_bytes, layers, name })
}

/// A layer of Docker before 1.10, which was an image of its own: `ID/json`.
#[derive(Deserialize)]
struct Old {
    parent: Option<String>,
    created: Option<String>,
    config: Option<Execution>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    container_config: Option<Execution>,
}

/// An image of an archive of Docker before 1.10: a chain of layers, of which no digest is told.
fn of_repositories(
    images: &Images,
    shelf: &Shelf,
    reference: Option<&str>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Imported, ImageError> {
    let what = "repositories";
    let bytes = shelf.document(what)?.unwrap_or_default();
    let named: BTreeMap<String, BTreeMap<String, String>> = parse(what, &bytes)?;
    let all =
        named.iter().flat_map(|(name, tags)| tags.iter().map(move |(tag, id)| (format!("{name}:{tag}"), id)));
    let all: Vec<(String, &String)> = all.collect();
    let wanted = reference.and_then(|reference| reference.parse::<ImageName>().ok());
    let is_wanted = |(name, _): &&(String, &String)| {
        reference.is_none() || reference == Some(name) || wanted.is_some() && name.parse().ok() == wanted
    };
    let chosen: Vec<_> = all.iter().filter(is_wanted).collect();
    let [(name, top)] = chosen[..] else {
        let names: Vec<_> = all.iter().take(20).map(|(name, _)| shown(name.as_bytes())).collect();
        let why = format!("say which of its images: {}", names.join(", "));
        return Err(ImageError::BadImage { what: "the archive".to_owned(), why, kind: ErrorKind::Invalid });
    };
    let (mut chain, mut next) = (Vec::new(), Some((*top).clone()));
    while let Some(id) = next {
        if id.len() != 64 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ImageError::bad_image(what, format!("{} names no layer", shown(id.as_bytes()))));
        }
        if chain.len() == manifest::MOST_LAYERS {
            return Err(ImageError::bad_image(
                what,
                "it has more than 127 layers, or they are each other's parents",
            ));
        }
        let told = format!("{id}/json");
        let bytes = shelf.document(&told)?.ok_or_else(|| ImageError::bad_image(&told, "it is not there"))?;
        let old: Old = parse(&told, &bytes)?;
        next = old.parent.clone();
        let file = format!("{id}/layer.tar");
        let piece = shelf.find(&file)?.ok_or_else(|| ImageError::bad_image(&file, "it is not there"))?;
        chain.push((file, old, piece));
    }
    chain.reverse();
    let total = chain.iter().map(|(.., piece)| piece.len()).sum();
    progress(Progress::Step { step: format!("unpacking {} layers", chain.len()), total: Some(total) });
    let telling = Telling { progress, done: AtomicU64::new(0), told: Mutex::new(Instant::now()) };
    let mut config =
        Config { rootfs: RootFs { kind: "layers".to_owned(), ..RootFs::default() }, ..Config::default() };
    let (mut pins, mut notes, mut history) = (Vec::new(), Vec::new(), Vec::new());
    for (file, old, piece) in chain {
        let came = layer::import(images.layers(), &file, piece, &Told::default(), &|n| telling.add(n))?;
        notes.extend(came.left_out.notes());
        pins.push(came.pin);
        config.rootfs.diff_ids.push(came.archive);
        let by = old.container_config.and_then(|made| Some(made.cmd?.join(" ")));
        history.push(History { created: old.created.clone(), created_by: by, ..History::default() });
        (config.architecture, config.os, config.created) = (old.architecture, old.os, old.created);
        config.config = old.config;
    }
    config.history = Some(history);
    config.check("the image")?;
    let bytes =
        serde_json::to_vec(&config).map_err(|e| ImageError::bad_image("the configuration", e.to_string()))?;
    let manifest = manifest_of(images, &bytes, &config)?;
    notes.sort();
    notes.dedup();
    let pin = images.layers().pin(config.rootfs.diff_ids.iter().map(Digest::layer));
    finish(config, manifest, bytes, name.parse().ok(), notes, pin)
}

/// The manifest that an archive has for that configuration, where it is a layout as well.
fn own_manifest(shelf: &Shelf, config: &[u8]) -> Result<Option<Vec<u8>>, ImageError> {
    let Some(index) = shelf.document("index.json")? else { return Ok(None) };
    let (mut seen, mut found) = (0, Vec::new());
    let entries = parse_manifest("index.json", &index)?.manifests.unwrap_or_default();
    for entry in &entries {
        // What is said twice and wrongly once is a matter of the other way to read it.
        let _ = candidates_of(shelf, entry, 0, &mut seen, &mut found);
    }
    let digest = Digest::of(config);
    let own = |(_, manifest, _): &Candidate| manifest.config.as_ref().is_some_and(|own| own.digest == digest);
    Ok(found.into_iter().find(own).map(|(.., bytes)| bytes))
}

/// Tells how far all of the layers are.
struct Telling<'a> {
    progress: &'a (dyn Fn(Progress) + Sync),
    done: AtomicU64,
    told: Mutex<Instant>,
}

impl Telling<'_> {
    fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= Duration::from_millis(100) {
            *told = Instant::now();
            (self.progress)(Progress::At { done });
        }
    }
}

/// Brings those layers into the store that are not there.
fn bring(
    images: &Images,
    found: Found,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Imported, ImageError> {
    let store = images.layers();
    let config: Config = parse("the configuration", &found.config)?;
    let pin = store.pin(config.rootfs.diff_ids.iter().map(Digest::layer));
    let (mut seen, mut todo, mut total) = (BTreeSet::new(), Vec::new(), 0);
    for blob in found.layers {
        let Some(archive) = &blob.told.archive else { continue };
        if store.has(&archive.layer()) || !seen.insert(archive.clone()) {
            continue;
        }
        let Some(piece) = blob.piece else {
            return Err(ImageError::bad_image(&blob.what, "it is not there"));
        };
        total += piece.len();
        todo.push((blob.what, blob.told, piece));
    }
    let (all, new) = (config.rootfs.diff_ids.len(), todo.len());
    let mut notes = Vec::new();
    if new > 0 {
        progress(Progress::Step { step: format!("unpacking {new} of {all} layers"), total: Some(total) });
        let telling = Telling { progress, done: AtomicU64::new(0), told: Mutex::new(Instant::now()) };
        let left_out = unpack_all(images, todo, &telling)?;
        progress(Progress::At { done: telling.done.load(Ordering::Relaxed) });
        for left_out in left_out {
            notes.extend(left_out.notes());
        }
        notes.sort();
        notes.dedup();
    }
    let manifest = match found.manifest {
        Some(manifest) => manifest,
        None => manifest_of(images, &found.config, &config)?,
    };
    finish(config, manifest, found.config, found.name, notes, pin)
}

pub(super) fn finish(
    config: Config,
    manifest: Vec<u8>,
    config_bytes: Vec<u8>,
    name: Option<ImageName>,
    notes: Vec<String>,
    pin: Pin,
) -> Result<Imported, ImageError> {
    let image = Image {
        manifest: Digest::of(&manifest),
        config: Digest::of(&config_bytes),
        layers: config.rootfs.diff_ids.clone(),
        architecture: config.architecture.clone(),
        created: config.created.clone(),
        imported: now(),
    };
    Ok(Imported { image, config, documents: [manifest, config_bytes], name, notes, pin })
}

fn unpack_all(
    images: &Images,
    mut todo: Vec<(String, Told, Piece)>,
    telling: &Telling<'_>,
) -> Result<Vec<LeftOut>, ImageError> {
    todo.reverse();
    let (queue, ended) = (Mutex::new(todo), Mutex::new((Vec::new(), None)));
    let work = || loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some((what, told, piece)) = next else { return };
        let came = layer::import(images.layers(), &what, piece, &told, &|n| telling.add(n));
        let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
        match came {
            Ok(came) => ended.0.push(came.left_out),
            Err(error) => {
                // The first is the one to tell; no further layer is begun.
                queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                ended.1.get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..AT_ONCE {
            scope.spawn(work);
        }
        work();
    });
    match ended.into_inner().unwrap_or_else(PoisonError::into_inner) {
        (_, Some(error)) => Err(error),
        (left_out, None) => Ok(left_out),
    }
}

/// A manifest for an image that came without: of its layers as they are, unpacked.
pub(super) fn manifest_of(
    images: &Images,
    config_bytes: &[u8],
    config: &Config,
) -> Result<Vec<u8>, ImageError> {
    let plain = |media_type: &str, digest: Digest, size: u64| Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        platform: None,
        annotations: None,
    };
    let layer = |digest: &Digest| {
        let folder = images.layers().folder(&digest.layer());
        let size = LayerTar::length(&folder).map_err(|source| ImageError::Open { path: folder, source })?;
        Ok(plain(LAYER, digest.clone(), size))
    };
    let layers = config.rootfs.diff_ids.iter().map(layer).collect::<Result<_, ImageError>>()?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST.to_owned()),
        config: Some(plain(CONFIG, Digest::of(config_bytes), config_bytes.len() as u64)),
        layers: Some(layers),
        manifests: None,
    };
    serde_json::to_vec(&manifest).map_err(|e| ImageError::bad_image("the manifest", e.to_string()))
}

/// An image of one layer, which has the files of a folder.
fn of_tree(
    images: &Images,
    source: &Source,
    tree: &Path,
    want_arch: Option<&str>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Imported, ImageError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(tree, flags, Mode::empty());
    let opened = opened.map_err(|e| ImageError::Open { path: tree.to_owned(), source: e.into() })?;
    let (to, from) = pipe();
    let (written, found) = thread::scope(|scope| {
        let write = move || {
            let mut out = BufWriter::with_capacity(256 << 10, &to);
            let written = write_tree(opened.as_fd(), Form::Layer, 0, &mut out, &|_| ());
            if written.is_err() {
                to.fail("its files could not all be read");
            }
            written
        };
        let written = scope.spawn(write);
        let found = one_layer(images, source, from, None, want_arch, progress);
        (written.join(), found)
    });
    let written = written.map_err(|_| ImageError::bad_image(&source.to_string(), "it could not be read"))?;
    match (written, found) {
        (Ok(written), Ok(mut found)) => {
            found.notes.extend(written.notes);
            Ok(found)
        }
        // The archive broke off because of it.
        (Err(error), Err(ImageError::Read { .. })) | (_, Err(error)) | (Err(error), _) => Err(error),
    }
}

/// An image of one layer.
fn one_layer(
    images: &Images,
    source: &Source,
    from: impl Read + Send,
    total: Option<u64>,
    want_arch: Option<&str>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Imported, ImageError> {
    progress(Progress::Step { step: "unpacking".to_owned(), total });
    let telling = Telling { progress, done: AtomicU64::new(0), told: Mutex::new(Instant::now()) };
    let came =
        layer::import(images.layers(), &format!("{source}"), from, &Told::default(), &|n| telling.add(n))?;
    let pin = came.pin;
    let tree = images.layers().tree(&came.archive.layer());
    let arch = super::program::root_arch(&tree, want_arch)?;
    let created = rfc3339(now());
    let config = Config {
        architecture: if arch == "x86_64" { "amd64" } else { "386" }.to_owned(),
        os: "linux".to_owned(),
        created: Some(created.clone()),
        config: None,
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![came.archive] },
        history: Some(vec![History {
            created: Some(created),
            created_by: Some(format!("zonectl image import {source}")),
            ..History::default()
        }]),
    };
    let bytes =
        serde_json::to_vec(&config).map_err(|e| ImageError::bad_image("the configuration", e.to_string()))?;
    let manifest = manifest_of(images, &bytes, &config)?;
    finish(config, manifest, bytes, None, came.left_out.notes(), pin)
}

/// Seconds since 1970 as images write them.
pub(super) fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days from March 1st of the year 0 (the civil calendar, 400 years at a time).
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
