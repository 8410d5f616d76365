//! What the file system of the daemon's folder can do.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, XattrFlags};
use zone_api::{Finding, Verdict};

use super::facts::{Facts, Kernel};
use super::{finding, ok_or};

/// Where the file systems learnt to be mounted with mapped ids (mount_setattr(2)).
const IDMAPPED: [(&str, Kernel); 9] = [
    ("ext4", Kernel(5, 12)),
    ("xfs", Kernel(5, 12)),
    ("btrfs", Kernel(5, 15)),
    ("f2fs", Kernel(5, 18)),
    ("erofs", Kernel(5, 19)),
    ("overlay", Kernel(5, 19)),
    ("squashfs", Kernel(6, 2)),
    ("tmpfs", Kernel(6, 3)),
    ("zfs", Kernel(5, 12)),
];

pub(super) fn examine(root: &Path, facts: &Facts) -> Vec<Finding> {
    // It is made when zoned first starts: until then its parent tells.
    let there = root.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let kind = kind(there);
    let name = kind.as_deref().unwrap_or("not known");
    let idmap = IDMAPPED.iter().find(|(of, _)| Some(*of) == kind.as_deref());
    let maps = idmap.is_some_and(|(_, since)| facts.kernel >= *since);
    let found = match (maps, idmap) {
        (true, _) => format!("{name} can"),
        (false, Some((_, Kernel(major, minor)))) => format!("{name} cannot before Linux {major}.{minor}"),
        (false, None) => format!("{name} cannot"),
    };
    let why = "files of a zone then keep their own ids on disk; without it they are shifted: put --root on ext4, xfs or btrfs";
    let mut lines = vec![finding("idmapped mounts of --root", ok_or(maps, Verdict::Missing), found, why)];
    lines.extend(tried(there));
    lines.push(space(there));
    lines
}

/// Type of the file system that `path` lies on, by the mount with the longest path that holds it.
fn kind(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let text = crate::confine::mountinfo().ok()?;
    let mut best: Option<(PathBuf, &str)> = None;
    for (point, kind, _) in crate::confine::mounts(&text) {
        let longer = best.as_ref().is_none_or(|(best, _)| point.as_os_str().len() >= best.as_os_str().len());
        if path.starts_with(&point) && longer {
            best = Some((point, kind));
        }
    }
    Some(best?.1.to_owned())
}

/// With two files that have no names, and so are gone when they are closed.
fn tried(root: &Path) -> Vec<Finding> {
    let file = || -> rustix::io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(rustix::fs::open(root, flags, Mode::RUSR | Mode::WUSR)?.into())
    };
    let (xattr, reflink) = match (file(), file()) {
        (Ok(mut one), Ok(other)) => {
            let xattr =
                rustix::fs::fsetxattr(&one, "security.capability", CAPABILITY, XattrFlags::empty()).is_ok();
            let written = one.write_all(&[1; 4096]).is_ok();
            (Some(xattr), Some(written && rustix::fs::ioctl_ficlone(&other, &one).is_ok()))
        }
        _ => (None, None),
    };
    let line = |what, there: Option<bool>, why| {
        let found = there.map_or("could not be tried", super::there);
        finding(what, ok_or(there == Some(true), Verdict::Missing), found, why)
    };
    vec![
        line("file capabilities in --root", xattr, "ping and the like have them instead of a setuid bit"),
        line(
            "reflinks in --root",
            reflink,
            "copies of files then share their blocks: put --root on btrfs or xfs; zones share by overlay without it",
        ),
    ]
}

/// Nothing permitted, version 2 (vfs_cap_data of linux/capability.h).
const CAPABILITY: &[u8; 20] = b"\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn space(root: &Path) -> Finding {
    let why = "an installed Debian takes some 200 MB: free some space, or give zoned another --root";
    match rustix::fs::statvfs(root) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let inodes = stat.f_files == 0 || stat.f_favail > 50_000;
            let found = format!("{} MiB free", free >> 20) + if inodes { "" } else { ", and few inodes" };
            finding("disk of --root", ok_or(free >> 30 > 0 && inodes, Verdict::Missing), found, why)
        }
        Err(error) => finding("disk of --root", Verdict::Missing, error.to_string(), why),
    }
}
