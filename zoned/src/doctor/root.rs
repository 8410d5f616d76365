//! What the file system of the daemon's folder can do.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rustix::fs::{Mode, OFlags, XattrFlags};
use zone_api::{Finding, Verdict};

use super::{finding, ok_or};

pub(super) fn examine(root: &Path) -> Vec<Finding> {
    let mut lines = tried(root);
    lines.push(space(root));
    lines
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
