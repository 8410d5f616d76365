//! What can go wrong while a root is filled, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use zone_api::ErrorKind;

/// Why a root could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The source is spelt wrongly.
    #[error("source {given:?}: {why}")]
    BadSource {
        /// As it was given.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file or folder of the host could not be opened.
    #[error("open {}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// There is something in the root already.
    #[error("{} is not empty", dest.display())]
    NotEmpty {
        /// The root.
        dest: PathBuf,
    },
    /// One of source and root contains the other.
    #[error("{} and {} contain one another", from.display(), dest.display())]
    Overlap {
        /// The source.
        from: PathBuf,
        /// The root.
        dest: PathBuf,
    },
    /// Not a tar archive in a packing that is known.
    #[error("{archive} is not a tar archive: {why}")]
    NotTar {
        /// Its path.
        archive: String,
        /// What it is instead.
        why: String,
    },
    /// The archive ends before its end.
    #[error("{archive} is cut off {after}")]
    CutOff {
        /// Its path.
        archive: String,
        /// "at its beginning" or "after ENTRY".
        after: String,
    },
    /// The archive contradicts itself.
    #[error("{archive} is damaged {after}: {why}")]
    Damaged {
        /// Its path.
        archive: String,
        /// "at its beginning" or "after ENTRY".
        after: String,
        /// In what way.
        why: String,
    },
    /// Reading failed, or unpacking the stream.
    #[error("read {archive} {after}")]
    Read {
        /// Its path.
        archive: String,
        /// "at its beginning" or "after ENTRY".
        after: String,
        /// What the decoder or the kernel said.
        #[source]
        source: io::Error,
    },
    /// An entry that no root may have.
    #[error("entry {entry}: {why}")]
    Entry {
        /// Its name.
        entry: String,
        /// What is wrong with it.
        why: String,
    },
    /// An owner that no zone has.
    #[error("entry {entry}: its owner {id} is outside 0 to 65535, the ids of a zone")]
    IdOutside {
        /// Its name.
        entry: String,
        /// The id.
        id: u64,
    },
    /// A document of an image, or an image as a whole.
    #[error("{what}: {why}")]
    BadImage {
        /// Which.
        what: String,
        /// What is wrong with it.
        why: String,
        /// Whether the request or the image is to blame.
        kind: ErrorKind,
    },
    /// A blob or layer is not what its digest says.
    #[error("{what} is damaged: its digest is {found}, and it was to be {want}")]
    WrongDigest {
        /// Which.
        what: String,
        /// Of what came.
        found: String,
        /// As it was told.
        want: String,
    },
    /// A file of the root could not be made, or one of the source not read.
    #[error("{verb} {entry}")]
    File {
        /// "write", "make", "link", "copy"…
        verb: &'static str,
        /// Its name.
        entry: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The disk is full.
    #[error("{}{}", no_room(dest), needs(*more))]
    NoSpace {
        /// The root.
        dest: PathBuf,
        /// Bytes that are still to be written, as far as known.
        more: Option<u64>,
    },
    /// Neither mmdebstrap nor debootstrap is there.
    #[error("no mmdebstrap and no debootstrap on this host")]
    NoBootstrap,
    /// It was there and failed.
    #[error("{program} of {suite} failed: {said}")]
    Bootstrap {
        /// mmdebstrap or debootstrap.
        program: &'static str,
        /// What was to be made.
        suite: String,
        /// What it said last.
        said: String,
    },
    /// Nothing in the root can run.
    #[error("no program found in it: is this a root file system?")]
    NoProgram,
    /// All its programs are for another kind of machine.
    #[error("its programs are for {found}, and this host runs i686 and x86_64")]
    WrongMachine {
        /// Which.
        found: String,
    },
    /// It has no program of the ABI that the zone is to have.
    #[error("its programs are for {found}, and the zone's arch is {want}")]
    WrongAbi {
        /// What the programs are for.
        found: &'static str,
        /// What the configuration says.
        want: String,
    },
}

impl ImageError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::BadSource { .. } => Some(
                "sources are image:NAME, oci:PATH[:TAG], docker-archive:PATH[:REF], docker://[HOST/]NAME[:TAG], dir:PATH, tar:PATH, tar:- and debootstrap:SUITE[,arch=i386][,variant=minbase][,include=P+P][,mirror=URL]",
            ),
            Self::NotEmpty { .. } => Some("uninstall the zone first"),
            Self::NoSpace { .. } => Some("free some space there, or give zoned another --root"),
            Self::NoBootstrap => Some("apt-get install mmdebstrap"),
            Self::CutOff { .. } => Some("fetch or make the archive again"),
            Self::WrongDigest { .. } => Some("fetch or make the image again"),
            Self::WrongAbi { .. } => Some("unset arch, or set it to what the root has"),
            _ => None,
        }
    }

    /// Its kind, from which exit code and HTTP status follow.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadSource { .. } | Self::Overlap { .. } => ErrorKind::Invalid,
            Self::BadImage { kind, .. } => *kind,
            _ => ErrorKind::Failed,
        }
    }

    /// The error number at the bottom of it.
    pub(crate) fn os_error(&self) -> Option<i32> {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } | Self::File { source, .. } => {
                source.raw_os_error()
            }
            _ => None,
        }
    }

    pub(super) fn file(verb: &'static str, entry: &[u8], source: impl Into<io::Error>) -> Self {
        Self::File { verb, entry: shown(entry), source: source.into() }
    }

    pub(super) fn entry(entry: &[u8], why: impl Into<String>) -> Self {
        Self::Entry { entry: shown(entry), why: why.into() }
    }
}

/// A name out of an archive, fit for a terminal: control characters escaped, and not too long.
pub(super) fn shown(name: &[u8]) -> String {
    shown_up_to(&String::from_utf8_lossy(name), 160)
}

/// The same of a sentence.
pub(crate) fn shown_long(text: &str) -> String {
    shown_up_to(text, 1000)
}

fn shown_up_to(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.chars().take(most) {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// That there is no room on the file system of `folder`, and, as far as that can be told afterwards, of what.
pub(crate) fn no_room(folder: &Path) -> String {
    let found = nix::sys::statvfs::statvfs(folder).ok();
    // Whatever was written is gone again by now, so neither is at its end; some file systems have no number of inodes.
    let of_inodes = found.is_some_and(|found| {
        let (files, blocks) = (found.files().max(1) as f64, found.blocks().max(1) as f64);
        found.files() > 0 && found.files_free() as f64 / files < found.blocks_free() as f64 / blocks
    });
    let inodes = if of_inodes { ": it has no inodes for more files" } else { "" };
    format!("no space left on the file system of {}{inodes}", folder.display())
}

fn needs(more: Option<u64>) -> String {
    more.map(|more| format!(": needs about {} more", size(more))).unwrap_or_default()
}

/// Bytes in the unit that suits them.
fn size(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{}.{} GiB", bytes >> 30, (bytes >> 20) % 1024 * 10 / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_speak_to_the_terminal() {
        assert_eq!(shown(b"a\x1b[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(shown(&[b'x'; 500]).chars().count(), 161);
        assert_eq!(shown(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size(512), "512 bytes");
        assert_eq!(size(3 << 20), "3 MiB");
        assert_eq!(size(3 << 29), "1.5 GiB");
    }
}
