//! How the file system below keeps what a zone writes: what it costs to make a layer of it while it is in use, and
//! whether it can be limited.
//!
//! ```text
//! ZONE/upper, ZONE/work          an overlay's two folders
//! ZONE/own/upper, ZONE/own/work  the same on btrfs, where `own` is a subvolume: a rename cannot leave one
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::project;
use crate::confine::outside;
use crate::image::{ImageError, Index, Layer, copy_all};
use crate::sys::{btrfs, quota};

/// What a zone writes.
pub const UPPER: &str = "upper";
/// The overlay's own.
pub const WORK: &str = "work";
/// Subvolume that has both.
pub const OWN: &str = "own";

/// File of a layer: what its zone's folder held when the layer was made of it.
const INDEX: &str = "index";

/// Sees that no layer goes over the one in the folder `layer`: what it was made of may become other without a trace.
///
/// # Errors
/// As unlink(2) has them.
pub fn forget_index(layer: &Path) -> io::Result<()> {
    match fs::remove_file(layer.join(INDEX)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The name in a zone's folder of what has all that it writes.
pub fn part(zone: &Path) -> &'static str {
    if zone.join(OWN).is_dir() { OWN } else { UPPER }
}

/// Folder of what the zone whose folder is `zone` writes.
pub fn upper(zone: &Path) -> PathBuf {
    if zone.join(OWN).is_dir() { zone.join(OWN).join(UPPER) } else { zone.join(UPPER) }
}

/// The overlay's own folder beside it.
pub fn work(zone: &Path) -> PathBuf {
    upper(zone).with_file_name(WORK)
}

/// Makes the folders for what a zone writes, unless they are there. `work/work` is the overlay's own.
pub fn make_written(zone_dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(upper(zone_dir))?;
    DirBuilder::new().recursive(true).mode(0o700).create(work(zone_dir).join(WORK))
}

/// Runs what it is given while the zone is held still.
pub type Still<'a> = &'a mut dyn FnMut(&mut dyn FnMut() -> io::Result<()>) -> io::Result<()>;

/// What a file system offers to zones.
pub trait Backend: Sync {
    /// What `doctor` calls it.
    fn word(&self) -> &'static str;

    /// Makes in the folder `zone`, which has no `upper` yet, what that is to be in.
    ///
    /// # Errors
    /// As mkdir(2) has them.
    fn make(&self, zone: &Path) -> io::Result<()>;

    /// Makes the files of the layer in the folder `layer` what the zone whose folder is `zone` has written at one instant, at
    /// which `still` holds it. Where that can be told, they are only what changed since the layer in the folder `last` was
    /// made of the same, and go over that: then true.
    ///
    /// # Errors
    /// `layer` then holds anything.
    fn copy(&self, zone: &Path, layer: &Path, last: Option<&Path>, still: Still<'_>) -> io::Result<bool>;

    /// Why what zones write in `parent` cannot be limited, if so.
    fn unlimited(&self, parent: &Path) -> Option<&'static str>;

    /// Limits what the zone whose folder is `zone` writes; none is no limit. `project` is a number that no other zone has.
    /// Whether the zone `lives` makes a difference.
    ///
    /// # Errors
    /// When it cannot be limited: it is not then.
    fn limit(&self, zone: &Path, project: u32, bytes: Option<u64>, lives: bool) -> io::Result<()>;

    /// What counts what the zone whose folder is `zone` writes, where programs are not told of its limit by the file system.
    fn usage(&self, zone: &Path) -> Option<btrfs::Usage>;

    /// Lifts a limit on the file system of `folder` for good: `project` may become another's. Files are taken from it by
    /// [`Self::free`].
    ///
    /// # Errors
    /// As the kernel has them.
    fn lift(&self, folder: &Path, project: u32) -> io::Result<()>;

    /// What the zone whose folder is `zone` wrote is no longer counted as its own. Nobody writes to it.
    ///
    /// # Errors
    /// Some of it still is, and none of it after another time.
    fn free(&self, zone: &Path) -> io::Result<()>;
}

/// Makes `to` all that `folder` is, to which nobody writes.
///
/// # Errors
/// `to` then holds anything.
pub fn copy_still(folder: &Path, to: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o755).create(to)?;
    copy_all(folder, to, &[]).map_err(flat)
}

/// The one for folders in `parent`.
pub fn of(parent: &Path) -> &'static dyn Backend {
    if btrfs::is_btrfs(parent) { &Subvolumes } else { &Folders }
}

/// Any file system: a copy, which shares blocks with what it is of where the file system can (xfs, btrfs).
struct Folders;

