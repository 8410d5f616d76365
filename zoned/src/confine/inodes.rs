//! Whether a zone's file systems may number inodes above 32 bits, which programs of 32 bits cannot be told.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::root::{self, RootSpec};
use crate::sys::mount;

/// Whether any file system that a zone over `spec` with binds of `sources` shows may. What a guest mounts
/// itself is not known; the kinds that it can mount count from 1 up. `mounts` is the text of /proc/self/mountinfo.
pub fn may_be_wide<'a>(
    mounts: &str,
    spec: &RootSpec,
    zone_dir: &Path,
    hide: &Path,
    sources: impl Iterator<Item = &'a Path>,
) -> bool {
    let mut folders: Vec<PathBuf> = sources.map(Path::to_owned).collect();
    match spec {
        RootSpec::Installed => folders.push(zone_dir.to_owned()),
        // They are in one store, beside the zones' folders.
        RootSpec::Layered(layers) => {
            folders.extend(layers.first().cloned());
            folders.push(zone_dir.to_owned());
        }
        RootSpec::Directory(path) => folders.extend([path.clone(), zone_dir.to_owned()]),
        RootSpec::Host => {
            folders.push("/".into());
            folders.extend(root::host_mounts(mounts, hide));
        }
    }
    // One that cannot be looked at is no narrow one.
    let narrow = |folder: &PathBuf| {
        let found = open(folder, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        is_narrow(mounts, mount::id(found.as_fd()).ok()?)
    };
    !folders.iter().all(|folder| narrow(folder) == Some(true))
}

/// Whether the file system of mount `id` keeps to 32 bits, by proc_pid_mountinfo(5).
pub(super) fn is_narrow(mountinfo: &str, id: u64) -> Option<bool> {
    let id = id.to_string();
    let line = mountinfo.lines().find(|line| line.split(' ').next() == Some(&id))?;
    let mut right = line.split_once(" - ")?.1.split(' ');
    let (kind, options) = (right.next()?, right.nth(1).unwrap_or_default());
    let has = |wanted: &str| options.split(',').any(|option| option == wanted);
    Some(match kind {
        "ext2" | "ext3" | "ext4" | "vfat" | "squashfs" | "ramfs" => true,
        // tmpfs(5), Linux 5.9.
        "tmpfs" => !has("inode64"),
        // Otherwise the upper bits may say which layer a file is of (overlayfs, Linux 4.17).
        "overlay" => has("xino=off"),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
23 22 0:5 / /a rw - tmpfs tmpfs rw,size=5k,inode64
24 22 0:6 / /b\\040c rw - tmpfs none rw,size=5k
25 22 0:7 / /c rw - overlay overlay rw,lowerdir=/x,xino=on
26 22 0:8 / /d rw - overlay overlay rw,lowerdir=/x,xino=off
27 22 8:1 / /e rw - xfs /dev/sda1 rw,inode64
";

    #[test]
    fn kinds_are_told_apart() {
        let told: Vec<_> = (22..=28).map(|id| is_narrow(MOUNTS, id)).collect();
        let wanted = [true, false, true, false, true, false].map(Some);
        assert_eq!(told, wanted.into_iter().chain([None]).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_there_may_be_anything() {
        let spec = RootSpec::Directory("/nowhere/at/all".into());
        let wide = may_be_wide(MOUNTS, &spec, Path::new("/"), Path::new("/nowhere"), std::iter::empty());
        assert!(wide);
    }
}
