//! What fuzz targets reach of this module.

use std::io::{self, Cursor, Read};
use std::path::Path;

use super::digest::Digest;
use super::manifest::{self, Config, check_layer, parse, parse_manifest};
use super::packed::{Meter, Packing, unpacked};
use super::{ImageError, LayerTar, split, unpack};

/// Unpacks the plain archive `bytes` into `dest` as a root, or as what `send` made of an upper folder.
///
/// # Errors
/// As of an archive of somebody's.
pub fn archive(bytes: &[u8], dest: &Path, is_upper: bool) -> Result<(), ImageError> {
    let nobody = |_| ();
    let meter = Meter::begin(&nobody, "unpacking", None);
    unpack::unpack("it", Cursor::new(bytes.to_vec()), dest, is_upper, &meter).map(drop)
}

/// Whether those bytes are packed.
pub fn is_packed(bytes: &[u8]) -> bool {
    Packing::of(bytes) != Packing::Plain
}

/// Unpacks a stream, `most` bytes of what is in it.
///
/// # Errors
/// As the packing has them.
pub fn packed(bytes: &[u8], most: u64) -> io::Result<u64> {
    let (_, stream) = unpacked(Cursor::new(bytes.to_vec()))?;
    io::copy(&mut stream.take(most), &mut io::sink())
}

/// Unpacks the archive of a layer into `folder`.
///
/// # Errors
/// As of a layer of somebody's.
pub fn layer(bytes: &[u8], folder: &Path) -> Result<(), ImageError> {
    unpack::unpack_layer("it", bytes, folder).map(drop)
}

/// Writes `records` as the split of the layer in `folder` and reads `most` bytes of the archive that it is of.
///
/// # Errors
/// As of a layer that is damaged.
pub fn joined(records: &[u8], folder: &Path, most: u64) -> io::Result<u64> {
    std::fs::write(folder.join(split::FILE), zstd::encode_all(records, 1)?)?;
    LayerTar::length(folder)?;
    io::copy(&mut LayerTar::read(folder)?.take(most), &mut io::sink())
}

/// Reads a document of an image as each of the kinds that there are.
pub fn document(bytes: &[u8]) {
    if let Ok(manifest) = parse_manifest("it", bytes) {
        for layer in manifest.layers.iter().flatten() {
            let _ = check_layer(layer);
        }
        // What is written again is read again.
        let again = serde_json::to_vec(&manifest).expect("it was JSON");
        parse_manifest("it", &again).expect("it was a manifest");
    }
    if let Ok(config) = parse::<Config>("it", bytes) {
        let checked = config.check("it");
        assert!(checked.is_err() || config.rootfs.diff_ids.len() <= manifest::MOST_LAYERS);
        let _ = config.machine();
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(digest) = text.parse::<Digest>() {
            assert_eq!(digest.to_string(), text);
        }
        if let Ok(name) = text.parse::<super::ImageName>() {
            assert_eq!(name.to_string().parse().as_ref(), Ok(&name));
        }
        if let Ok(source) = text.parse::<super::Source>() {
            let _ = source.to_string();
        }
    }
}
