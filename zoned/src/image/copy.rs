//! Copies a folder of the host into a root: `dir:PATH`; and what a zone wrote into a layer, all of it and
//! in two passes, the second of which the zone is held still for.
//!
//! As [`super::empty`] it holds two descriptors however deep the tree is, and follows no links.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::error::{ImageError, shown};
use super::packed::Meter;
use super::tree::{Attributes, Id, LeftOut, id, kind, may_keep, names, open_folder};
use super::unpack::{OPAQUE, write_sparse};
use super::{Counts, empty};

/// File systems of the kernel's own making, by their magic numbers (linux/magic.h): what they
/// show is this host's, not the root's.
const KERNEL_MADE: [u32; 21] = [
    0x9fa0,
    0x6265_6572,
    0x1cd1,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x6165_676c,
    0x1980_0202,
    0x9584_58f6,
    0x6265_6570,
    0x6573_5543,
    0x4249_4e4d,
    0x0187,
    0x6e73_6673,
    0xde5e_81e4,
    0xf97c_ff8c,
    0x6759_6969,
    0x5346_414f,
];
/// tmpfs, which devtmpfs says it is too, and ramfs.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

/// Whether what is mounted there is the kernel's, or in memory only.
pub(super) fn is_kernel_made(folder: impl AsFd) -> Result<bool, Errno> {
    let magic = rustix::fs::fstatfs(folder)?.f_type as u32;
    Ok(KERNEL_MADE.contains(&magic) || IN_MEMORY.contains(&magic))
}

struct Level {
    id: Id,
    stat: Stat,
    left: Vec<CString>,
    /// Length of the path before this folder's name.
    path: usize,
}

struct Copy<'a> {
    meter: &'a Meter<'a>,
    counts: Counts,
    left_out: LeftOut,
    /// Files with more than one name, and the first name in the copy.
    linked: HashMap<Id, Vec<u8>>,
    root: BorrowedFd<'a>,
    /// Path of what is being copied, below the root.
    path: Vec<u8>,
    /// Whether the two file systems share blocks (FICLONE): tried until it is refused.
    clones: bool,
    /// Whether it is a layer: nothing is left out of one.
    exact: bool,
    /// Names in the topmost folder that are left out.
    skip: &'a [&'a str],
    /// Whether it is a layer that goes over what lower ones left.
    over: bool,
    /// Folders of the source that were copied, by their path.
    folders: HashMap<Vec<u8>, Id>,
    /// In the second pass, the time before the first; what did not change since is as it should be.
    since: Option<(i64, i64)>,
    /// In the first pass, the source: it is written to meanwhile, and what is not there any more, or not the same, is
    /// left to the second.
    live: Option<BorrowedFd<'a>>,
}

/// What an overlay's upper folder held at the time that [`Layer::again`] was called.
pub struct Layer {
    from: PathBuf,
    to: PathBuf,
    folders: HashMap<Vec<u8>, Id>,
    since: (i64, i64),
}

impl Layer {
    /// Copies all of `from`, which may be written to meanwhile, into the empty folder `to`.
    ///
    /// # Errors
    /// `to` then holds anything.
    pub fn copy(from: &Path, to: &Path) -> Result<Self, ImageError> {
        let open = |source| ImageError::Open { path: from.to_owned(), source };
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        // Pages of files that are mapped are written back, so that the next write to one is noted as a change of its file.
        rustix::fs::syncfs(File::open(from).map_err(open)?).map_err(|e| open(e.into()))?;
        // Times of files are those of ticks, of 10 ms at most.
        let since = (now.tv_sec - 1, now.tv_nsec);
        let folders = Self::pass(from, to, HashMap::new(), None)?;
        Ok(Self { from: from.to_owned(), to: to.to_owned(), folders, since })
    }

