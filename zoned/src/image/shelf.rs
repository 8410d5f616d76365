//! Where the blobs of an image lie: in a folder of the host, or in an archive that was looked through once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags};

use super::archive::{Archive, Bad, Kind};
use super::error::{ImageError, shown};
use super::packed::{Packing, unpacked};
use super::tree::{kind, open_in};

/// An image has some hundreds of files at most.
const MOST_ENTRIES: usize = 1 << 16;
/// Links of an archive that are followed, one after the other.
const MOST_LINKS: usize = 8;

pub(super) enum Place {
    /// In the archive: where, how long.
    Piece(u64, u64),
    /// Another name of it, from the top.
    Link(String),
}

/// Blobs by name.
pub(super) enum Shelf {
    /// A folder.
    Folder(File),
    /// An archive.
    Archive(Arc<File>, BTreeMap<String, Place>),
}

/// Part of a file, to be read without a seek.
pub(super) struct Piece {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Piece {
    pub(super) fn len(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for Piece {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min((self.end - self.at).try_into().unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buf[..want], self.at)?;
        if n == 0 && want > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
        }
        self.at += n as u64;
        Ok(n)
    }
}

/// A name from the top, without `.`; none where it leads outside.
fn plain(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

impl Shelf {
    /// The folder at `path`, or the archive there. A packed archive is unpacked into `room`, and so is `stream` in its place.
    pub(super) fn open(
        path: &Path,
        stream: Option<Box<dyn Read + Send>>,
        room: &Path,
        read: &dyn Fn(u64),
    ) -> Result<Self, ImageError> {
        let name = if stream.is_some() { "the archive".to_owned() } else { path.display().to_string() };
        let cannot = |source| ImageError::Open { path: path.to_owned(), source };
        if let Some(stream) = stream {
            return Self::look_through(&name, spool(&name, stream, room, read)?);
        }
        let file = File::open(path).map_err(cannot)?;
        let found = file.metadata().map_err(cannot)?;
        if found.is_dir() {
            return Ok(Self::Folder(file));
        }
        let mut magic = [0; 6];
        let is_plain = found.is_file() && {
            let have = file.read_at(&mut magic, 0).map_err(cannot)?;
            Packing::of(&magic[..have]) == Packing::Plain
        };
        let file = if is_plain { file } else { spool(&name, Box::new(file), room, read)? };
        Self::look_through(&name, file)
    }

    fn look_through(name: &str, file: File) -> Result<Self, ImageError> {
        let file = Arc::new(file);
        let mut found: BTreeMap<String, Place> = BTreeMap::new();
        let mut after = "at its beginning".to_owned();
        let mut archive = Archive::new(BufReader::new(&*file));
        let failed = |bad: Bad, after: &str| super::unpack::error(name, bad, after);
        loop {
            let entry = match archive.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(bad) => return Err(failed(bad, &after)),
            };
            after = format!("after {}", shown(&entry.name));
            if found.len() >= MOST_ENTRIES {
                return Err(ImageError::bad_image(name, "it has more than 65536 entries: it is no image"));
            }
            let own = String::from_utf8(entry.name).ok().and_then(|name| plain(&name));
            let link = || String::from_utf8(entry.link.clone()).ok();
            let place = match entry.kind {
                Kind::File if entry.segments.len() == 1 && entry.segments[0].len == entry.len => {
                    let at = archive.stream().stream_position();
                    Some(Place::Piece(at.map_err(|e| failed(Bad::Read(e), &after))?, entry.len))
                }
                Kind::HardLink => link().and_then(|link| plain(&link)).map(Place::Link),
                Kind::Symlink => link().and_then(|link| {
                    let folder = own.as_deref()?.rsplit_once('/').map_or("", |(folder, _)| folder);
                    plain(&if link.starts_with('/') { link } else { format!("{folder}/{link}") })
                        .map(Place::Link)
                }),
                _ => None,
            };
            if let (Some(own), Some(place)) = (own, place) {
                found.insert(own, place);
            }
            let skip = |from: &mut BufReader<&File>, len: u64| from.seek_relative(len as i64);
            archive.pass(skip).map_err(|bad| failed(bad, &after))?;
        }
        if !archive.ended {
            return Err(failed(Bad::CutOff, &after));
        }
        let len = file.metadata().map_or(u64::MAX, |found| found.len());
        // What was passed over may not be there.
        if found
            .values()
            .any(|place| matches!(place, Place::Piece(at, size) if at.saturating_add(*size) > len))
        {
            return Err(failed(Bad::CutOff, &after));
        }
        Ok(Self::Archive(file, found))
    }

    /// The file of that name; none where there is none. Links are followed, and lead nowhere outside.
    pub(super) fn find(&self, name: &str) -> Result<Option<Piece>, ImageError> {
        match self {
            Self::Folder(folder) => {
                let failed = |e: rustix::io::Errno| ImageError::file("open", name.as_bytes(), e);
                let found = match open_in(folder.as_fd(), name.as_bytes(), OFlags::PATH) {
                    Ok(found) => found,
                    Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
                    Err(error) => return Err(failed(error)),
                };
                let stat = rustix::fs::fstat(&found).map_err(failed)?;
                if kind(&stat) != FileType::RegularFile {
                    return Err(ImageError::bad_image(&shown(name.as_bytes()), "it is no file"));
                }
                let file = open_in(folder.as_fd(), name.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK)
                    .map_err(failed)?;
                let end = stat.st_size.try_into().unwrap_or(0);
                Ok(Some(Piece { file: Arc::new(file.into()), at: 0, end }))
            }
            Self::Archive(file, places) => {
                let mut name = plain(name);
                for _ in 0..MOST_LINKS {
                    match name.as_ref().and_then(|name| places.get(name)) {
                        None => return Ok(None),
                        Some(Place::Link(to)) => name = Some(to.clone()),
                        Some(Place::Piece(at, len)) => {
                            return Ok(Some(Piece { file: Arc::clone(file), at: *at, end: at + len }));
                        }
                    }
                }
                let shown = shown(name.unwrap_or_default().as_bytes());
                Err(ImageError::bad_image(&shown, "its links lead in a circle"))
            }
        }
    }

    /// A document, whole.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(mut piece) = self.find(name)? else { return Ok(None) };
        let shown = shown(name.as_bytes());
        if piece.len() > super::manifest::LARGEST {
            return Err(ImageError::bad_image(&shown, "it is larger than 4 MiB"));
        }
        let mut bytes = Vec::new();
        piece.read_to_end(&mut bytes).map_err(|e| ImageError::file("read", name.as_bytes(), e))?;
        Ok(Some(bytes))
    }
}

/// Brings a stream to the disk, unpacked: what an image's first document names may come first or last. The file has no
/// name, and goes with its descriptor.
fn spool(
    name: &str,
    from: Box<dyn Read + Send>,
    room: &Path,
    read: &dyn Fn(u64),
) -> Result<File, ImageError> {
    let failed =
        |source| ImageError::Read { archive: name.to_owned(), after: "on its way".to_owned(), source };
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let room_error = |e: rustix::io::Errno| ImageError::Open { path: room.to_owned(), source: e.into() };
    let mut file: File = rustix::fs::open(room, flags, Mode::RUSR | Mode::WUSR).map_err(room_error)?.into();
    let (packing, mut stream) = unpacked(from).map_err(failed)?;
    if let Packing::Other(why) = packing {
        return Err(ImageError::NotTar { archive: name.to_owned(), why: why.to_owned() });
    }
    let mut piece = vec![0; 256 << 10];
    loop {
        match stream.read(&mut piece).map_err(failed)? {
            0 => break,
            n => {
                io::Write::write_all(&mut file, &piece[..n])
                    .map_err(|e| super::full(ImageError::file("write", b"the archive", e), room, None))?;
                read(n as u64);
            }
        }
    }
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(file)
}
