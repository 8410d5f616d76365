//! Room that is kept for records: what was begun must be ended also where the disk has become full meanwhile, what failed
//! must be written down as failed, and what is to make room as begun.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;

use rustix::fs::{CWD, FallocateFlags, RenameFlags};

use super::atomic::sync_folder;
use crate::sys::btrfs;

/// Bytes. xfs begins to make a file only with room for all that it could come to take, which are some 100 KiB.
const SIZE: u64 = 1 << 20;

/// On btrfs, which sets aside 256 KiB for each item of a tree that it is to add, and takes some items for a file.
const SIZE_ON_BTRFS: u64 = 16 << 20;

/// A file whose blocks a record is written to where there are no others, and how many bytes they have.
const RECORD: &str = "record";
const RECORD_SIZE: u64 = 16 << 10;

/// Files: the end of a change makes a record's and three folders.
const FILES: usize = 8;

/// Files that give way, with their blocks and their inodes.
#[derive(Debug)]
pub(super) struct Reserve {
    folder: PathBuf,
    is_whole: Mutex<bool>,
}

impl Reserve {
    pub(super) fn new(folder: &Path) -> Self {
        // Not there yet is as good as spent.
        Self { folder: folder.join(".reserve"), is_whole: Mutex::new(false) }
    }

    /// Sees that all of it is there, for what is to be begun.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(super) fn require(&self) -> io::Result<()> {
        let mut is_whole = self.is_whole.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_whole {
            return Ok(());
        }
        match self.keep() {
            Err(error) if is_full(&error) => return Err(error),
            // A file system that cannot set room aside (EOPNOTSUPP) is one without a reserve.
            Err(error) => tracing::debug!(%error, "no room is kept for records"),
            Ok(()) => {}
        }
        *is_whole = true;
        Ok(())
    }

    /// Does `work` again with more room where it fails for want of that.
    pub(super) fn try_twice<T>(&self, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let done = match work() {
            Err(error) if is_full(&error) => {
                let mut is_whole = self.is_whole.lock().unwrap_or_else(PoisonError::into_inner);
                *is_whole = false;
                self.release()?;
                work()
            }
            other => other,
        };
        if done.is_ok() {
            // That it cannot be had is no reason to fail: it is had as soon as there is room.
            let _ = self.require();
        }
        done
    }

    /// Puts `bytes` where the file `path` is, in blocks that are kept for this, and keeps that file's for the next: nothing is given
    /// up meanwhile that a zone could take, however fast it writes.
    ///
    /// # Errors
    /// The file is what it was; mostly there is none yet.
    pub(super) fn exchange(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let spare = self.folder.join(RECORD);
        let mut file = OpenOptions::new().write(true).custom_flags(nix::libc::O_NOFOLLOW).open(&spare)?;
        // To cut it would free its blocks; white space behind JSON is none of it.
        let length = usize::try_from(file.metadata()?.len().min(RECORD_SIZE)).unwrap_or_default();
        let mut bytes = bytes.to_vec();
        bytes.resize(bytes.len().max(length), b'\n');
        file.write_all(&bytes)?;
        file.sync_all()?;
        rustix::fs::renameat_with(CWD, &spare, CWD, path, RenameFlags::EXCHANGE)?;
        path.parent().map_or(Ok(()), sync_folder)?;
        sync_folder(&self.folder)
    }

    /// Gives it up while `work` is done, where that has hardly any room else.
    pub(super) fn lend<T>(&self, work: impl FnOnce() -> T) -> T {
        if !self.is_tight() {
            return work();
        }
        *self.is_whole.lock().unwrap_or_else(PoisonError::into_inner) = false;
        if let Err(error) = self.release() {
            tracing::debug!(%error, "the room that is kept for records cannot be lent");
        }
        let done = work();
        let _ = self.require();
        done
    }

    fn is_tight(&self) -> bool {
        // btrfs counts no files.
        rustix::fs::statvfs(&self.folder).is_ok_and(|found| {
            found.f_bavail * found.f_frsize < SIZE || (found.f_files > 0 && found.f_favail < FILES as u64)
        })
    }

    fn file(&self, number: usize) -> PathBuf {
        self.folder.join(number.to_string())
    }

    fn keep(&self) -> io::Result<()> {
        let made = fs::DirBuilder::new().mode(0o700).create(&self.folder);
        made.or_else(|error| if self.folder.is_dir() { Ok(()) } else { Err(error) })?;
        let size = if btrfs::is_btrfs(&self.folder) { SIZE_ON_BTRFS } else { SIZE };
        let open = |number| {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            options.custom_flags(nix::libc::O_NOFOLLOW).open(self.file(number))
        };
        // A part of it is better than nothing.
        let file = open(0)?;
        let mut allocated = Ok(());
        for size in [size, size / 2, size / 4, size / 8, size / 16] {
            let done = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size);
            if allocated.is_ok() {
                allocated = done;
            }
            if done.is_ok() {
                break;
            }
        }
        (1..FILES).try_for_each(|number| open(number).map(drop))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let record = options.open(self.folder.join(RECORD))?;
        rustix::fs::fallocate(&record, FallocateFlags::KEEP_SIZE, 0, RECORD_SIZE)?;
        Ok(allocated?)
    }

    fn release(&self) -> io::Result<()> {
        let folder = match File::open(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        // An unlinked file's blocks may be freed in the background (xfs): here they are while it is there.
        match OpenOptions::new().write(true).custom_flags(nix::libc::O_NOFOLLOW).open(self.file(0)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => file?.set_len(0)?,
        }
        for number in 0..FILES {
            match fs::remove_file(self.file(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // Blocks can be had again once it is on the disk that they are free; on btrfs once all that is written is.
        Ok(rustix::fs::syncfs(&folder)?)
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A file system in memory at a new folder of `dir`.
    fn small(dir: &Path, size: &str) -> PathBuf {
        let at = dir.join("small");
        fs::create_dir(&at).unwrap();
        let (none, flags) = (None::<&str>, nix::mount::MsFlags::empty());
        nix::mount::mount(none, &at, Some("tmpfs"), flags, Some(size)).unwrap();
        at
    }

    #[test]
    fn it_gives_way_once_and_comes_back() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let reserve = Reserve::new(dir.path());
        let length = || fs::metadata(dir.path().join(".reserve/0")).map_or(0, |found| found.len());
        reserve.require().unwrap();
        assert_eq!(length(), SIZE);
        let calls = Cell::new(0);
        let full = || {
            calls.set(calls.get() + 1);
            if length() > 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        };
        reserve.try_twice(full).unwrap();
        assert_eq!((calls.get(), length()), (2, SIZE));
        let always = || Err::<(), _>(io::ErrorKind::StorageFull.into());
        assert!(is_full(&reserve.try_twice(always).unwrap_err()));
        assert_eq!(length(), 0);
        reserve.require().unwrap();
        assert_eq!(length(), SIZE);
    }

    #[test]
    fn it_is_lent_where_there_is_no_room() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let small = small(dir.path(), "size=1100k");
        let reserve = Reserve::new(&small);
        let kept = reserve.require();
        let write = || fs::write(small.join("record"), vec![1; 200 << 10]);
        let (refused, written) = (write(), reserve.lend(write));
        let left = fs::metadata(small.join(".reserve/0")).map(|found| found.len());
        nix::mount::umount(&small).unwrap();
        kept.unwrap();
        assert!(is_full(&refused.unwrap_err()));
        written.unwrap();
        assert_eq!(left.unwrap(), SIZE / 2);
    }

    #[test]
    fn a_record_is_written_where_there_is_no_block() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let small = small(dir.path(), "size=1200k");
        let reserve = Reserve::new(&small);
        let path = small.join("state.json");
        let kept = reserve.require();
        fs::write(&path, "{\"is\": \"a long one\"}").unwrap();
        let mut filler = File::create(small.join("filler")).unwrap();
        let full = std::iter::repeat_with(|| filler.write_all(&[1; 4096])).find_map(Result::err);
        let refused = fs::write(small.join("new"), "{}");
        let mut read = Vec::new();
        for text in ["{\"short\": 1}", "{\"is\": \"a longer one than the first\"}", "{}"] {
            let done = reserve.exchange(&path, text.as_bytes());
            read.push((done.is_ok(), fs::read_to_string(&path).unwrap_or_default().trim_end() == text));
        }
        nix::mount::umount2(&small, nix::mount::MntFlags::MNT_DETACH).unwrap();
        kept.unwrap();
        assert!(full.is_some() && refused.is_err());
        assert_eq!(read, [(true, true); 3]);
    }

    #[test]
    fn nothing_is_begun_without_it() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let small = small(dir.path(), "size=256k");
        let refused = Reserve::new(&small).require();
        let left = fs::read_dir(small.join(".reserve")).unwrap().count();
        nix::mount::umount(&small).unwrap();
        assert!(is_full(&refused.unwrap_err()));
        assert_eq!(left, FILES + 1);
    }
}
