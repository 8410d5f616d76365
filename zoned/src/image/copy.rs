//! Copies a folder of the host into a root: `dir:PATH`; and layers, to the last mark.
//!
//! As [`super::empty`] it holds two descriptors however deep the tree is, and follows no links.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

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

pub(super) struct Copy<'a> {
    meter: &'a Meter<'a>,
    counts: Counts,
    left_out: LeftOut,
    /// Files with more than one name, and the first name in the copy.
    linked: HashMap<Id, Vec<u8>>,
    root: BorrowedFd<'a>,
    /// Path of what is being copied, below the root.
    pub(super) path: Vec<u8>,
    /// Whether the two file systems share blocks (FICLONE): tried until it is refused.
    clones: bool,
    /// Whether it is a layer: nothing is left out of one.
    pub(super) exact: bool,
    /// Names in the topmost folder that are left out.
    skip: &'a [&'a str],
    /// Whether it is a layer that goes over what lower ones left.
    over: bool,
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

pub(super) fn open(path: &Path) -> Result<OwnedFd, ImageError> {
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

/// Whether an overlay shows nothing of the layers below in a folder.
pub(crate) fn is_opaque(folder: BorrowedFd<'_>) -> bool {
    let mut value = [0; 2];
    // The second where the overlay was mounted by the host's root.
    [OPAQUE, b"trusted.overlay.opaque"]
        .iter()
        .any(|name| matches!(rustix::fs::fgetxattr(folder, *name, &mut value), Ok(1)) && value[0] == b'y')
}

impl<'a> Copy<'a> {
    pub(super) fn new(meter: &'a Meter<'a>, root: BorrowedFd<'a>) -> Self {
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
        }
    }

    pub(super) fn failed(&self, error: impl Into<io::Error>) -> ImageError {
        ImageError::file("copy", &self.path, error)
    }

    fn tree(&mut self, from: OwnedFd, to: OwnedFd) -> Result<(), ImageError> {
        let (mut from, mut to) = (from, to);
        let mut way: Vec<Level> = Vec::new();
        let mut level = self.level(from.as_fd(), 0)?;
        loop {
            if let Some(name) = level.left.pop() {
                let before = self.path.len();
                if before > 0 {
                    self.path.push(b'/');
                }
                self.path.extend_from_slice(name.to_bytes());
                match self.one(from.as_fd(), to.as_fd(), &name, &level)? {
                    Some((child, made)) => {
                        let below = self.level(child.as_fd(), before)?;
                        way.push(std::mem::replace(&mut level, below));
                        (from, to) = (child, made);
                    }
                    None => self.path.truncate(before),
                }
                continue;
            }
            self.attributes(&level.stat, from.as_fd(), to.as_fd())?;
            let Some(up) = way.pop() else { return Ok(()) };
            from = open_folder(from.as_fd(), c"..", false).map_err(|e| self.failed(e))?;
            to = open_folder(to.as_fd(), c"..", true).map_err(|e| self.failed(e))?;
            if rustix::fs::fstat(&from).map_err(|e| self.failed(e)).map(|now| id(&now))? != up.id {
                return Err(ImageError::entry(&self.path, "it was moved while it was copied"));
            }
            self.path.truncate(level.path);
            level = up;
        }
    }

    fn level(&mut self, dir: BorrowedFd<'_>, path: usize) -> Result<Level, ImageError> {
        let stat = rustix::fs::fstat(dir).map_err(|e| self.failed(e))?;
        self.check_ids(&stat)?;
        let mut left = names(dir).map_err(|e| self.failed(e))?;
        if self.path.is_empty() {
            left.retain(|name| !self.skip.iter().any(|skip| skip.as_bytes() == name.to_bytes()));
        }
        Ok(Level { id: id(&stat), stat, left, path })
    }

    /// Makes room for `name` in the copy.
    pub(super) fn clear(&self, to: BorrowedFd<'_>, name: &CStr) -> Result<(), ImageError> {
        match rustix::fs::unlinkat(to, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => empty::remove_at(to, name.to_bytes())
                .map_err(|error| ImageError::file("replace", &self.path, error)),
            Err(error) => Err(ImageError::file("replace", &self.path, error)),
        }
    }

    pub(super) fn check_ids(&self, stat: &Stat) -> Result<(), ImageError> {
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
        if kind(&stat) == FileType::Directory {
            self.check_ids(&stat)?;
            self.counts.files += 1;
            return self.folder(from, to, name, &stat, level);
        }
        self.leaf(from, to, name, &stat)?;
        Ok(None)
    }

    /// Copies `name`, which is no folder.
    pub(super) fn leaf(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<(), ImageError> {
        match kind(stat) {
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Socket if self.exact => {}
            FileType::CharacterDevice | FileType::BlockDevice => {
                self.left_out.devices += 1;
                return Ok(());
            }
            FileType::Socket => {
                self.left_out.sockets += 1;
                return Ok(());
            }
            _ => {}
        }
        self.check_ids(stat)?;
        if stat.st_nlink > 1 && self.link(to, name, stat)? {
            return Ok(());
        }
        self.counts.files += 1;
        match kind(stat) {
            FileType::RegularFile => self.file(from, to, name)?,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new()).map_err(|e| self.failed(e))?;
                rustix::fs::symlinkat(&*target, to, name)
                    .and_then(|()| attributes(stat).apply_at(to, name.to_bytes(), true))
                    .map_err(|e| self.failed(e))?;
            }
            // A fifo; in a layer a device, which hides a file where its number is 0, or a socket too.
            other => rustix::fs::mknodat(to, name, other, Mode::RUSR, stat.st_rdev)
                .and_then(|()| attributes(stat).apply_at(to, name.to_bytes(), false))
                .map_err(|e| self.failed(e))?,
        }
        Ok(())
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
        let child = open_folder(from, name, false).map_err(|e| self.failed(e))?;
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
        let source: File =
            rustix::fs::openat(from, name, flags, Mode::empty()).map_err(|e| self.failed(e))?.into();
        let stat = rustix::fs::fstat(&source).map_err(|e| self.failed(e))?;
        if kind(&stat) != FileType::RegularFile {
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

    pub(super) fn attributes(
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
            && rustix::fs::fgetxattr(from, name, &mut value).is_ok_and(|len| {
                rustix::fs::fsetxattr(to, name, &value[..len], rustix::fs::XattrFlags::empty()).is_ok()
            });
        // The labels of the host's own security modules are nobody's loss.
        refused += u64::from(!kept && !name.starts_with(b"security.selinux"));
    }
    refused
}
