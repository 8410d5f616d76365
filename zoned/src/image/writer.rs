//! Writes a tree as a tar archive, the same bytes for the same tree: in the order of names, and with nothing that
//! only this host knows.
//!
//! As [`super::empty`] it holds one descriptor however deep the tree is, and follows no links. Whoever wrote the tree may be
//! hostile, and may even be at it still.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::archive::{BLOCK, LONGEST_NAME};
use super::copy::is_kernel_made;
use super::error::{ImageError, shown};
use super::header::{Head, Records, blocks};
use super::sparse::{MOST, Segment};
use super::tree::{Id, LeftOut, id, is_kept_mark, kind, may_keep, names, open_folder};

/// What overlayfs keeps for itself in a tree that is mounted with `userxattr`.
const MARKS: &[u8] = b"user.overlay.";
/// The most that the kernel lists, and the most that a value has (xattr(7)).
const LONGEST_XATTRS: usize = 64 << 10;
/// Pax headers longer than this are refused by most readers, and by ours.
const LONGEST_RECORDS: usize = 1 << 20;
/// With what a mark adds to it the name is no longer than readers take.
const LONGEST_PATH: usize = LONGEST_NAME - 1 - OPAQUE.len();
/// Beyond this no reader takes a file.
const LARGEST: u64 = 1 << 60;
/// Holes that a layer writes out as zeros; more is no accident.
const MOST_ZEROS: u64 = 64 << 30;
/// Folders of the kind that layers are have these in place of what is not there any more (OCI image specification).
const GONE: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What to make of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The tree as it is.
    Plain,
    /// A layer of an image: what an overlay's upper folder marks is said as the OCI image specification wants it.
    Layer,
    /// The upper folder itself, with the marks: for another zoned.
    Upper,
}

/// What became of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Entries of the archive.
    pub entries: u64,
    /// Its length.
    pub bytes: u64,
    /// Files that were written to meanwhile: what the archive has of them is no state that they were ever in.
    pub changed: u64,
    /// What the operator should know: what was left out.
    pub notes: Vec<String>,
}

/// Writes what is in `tree`. `ids_from` is the id on disk of what is to be 0. `tick` hears how many bytes more were written.
///
/// # Errors
/// When something cannot be read, has no place in such an archive, or `to` does not take it.
pub fn write_tree(
    tree: BorrowedFd<'_>,
    form: Form,
    ids_from: u32,
    to: &mut dyn Write,
    tick: &dyn Fn(u64),
) -> Result<Written, ImageError> {
    let root = open_folder(tree, c".", true).map_err(|e| ImageError::file("read", b"/", e))?;
    let mut writer = Writer {
        form,
        ids_from,
        to,
        tick,
        written: Written::default(),
        left_out: LeftOut::default(),
        linked: HashMap::new(),
        path: Vec::new(),
        zeros: 0,
        buf: vec![0; 128 << 10],
        list: vec![0; LONGEST_XATTRS],
    };
    writer.tree(root)?;
    writer.put(&[0; 2 * BLOCK as usize])?;
    writer.to.flush().map_err(|e| ImageError::file("write", b"the archive", e))?;
    let Writer { mut written, left_out, .. } = writer;
    written.notes = left_out.notes();
    match written.changed {
        0 => {}
        1 => written.notes.push("1 file was written to while it was read".to_owned()),
        n => written.notes.push(format!("{n} files were written to while they were read")),
    }
    Ok(written)
}

/// A folder that files with more names than one were found in.
struct Way {
    up: Option<Rc<Way>>,
    name: Vec<u8>,
}

/// The first name of a file that has others.
struct First {
    folder: Rc<Way>,
    name: CString,
    /// Names not yet seen.
    left: u64,
}

struct Level {
    id: Id,
    /// In reverse order.
    left: Vec<CString>,
    /// Length of the path before this folder's name.
    path: usize,
    way: Rc<Way>,
}

struct Writer<'a> {
    form: Form,
    ids_from: u32,
    to: &'a mut dyn Write,
    tick: &'a dyn Fn(u64),
    written: Written,
    left_out: LeftOut,
    linked: HashMap<Id, First>,
    /// Path of what is being written, below the root.
    path: Vec<u8>,
    /// Zeros written for holes.
    zeros: u64,
    buf: Vec<u8>,
    /// Names of a file's extended attributes.
    list: Vec<u8>,
}

/// What all kinds of entries have.
struct About {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
}

