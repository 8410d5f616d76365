//! How the file system below keeps the folder that a zone writes to: what it costs to make a layer of one that is in
//! use, and whether it can be limited.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::image::{ImageError, Layer};
use crate::sys::btrfs;

/// Runs what it is given while the zone is held still.
pub type Still<'a> = &'a mut dyn FnMut(&mut dyn FnMut() -> io::Result<()>) -> io::Result<()>;

/// What a file system offers to zones.
pub trait Backend: Sync {
    /// What `doctor` and `snapshots` call it.
    fn word(&self) -> &'static str;

    /// Makes the folder that a zone writes to.
    ///
    /// # Errors
    /// As mkdir(2) has them.
    fn make(&self, folder: &Path) -> io::Result<()>;

    /// Makes `to` what `folder` is at one instant, at which `still` holds the zone.
    ///
    /// # Errors
    /// `to` then holds anything.
    fn copy(&self, folder: &Path, to: &Path, still: Still<'_>) -> io::Result<()>;

    /// The same of a folder that nobody writes to.
    ///
    /// # Errors
    /// As [`Self::copy`].
    fn copy_still(&self, folder: &Path, to: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o755).create(to)?;
        Layer::copy(folder, to).map(drop).map_err(flat)
    }
}

/// The one for folders in `parent`.
pub fn of(parent: &Path) -> &'static dyn Backend {
    if btrfs::is_btrfs(parent) { &Subvolumes } else { &Folders }
}

/// Any file system: a copy, which shares blocks with what it is of where the file system can (xfs, btrfs).
struct Folders;

impl Backend for Folders {
    fn word(&self) -> &'static str {
        "overlay"
    }

    fn make(&self, folder: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o755).create(folder)
    }

    fn copy(&self, folder: &Path, to: &Path, still: Still<'_>) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o755).create(to)?;
        // Most of the work is done while the zone goes on.
        let mut first = Some(Layer::copy(folder, to).map_err(flat)?);
        still(&mut || first.take().map_or(Ok(()), |first| first.again().map_err(flat)))
    }
}

/// btrfs: a subvolume, of which a snapshot is one call at any size.
struct Subvolumes;

impl Backend for Subvolumes {
    fn word(&self) -> &'static str {
        "btrfs"
    }

    fn make(&self, folder: &Path) -> io::Result<()> {
        btrfs::make_subvolume(folder)
    }

    fn copy(&self, folder: &Path, to: &Path, still: Still<'_>) -> io::Result<()> {
        if !btrfs::is_subvolume(folder) {
            // It was made before it could be one.
            return Folders.copy(folder, to, still);
        }
        still(&mut || btrfs::snapshot(folder, to))
    }
}