impl Backend for Folders {
    fn word(&self) -> &'static str {
        "copies"
    }

    fn make(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn unlimited(&self, parent: &Path) -> Option<&'static str> {
        if !outside::maps_ids() {
            // The overlay is mounted by the host's root, whom ext4 holds to no quota.
            return Some("before Linux 5.19 no quota holds a zone: use btrfs, or a newer kernel");
        }
        let on = fs::File::open(parent).is_ok_and(|opened| quota::is_on(opened.as_fd()));
        let why = "its file system has no project quotas: mount ext4 or xfs with prjquota, or use btrfs";
        (!on).then_some(why)
    }

    fn limit(&self, zone: &Path, project: u32, bytes: Option<u64>, lives: bool) -> io::Result<()> {
        let Some(bytes) = bytes else { return self.lift(zone, project) };
        let refuse = |why| Err(io::Error::new(io::ErrorKind::Unsupported, why));
        if let Some(why) = self.unlimited(zone) {
            return refuse(why);
        }
        let (upper, work) = (upper(zone), work(zone));
        let opened = fs::File::open(&upper)?;
        if lives && quota::project(opened.as_fd()) != project {
            return refuse(
                "what it wrote while it had no limit is not counted yet: from the time that it is halted and booted on it is",
            );
        }
        project::give(&upper, &work, project)?;
        Ok(quota::limit(opened.as_fd(), project, bytes)?)
    }

    fn lift(&self, folder: &Path, project: u32) -> io::Result<()> {
        let opened = fs::File::open(folder)?;
        if !quota::is_on(opened.as_fd()) {
            return Ok(());
        }
        Ok(quota::limit(opened.as_fd(), project, 0)?)
    }

    fn usage(&self, _: &Path) -> Option<btrfs::Usage> {
        // Project quotas are what statfs(2) tells of.
        None
    }

    fn free(&self, zone: &Path) -> io::Result<()> {
        let (upper, work) = (upper(zone), work(zone));
        let opened = match fs::File::open(&upper) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if quota::project(opened.as_fd()) == 0 {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&work)?;
        project::give(&upper, &work, 0)
    }

    fn copy(&self, zone: &Path, layer: &Path, last: Option<&Path>, still: Still<'_>) -> io::Result<bool> {
        let (folder, to) = (upper(zone), layer.join("fs"));
        fs::DirBuilder::new().mode(0o755).create(&to)?;
        let before = last.and_then(|last| Index::read(&last.join(INDEX), &folder));
        let is_change = before.is_some();
        // Most of the work is done while the zone goes on.
        let mut copy = Layer::copy(&folder, &to, before).map_err(flat)?;
        let mut index = None;
        still(&mut || {
            index = Some(copy.again().map_err(flat)?);
            Ok(())
        })?;
        index.map_or(Ok(()), |index| index.write(&layer.join(INDEX)))?;
        Ok(is_change)
    }
}

/// btrfs: a subvolume, of which a snapshot is one call at any size.
struct Subvolumes;

impl Backend for Subvolumes {
    fn word(&self) -> &'static str {
        "subvolumes"
    }

    fn make(&self, zone: &Path) -> io::Result<()> {
        let own = zone.join(OWN);
        if own.is_dir() {
            return Ok(());
        }
        btrfs::make_subvolume(&own)?;
        fs::set_permissions(own, fs::Permissions::from_mode(0o700))
    }

    fn unlimited(&self, _: &Path) -> Option<&'static str> {
        None
    }

    fn lift(&self, _: &Path, _: u32) -> io::Result<()> {
        // It goes with its subvolume.
        Ok(())
    }

    fn usage(&self, zone: &Path) -> Option<btrfs::Usage> {
        btrfs::Usage::of(&zone.join(OWN)).ok()
    }

    fn free(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn limit(&self, zone: &Path, _: u32, bytes: Option<u64>, _: bool) -> io::Result<()> {
        let own = zone.join(OWN);
        if !btrfs::is_subvolume(&own) {
            // It came from another file system, or from an older zoned.
            let why = "it is in no subvolume: a snapshot of it while it does not run makes one";
            return bytes.map_or(Ok(()), |_| Err(io::Error::new(io::ErrorKind::Unsupported, why)));
        }
        btrfs::limit(&own, bytes)
    }

    fn copy(&self, zone: &Path, layer: &Path, last: Option<&Path>, still: Still<'_>) -> io::Result<bool> {
        let (own, to) = (zone.join(OWN), layer.join(OWN));
        if !btrfs::is_subvolume(&own) {
            return Folders.copy(zone, layer, last, still);
        }
        still(&mut || btrfs::snapshot(&own, &to))?;
        crate::image::remove(&to.join(WORK))?;
        Ok(false)
    }
}