impl Writer<'_> {
    fn failed(&self, error: impl Into<io::Error>) -> ImageError {
        ImageError::file("read", &self.path, error)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.to.write_all(bytes).map_err(|e| ImageError::file("write", b"the archive", e))?;
        self.written.bytes += bytes.len() as u64;
        (self.tick)(bytes.len() as u64);
        Ok(())
    }

    fn pad(&mut self) -> Result<(), ImageError> {
        let missing = self.written.bytes.next_multiple_of(BLOCK) - self.written.bytes;
        self.put(&[0; BLOCK as usize][..missing as usize])
    }

    fn tree(&mut self, root: OwnedFd) -> Result<(), ImageError> {
        let mut here = root;
        let mut above: Vec<Level> = Vec::new();
        let mut level = self.level(here.as_fd(), 0, Way { up: None, name: Vec::new() })?;
        loop {
            let Some(name) = level.left.pop() else {
                let Some(up) = above.pop() else { return Ok(()) };
                here = open_folder(here.as_fd(), c"..", false).map_err(|e| self.failed(e))?;
                if rustix::fs::fstat(&here).map_err(|e| self.failed(e)).map(|now| id(&now))? != up.id {
                    return Err(ImageError::entry(&self.path, "it was moved while it was read"));
                }
                self.path.truncate(level.path);
                level = up;
                continue;
            };
            let before = self.path.len();
            if before > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            match self.one(here.as_fd(), &name, &level)? {
                Some(child) => {
                    let way = Way { up: Some(Rc::clone(&level.way)), name: name.into_bytes() };
                    let below = self.level(child.as_fd(), before, way)?;
                    above.push(std::mem::replace(&mut level, below));
                    here = child;
                }
                None => self.path.truncate(before),
            }
        }
    }

    /// Begins a folder: its own entry, and the names in it.
    fn level(&mut self, dir: BorrowedFd<'_>, path: usize, way: Way) -> Result<Level, ImageError> {
        let stat = rustix::fs::fstat(dir).map_err(|e| self.failed(e))?;
        let about = self.about(&stat)?;
        let (records, is_opaque) = self.xattrs(dir)?;
        let mut name = if self.path.is_empty() { b".".to_vec() } else { self.path.clone() };
        name.push(b'/');
        self.entry(b'5', &name, b"", &about, (0, 0), 0, records)?;
        if is_opaque && self.form == Form::Layer {
            if self.path.is_empty() {
                name.clear();
            }
            name.extend_from_slice(OPAQUE);
            self.mark(b'0', &name)?;
        }
        let mut left = names(dir).map_err(|e| self.failed(e))?;
        left.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Level { id: id(&stat), left, path, way: Rc::new(way) })
    }

    fn about(&self, stat: &Stat) -> Result<About, ImageError> {
        let own = |id: u32| match id.checked_sub(self.ids_from) {
            Some(own) if own <= 65535 => Ok(own),
            _ => Err(ImageError::IdOutside { entry: shown(&self.path), id: id.into() }),
        };
        Ok(About {
            mode: stat.st_mode & 0o7777,
            uid: own(stat.st_uid)?,
            gid: own(stat.st_gid)?,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
        })
    }

    #[expect(clippy::too_many_arguments)]
    fn entry(
        &mut self,
        kind: u8,
        name: &[u8],
        link: &[u8],
        about: &About,
        device: (u32, u32),
        size: u64,
        records: Records,
    ) -> Result<(), ImageError> {
        let &About { mode, uid, gid, mtime } = about;
        let head = Head { kind, name, link, mode, uid, gid, mtime, size, device };
        self.put(&blocks(&head, records))?;
        self.written.entries += 1;
        Ok(())
    }

    /// An entry that only says that something is not there.
    fn mark(&mut self, kind: u8, name: &[u8]) -> Result<(), ImageError> {
        // Overlayfs gives all its whiteouts one inode, so that what it has of times and owners says nothing.
        let about = About { mode: 0, uid: 0, gid: 0, mtime: (0, 0) };
        self.entry(kind, name, b"", &about, (0, 0), 0, Records::default())
    }

    /// Writes `name`; of a folder the descriptor to go on with.
    fn one(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        level: &Level,
    ) -> Result<Option<OwnedFd>, ImageError> {
        if self.path.len() > LONGEST_PATH {
            self.left_out.deep += 1;
            return Ok(None);
        }
        if self.form == Form::Layer && name.to_bytes().starts_with(GONE) {
            self.left_out.marks += 1;
            return Ok(None);
        }
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed since the folder was read.
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        if self.form != Form::Plain && kind(&stat) == FileType::CharacterDevice && stat.st_rdev == 0 {
            self.whiteout(name)?;
            return Ok(None);
        }
        if kind(&stat) == FileType::Socket {
            self.left_out.sockets += 1;
            return Ok(None);
        }
        if kind(&stat) == FileType::Directory {
            return self.folder(dir, name, level);
        }
        let about = self.about(&stat)?;
        if stat.st_nlink > 1 && self.link(name, &stat, &about, level)? {
            return Ok(None);
        }
        let path = self.path.clone();
        let device = || (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let none = Records::default();
        match kind(&stat) {
            FileType::RegularFile => self.file(dir, name)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(|e| self.failed(e))?;
                // Links have no mode, and what lstat(2) says is 0777 everywhere.
                self.entry(b'2', &path, target.to_bytes(), &about, (0, 0), 0, none)?;
            }
            FileType::CharacterDevice => self.entry(b'3', &path, b"", &about, device(), 0, none)?,
            FileType::BlockDevice => self.entry(b'4', &path, b"", &about, device(), 0, none)?,
            FileType::Fifo => self.entry(b'6', &path, b"", &about, (0, 0), 0, none)?,
            _ => self.left_out.unknown += 1,
        }
        Ok(None)
    }

    fn whiteout(&mut self, name: &CStr) -> Result<(), ImageError> {
        if self.form == Form::Upper {
            let path = self.path.clone();
            return self.mark(b'3', &path);
        }
        let folder = &self.path[..self.path.len() - name.to_bytes().len()];
        let path = [folder, GONE, name.to_bytes()].concat();
        self.mark(b'0', &path)
    }

    fn folder(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        level: &Level,
    ) -> Result<Option<OwnedFd>, ImageError> {
        // What a zone wrote has no mounts in it: whoever mounted there is not the zone.
        let may_cross = self.form != Form::Upper;
        let child = match open_folder(dir, name, !may_cross) {
            Ok(child) => child,
            // Removed or replaced since it was looked at.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                self.written.changed += 1;
                return Ok(None);
            }
            Err(Errno::XDEV) => return self.mount(None),
            Err(error) => return Err(self.failed(error)),
        };
        let stat = rustix::fs::fstat(&child).map_err(|e| self.failed(e))?;
        if may_cross && stat.st_dev != level.id.0 && is_kernel_made(&child).map_err(|e| self.failed(e))? {
            return self.mount(Some(&stat));
        }
        Ok(Some(child))
    }

    /// What is mounted there is not the tree's: an empty folder stands for it.
    fn mount(&mut self, stat: Option<&Stat>) -> Result<Option<OwnedFd>, ImageError> {
        self.left_out.mounts.push(shown(&self.path));
        let mtime = stat.map_or((0, 0), |stat| (stat.st_mtime, stat.st_mtime_nsec as u32));
        let name = [&self.path, &b"/"[..]].concat();
        let about = About { mode: 0o755, uid: 0, gid: 0, mtime };
        self.entry(b'5', &name, b"", &about, (0, 0), 0, Records::default())?;
        Ok(None)
    }

    /// Whether `name` was written as another name of a file before it.
    fn link(&mut self, name: &CStr, stat: &Stat, about: &About, level: &Level) -> Result<bool, ImageError> {
        let Some(first) = self.linked.get_mut(&id(stat)) else {
            let first = First {
                folder: Rc::clone(&level.way),
                name: name.to_owned(),
                left: stat.st_nlink.saturating_sub(1),
            };
            self.linked.insert(id(stat), first);
            return Ok(false);
        };
        let mut parts = vec![first.name.as_bytes()];
        let mut at = &first.folder;
        while let Some(up) = &at.up {
            parts.push(&at.name);
            at = up;
        }
        parts.reverse();
        let target = parts.join(&b'/');
        first.left = first.left.saturating_sub(1);
        if first.left == 0 {
            self.linked.remove(&id(stat));
        }
        let path = self.path.clone();
        self.entry(b'1', &path, &target, about, (0, 0), 0, Records::default())?;
        Ok(true)
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), ImageError> {
        // A fifo or device may have taken its place: NONBLOCK, and another look.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file: File = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => {
                self.written.changed += 1;
                return Ok(());
            }
            Err(error) => return Err(self.failed(error)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| self.failed(e))?;
        if kind(&stat) != FileType::RegularFile {
            self.written.changed += 1;
            return Ok(());
        }
        let size = stat.st_size as u64;
        if size >= LARGEST {
            self.left_out.large += 1;
            return Ok(());
        }
        let about = self.about(&stat)?;
        let (records, _) = self.xattrs(file.as_fd())?;
        let pieces = pieces(&file, size).map_err(|e| self.failed(e))?;
        let is_whole = if self.form == Form::Layer {
            self.whole(&file, size, &pieces, &about, records)?
        } else {
            self.sparse(&file, name, size, pieces, &about, records)?
        };
        let now = rustix::fs::fstat(&file).map_err(|e| self.failed(e))?;
        let state = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        self.written.changed += u64::from(!is_whole || state(&stat) != state(&now));
        self.pad()
    }

    /// Holes as zeros: layers with maps of holes are not put together again as they were by other programs, and the OCI image
    /// specification advises against them.
    fn whole(
        &mut self,
        file: &File,
        size: u64,
        pieces: &[Segment],
        about: &About,
        records: Records,
    ) -> Result<bool, ImageError> {
        self.zeros += size - pieces.iter().map(|piece| piece.len).sum::<u64>();
        if self.zeros > MOST_ZEROS {
            let why = "with it the holes in files come to more than 64 GiB, and a layer of an image has them as zeros";
            return Err(ImageError::entry(&self.path, why));
        }
        let path = self.path.clone();
        self.entry(b'0', &path, b"", about, (0, 0), size, records)?;
        let (mut at, mut is_whole) = (0, true);
        for piece in pieces {
            self.zeros(piece.at - at)?;
            is_whole &= self.data(file, *piece)?;
            at = piece.at + piece.len;
        }
        self.zeros(size - at)?;
        Ok(is_whole)
    }

    /// With a map of its pieces before them, where that makes it shorter: version 1.0 of GNU's format.
    fn sparse(
        &mut self,
        file: &File,
        name: &CStr,
        size: u64,
        mut pieces: Vec<Segment>,
        about: &About,
        mut records: Records,
    ) -> Result<bool, ImageError> {
        let path = self.path.clone();
        let held: u64 = pieces.iter().map(|piece| piece.len).sum();
        if pieces.last().is_none_or(|last| last.at + last.len < size) {
            // Says to readers where the file ends.
            pieces.push(Segment { at: size, len: 0 });
        }
        let mut map = format!("{}\n", pieces.len());
        for piece in &pieces {
            map.push_str(&format!("{}\n{}\n", piece.at, piece.len));
        }
        let map_len = (map.len() as u64).next_multiple_of(BLOCK);
        if held + map_len + BLOCK >= size {
            self.entry(b'0', &path, b"", about, (0, 0), size, records)?;
            return self.data(file, Segment { at: 0, len: size });
        }
        if std::str::from_utf8(&path).is_err() {
            records.push(b"hdrcharset", b"BINARY");
        }
        records.push(b"GNU.sparse.major", b"1");
        records.push(b"GNU.sparse.minor", b"0");
        records.push(b"GNU.sparse.name", &path);
        records.push(b"GNU.sparse.realsize", size.to_string().as_bytes());
        // The name for who does not know the format.
        let other = [b"GNUSparseFile.0/", name.to_bytes()].concat();
        let other: Vec<u8> = other.into_iter().filter(u8::is_ascii).take(100).collect();
        self.entry(b'0', &other, b"", about, (0, 0), map_len + held, records)?;
        self.put(map.as_bytes())?;
        self.pad()?;
        let mut is_whole = true;
        for piece in pieces {
            is_whole &= self.data(file, piece)?;
        }
        Ok(is_whole)
    }

    fn zeros(&mut self, len: u64) -> Result<(), ImageError> {
        const ZEROS: &[u8] = &[0; 64 << 10];
        let mut left = len;
        while left > 0 {
            let n = left.min(ZEROS.len() as u64);
            self.put(&ZEROS[..n as usize])?;
            left -= n;
        }
        Ok(())
    }

    /// Exactly this much of the file, with zeros where it has become shorter; whether it has not.
    fn data(&mut self, file: &File, piece: Segment) -> Result<bool, ImageError> {
        let mut buf = std::mem::take(&mut self.buf);
        let (mut at, end) = (piece.at, piece.at + piece.len);
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buf.len());
            let n = match file.read_at(&mut buf[..want], at) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failed(error)),
            };
            if n == 0 {
                break;
            }
            self.put(&buf[..n])?;
            at += n as u64;
        }
        self.buf = buf;
        self.zeros(end - at)?;
        Ok(at == end)
    }

    /// The records of its extended attributes, and whether overlayfs hides with it what lies below.
    fn xattrs(&mut self, fd: BorrowedFd<'_>) -> Result<(Records, bool), ImageError> {
        let (mut records, mut is_opaque) = (Records::default(), false);
        let mut list = std::mem::take(&mut self.list);
        let len = match rustix::fs::flistxattr(fd, &mut list) {
            Ok(len) => len,
            Err(Errno::OPNOTSUPP) => 0,
            Err(error) => return Err(self.failed(error)),
        };
        let mut names: Vec<&[u8]> = list[..len].split(|b| *b == 0).filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        let mut value = Vec::new();
        for name in names {
            value.resize(LONGEST_XATTRS, 0);
            match rustix::fs::fgetxattr(fd, name, &mut value) {
                Ok(len) => value.truncate(len),
                Err(Errno::NODATA) => continue,
                Err(error) => return Err(self.failed(error)),
            }
            let mut is_kept = may_keep(name);
            if let Some(mark) = name.strip_prefix(MARKS).filter(|_| self.form != Form::Plain) {
                is_opaque |= self.overlay_mark(mark, &value)?;
                // What else overlayfs notes down for itself is nobody's loss.
                if !mark.starts_with(b"overlay.") && mark != b"opaque" {
                    continue;
                }
                is_kept = self.form == Form::Upper && is_kept_mark(name, &value);
                if mark == b"opaque" && !is_kept {
                    continue;
                }
            }
            let value = translated(name, &value, self.ids_from);
            // A record's key ends at the first equals sign.
            let fits = records.len() + name.len() + value.len() + 64 <= LONGEST_RECORDS - 4 * LONGEST_NAME;
            if is_kept && fits && !name.contains(&b'=') {
                records.push(&[b"SCHILY.xattr.", name].concat(), &value);
            } else if !name.starts_with(b"security.selinux") {
                self.left_out.xattrs += 1;
            }
        }
        self.list = list;
        Ok((records, is_opaque))
    }

    /// Whether the folder is opaque. What says that the content is elsewhere in the stack is refused.
    fn overlay_mark(&self, mark: &[u8], value: &[u8]) -> Result<bool, ImageError> {
        match mark {
            b"redirect" | b"metacopy" | b"whiteout" | b"whiteouts" => {
                let why = format!("overlayfs marked it as {}, which zoned never lets it", shown(mark));
                Err(ImageError::entry(&self.path, why))
            }
            b"opaque" => Ok(value == b"y"),
            _ => Ok(false),
        }
    }
}

