//! Which project of the file system's quotas a tree is of.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::image::tree::{Attributes, walk};
use crate::sys::quota;

/// What stands in `spare` for a moment.
const MADE: &CStr = c".made";
/// A whiteout that all others are links to, as the overlay has them.
const WHITEOUT: &CStr = c".gone";

/// Makes an overlay's folders of `project`, and what will come below them; 0 is none. Nobody writes to them.
///
/// # Errors
/// Some of it is then, and all of it after another time.
pub(super) fn give(upper: &Path, work: &Path, project: u32) -> io::Result<()> {
    let (upper, work) = (File::open(upper)?, File::open(work)?);
    let before = quota::project(upper.as_fd());
    if before == project {
        return Ok(());
    }
    let inherits = project != 0;
    quota::set_project(work.as_fd(), project, inherits)?;
    // Nothing of another project is renamed into a folder that has what is in it inherit its own.
    quota::set_project(upper.as_fd(), before, false)?;
    for top in [&work, &upper] {
        walk(top.try_clone()?.into(), &mut |folder, name, stat| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let kind = FileType::from_raw_mode(stat.st_mode);
            match kind {
                FileType::Directory | FileType::RegularFile => {
                    let file = rustix::fs::openat(folder, name, flags, Mode::empty())?;
                    let inherits = inherits && kind == FileType::Directory;
                    let set = quota::set_project(file.as_fd(), project, inherits);
                    set.map_err(|error| Errno::from_raw_os_error(error as i32))
                }
                _ => remake(folder, name, stat, work.as_fd()),
            }
        })?;
    }
    for name in [MADE, WHITEOUT] {
        remove(work.as_fd(), name)?;
    }
    // The last: as long as it is not, the work is done again.
    Ok(quota::set_project(upper.as_fd(), project, inherits)?)
}

fn remove(folder: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Puts another of its kind in the place of what cannot be opened to be told its project. As it is the kernel would not
/// rename it within the tree (EXDEV), and the overlay renames a whiteout away whenever a file is made in its place.
fn remake(folder: BorrowedFd<'_>, name: &CStr, stat: &Stat, spare: BorrowedFd<'_>) -> Result<(), Errno> {
    remove(spare, MADE)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
        return whiteout(folder, name, spare);
    }
    if stat.st_nlink > 1 {
        // Its names belong together. Nobody is known to rename such a one.
        return Ok(());
    }
    let is_link = kind == FileType::Symlink;
    if is_link {
        let target: CString = rustix::fs::readlinkat(folder, name, Vec::new())?;
        rustix::fs::symlinkat(&*target, spare, MADE)?;
    } else {
        rustix::fs::mknodat(spare, MADE, kind, Mode::RUSR, stat.st_rdev)?;
    }
    let attributes = Attributes {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode & 0o7777,
        mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
    };
    attributes.apply_at(spare, MADE.to_bytes(), is_link)?;
    rustix::fs::renameat(spare, MADE, folder, name)
}

fn whiteout(folder: BorrowedFd<'_>, name: &CStr, spare: BorrowedFd<'_>) -> Result<(), Errno> {
    let make = |name: &CStr| rustix::fs::mknodat(spare, name, FileType::CharacterDevice, Mode::empty(), 0);
    match rustix::fs::linkat(spare, WHITEOUT, spare, MADE, AtFlags::empty()) {
        Err(Errno::NOENT) => {
            make(WHITEOUT)?;
            rustix::fs::linkat(spare, WHITEOUT, spare, MADE, AtFlags::empty())?;
        }
        // It has its fill of links.
        Err(Errno::MLINK) => {
            remove(spare, WHITEOUT)?;
            make(MADE)?;
        }
        other => other?,
    }
    rustix::fs::renameat(spare, MADE, folder, name)
}