/// An error with its causes, which keeps its kind.
fn flat(error: ImageError) -> io::Error {
    let kind =
        error.os_error().map_or(io::ErrorKind::Other, |code| io::Error::from_raw_os_error(code).kind());
    io::Error::new(kind, crate::causes::chain(&error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    /// What is done to the folder between the passes.
    type Meanwhile<'a> = &'a dyn Fn(&Path);

    fn copied(before: Meanwhile<'_>, meanwhile: Meanwhile<'_>) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        Folders.make(&from).unwrap();
        before(&from);
        // Older than what the passes take for recent.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        Folders
            .copy(&from, &to, &mut |work| {
                meanwhile(&from);
                work()
            })
            .unwrap();
        let listed = |root: &Path| {
            let format = "%P %y %m %U %G %s %T@ %l %n\\n";
            let mut find = std::process::Command::new("find");
            let out = find.arg(root).args(["-mindepth", "1", "-printf", format]).output().unwrap();
            let mut lines: Vec<String> =
                String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(listed(&from), listed(&to));
        let contents = |root: &Path| {
            let command = "find . -type f -exec cksum {} + | sort";
            let out =
                std::process::Command::new("sh").args(["-c", command]).current_dir(root).output().unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        assert_eq!(contents(&from), contents(&to));
        (dir, to)
    }

    fn tree(root: &Path) {
        for folder in ["a", "b", "c/d"] {
            fs::create_dir_all(root.join(folder)).unwrap();
            fs::write(root.join(folder).join("file"), folder).unwrap();
            fs::write(root.join(folder).join("same"), "same").unwrap();
        }
        symlink("a/file", root.join("link")).unwrap();
        fs::hard_link(root.join("a/file"), root.join("b/hard")).unwrap();
        nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let gone = root.join("c/gone");
        nix::sys::stat::mknod(&gone, nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::empty(), 0)
            .unwrap();
        fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o1711)).unwrap();
        rustix::fs::setxattr(root.join("c"), "user.overlay.opaque", b"y", rustix::fs::XattrFlags::empty())
            .unwrap();
    }

    #[test]
    fn a_layer_is_all_of_it() {
        let (_dir, to) = copied(&tree, &|_| {});
        let mut mark = [0; 4];
        assert_eq!(rustix::fs::getxattr(to.join("c"), "user.overlay.opaque", &mut mark[..]), Ok(1));
        assert_eq!(fs::metadata(to.join("c/gone")).unwrap().rdev(), 0);
        let number = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
        assert_eq!(number("a/file"), number("b/hard"));
    }

    #[test]
    fn what_changes_meanwhile_is_as_it_is_at_the_end() {
        copied(&tree, &|root| {
            fs::write(root.join("a/file"), "other").unwrap();
            fs::remove_file(root.join("link")).unwrap();
            fs::remove_dir_all(root.join("c/d")).unwrap();
            fs::create_dir_all(root.join("new/deep")).unwrap();
            fs::write(root.join("new/deep/file"), "new").unwrap();
            fs::rename(root.join("fifo"), root.join("link")).unwrap();
            fs::set_permissions(root.join("b"), fs::Permissions::from_mode(0o700)).unwrap();
        });
    }

    #[test]
    fn folders_that_change_places_are_told_apart() {
        let alike = |root: &Path| {
            for name in ["one", "two"] {
                fs::create_dir(root.join(name)).unwrap();
                fs::write(root.join(name).join("file"), name).unwrap();
                let time = rustix::fs::Timespec { tv_sec: 1000, tv_nsec: 0 };
                let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
                let flags = rustix::fs::AtFlags::empty();
                rustix::fs::utimensat(rustix::fs::CWD, root.join(name).join("file"), &times, flags).unwrap();
            }
        };
        let (_dir, to) = copied(&alike, &|root| {
            fs::rename(root.join("one"), root.join("x")).unwrap();
            fs::rename(root.join("two"), root.join("one")).unwrap();
            fs::rename(root.join("x"), root.join("two")).unwrap();
        });
        assert_eq!(fs::read_to_string(to.join("one/file")).unwrap(), "two");
    }

    #[test]
    fn a_write_through_a_mapping_is_seen() {
        // Dirty before the first pass, and again after it.
        let python = "import mmap,sys\nf=open(sys.argv[1],'r+b')\nm=mmap.mmap(f.fileno(),0)\nm[0:1]=b'1'\n\
                      print(flush=True)\nsys.stdin.readline()\nm[0:1]=b'2'\nprint(flush=True)\nsys.stdin.readline()\n";
        let started = std::cell::RefCell::new(None);
        let (_dir, to) = copied(
            &|root| {
                use std::io::Read;
                fs::write(root.join("mapped"), "0000").unwrap();
                let mut child = std::process::Command::new("python3")
                    .args(["-c", python])
                    .arg(root.join("mapped"))
                    .stdin(std::process::Stdio::piped())
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap();
                child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
                *started.borrow_mut() = Some(child);
            },
            &|_| {
                use std::io::{Read, Write};
                let mut child = started.borrow_mut();
                let child = child.as_mut().unwrap();
                child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
                child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            },
        );
        assert_eq!(fs::read_to_string(to.join("mapped")).unwrap(), "2000");
        let mut child = started.into_inner().unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