/// An error with its causes, which keeps its kind.
pub(super) fn flat(error: ImageError) -> io::Error {
    let kind =
        error.os_error().map_or(io::ErrorKind::Other, |code| io::Error::from_raw_os_error(code).kind());
    io::Error::new(kind, crate::causes::chain(&error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// What is done to the folder between the passes.
    type Meanwhile<'a> = &'a dyn Fn(&Path);

    fn copied(before: Meanwhile<'_>, meanwhile: Meanwhile<'_>) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (from, to) = (dir.path().join(UPPER), dir.path().join("fs"));
        fs::create_dir(&from).unwrap();
        before(&from);
        // Older than what the passes take for recent.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        Folders
            .copy(dir.path(), dir.path(), None, &mut |work| {
                meanwhile(&from);
                work()
            })
            .unwrap();
        assert_alike(&from, &to);
        (dir, to)
    }

    fn assert_alike(from: &Path, to: &Path) {
        let listed = |root: &Path| {
            let format = "%P %y %m %U %G %s %T@ %l %n\\n";
            let mut find = std::process::Command::new("find");
            let out = find.arg(root).args(["-mindepth", "1", "-printf", format]).output().unwrap();
            let mut lines: Vec<String> =
                String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(listed(from), listed(to));
        let contents = |root: &Path| {
            let command = "find . -type f -exec cksum {} + | sort";
            let out =
                std::process::Command::new("sh").args(["-c", command]).current_dir(root).output().unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        assert_eq!(contents(from), contents(to));
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
    fn what_changes_while_it_is_copied_is_as_it_is_at_the_end() {
        use std::sync::atomic::{AtomicBool, Ordering};
        for round in 0..12 {
            let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
            let (from, to) = (dir.path().join(UPPER), dir.path().join("fs"));
            fs::create_dir(&from).unwrap();
            for i in 0..40 {
                tree(&{
                    let folder = from.join(format!("tree{i}"));
                    fs::create_dir(&folder).unwrap();
                    folder
                });
            }
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    let mut i = round;
                    while !stop.load(Ordering::Relaxed) {
                        i = (i * 31 + 17) % 40;
                        let (one, two) =
                            (from.join(format!("tree{i}")), from.join(format!("tree{}", (i + 7) % 40)));
                        // Of no consequence: what is not there cannot be moved.
                        let _ = fs::rename(one.join("c/d"), two.join("a/d"));
                        let _ = fs::remove_dir_all(two.join("c"));
                        let _ = fs::rename(one.join("a"), two.join("moved"));
                        let _ = fs::rename(two.join("moved"), two.join("a"));
                        let _ = fs::remove_file(one.join("link"));
                        let _ = fs::rename(one.join("fifo"), one.join("link"));
                        let _ = fs::remove_dir_all(&one);
                        let _ = fs::create_dir_all(one.join("c/d/e"));
                        let _ = fs::write(one.join("c/d/file"), "new");
                        let _ = symlink("c/d", one.join("link"));
                    }
                });
                Folders
                    .copy(dir.path(), dir.path(), None, &mut |work| {
                        stop.store(true, Ordering::Relaxed);
                        while !writer.is_finished() {
                            std::thread::yield_now();
                        }
                        work()
                    })
                    .unwrap_or_else(|error| {
                        stop.store(true, Ordering::Relaxed);
                        panic!("{error}")
                    });
            });
            assert_alike(&from, &to);
        }
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
                      for to in b'2', b'3', b'':\n print(flush=True)\n sys.stdin.readline()\n m[0:len(to)]=to\n";
        let write = |child: &mut std::process::Child| {
            use std::io::{Read, Write};
            child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        };
        let started = std::cell::RefCell::new(None);
        let (dir, to) = copied(
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
            &|_| write(started.borrow_mut().as_mut().unwrap()),
        );
        assert_eq!(fs::read_to_string(to.join("mapped")).unwrap(), "2000");
        let mut child = started.into_inner().unwrap();
        // The page is still one that may be written to without a trace.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        write(&mut child);
        let (dir, next) = (dir.path(), dir.path().join("next"));
        fs::create_dir(&next).unwrap();
        assert!(Folders.copy(dir, &next, Some(dir), &mut |work| work()).unwrap());
        assert_eq!(fs::read_to_string(next.join("fs/mapped")).unwrap(), "3000");
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