    /// Copies what changed since; nobody writes to the folder now.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub fn again(self) -> Result<(), ImageError> {
        Self::pass(&self.from, &self.to, self.folders, Some(self.since)).map(drop)
    }

    fn pass(
        from: &Path,
        to: &Path,
        folders: HashMap<Vec<u8>, Id>,
        since: Option<(i64, i64)>,
    ) -> Result<HashMap<Vec<u8>, Id>, ImageError> {
        let (source, root) = (open(from)?, open(to)?);
        let meter = Meter::begin(&|_| {}, "copying", None);
        let again = |fd: &OwnedFd, path: &Path| {
            fd.try_clone().map_err(|source| ImageError::Open { path: path.to_owned(), source })
        };
        let (top, to) = (again(&source, from)?, again(&root, to)?);
        let live = since.is_none().then_some(top.as_fd());
        let mut copy = Copy { exact: true, folders, since, live, ..Copy::new(&meter, root.as_fd()) };
        copy.tree(source, to)?;
        Ok(copy.folders)
    }
}

/// Copies all of `from` into the empty folder `to`, but for `skip` in its topmost folder. Nobody writes to it.
///
/// # Errors
/// `to` then holds anything.
pub fn copy_all(from: &Path, dest: &Path, skip: &[&str]) -> Result<(), ImageError> {
    let (source, root) = (open(from)?, open(dest)?);
    let meter = Meter::begin(&|_| {}, "copying", None);
    let mut copy = Copy { exact: true, skip, ..Copy::new(&meter, root.as_fd()) };
    let to = root.try_clone().map_err(|source| ImageError::Open { path: dest.to_owned(), source })?;
    copy.tree(source, to).map_err(|error| super::full(error, dest, None))
}

fn open(path: &Path) -> Result<OwnedFd, ImageError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|e| ImageError::Open { path: path.to_owned(), source: e.into() })
}

/// Copies what is in `from` into the empty folder `dest`.
pub(super) fn copy(from: &Path, dest: &Path, meter: &Meter<'_>) -> Result<(Counts, LeftOut), ImageError> {
    refuse_overlap(from, dest)?;
    copy_as(from, dest, meter, false)
}

/// Puts the layer `from` over what is in `dest`: its whiteouts and opaque folders remove, all else is added or takes the place
/// of what is there.
pub(super) fn copy_over(
    from: &Path,
    dest: &Path,
    meter: &Meter<'_>,
) -> Result<(Counts, LeftOut), ImageError> {
    copy_as(from, dest, meter, true)
}

fn copy_as(from: &Path, dest: &Path, meter: &Meter<'_>, over: bool) -> Result<(Counts, LeftOut), ImageError> {
    let (source, root) = (open(from)?, open(dest)?);
    let mut copy = Copy { over, ..Copy::new(meter, root.as_fd()) };
    if over && is_opaque(source.as_fd()) {
        empty::empty(dest).map_err(|e| ImageError::file("empty", b"/", e))?;
    }
    let to = root.try_clone().map_err(|source| ImageError::Open { path: dest.to_owned(), source })?;
    copy.tree(source, to)?;
    Ok((copy.counts, copy.left_out))
}

/// Neither may lie in the other, by whatever names or bind mounts: a copy would copy itself.
pub(super) fn refuse_overlap(from: &Path, dest: &Path) -> Result<(), ImageError> {
    let open = |path: &Path, source| ImageError::Open { path: path.to_owned(), source };
    for (inner, outer) in [(dest, from), (from, dest)] {
        let real = inner.canonicalize().map_err(|e| open(inner, e))?;
        let outer = std::fs::metadata(outer).map_err(|e| open(outer, e))?;
        let same = |path: &Path| {
            std::fs::metadata(path)
                .is_ok_and(|found| (found.dev(), found.ino()) == (outer.dev(), outer.ino()))
        };
        if real.ancestors().any(same) {
            return Err(ImageError::Overlap { from: from.to_owned(), dest: dest.to_owned() });
        }
    }
    Ok(())
}

/// Bytes of disk that what is in `from` takes, for a message; what cannot be read counts nothing.
pub(crate) fn size(from: &Path) -> u64 {
    let (mut dirs, mut bytes) = (vec![from.to_owned()], 0);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            bytes += found.blocks() * 512;
            if found.is_dir() {
                dirs.push(entry.path());
            }
        }
    }
    bytes
}

/// Whether an overlay shows nothing of the layers below in a folder.
pub(crate) fn is_opaque(folder: BorrowedFd<'_>) -> bool {
    let mut value = [0; 2];
    // The second where the overlay was mounted by the host's root.
    [OPAQUE, b"trusted.overlay.opaque"]
        .iter()
        .any(|name| matches!(rustix::fs::fgetxattr(folder, *name, &mut value), Ok(1)) && value[0] == b'y')
}

