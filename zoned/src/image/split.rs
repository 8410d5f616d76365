//! An archive taken apart so that it can be given back byte for byte: what is data of files is in the files, all else
//! is kept here.
//!
//! `split.zst` is one zstd stream: [`MAGIC`], then records, numbers in little endian:
//!
//! ```text
//! b LEN:u32 BYTES                          bytes of the archive
//! f LEN:u16 NAME COUNT:u32 (AT:u64 LEN:u64)…   pieces of the file of that name
//! e                                        the end
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags};

use super::archive::LONGEST_NAME;
use super::sparse::Segment;
use super::tree::{Id, id, kind, names, open_folder, open_in};

const MAGIC: &[u8; 8] = b"zsplit1\n";
/// Name of the file in a layer's folder.
pub(super) const FILE: &str = "split.zst";
/// No record of bytes is longer.
const LONGEST: usize = 1 << 20;
const MOST_SEGMENTS: usize = 1 << 17;

/// What is written while an archive is read.
pub(super) struct Recorder {
    out: zstd::stream::write::Encoder<'static, BufWriter<File>>,
    pending: Vec<u8>,
    /// The files that were named, in their order.
    ids: Vec<Id>,
    /// What is read now goes to a file.
    pub(super) is_data: bool,
}

impl Recorder {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut out = zstd::stream::write::Encoder::new(BufWriter::with_capacity(128 << 10, file), 3)?;
        out.write_all(MAGIC)?;
        Ok(Self { out, pending: Vec::new(), ids: Vec::new(), is_data: false })
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(LONGEST) {
            if self.pending.len() + piece.len() > LONGEST {
                self.flush()?;
            }
            self.pending.extend_from_slice(piece);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.out.write_all(b"b")?;
            self.out.write_all(&(self.pending.len() as u32).to_le_bytes())?;
            self.out.write_all(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// The pieces of a file, which came where the archive is now.
    pub(super) fn file(&mut self, name: &[u8], segments: &[Segment], id: Id) -> io::Result<()> {
        let segments: Vec<&Segment> = segments.iter().filter(|segment| segment.len > 0).collect();
        if segments.is_empty() {
            return Ok(());
        }
        self.flush()?;
        self.out.write_all(b"f")?;
        self.out.write_all(&(name.len() as u16).to_le_bytes())?;
        self.out.write_all(name)?;
        self.out.write_all(&(segments.len() as u32).to_le_bytes())?;
        for segment in segments {
            self.out.write_all(&segment.at.to_le_bytes())?;
            self.out.write_all(&segment.len.to_le_bytes())?;
        }
        self.ids.push(id);
        Ok(())
    }

    /// Ends the file; which files it names, in their order.
    pub(super) fn finish(mut self) -> io::Result<Vec<Id>> {
        self.flush()?;
        self.out.write_all(b"e")?;
        self.out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(self.ids)
    }
}

/// Records what is read through it.
pub(super) struct Tee<R> {
    pub(super) from: R,
    pub(super) to: Option<Rc<RefCell<Recorder>>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        if let Some(to) = &self.to {
            let mut to = to.borrow_mut();
            if !to.is_data {
                to.bytes(&buf[..n])?;
            }
        }
        Ok(n)
    }
}

enum Record {
    Bytes(Vec<u8>),
    File(Vec<u8>, Vec<Segment>),
}

struct Records {
    from: BufReader<zstd::stream::read::Decoder<'static, BufReader<File>>>,
    ended: bool,
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "split.zst is damaged")
}

impl Records {
    fn open(path: &Path) -> io::Result<Self> {
        let file = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        let mut from = BufReader::new(zstd::stream::read::Decoder::new(file)?);
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic)?;
        if magic == *MAGIC { Ok(Self { from, ended: false }) } else { Err(damaged()) }
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn vec(&mut self, len: usize, most: usize) -> io::Result<Vec<u8>> {
        if len > most {
            return Err(damaged());
        }
        let mut bytes = vec![0; len];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn next(&mut self) -> io::Result<Option<Record>> {
        if self.ended {
            return Ok(None);
        }
        match self.array::<1>()? {
            [b'b'] => {
                let len = u32::from_le_bytes(self.array()?) as usize;
                self.vec(len, LONGEST).map(Record::Bytes).map(Some)
            }
            [b'f'] => {
                let len = u16::from_le_bytes(self.array()?).into();
                let name = self.vec(len, LONGEST_NAME)?;
                let count = u32::from_le_bytes(self.array()?) as usize;
                if count > MOST_SEGMENTS {
                    return Err(damaged());
                }
                let mut segments = Vec::with_capacity(count);
                for _ in 0..count {
                    let (at, len) = (u64::from_le_bytes(self.array()?), u64::from_le_bytes(self.array()?));
                    if at >> 60 != 0 || len >> 60 != 0 {
                        return Err(damaged());
                    }
                    segments.push(Segment { at, len });
                }
                Ok(Some(Record::File(name, segments)))
            }
            [b'e'] if self.from.read(&mut [0])? == 0 => {
                self.ended = true;
                Ok(None)
            }
            _ => Err(damaged()),
        }
    }
}

fn open_file(root: &OwnedFd, name: &[u8]) -> io::Result<File> {
    // To open a fifo would wait, and a device could do anything: it is looked at first.
    let found = open_in(root.as_fd(), name, OFlags::PATH | OFlags::NOFOLLOW)?;
    if kind(&rustix::fs::fstat(&found)?) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file any more"));
    }
    Ok(open_in(root.as_fd(), name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?.into())
}

fn open_root(tree: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(tree, flags, Mode::empty())?)
}

