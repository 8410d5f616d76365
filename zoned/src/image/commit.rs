//! Images that are made here: of a folder, and of what a zone wrote over another image.

use std::fs::File;
use std::io::BufWriter;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::{Map, Value, json};
use zone_api::Progress;

use super::digest::Digest;
use super::error::ImageError;
use super::import::{Imported, finish, manifest_of, rfc3339};
use super::layer::{self, Told};
use super::manifest::{Config, Execution, MOST_LAYERS, parse};
use super::packed::Meter;
use super::store::{Image, Images};
use super::writer::{Form, write_tree};
use crate::state::now;
use crate::storage::Pin;

/// An image to be made.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The image that it comes of: what that says of itself is carried over.
    pub base: Option<&'a Image>,
    /// The layers below those that are made, the lowest first; the base's where there is one.
    pub below: Vec<Digest>,
    /// Folders that become layers, the lowest first: upper folders of overlays, with ids 0 to 65535.
    pub trees: Vec<PathBuf>,
    /// As Go spells it.
    pub architecture: &'a str,
    /// What makes it.
    pub by: String,
    /// What somebody says of it.
    pub comment: Option<String>,
}

/// Makes layers of the trees and an image of them and those below. It gets no name yet. `change` makes of how the base's program
/// is started how its own is.
///
/// # Errors
/// Layers that were made until then stay, and are not used.
pub fn commit(
    images: &Images,
    commit: Commit<'_>,
    change: impl FnOnce(&mut Execution),
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Imported, ImageError> {
    let Commit { base, below, trees, architecture, by, comment } = commit;
    let mut document = match base {
        Some(base) => parse("the configuration", &images.blob(&base.config)?)?,
        None => Map::new(),
    };
    let mut layers = base.map_or(below, |base| base.layers.clone());
    let had = layers.len();
    let mut pins = vec![images.layers().pin(layers.iter().map(Digest::layer))];
    let mut notes = Vec::new();
    for tree in trees {
        if had > 0 && std::fs::read_dir(&tree).is_ok_and(|mut entries| entries.next().is_none()) {
            continue;
        }
        let (digest, pin, said) = tree_layer(images, &by, &tree, progress)?;
        pins.push(pin);
        layers.push(digest);
        notes.extend(said);
    }
    if layers.len() > MOST_LAYERS {
        let why = format!("it would have {} layers, {MOST_LAYERS} are the most", layers.len());
        return Err(ImageError::bad_image("the image", why));
    }
    let mut execution: Execution = match document.get("config") {
        Some(Value::Null) | None => Execution::default(),
        Some(found) => serde_json::from_value(found.clone())
            .map_err(|error| ImageError::bad_image("the configuration", error.to_string()))?,
    };
    change(&mut execution);
    write_down(&mut document, execution)?;
    let created = rfc3339(now());
    let steps = layers.len() - had;
    // One that tells of some layers only would be worse than none.
    if had == 0 || document.get("history").is_some_and(Value::is_array) {
        let step = |layer: bool| {
            let mut step = json!({"created": created, "created_by": by});
            if let Some(comment) = &comment {
                step["comment"] = comment.as_str().into();
            }
            if !layer {
                step["empty_layer"] = true.into();
            }
            step
        };
        let history = document.entry("history").or_insert_with(|| json!([]));
        if let Some(history) = history.as_array_mut() {
            history.extend((0..steps.max(1)).map(|_| step(steps > 0)));
        }
    }
    document.insert("created".to_owned(), created.into());
    document.insert("os".to_owned(), "linux".into());
    if document.get("architecture").and_then(Value::as_str).unwrap_or_default().is_empty() {
        document.insert("architecture".to_owned(), architecture.into());
    }
    document.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": layers}));
    let wrong = |error: serde_json::Error| ImageError::bad_image("the configuration", error.to_string());
    let bytes = serde_json::to_vec(&document).map_err(wrong)?;
    let config: Config = parse("the configuration", &bytes)?;
    let manifest = manifest_of(images, &bytes, &config)?;
    let pin = images.layers().pin(layers.iter().map(Digest::layer));
    drop(pins);
    finish(config, manifest, bytes, None, notes, pin)
}

/// What is known of an execution into the document, which may have more.
fn write_down(document: &mut Map<String, Value>, execution: Execution) -> Result<(), ImageError> {
    let known = ["User", "Env", "Entrypoint", "Cmd", "WorkingDir", "Labels", "StopSignal"];
    let wrong = |error: serde_json::Error| ImageError::bad_image("the configuration", error.to_string());
    let Value::Object(new) = serde_json::to_value(execution).map_err(wrong)? else { return Ok(()) };
    let config = document.entry("config").or_insert_with(|| json!({}));
    if !config.is_object() {
        *config = json!({});
    }
    let Some(config) = config.as_object_mut() else { return Ok(()) };
    config.retain(|key, _| !known.contains(&key.as_str()));
    config.extend(new);
    Ok(())
}

/// Makes a layer of a folder by way of the archive that it is to be: it is what anybody unpacks who gets the image. What was left
/// out is told.
fn tree_layer(
    images: &Images,
    what: &str,
    tree: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Digest, Pin, Vec<String>), ImageError> {
    let open = |source| ImageError::Open { path: tree.to_owned(), source };
    let root = File::open(tree).map_err(open)?;
    let (reader, writer) = std::io::pipe().map_err(open)?;
    let meter = Meter::begin(progress, "making a layer", None);
    let done = AtomicU64::new(0);
    let (came, written) = thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut to = BufWriter::with_capacity(128 << 10, writer);
            write_tree(root.as_fd(), Form::Layer, 0, &mut to, &|_| ())
        });
        let came = layer::import(images.layers(), what, reader, &Told::default(), &|n| {
            done.fetch_add(n, Ordering::Relaxed);
        });
        (came, writing.join())
    });
    meter.add(done.load(Ordering::Relaxed));
    let written = written.map_err(|_| ImageError::bad_image(what, "it could not be written"))?;
    match (written, came) {
        (Ok(written), Ok(came)) => {
            let mut notes = written.notes;
            notes.extend(came.left_out.notes());
            Ok((came.archive, came.pin, notes))
        }
        // What one of them does not take, the other cannot write.
        (Err(error), _) if error.os_error() != Some(libc::EPIPE) => Err(error),
        (_, Err(error)) | (Err(error), _) => Err(error),
    }
}
