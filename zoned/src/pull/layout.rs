//! The folder that is filled: an OCI image layout, and beside its blobs those that are not whole yet.
//!
//! ```text
//! oci-layout, index.json    written last
//! blobs/sha256/HEX          whole, with the digest that it is called by
//! partial/HEX               as much of it as came
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::fault::Fault;

/// The folder and those in it.
pub(super) struct Layout {
    root: OwnedFd,
    blobs: OwnedFd,
    partial: OwnedFd,
}

/// Digest as text.
pub(super) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn folder(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Fault> {
    match rustix::fs::mkdirat(dir, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(Fault::file(&format!("make {name}"), error)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|e| Fault::file(&format!("open {name}"), e))
}

fn open(dir: BorrowedFd<'_>, name: &str, flags: OFlags) -> Result<File, Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode)?.into())
}

impl Layout {
    pub(super) fn open(root: OwnedFd) -> Result<Self, Fault> {
        let blobs = folder(root.as_fd(), "blobs")?;
        let blobs = folder(blobs.as_fd(), "sha256")?;
        let partial = folder(root.as_fd(), "partial")?;
        Ok(Self { root, blobs, partial })
    }

    /// Bytes of a blob that is there as a whole.
    pub(super) fn len(&self, hex: &str) -> Option<u64> {
        rustix::fs::statat(&self.blobs, hex, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| stat.st_size as u64)
    }

    /// A small blob.
    pub(super) fn read(&self, hex: &str, most: u64) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        open(self.blobs.as_fd(), hex, OFlags::RDONLY)
            .map_err(std::io::Error::from)
            .and_then(|file| file.take(most).read_to_end(&mut bytes))
            .map_err(|e| Fault::file(&format!("read sha256:{hex}"), e))?;
        Ok(bytes)
    }

    /// A blob that is not whole, to go on with.
    pub(super) fn partial(&self, hex: &str) -> Result<Partial, Fault> {
        let failed = |e: std::io::Error| Fault::file(&format!("open a part of sha256:{hex}"), e);
        let flags = OFlags::RDWR | OFlags::CREATE;
        let mut file = open(self.partial.as_fd(), hex, flags).map_err(|e| failed(e.into()))?;
        let (mut hash, mut len, mut buf) = (Sha256::new(), 0, vec![0; 128 << 10]);
        loop {
            match file.read(&mut buf).map_err(failed)? {
                0 => return Ok(Partial { hex: hex.to_owned(), file, hash, len }),
                n => {
                    hash.update(&buf[..n]);
                    len += n as u64;
                }
            }
        }
    }

    /// Takes a blob in, where it is what it is called.
    pub(super) fn finish(&self, part: Partial) -> Result<bool, Fault> {
        let Partial { hex: want, file, hash, .. } = part;
        if hex(hash) != want {
            rustix::fs::unlinkat(&self.partial, &want, AtFlags::empty())
                .map_err(|e| Fault::file(&format!("remove sha256:{want}"), e))?;
            return Ok(false);
        }
        // Nothing of it is read again after a crash unless it is on disk by its name.
        file.sync_all()
            .and_then(|()| Ok(rustix::fs::renameat(&self.partial, &want, &self.blobs, &want)?))
            .map_err(|e| Fault::file(&format!("keep sha256:{want}"), e))?;
        Ok(true)
    }

    /// Writes a file as a whole: a document that came in one piece, or the layout's own.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let failed = |e: std::io::Error| Fault::file(&format!("write {name}"), e);
        let (dir, last) = match name.strip_prefix("blobs/sha256/") {
            Some(hex) => (&self.blobs, hex),
            None => (&self.root, name),
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let mut file = open(self.partial.as_fd(), "new", flags).map_err(|e| failed(e.into()))?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        rustix::fs::renameat(&self.partial, "new", dir, last).map_err(|e| failed(e.into()))
    }
}

/// The beginning of a blob.
pub(super) struct Partial {
    hex: String,
    file: File,
    hash: Sha256,
    /// Bytes of it.
    pub(super) len: u64,
}

impl Partial {
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.file.write_all(bytes).map_err(|e| Fault::file(&format!("write sha256:{}", self.hex), e))?;
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Begins again.
    pub(super) fn clear(&mut self) -> Result<(), Fault> {
        use std::io::Seek;
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(|e| Fault::file(&format!("write sha256:{}", self.hex), e))?;
        (self.hash, self.len) = (Sha256::new(), 0);
        Ok(())
    }
}
