//! Removes what a zone left: a tree that a hostile guest wrote, of any depth.
//!
//! One descriptor is held however deep the tree is; the way back is `..`, and each folder must turn out to be
//! the one that was left. Links are removed, never followed, and mounts are never entered: what is
//! mounted there is not the zone's.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, IFlags, Mode, OFlags};
use rustix::io::Errno;

use super::tree::{Id, id, kind, names, open_folder};

/// Removes everything in `dir`, as root; `dir` itself stays. That there is no `dir` is well.
pub fn empty(dir: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags, Mode::empty()) {
        Ok(fd) => clear(fd),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes `dir` with everything in it. That there is no `dir` is well.
pub fn remove(dir: &Path) -> io::Result<()> {
    empty(dir)?;
    match std::fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The same for the folder `name` of `dir`.
pub(super) fn remove_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let name = CString::new(name)?;
    clear(open_folder(dir, &name, true)?)?;
    unlink(dir, &name, AtFlags::REMOVEDIR)?;
    Ok(())
}

struct Level {
    id: Id,
    name: CString,
    left: Vec<CString>,
}

impl Level {
    fn new(dir: BorrowedFd<'_>, name: CString) -> Result<Self, Errno> {
        Ok(Self { id: id(&rustix::fs::fstat(dir)?), name, left: names(dir)? })
    }
}

fn clear(dir: OwnedFd) -> io::Result<()> {
    let mut way = Vec::new();
    let mut level = Level::new(dir.as_fd(), CString::default())?;
    let mut here = dir;
    loop {
        if let Some(name) = level.left.pop() {
            match unlink(here.as_fd(), &name, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::ISDIR) => {
                    let child = open_folder(here.as_fd(), &name, true).map_err(|error| match error {
                        Errno::XDEV => io::Error::new(
                            io::ErrorKind::ResourceBusy,
                            format!("something is mounted on {}", super::error::shown(name.as_bytes())),
                        ),
                        other => other.into(),
                    })?;
                    way.push(std::mem::replace(&mut level, Level::new(child.as_fd(), name)?));
                    here = child;
                }
                Err(error) => return Err(error.into()),
            }
            continue;
        }
        let Some(up) = way.pop() else { return Ok(()) };
        here = open_folder(here.as_fd(), c"..", true)?;
        if id(&rustix::fs::fstat(&here)?) != up.id {
            return Err(io::Error::other("a folder was moved while it was removed"));
        }
        unlink(here.as_fd(), &level.name, AtFlags::REMOVEDIR)?;
        level = up;
    }
}

/// unlinkat(2), which an immutable or append-only flag of the file or of its folder does not stop.
fn unlink(dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, flags) {
        Err(Errno::PERM) => {
            thaw(dir);
            let there = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            // Only these have flags, and opening a device could do anything.
            if matches!(kind(&there), FileType::RegularFile | FileType::Directory) {
                let how = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                thaw(rustix::fs::openat(dir, name, how, Mode::empty())?.as_fd());
            }
            match rustix::fs::unlinkat(dir, name, flags) {
                Err(Errno::NOENT) => Ok(()),
                other => other,
            }
        }
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn thaw(file: BorrowedFd<'_>) {
    let frozen = IFlags::IMMUTABLE | IFlags::APPEND;
    if let Ok(flags) = rustix::fs::ioctl_getflags(file)
        && flags.intersects(frozen)
    {
        // What it does not help with fails at the unlink after it.
        let _ = rustix::fs::ioctl_setflags(file, flags - frozen);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A tree so deep that no path can name its end.
    pub(crate) fn deep(dir: &Path, levels: usize) {
        let mut here: OwnedFd = fs::File::open(dir).unwrap().into();
        for _ in 0..levels {
            rustix::fs::mkdirat(&here, "d", Mode::RWXU).unwrap();
            here = open_folder(here.as_fd(), c"d", false).unwrap();
        }
        rustix::fs::symlinkat("/etc", &here, "out").unwrap();
    }

    #[test]
    fn depth_is_no_matter() {
        let dir = tempfile::tempdir().unwrap();
        deep(dir.path(), 10_000);
        empty(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_are_not_followed() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("keep"), "").unwrap();
        std::os::unix::fs::symlink(other.path(), dir.path().join("link")).unwrap();
        empty(dir.path()).unwrap();
        assert!(other.path().join("keep").exists());
        std::os::unix::fs::symlink(other.path(), dir.path().join("link")).unwrap();
        empty(&dir.path().join("link")).unwrap_err();
        assert!(other.path().join("keep").exists());
    }

    #[test]
    fn flags_do_not_stop_it() {
        let dir = tempfile::tempdir().unwrap();
        let (sub, file) = (dir.path().join("sub"), dir.path().join("sub/file"));
        fs::create_dir(&sub).unwrap();
        fs::write(&file, "").unwrap();
        for (path, flag) in [(&file, IFlags::IMMUTABLE), (&sub, IFlags::APPEND)] {
            if rustix::fs::ioctl_setflags(fs::File::open(path).unwrap(), flag).is_err() {
                crate::image::tests::skipped(
                    "flags_do_not_stop_it",
                    "the file system here has no such flags",
                );
                return;
            }
        }
        fs::remove_file(&file).unwrap_err();
        remove(dir.path()).unwrap();
        assert!(!dir.path().exists());
    }

    #[test]
    fn a_mount_is_not_entered() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("keep"), "").unwrap();
        fs::create_dir(dir.path().join("m")).unwrap();
        let script =
            r#"mount --bind "$1" "$2/m" && exec "$3" --exact image::empty::tests::child --nocapture"#;
        let status = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .args([other.path(), dir.path(), &std::env::current_exe().unwrap()])
            .env("ZONES_TEST_EMPTY", dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&status.stderr).into_owned();
        assert!(status.status.success(), "{said}");
        assert!(other.path().join("keep").exists());
        assert!(said.contains("mounted on m") || said.contains("busy"), "{said}");
    }

    /// The part of `a_mount_is_not_entered` that runs among its mounts.
    #[test]
    fn child() {
        if let Some(dir) = std::env::var_os("ZONES_TEST_EMPTY") {
            eprintln!("{}", empty(Path::new(&dir)).unwrap_err());
        }
    }

    #[test]
    fn nothing_there_is_well() {
        empty(Path::new("/nonexistent/zone")).unwrap();
        remove(Path::new("/nonexistent/zone")).unwrap();
    }
}
