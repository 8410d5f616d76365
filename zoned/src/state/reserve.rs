//! Room that is kept for records: what failed because the disk is full must still be written down as failed, and what is
//! to make room as begun.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FallocateFlags;

use crate::sys::btrfs;

/// Bytes, or what can be had of them.
const SIZES: [u64; 4] = [128 << 10, 64 << 10, 32 << 10, 16 << 10];

/// On btrfs, which sets aside 256 KiB for each item of a tree that it is to add, and takes some items for a file.
const ON_BTRFS: u64 = 4 << 20;

/// A file that gives way, with its blocks and its inode.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    spent: AtomicBool,
}

impl Reserve {
    pub(super) fn new(folder: &Path) -> Self {
        // Not there yet is as good as spent.
        Self { path: folder.join(".reserve"), spent: AtomicBool::new(true) }
    }

    /// Does `work` again with more room where it fails for want of that.
    pub(super) fn try_twice(&self, work: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let done = match work() {
            Err(error) if is_full(&error) && self.release() => work(),
            other => other,
        };
        if done.is_ok() && self.spent.load(Ordering::Relaxed) {
            self.keep();
        }
        done
    }

    fn open(&self, create: bool) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(create).truncate(false).mode(0o600);
        options.custom_flags(nix::libc::O_NOFOLLOW).open(&self.path)
    }

    /// That it cannot be had is no reason to fail: it is had as soon as there is room.
    fn keep(&self) {
        let more = self.path.parent().is_some_and(btrfs::is_btrfs).then_some(&ON_BTRFS);
        let had = self.open(true).is_ok_and(|file| {
            more.into_iter()
                .chain(&SIZES)
                .any(|size| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, *size).is_ok())
        });
        self.spent.store(!had, Ordering::Relaxed);
    }

    /// Whether there is more room now.
    fn release(&self) -> bool {
        self.spent.store(true, Ordering::Relaxed);
        let released = self.open(false).and_then(|file| {
            file.set_len(0)?;
            // Blocks can be had again once it is on the disk that they are free.
            file.sync_all()?;
            // And its inode, which is what there may be none of.
            std::fs::remove_file(&self.path)?;
            // btrfs has what is free once all that is written is there.
            Ok(rustix::fs::syncfs(&file)?)
        });
        released.is_ok()
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn it_gives_way_once_and_comes_back() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let reserve = Reserve::new(dir.path());
        let length = || std::fs::metadata(dir.path().join(".reserve")).map_or(0, |found| found.len());
        reserve.try_twice(|| Ok(())).unwrap();
        assert_eq!(length(), SIZES[0]);
        let calls = Cell::new(0);
        let full = || {
            calls.set(calls.get() + 1);
            if length() > 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        };
        reserve.try_twice(full).unwrap();
        assert_eq!((calls.get(), length()), (2, SIZES[0]));
        let always = || Err(io::ErrorKind::StorageFull.into());
        assert!(is_full(&reserve.try_twice(always).unwrap_err()));
        assert_eq!(length(), 0);
    }
}
