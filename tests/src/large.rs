//! A file system whose inode numbers do not fit 32 bits.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;

/// XFS of 30 TiB in an image with holes; taken away with this value.
#[derive(Debug)]
pub struct Large {
    backing: PathBuf,
    mounted: PathBuf,
}

impl Large {
    /// Mounts it below `scratch`.
    pub fn make(scratch: &Path) -> Self {
        let (backing, mounted) = (scratch.join("backing"), scratch.join("large"));
        for folder in [&backing, &mounted] {
            fs::create_dir(folder).expect("create");
        }
        let large = Self { backing: backing.clone(), mounted: mounted.clone() };
        // ext4 holds no file of this size.
        run("mount", &["-t", "tmpfs", "-o", "size=1g", "tmpfs", &text(&backing)]);
        let image = backing.join("image");
        File::create(&image).and_then(|f| f.set_len(30 << 40)).expect("make an image");
        run("mkfs.xfs", &["-q", "-l", "size=64m", &text(&image)]);
        run("mount", &["-o", "loop,inode64", &text(&image), &text(&mounted)]);
        large
    }

    /// A folder whose inodes are above 32 bits: XFS spreads folders over the device, and counts in it.
    pub fn wide_folder(&self) -> PathBuf {
        let folders = (0..40).map(|i| self.mounted.join(i.to_string()));
        let mut folders = folders.inspect(|folder| fs::create_dir(folder).expect("create"));
        folders.find(|folder| fs::metadata(folder).expect("look").ino() >> 32 != 0).expect("a wide inode")
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        let end = Instant::now() + Duration::from_secs(5);
        for mount in [&self.mounted, &self.backing] {
            // The kernel lets go of the loop device, and of the image that is behind it, a while after its last mount.
            loop {
                match nix::mount::umount(mount) {
                    Err(Errno::EBUSY) if Instant::now() < end => sleep(Duration::from_millis(20)),
                    // It was not mounted, or is not any more.
                    Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => break,
                    Err(error) => {
                        eprintln!("unmount {}: {error}", mount.display());
                        break;
                    }
                }
            }
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, words: &[&str]) {
    let status = Command::new(program).args(words).status();
    assert!(status.as_ref().is_ok_and(|s| s.success()), "{program} {words:?}: {status:?}");
}
