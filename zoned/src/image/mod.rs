//! Fills the root of a zone: from a folder, from an archive, or from a Debian mirror.
//!
//! Files keep their own ids, 0 to 65535; boot maps them into the zone's. Whatever the source holds,
//! nothing outside the root is touched.

mod archive;
mod commit;
mod copy;
mod debootstrap;
mod digest;
mod empty;
mod error;
pub mod export;
mod field;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod header;
mod import;
mod layer;
mod manifest;
mod name;
mod nodes;
mod packed;
mod pipe;
pub mod profile;
mod program;
mod shelf;
mod source;
mod sparse;
mod split;
mod store;
pub(crate) mod tree;
mod unpack;
mod upper;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use rustix::io::Errno;
use zone_api::Progress;

pub use commit::{Commit, commit};
pub use copy::copy_all;
pub(crate) use copy::is_opaque;
pub use digest::Digest;
pub use empty::{empty, remove};
pub use error::ImageError;
pub(crate) use error::{no_room, shown_long};
pub use import::{Imported, import};
pub use layer::{take_in as take_in_layer, verify as verify_layer};
pub use manifest::{Config, Execution};
pub use name::ImageName;
pub use nodes::Index;
pub use program::{Machine, ProgramError, program_arch, root_arch};
pub use source::{Source, Suite};
pub use split::LayerTar;
pub use store::{Image, Images};
pub use upper::Layer;
pub use writer::{Form, Written, write_tree};

use packed::Meter;
use tree::LeftOut;

/// What is in a root after [`install`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// What its programs are for: `i686` or `x86_64`.
    pub arch: &'static str,
    /// Files, folders and links made.
    pub files: u64,
    /// Bytes written to files, holes not counted.
    pub bytes: u64,
    /// What the operator should know: what was left out.
    pub notes: Vec<String>,
}

/// The host's program that makes roots from a Debian mirror, if it has one.
pub fn bootstrap_program() -> Option<&'static str> {
    ["mmdebstrap", "debootstrap"].into_iter().find(|program| debootstrap::find(program).is_some())
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    files: u64,
    bytes: u64,
    /// The same in whole blocks.
    disk: u64,
}