/// The pieces of a file that are no holes, in order.
fn pieces(file: &File, size: u64) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < size {
        // More than readers take: the last goes on to the end.
        if found.len() + 2 == MOST {
            found.push(Segment { at, len: size - at });
            break;
        }
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Only a hole is left.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => at,
            Err(error) => return Err(error.into()),
        };
        if start >= size {
            break;
        }
        let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap_or(size).clamp(start + 1, size);
        found.push(Segment { at: start, len: end - start });
        at = end;
    }
    Ok(found)
}

/// An extended attribute that has ids in it, with those that the tree's are to be.
fn translated(name: &[u8], value: &[u8], ids_from: u32) -> Vec<u8> {
    let mut value = value.to_vec();
    let shift = |bytes: &mut [u8]| {
        if let Ok(id) = <[u8; 4]>::try_from(&*bytes) {
            bytes.copy_from_slice(&u32::from_le_bytes(id).wrapping_sub(ids_from).to_le_bytes());
        }
    };
    if ids_from == 0 {
        return value;
    }
    if name == b"security.capability" {
        // Version 3 of struct vfs_ns_cap_data (linux/capability.h), whose last word is the root it counts for.
        const VERSION_2: u8 = 2;
        if value.len() == 24 && value[3] == 3 {
            shift(&mut value[20..]);
            if value[20..] == [0; 4] {
                value.truncate(20);
                value[3] = VERSION_2;
            }
        }
    } else if name.starts_with(b"system.posix_acl_") && value.len() >= 4 {
        // struct posix_acl_xattr_entry (linux/posix_acl_xattr.h): ACL_USER is 2, ACL_GROUP 8.
        for entry in value[4..].chunks_exact_mut(8) {
            if matches!(entry[..2], [2 | 8, 0]) {
                shift(&mut entry[4..]);
            }
        }
    }
    value
}