/// Puts the data of files that later entries of the same archive took the place of into the split itself. They were
/// moved to `lost`.
pub(super) fn keep_lost(folder: &Path, tree: &Path, lost: &Path, ids: &[Id]) -> io::Result<()> {
    let root = open_root(tree)?;
    let mut gone = HashMap::new();
    collect(open_root(lost)?, &mut gone)?;
    let (old, new) = (folder.join(FILE), folder.join("split.new"));
    let mut records = Records::open(&old)?;
    let mut out = Recorder::create(&new)?;
    let mut ids = ids.iter();
    while let Some(record) = records.next()? {
        match record {
            Record::Bytes(bytes) => out.bytes(&bytes)?,
            Record::File(name, segments) => {
                let wanted = *ids.next().ok_or_else(damaged)?;
                let found = open_in(root.as_fd(), &name, OFlags::PATH | OFlags::NOFOLLOW);
                if found.and_then(|found| rustix::fs::fstat(&found)).is_ok_and(|found| id(&found) == wanted) {
                    out.file(&name, &segments, wanted)?;
                    continue;
                }
                if !gone.contains_key(&wanted) {
                    // It is where it was, and a link that led there is not.
                    collect(open_root(tree)?, &mut gone)?;
                }
                let (dir, name) = gone.get(&wanted).ok_or_else(damaged)?;
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = File::from(rustix::fs::openat(&**dir, name.as_c_str(), flags, Mode::empty())?);
                let mut buf = vec![0; 64 << 10];
                for Segment { at, len } in segments {
                    let end = at + len;
                    let mut at = at;
                    while at < end {
                        let want = buf.len().min((end - at).try_into().unwrap_or(usize::MAX));
                        file.read_exact_at(&mut buf[..want], at)?;
                        out.bytes(&buf[..want])?;
                        at += want as u64;
                    }
                }
            }
        }
    }
    out.finish()?;
    fs::rename(new, old)
}

/// Where each file of a tree is.
fn collect(root: OwnedFd, found: &mut HashMap<Id, (Rc<OwnedFd>, std::ffi::CString)>) -> io::Result<()> {
    let mut folders = vec![Rc::new(root)];
    while let Some(folder) = folders.pop() {
        for name in names(folder.as_fd())? {
            let stat = rustix::fs::statat(&*folder, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
            match kind(&stat) {
                FileType::Directory => folders.push(Rc::new(open_folder(folder.as_fd(), &name, true)?)),
                FileType::RegularFile => drop(found.insert(id(&stat), (Rc::clone(&folder), name))),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The archive that a layer was unpacked from, to the byte: its sha256 is the layer's DiffID.
pub struct LayerTar {
    records: Records,
    root: OwnedFd,
    bytes: io::Cursor<Vec<u8>>,
    file: Option<(File, Vec<Segment>)>,
}

impl LayerTar {
    /// That of the layer in `folder`.
    ///
    /// # Errors
    /// When the layer's files or its split cannot be read. Reading fails where a file of it is not as it was.
    pub fn read(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            records: Records::open(&folder.join(FILE))?,
            root: open_root(&folder.join("fs"))?,
            bytes: io::Cursor::default(),
            file: None,
        })
    }

    /// How long the archive is; no file of the layer is read.
    ///
    /// # Errors
    /// When the split cannot be read.
    pub fn length(folder: &Path) -> io::Result<u64> {
        let mut records = Records::open(&folder.join(FILE))?;
        let mut length = 0u64;
        while let Some(record) = records.next()? {
            length = length.saturating_add(match record {
                Record::Bytes(bytes) => bytes.len() as u64,
                Record::File(_, segments) => segments.iter().fold(0, |sum, s| sum.saturating_add(s.len)),
            });
        }
        Ok(length)
    }
}

impl Read for LayerTar {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some((file, segments)) = &mut self.file {
                while let Some(segment) = segments.last_mut() {
                    if segment.len == 0 {
                        segments.pop();
                        continue;
                    }
                    let want = buf.len().min(segment.len.try_into().unwrap_or(usize::MAX));
                    let n = file.read_at(&mut buf[..want], segment.at)?;
                    if n == 0 {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            "a file of the layer is shorter",
                        ));
                    }
                    segment.at += n as u64;
                    segment.len -= n as u64;
                    return Ok(n);
                }
                self.file = None;
            }
            match self.bytes.read(buf)? {
                0 => {}
                n => return Ok(n),
            }
            match self.records.next()? {
                None => return Ok(0),
                Some(Record::Bytes(bytes)) => self.bytes = io::Cursor::new(bytes),
                Some(Record::File(name, mut segments)) => {
                    let file = open_file(&self.root, &name).map_err(|error| {
                        io::Error::new(error.kind(), format!("{}: {error}", super::error::shown(&name)))
                    })?;
                    segments.reverse();
                    self.file = Some((file, segments));
                }
            }
        }
    }
}

impl std::fmt::Debug for LayerTar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerTar").finish_non_exhaustive()
    }
}