/// Fills `dest`, which is made where it is missing and must be empty, and sees that all of it is on disk.
///
/// `archive` is what [`Source::Stream`] reads. `want_arch` is the configuration's `arch`, if it has one. After an
/// error `dest` holds whatever was made until then.
pub fn install(
    source: &Source,
    dest: &Path,
    archive: Option<Box<dyn Read + Send>>,
    want_arch: Option<&str>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Installed, ImageError> {
    let open = |source| ImageError::Open { path: dest.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o755).create(dest).map_err(open)?;
    if fs::read_dir(dest).map_err(open)?.next().is_some() {
        return Err(ImageError::NotEmpty { dest: dest.to_owned() });
    }
    let (counts, mut notes) = fill(source, dest, archive, want_arch, progress)?;
    notes.extend(open_up(dest).map_err(open)?);
    progress(Progress::Step { step: "looking at its programs".to_owned(), total: None });
    let arch = program::root_arch(dest, want_arch)?;
    progress(Progress::Step { step: "writing to disk".to_owned(), total: None });
    // Reports what could not be written back too, since Linux 5.8.
    let synced = File::open(dest).and_then(|root| Ok(rustix::fs::syncfs(root)?));
    synced.map_err(|e| full(ImageError::file("write", b"the root", e), dest, None))?;
    Ok(Installed { arch, files: counts.files, bytes: counts.bytes, notes })
}

/// A folder made by mktemp(1) has mode 0700, and roots are often packed from one: nobody but root
/// could do anything in such a zone.
fn open_up(dest: &Path) -> io::Result<Option<String>> {
    let mode = fs::metadata(dest)?.permissions().mode() & 0o7777;
    if mode & 0o755 == 0o755 {
        return Ok(None);
    }
    fs::set_permissions(dest, fs::Permissions::from_mode(mode | 0o755))?;
    Ok(Some(format!("the root folder had mode {mode:04o}, and was opened to all: {:04o}", mode | 0o755)))
}

fn fill(
    source: &Source,
    dest: &Path,
    archive: Option<Box<dyn Read + Send>>,
    want_arch: Option<&str>,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Counts, Vec<String>), ImageError> {
    let told = |(counts, left_out): (Counts, LeftOut)| (counts, left_out.notes());
    match source {
        Source::Dir(from) => {
            let meter = Meter::begin(progress, "copying", None);
            let before = free(dest);
            copy::copy(from, dest, &meter).map(told).map_err(|e| {
                let taken = before.saturating_sub(free(dest));
                let size = tree::disk(from).unwrap_or(0);
                full(e, dest, Some(size.saturating_sub(taken)))
            })
        }
        Source::Tar(path) => {
            let open = |source| ImageError::Open { path: path.clone(), source };
            let file = File::open(path).map_err(open)?;
            let found = file.metadata().map_err(open)?;
            if found.is_dir() {
                let why = "it is a folder".to_owned();
                return Err(ImageError::NotTar { archive: path.display().to_string(), why });
            }
            let total = found.is_file().then_some(found.len());
            untar(&path.display().to_string(), file, total, dest, progress)
        }
        Source::Stream => {
            let Some(archive) = archive else {
                let why = "no archive was sent along".to_owned();
                return Err(ImageError::BadSource { given: "tar:-".to_owned(), why });
            };
            untar("the archive", archive, None, dest, progress)
        }
        Source::Image(_) | Source::Oci { .. } | Source::DockerArchive { .. } | Source::Registry(_) => {
            let why = "a zone gets the layers of an image, and no copy of them".to_owned();
            Err(ImageError::BadSource { given: source.to_string(), why })
        }
        Source::Debootstrap(suite) => {
            debootstrap::make(suite, dest, want_arch, progress).map(told).map_err(|e| full(e, dest, None))
        }
    }
}

fn untar(
    name: &str,
    from: impl Read + 'static,
    total: Option<u64>,
    dest: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Counts, Vec<String>), ImageError> {
    let meter = Meter::begin(progress, "unpacking", total);
    let before = free(dest);
    let (counts, left_out, mut notes) = unpack::unpack(name, from, dest, false, &meter).map_err(|e| {
        // What went in for each byte read is the best guess at what the rest takes.
        let done = meter.done().max(1);
        let taken = before.saturating_sub(free(dest));
        let more = |total: u64| total.saturating_sub(done) as f64 * (taken as f64 / done as f64);
        full(e, dest, total.map(|total| more(total) as u64))
    })?;
    notes.extend(left_out.notes());
    Ok((counts, notes))
}

/// Puts the layer `from` over what lower ones left in `dest`.
pub(crate) fn copy_layer(from: &Path, dest: &Path) -> Result<(), ImageError> {
    let nobody = |_| ();
    let meter = Meter::begin(&nobody, "copying", None);
    copy::copy_over(from, dest, &meter).map(drop).map_err(|e| full(e, dest, None))
}

/// Fills `dest`, an empty folder, with what [`write_tree`] made of an overlay's upper folder ([`Form::Upper`]), and says what
/// was left out. `name` is the archive's, for errors.
///
/// # Errors
/// When the archive is not what it should be, or a file cannot be made; `dest` then holds whatever was made until then.
pub fn read_upper(
    name: &str,
    from: impl Read + 'static,
    dest: &Path,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<String>, ImageError> {
    let meter = Meter::begin(progress, "unpacking", None);
    let (_, left_out, mut notes) =
        unpack::unpack(name, from, dest, true, &meter).map_err(|e| full(e, dest, None))?;
    notes.extend(left_out.notes());
    Ok(notes)
}

/// Bytes that root may still write there.
fn free(dest: &Path) -> u64 {
    rustix::fs::statvfs(dest).map_or(0, |found| found.f_bfree * found.f_frsize)
}

/// Says that the disk is full where that is why.
fn full(error: ImageError, dest: &Path, more: Option<u64>) -> ImageError {
    const NOSPC: i32 = Errno::NOSPC.raw_os_error();
    const DQUOT: i32 = Errno::DQUOT.raw_os_error();
    match error.os_error() {
        Some(NOSPC | DQUOT) => {
            ImageError::NoSpace { dest: dest.to_owned(), more: more.map(|more| more.max(1 << 20)) }
        }
        _ => error,
    }
}
