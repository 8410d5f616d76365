//! What a zone sees of its layers, for the host's own eyes: an overlay that is attached nowhere and goes with its
//! descriptor.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::sys::mount;

/// Files of a list of layers.
#[derive(Debug)]
pub struct View {
    /// The topmost folder of it.
    root: OwnedFd,
}

impl View {
    /// Folders over one another, the topmost first; nothing can be changed through it.
    ///
    /// # Errors
    /// When a folder is not there, or the overlay cannot be mounted.
    pub fn of(folders: &[PathBuf]) -> io::Result<Self> {
        match folders {
            [] => Err(io::Error::other("no layers")),
            // An overlay without a layer to write to needs two.
            [only] => Ok(Self { root: folder(only)? }),
            _ => Self::mount(folders, None),
        }
    }

    /// The same with what is changed going to `upper` and by way of `work`, both of one file system. No zone may be
    /// using them.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn over(folders: &[PathBuf], upper: &Path, work: &Path) -> io::Result<Self> {
        Self::mount(folders, Some((upper, work)))
    }

    fn mount(folders: &[PathBuf], own: Option<(&Path, &Path)>) -> io::Result<Self> {
        let folders = folders.iter().map(|path| folder(path)).collect::<io::Result<Vec<_>>>()?;
        let own = own.map(|(upper, work)| Ok::<_, io::Error>((folder(upper)?, folder(work)?))).transpose()?;
        // Short at any length of the path: a value has 255 bytes at most (fsconfig(2)).
        let name = |fd: &OwnedFd| CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let mut options = vec![(c"userxattr", CString::default()), (c"xino", c"off".to_owned())];
        for fd in &folders {
            options.push((c"lowerdir+", name(fd)?));
        }
        if let Some((upper, work)) = &own {
            options.extend([(c"upperdir", name(upper)?), (c"workdir", name(work)?)]);
        }
        let made = |options: &[(&std::ffi::CStr, CString)]| {
            let options: Vec<_> = options.iter().map(|(key, value)| (*key, value.as_c_str())).collect();
            mount::make(c"overlay", &options, libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID)
        };
        let root = match made(&options) {
            // One option for all of them, before Linux 6.5.
            Err(Errno::EINVAL) => {
                let names: Vec<_> =
                    folders.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
                options.retain(|(key, _)| *key != c"lowerdir+");
                options.push((c"lowerdir", CString::new(names.join(":"))?));
                made(&options)
            }
            other => other,
        };
        Ok(Self { root: root.map_err(io::Error::from)? })
    }

    /// A path to its root for as long as this is there.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.root.as_raw_fd()))
    }
}

impl AsFd for View {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

fn folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = open(path, flags, Mode::empty());
    opened.map_err(|error| {
        io::Error::new(io::Error::from(error).kind(), format!("{}: {error}", path.display()))
    })
}

/// Writes all that a folder's file system holds to disk.
///
/// # Errors
/// What could not be written back too, since Linux 5.8.
pub fn settle(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folders(count: usize) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<PathBuf> = (0..count).map(|i| dir.path().join(i.to_string())).collect();
        for (i, folder) in all.iter().enumerate() {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("who"), i.to_string()).unwrap();
            fs::write(folder.join(format!("only{i}")), "").unwrap();
        }
        (dir, all)
    }

    fn read(view: &View, name: &str) -> String {
        fs::read_to_string(view.path().join(name)).unwrap()
    }

    #[test]
    fn the_topmost_wins_and_all_are_seen() {
        let (_dir, all) = folders(100);
        let view = View::of(&all).unwrap();
        assert_eq!(read(&view, "who"), "0");
        assert_eq!(fs::read_dir(view.path()).unwrap().count(), 101);
        assert!(fs::write(view.path().join("x"), "").is_err());
        let view = View::of(&all[7..8]).unwrap();
        assert_eq!(read(&view, "who"), "7");
    }

    #[test]
    fn changes_go_to_the_upper_folder() {
        let (dir, all) = folders(2);
        let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let view = View::over(&all, &upper, &work).unwrap();
        fs::write(view.path().join("who"), "me").unwrap();
        fs::remove_file(view.path().join("only1")).unwrap();
        drop(view);
        assert_eq!(fs::read_to_string(upper.join("who")).unwrap(), "me");
        assert_eq!(fs::read_to_string(all[0].join("who")).unwrap(), "0");
        let view = View::of(&[upper, all[0].clone(), all[1].clone()]).unwrap();
        assert_eq!(read(&view, "who"), "me");
        assert!(!view.path().join("only1").exists());
    }

    #[test]
    fn a_missing_folder_is_named() {
        let (_dir, mut all) = folders(1);
        all.push("/nowhere/at/all".into());
        assert!(View::of(&all).unwrap_err().to_string().contains("/nowhere/at/all"));
    }
}