impl<'a> Copy<'a> {
    fn new(meter: &'a Meter<'a>, root: BorrowedFd<'a>) -> Self {
        Self {
            meter,
            counts: Counts::default(),
            left_out: LeftOut::default(),
            linked: HashMap::new(),
            root,
            path: Vec::new(),
            clones: true,
            exact: false,
            skip: &[],
            over: false,
            folders: HashMap::new(),
            since: None,
            live: None,
        }
    }

    /// Whether what failed is that the source is not as it was a moment before, which is to be expected.
    fn is_gone(&self, error: Errno) -> bool {
        self.live.is_some()
            && matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL | Errno::NXIO)
    }

    fn failed(&self, error: impl Into<io::Error>) -> ImageError {
        ImageError::file("copy", &self.path, error)
    }

    fn tree(&mut self, from: OwnedFd, to: OwnedFd) -> Result<(), ImageError> {
        let (mut from, mut to) = (from, to);
        let mut way: Vec<Level> = Vec::new();
        let mut level = self.level(from.as_fd(), to.as_fd(), 0)?;
        loop {
            if let Some(name) = level.left.pop() {
                let before = self.path.len();
                if before > 0 {
                    self.path.push(b'/');
                }
                self.path.extend_from_slice(name.to_bytes());
                match self.one(from.as_fd(), to.as_fd(), &name, &level)? {
                    Some((child, made)) => {
                        let below = self.level(child.as_fd(), made.as_fd(), before)?;
                        way.push(std::mem::replace(&mut level, below));
                        (from, to) = (child, made);
                    }
                    None => self.path.truncate(before),
                }
                continue;
            }
            self.attributes(&level.stat, from.as_fd(), to.as_fd())?;
            let Some(up) = way.pop() else { return Ok(()) };
            to = open_folder(to.as_fd(), c"..", true).map_err(|e| self.failed(e))?;
            let above = open_folder(from.as_fd(), c"..", false);
            let same =
                above.and_then(|above| Ok((id(&rustix::fs::fstat(&above)?) == up.id).then_some(above)));
            match (same, self.live) {
                (Ok(Some(above)), _) => {
                    self.path.truncate(level.path);
                    (from, level) = (above, up);
                }
                (Ok(None) | Err(Errno::NOENT), Some(top)) => {
                    self.path.truncate(level.path);
                    way.push(up);
                    (from, to, level) = self.found_again(top, to, &mut way)?;
                }
                (Ok(None), None) => {
                    return Err(ImageError::entry(&self.path, "it was moved while it was copied"));
                }
                (Err(error), _) => return Err(self.failed(error)),
            }
        }
    }

    /// The lowest folder of `way` that is still where it was: one was moved while it was copied. What is left of those
    /// below it is for the second pass. `to` is the copy of the last of them.
    fn found_again(
        &mut self,
        top: BorrowedFd<'_>,
        to: OwnedFd,
        way: &mut Vec<Level>,
    ) -> Result<(OwnedFd, OwnedFd, Level), ImageError> {
        let mut from = open_folder(top, c".", false).map_err(|e| self.failed(e))?;
        let mut there = 1;
        for pair in way.windows(2) {
            let end = way.get(there + 1).map_or(self.path.len(), |below| below.path);
            let begin = pair[1].path;
            let name = self.path[begin..end].strip_prefix(b"/").unwrap_or(&self.path[begin..end]);
            let name = CString::new(name).map_err(|e| self.failed(e))?;
            match open_folder(from.as_fd(), &name, false) {
                Ok(child) if rustix::fs::fstat(&child).is_ok_and(|now| id(&now) == pair[1].id) => {
                    from = child
                }
                Ok(_) => break,
                Err(error) if self.is_gone(error) => break,
                Err(error) => return Err(self.failed(error)),
            }
            there += 1;
        }
        let mut to = to;
        for _ in there..way.len() {
            to = open_folder(to.as_fd(), c"..", true).map_err(|e| self.failed(e))?;
        }
        if let Some(lost) = way.get(there) {
            self.path.truncate(lost.path);
        }
        way.truncate(there);
        // The topmost cannot be moved.
        let level =
            way.pop().ok_or_else(|| ImageError::entry(&self.path, "it was moved while it was copied"))?;
        Ok((from, to, level))
    }

    fn level(&mut self, dir: BorrowedFd<'_>, to: BorrowedFd<'_>, path: usize) -> Result<Level, ImageError> {
        let stat = rustix::fs::fstat(dir).map_err(|e| self.failed(e))?;
        self.check_ids(&stat)?;
        let mut left = match names(dir) {
            Err(error) if self.is_gone(error) => Vec::new(),
            other => other.map_err(|e| self.failed(e))?,
        };
        if self.path.is_empty() {
            left.retain(|name| !self.skip.iter().any(|skip| skip.as_bytes() == name.to_bytes()));
        }
        if self.since.is_some() {
            let there: HashSet<&CString> = left.iter().collect();
            for gone in names(to).map_err(|e| self.failed(e))?.iter().filter(|name| !there.contains(name)) {
                self.clear(to, gone)?;
            }
        } else if self.exact {
            self.folders.insert(self.path.clone(), id(&stat));
        }
        Ok(Level { id: id(&stat), stat, left, path })
    }

    /// Makes room for `name` in the copy.
    fn clear(&self, to: BorrowedFd<'_>, name: &CStr) -> Result<(), ImageError> {
        match rustix::fs::unlinkat(to, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => empty::remove_at(to, name.to_bytes())
                .map_err(|error| ImageError::file("replace", &self.path, error)),
            Err(error) => Err(ImageError::file("replace", &self.path, error)),
        }
    }

    /// Whether the first pass left `name` as it is to be. A folder is told by its number: one of that name may have
    /// taken the place of another with all that is in it, of which nothing changed.
    fn is_done(&self, to: BorrowedFd<'_>, name: &CStr, stat: &Stat, since: (i64, i64)) -> bool {
        let Ok(there) = rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
        if kind(&there) != kind(stat) {
            return false;
        }
        if kind(stat) == FileType::Directory {
            return self.folders.get(&self.path) == Some(&id(stat));
        }
        let time = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec as i64);
        (stat.st_ctime, stat.st_ctime_nsec as i64) < since && time(&there) == time(stat)
    }

    fn check_ids(&self, stat: &Stat) -> Result<(), ImageError> {
        match [stat.st_uid, stat.st_gid].into_iter().find(|id| *id > 65535) {
            Some(id) => Err(ImageError::IdOutside { entry: shown(&self.path), id: id.into() }),
            None => Ok(()),
        }
    }

    /// Copies `name`; of a folder the two descriptors to go on with.
    fn one(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        level: &Level,
    ) -> Result<Option<(OwnedFd, OwnedFd)>, ImageError> {
        let stat = match rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed since the folder was read.
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        self.meter.tick();
        if self.over && !self.give_way(from, to, name, &stat)? {
            return Ok(None);
        }
        if let Some(since) = self.since {
            let done = self.is_done(to, name, &stat, since);
            match kind(&stat) {
                FileType::Directory if done => {
                    let made = open_folder(to, name, true).map_err(|e| self.failed(e))?;
                    let child = open_folder(from, name, false).map_err(|e| self.failed(e))?;
                    return Ok(Some((child, made)));
                }
                _ if done => return Ok(None),
                _ => self.clear(to, name)?,
            }
        }
        match kind(&stat) {
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Socket if self.exact => {}
            FileType::CharacterDevice | FileType::BlockDevice => {
                self.left_out.devices += 1;
                return Ok(None);
            }
            FileType::Socket => {
                self.left_out.sockets += 1;
                return Ok(None);
            }
            _ => {}
        }
        self.check_ids(&stat)?;
        if stat.st_nlink > 1 && kind(&stat) != FileType::Directory && self.link(to, name, &stat)? {
            return Ok(None);
        }
        self.counts.files += 1;
        match kind(&stat) {
            FileType::Directory => return self.folder(from, to, name, &stat, level),
            FileType::RegularFile => self.file(from, to, name)?,
            FileType::Symlink => {
                let target = match rustix::fs::readlinkat(from, name, Vec::new()) {
                    Err(error) if self.is_gone(error) => return Ok(None),
                    other => other.map_err(|e| self.failed(e))?,
                };
                rustix::fs::symlinkat(&*target, to, name)
                    .and_then(|()| attributes(&stat).apply_at(to, name.to_bytes(), true))
                    .map_err(|e| self.failed(e))?;
            }
            // A fifo; in a layer a device, which hides a file where its number is 0, or a socket too.
            other => rustix::fs::mknodat(to, name, other, Mode::RUSR, stat.st_rdev)
                .and_then(|()| attributes(&stat).apply_at(to, name.to_bytes(), false))
                .map_err(|e| self.failed(e))?,
        }
        Ok(None)
    }

    /// Removes what of the lower layers `name` takes the place of; false where it is only a whiteout.
    fn give_way(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<bool, ImageError> {
        let is_folder = kind(stat) == FileType::Directory;
        let there = match rustix::fs::statat(to, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            other => Some(other.map_err(|e| self.failed(e))?),
        };
        match there.map(|there| kind(&there)) {
            None => {}
            Some(FileType::Directory) => {
                let own = if is_folder { Some(open_folder(from, name, true)) } else { None };
                let own = own.transpose().map_err(|e| self.failed(e))?;
                if own.is_none_or(|own| is_opaque(own.as_fd())) {
                    empty::remove_at(to, name.to_bytes()).map_err(|e| self.failed(e))?;
                }
            }
            Some(_) => rustix::fs::unlinkat(to, name, AtFlags::empty()).map_err(|e| self.failed(e))?,
        }
        Ok(!(kind(stat) == FileType::CharacterDevice && stat.st_rdev == 0))
    }

    fn folder(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        level: &Level,
    ) -> Result<Option<(OwnedFd, OwnedFd)>, ImageError> {
        match rustix::fs::mkdirat(to, name, Mode::RWXU) {
            // Merged with that of a lower layer.
            Err(Errno::EXIST) if self.over => {}
            other => other.map_err(|e| self.failed(e))?,
        }
        let made = open_folder(to, name, true).map_err(|e| self.failed(e))?;
        let child = match open_folder(from, name, false) {
            Err(error) if self.is_gone(error) => return Ok(None),
            other => other.map_err(|e| self.failed(e))?,
        };
        if stat.st_dev != level.stat.st_dev && is_kernel_made(&child).map_err(|e| self.failed(e))? {
            self.left_out.mounts.push(shown(&self.path));
            let plain = Attributes { uid: 0, gid: 0, mode: 0o755, mtime: attributes(stat).mtime };
            plain.apply(made.as_fd(), |_| {}).map_err(|e| self.failed(e))?;
            return Ok(None);
        }
        Ok(Some((child, made)))
    }

    /// Whether `name` became another name of a file copied before.
    fn link(&mut self, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<bool, ImageError> {
        let Some(first) = self.linked.get(&id(stat)) else {
            self.linked.insert(id(stat), self.path.clone());
            return Ok(false);
        };
        let (dir, last) = match first.iter().rposition(|b| *b == b'/') {
            Some(at) => (&first[..at], &first[at + 1..]),
            None => (&first[..0], &first[..]),
        };
        let mut at = self.root.try_clone_to_owned().map_err(|e| self.failed(e))?;
        for part in dir.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            let part = CString::new(part).map_err(|e| self.failed(e))?;
            at = open_folder(at.as_fd(), &part, true).map_err(|e| self.failed(e))?;
        }
        match rustix::fs::linkat(&at, last, to, name, AtFlags::empty()) {
            Ok(()) => {
                self.counts.files += 1;
                Ok(true)
            }
            // The first name was not copied, or the file system has its fill of links.
            Err(Errno::NOENT | Errno::MLINK) => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn file(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> Result<(), ImageError> {
        // A fifo or device may have taken its place: NONBLOCK, and another look.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let source: File = match rustix::fs::openat(from, name, flags, Mode::empty()) {
            Err(error) if self.is_gone(error) => return Ok(()),
            other => other.map_err(|e| self.failed(e))?.into(),
        };
        let stat = rustix::fs::fstat(&source).map_err(|e| self.failed(e))?;
        if kind(&stat) != FileType::RegularFile {
            if self.live.is_some() {
                return Ok(());
            }
            return Err(ImageError::entry(&self.path, "it changed while it was copied"));
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made: File =
            rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| self.failed(e))?.into();
        let size = stat.st_size as u64;
        if size > 0 {
            self.clones = self.clones && rustix::fs::ioctl_ficlone(&made, &source).is_ok();
            if self.clones {
                self.counts.bytes += size;
                self.meter.add(size);
            } else {
                self.data(&source, &made, size).map_err(|e| self.failed(e))?;
            }
        }
        self.attributes(&stat, source.as_fd(), made.as_fd())
    }

    /// The pieces of `source` that are no holes.
    fn data(&mut self, source: &File, made: &File, size: u64) -> io::Result<()> {
        let mut at = 0;
        while at < size {
            let start = match rustix::fs::seek(source, SeekFrom::Data(at)) {
                Ok(start) => start,
                // Only a hole is left.
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL) => at,
                Err(error) => return Err(error.into()),
            };
            let end = rustix::fs::seek(source, SeekFrom::Hole(start)).unwrap_or(size).clamp(start, size);
            self.piece(source, made, start, end)?;
            at = end.max(start + 1);
        }
        Ok(rustix::fs::ftruncate(made, size)?)
    }

    fn piece(&mut self, source: &File, made: &File, start: u64, end: u64) -> io::Result<()> {
        let mut at = start;
        while at < end {
            // Pieces of 8 MiB, so that progress can be told between.
            let want = (end - at).min(8 << 20) as usize;
            let (mut read, mut write) = (at, at);
            match rustix::fs::copy_file_range(source, Some(&mut read), made, Some(&mut write), want) {
                // 0 at once: a file that reports a size and has no data, as some of the kernel's own.
                Ok(n) if n > 0 => {
                    at += n as u64;
                    self.counts.bytes += n as u64;
                    self.meter.add(n as u64);
                }
                _ => return self.read_and_write(source, made, at, end),
            }
        }
        Ok(())
    }

    /// For file systems between which the kernel does not copy.
    fn read_and_write(&mut self, source: &File, made: &File, start: u64, end: u64) -> io::Result<()> {
        let mut buf = vec![0; 128 << 10];
        let mut at = start;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buf.len());
            let n = source.read_at(&mut buf[..want], at)?;
            if n == 0 {
                break;
            }
            self.counts.bytes += write_sparse(made, &buf[..n], at)?;
            self.meter.add(n as u64);
            at += n as u64;
        }
        Ok(())
    }

    fn attributes(
        &mut self,
        stat: &Stat,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
    ) -> Result<(), ImageError> {
        let mut refused = 0;
        let exact = self.exact;
        attributes(stat)
            .apply(to, |to| refused = copy_xattrs(from, to, exact))
            .map_err(|e| self.failed(e))?;
        if self.exact && refused > 0 {
            // Without a mark of the overlay's a folder shows what is below it.
            return Err(self.failed(io::Error::other("its extended attributes cannot be kept")));
        }
        self.left_out.xattrs += refused;
        Ok(())
    }
}

fn attributes(stat: &Stat) -> Attributes {
    Attributes {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode & 0o7777,
        mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
    }
}

/// How many extended attributes did not come along.
fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>, exact: bool) -> u64 {
    // The most that the kernel lists, and the most that a value has (xattr(7)): 64 KiB each.
    let (mut list, mut value) = (vec![0u8; 64 << 10], Vec::new());
    let Ok(len) = rustix::fs::flistxattr(from, &mut list) else { return 0 };
    let mut refused = 0;
    for name in list[..len].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        value.resize(64 << 10, 0);
        let kept = (may_keep(name) || exact && name.starts_with(b"user."))
            && match rustix::fs::fgetxattr(from, name, &mut value) {
                Ok(len) => {
                    rustix::fs::fsetxattr(to, name, &value[..len], rustix::fs::XattrFlags::empty()).is_ok()
                }
                // Removed since they were listed.
                Err(error) => error == Errno::NODATA,
            };
        // The labels of the host's own security modules are nobody's loss.
        refused += u64::from(!kept && !name.starts_with(b"security.selinux"));
    }
    refused
}
