//! A layer's blob → a layer in the store: read and hashed, unpacked and hashed, written, each on a thread of its own.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::error::ImageError;
use super::packed::{Packing, unpacked};
use super::pipe::{Fed, Feeder, Passed, feed, pipe};
use super::tree::LeftOut;
use super::unpack::unpack_layer;
use super::{free, full};
use crate::state::now;
use crate::storage::{Draft, LayerId, Layers, Meta, Pin};

/// What the blob of a layer is told to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// Digest and bytes of the blob as it comes, where they are known.
    pub(super) blob: Option<(Digest, u64)>,
    /// Digest of the archive in it.
    pub(super) archive: Option<Digest>,
}

/// A layer that came in.
pub(super) struct Came {
    pub(super) archive: Digest,
    pub(super) left_out: LeftOut,
    /// Keeps it in the store.
    pub(super) pin: Pin,
}

/// Takes in the layer of that digest; `from` is its archive, packed or not. The caller has pinned it.
///
/// # Errors
/// The store is then as it was.
pub fn take_in(
    layers: &Arc<Layers>,
    what: &str,
    from: impl Read + Send,
    digest: Digest,
) -> Result<Vec<String>, ImageError> {
    let told = Told { blob: None, archive: Some(digest) };
    Ok(import(layers, what, from, &told, &|_| ())?.left_out.notes())
}

/// Unpacks `from` into the store; `read` is told of bytes read. After an error the store is as it was. The caller has
/// pinned the layer, where its digest is known beforehand.
pub(super) fn import(
    layers: &Arc<Layers>,
    what: &str,
    from: impl Read + Send,
    told: &Told,
    read: &(dyn Fn(u64) + Sync),
) -> Result<Came, ImageError> {
    let open = |source| ImageError::Open { path: layers.images().to_owned(), source };
    let draft = layers.draft().map_err(open)?;
    let before = free(draft.folder());
    let done = fill(&draft, what, from, told, read).and_then(|(archive, meta, left_out)| {
        let id = archive.layer();
        let pin = layers.pin([id.clone()]);
        draft.publish(&id, &meta).map_err(|e| ImageError::file("keep", what.as_bytes(), e))?;
        Ok(Came { archive, left_out, pin })
    });
    done.map_err(|error| {
        tracing::debug!(taken = before.saturating_sub(free(layers.images())), "a layer did not come in");
        full(error, layers.images(), None)
    })
}

fn fill(
    draft: &Draft,
    what: &str,
    from: impl Read + Send,
    told: &Told,
    read: &(dyn Fn(u64) + Sync),
) -> Result<(Digest, Meta, LeftOut), ImageError> {
    let ((packed_in, packed), (plain_in, plain)) = (pipe(), pipe());
    // One byte more tells that it is too long.
    let most = told.blob.as_ref().map_or(u64::MAX, |(_, size)| size.saturating_add(1));
    let stop = AtomicBool::new(false);
    let stop = &stop;
    let (blob, archive, unpacked) = thread::scope(|scope| {
        let blob = scope.spawn(move || feed(from.take(most), packed_in, true, stop, read));
        let archive = scope.spawn(move || unpack(what, packed, plain_in, stop));
        let unpacked = unpack_layer(what, plain, draft.folder());
        // What is wrong with a damaged blob, its digest tells; what is wrong with an entry, no digest can.
        let is_told = matches!(
            unpacked,
            Err(ImageError::Read { .. }
                | ImageError::Damaged { .. }
                | ImageError::CutOff { .. }
                | ImageError::NotTar { .. })
        );
        stop.store(unpacked.is_err() && !is_told, Ordering::Relaxed);
        (blob.join(), archive.join(), unpacked)
    });
    let panicked = || ImageError::bad_image(what, "it could not be read");
    let (blob, archive) = (blob.map_err(|_| panicked())?, archive.map_err(|_| panicked())?);
    if let Some((digest, size)) = &told.blob
        && blob.whole
    {
        if blob.len != *size {
            let than = if blob.len > *size { "longer" } else { "shorter" };
            return Err(ImageError::bad_image(
                what,
                format!("it is {than} than the {size} bytes that it is to have"),
            ));
        }
        same(what, &blob.digest, digest)?;
    }
    // That of the packing comes first: the end of the stream is but what follows from it.
    let archive = archive?;
    let (counts, left_out) = unpacked?;
    if !archive.whole {
        return Err(panicked());
    }
    if let Some(digest) = &told.archive {
        same(&format!("{what}, unpacked,"), &archive.digest, digest)?;
    }
    Ok((archive.digest, Meta { made: now(), files: counts.files, disk: counts.disk }, left_out))
}

fn unpack(what: &str, packed: Fed, to: Feeder, stop: &AtomicBool) -> Result<Passed, ImageError> {
    let begin = || "at its beginning".to_owned();
    let (packing, plain) = unpacked(packed).map_err(|source| {
        // Whoever unpacks is told of it by the end of its stream.
        ImageError::Read { archive: what.to_owned(), after: begin(), source }
    })?;
    if let Packing::Other(why) = packing {
        return Err(ImageError::NotTar { archive: what.to_owned(), why: why.to_owned() });
    }
    Ok(feed(plain, to, false, stop, &|_| ()))
}

pub(super) fn same(what: &str, found: &Digest, want: &Digest) -> Result<(), ImageError> {
    if found == want {
        return Ok(());
    }
    Err(ImageError::WrongDigest { what: what.to_owned(), found: found.to_string(), want: want.to_string() })
}

/// Holds a layer against its digest: the archive that it came of is put together from its files. `told` hears
/// how many bytes of that were read.
///
/// # Errors
/// What is wrong with it, as a clause.
pub fn verify(layers: &Layers, id: &LayerId, told: &mut dyn FnMut(u64)) -> Result<(), String> {
    let archive = super::split::LayerTar::read(&layers.folder(id));
    let hashed = archive.and_then(|mut archive| {
        let (mut hash, mut piece) = (Sha256::new(), vec![0; 256 << 10]);
        let mut read = 0;
        loop {
            match archive.read(&mut piece)? {
                0 => return Ok(Digest::end(hash)),
                n => {
                    hash.update(&piece[..n]);
                    read += n as u64;
                    told(read);
                }
            }
        }
    });
    match hashed {
        Ok(digest) if digest.layer() == *id => Ok(()),
        Ok(digest) => Err(format!("a file in it was changed: its digest is {digest}")),
        Err(error) => Err(error.to_string()),
    }
}
