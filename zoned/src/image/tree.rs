//! Names inside a root that nothing in it can lead outside of.
//!
//! Folders are found by openat2(2) with RESOLVE_IN_ROOT (Linux 5.6): to it the root is `/`, so absolute
//! links and `..` in links stay inside, as they will once the zone runs. The last component is always acted on
//! relative to its folder's descriptor and never followed.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

/// Opens `path` below `root` as a program confined to `root` would.
pub(super) fn open_in(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { b"." } else { path };
    // EAGAIN: something was renamed anywhere on the host while `..` was followed (openat2(2)).
    for _ in 0..256 {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens the folder `name` of `dir`; not through a link, and with `same_mount` not into another mount.
pub(crate) fn open_folder(dir: BorrowedFd<'_>, name: &CStr, same_mount: bool) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut resolve = ResolveFlags::NO_SYMLINKS;
    if same_mount {
        resolve |= ResolveFlags::NO_XDEV;
    }
    loop {
        match rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// All names in `dir` but `.` and `..`.
pub(crate) fn names(dir: BorrowedFd<'_>) -> Result<Vec<std::ffi::CString>, Errno> {
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// Shows `each` everything below `top`: its folder, its name, and what it is; a folder before what is in it. Two descriptors
/// are held however deep the tree is, and no link is followed.
pub(crate) fn walk(
    top: OwnedFd,
    each: &mut dyn FnMut(BorrowedFd<'_>, &CStr, &Stat) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut left = vec![names(top.as_fd())?];
    let mut here = top;
    while let Some(level) = left.last_mut() {
        let Some(name) = level.pop() else {
            left.pop();
            if !left.is_empty() {
                here = open_folder(here.as_fd(), c"..", true)?;
            }
            continue;
        };
        let stat = match rustix::fs::statat(&here, &name, AtFlags::SYMLINK_NOFOLLOW) {
            // Removed since the folder was read.
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        each(here.as_fd(), &name, &stat)?;
        if kind(&stat) == FileType::Directory {
            match open_folder(here.as_fd(), &name, true) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
                other => {
                    here = other?;
                    left.push(names(here.as_fd())?);
                }
            }
        }
    }
    Ok(())
}

/// Bytes of disk that `folder` and all below it take, each file once however many names it has.
///
/// # Errors
/// When something cannot be looked at.
pub(crate) fn disk(folder: &Path) -> io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = match rustix::fs::open(folder, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(0),
        other => other?,
    };
    // stat(2): blocks are of 512 bytes whatever the file system has.
    let taken = |stat: &Stat| stat.st_blocks as u64 * 512;
    let mut bytes = taken(&rustix::fs::fstat(&top)?);
    let mut seen = std::collections::HashSet::new();
    walk(top, &mut |_, _, stat| {
        let again = kind(stat) != FileType::Directory && stat.st_nlink > 1 && !seen.insert(id(stat));
        if !again {
            bytes += taken(stat);
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// Device and inode: which file it is.
pub(super) type Id = (u64, u64);

pub(super) fn id(stat: &Stat) -> Id {
    (stat.st_dev, stat.st_ino)
}

/// Told the path and the descriptor of each folder that was made on the way.
pub(super) type Made<'a> = &'a mut dyn FnMut(&[u8], BorrowedFd<'_>) -> Result<(), Errno>;

/// A root that is being filled.
pub(super) struct Tree {
    root: OwnedFd,
    /// The folder that was used last: archives hold a folder's files together.
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl Tree {
    pub(super) fn open(dest: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(dest, flags, Mode::empty())?, last: None })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// What was found last may be elsewhere now.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// The folder `path`; missing ones are made, and `made` is told of each.
    pub(super) fn folder(&mut self, path: &[u8], made: Made<'_>) -> Result<BorrowedFd<'_>, Errno> {
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let fd = self.find(path, made)?;
            self.last = Some((path.to_vec(), fd));
        }
        match &self.last {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => Err(Errno::NOENT),
        }
    }

    fn find(&self, path: &[u8], made: Made<'_>) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match open_in(self.root(), path, flags) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let mut at = open_in(self.root(), b"", flags)?;
        let mut end = 0;
        for part in path.split(|b| *b == b'/') {
            end += part.len() + usize::from(end != 0);
            match open_in(self.root(), &path[..end], flags) {
                Ok(fd) => at = fd,
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&at, part, Mode::RWXU)?;
                    at = open_in(self.root(), &path[..end], flags | OFlags::NOFOLLOW)?;
                    made(&path[..end], at.as_fd())?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(at)
    }
}

/// Owner, mode and times of a file of the root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) mtime: (i64, u32),
}

impl Attributes {
    /// What a folder has that no entry tells of.
    pub(super) fn plain_folder(mtime: (i64, u32)) -> Self {
        Self { uid: 0, gid: 0, mode: 0o755, mtime }
    }

    fn times(self) -> Timestamps {
        let time = Timespec { tv_sec: self.mtime.0, tv_nsec: self.mtime.1.into() };
        Timestamps { last_access: time, last_modification: time }
    }

    /// Sets all on an open file or folder; `xattrs` between, since a new owner takes file
    /// capabilities away, and so would writing.
    pub(super) fn apply(self, fd: BorrowedFd<'_>, xattrs: impl FnOnce(BorrowedFd<'_>)) -> Result<(), Errno> {
        rustix::fs::fchown(fd, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        rustix::fs::fchmod(fd, Mode::from_raw_mode(self.mode))?;
        xattrs(fd);
        rustix::fs::futimens(fd, &self.times())
    }

    /// Sets all on `name` of `dir` without opening or following it; links have no mode.
    pub(crate) fn apply_at(self, dir: BorrowedFd<'_>, name: &[u8], link: bool) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if !link {
            rustix::fs::chmodat(dir, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        rustix::fs::utimensat(dir, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// Extended attributes that a zone may bring along. `trusted.` is the host's, and overlay keeps
/// its marks in `trusted.overlay.` and, mounted in a user namespace, in `user.overlay.`: an
/// archive must not write those.
pub(super) fn may_keep(xattr: &[u8]) -> bool {
    xattr == b"security.capability"
        || xattr.starts_with(b"system.posix_acl_")
        || xattr.starts_with(b"user.") && !xattr.starts_with(b"user.overlay.")
}

/// Marks of overlayfs that belong to what a zone wrote, and go with it from host to host: that a folder hides what lies
/// below it, and those that a guest's own overlay set, which are kept under another name (Linux 6.7).
pub(super) fn is_kept_mark(xattr: &[u8], value: &[u8]) -> bool {
    xattr == b"user.overlay.opaque" && value == b"y" || xattr.starts_with(b"user.overlay.overlay.")
}

/// What was left out of a root, to be told once.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    pub(super) devices: u64,
    pub(super) sockets: u64,
    pub(super) absolute: u64,
    pub(super) xattrs: u64,
    pub(super) acls: u64,
    pub(super) unknown: u64,
    /// Marks of aufs.
    pub(super) aufs: u64,
    /// Whose paths are too long.
    pub(super) deep: u64,
    /// Of a size that no archive says.
    pub(super) large: u64,
    /// Whose names would say in a layer that others are gone.
    pub(super) marks: u64,
    pub(super) mounts: Vec<String>,
}

impl LeftOut {
    /// One line for each kind of thing.
    pub(super) fn notes(&self) -> Vec<String> {
        let count =
            |n: u64, one: &str, many: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {many}") };
        let mut notes = Vec::new();
        let mut note = |n: u64, one: &str, many: &str, rest: &str| {
            if n > 0 {
                notes.push(format!("{} {rest}", count(n, one, many)));
            }
        };
        note(self.devices, "device node", "device nodes", "left out: the zone's /dev has its own");
        note(self.sockets, "socket", "sockets", "left out: nothing listens there any more");
        note(self.absolute, "name", "names", "began with /: taken as beneath the zone's root");
        note(
            self.xattrs,
            "extended attribute",
            "extended attributes",
            "left out: not a zone's to set, or refused by the file system",
        );
        note(self.acls, "access control list", "access control lists", "left out: the modes were kept");
        note(self.unknown, "entry", "entries", "of unknown type left out");
        note(self.aufs, "mark", "marks", "of aufs left out");
        note(self.deep, "file", "files", "left out, whose path is too long for any program to name");
        note(self.large, "file", "files", "left out, of more than 2^60 bytes");
        note(self.marks, "file", "files", "left out, whose name begins with .wh. as whiteouts of layers do");
        if !self.mounts.is_empty() {
            notes.push(format!("left out, being file systems of the kernel: {}", self.mounts.join(", ")));
        }
        notes
    }
}

pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
