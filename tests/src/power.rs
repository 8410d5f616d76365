//! A disk that forgets what was not flushed when its power is cut.
//!
//! The file behind a loop device is served by this process (fuse(4)), which so sees every write and every flush that the
//! device gets. After a cut the disk holds all that was written before the last flush, and of what was written since then
//! any part.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::host::Dice;

/// Bytes that a disk writes whole or not at all.
const PIECE: usize = 4096;
/// Longest write that the kernel sends.
const LONGEST: usize = 1 << 20;

/// The disk, mounted.
#[derive(Debug)]
pub struct Disk {
    platter: Arc<Mutex<Platter>>,
    served: PathBuf,
    mounted: PathBuf,
    options: String,
}

#[derive(Debug)]
struct Platter {
    /// As its user sees it.
    now: File,
    /// As it was at the last flush.
    safe: File,
    /// Written since then, in order.
    since: Vec<(u64, Vec<u8>)>,
    size: u64,
    dead: bool,
    flushes: u64,
}

impl Disk {
    /// A disk of that many MiB with a file system of that kind (ext4, xfs or btrfs), mounted on the folder `at`, which is made.
    pub fn make(scratch: &Path, at: &Path, mib: u64, kind: &str) -> Self {
        let (now, safe, served) = (scratch.join("now"), scratch.join("safe"), scratch.join("served"));
        for folder in [&served, at] {
            fs::create_dir(folder).expect("make a folder");
        }
        File::create(&safe).and_then(|file| file.set_len(mib << 20)).expect("make a disk");
        let quiet = ["-q"];
        run(&format!("mkfs.{kind}"), &[&quiet[..], &[text(&safe)]].concat());
        run("cp", &["--sparse=always", text(&safe), text(&now)]);
        let open = |path: &Path| File::options().read(true).write(true).open(path).expect("open the disk");
        let platter = Platter {
            now: open(&now),
            safe: open(&safe),
            since: Vec::new(),
            size: mib << 20,
            dead: false,
            flushes: 0,
        };
        let platter = Arc::new(Mutex::new(platter));
        let device = open(Path::new("/dev/fuse"));
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        mount(Some("platter"), &served, Some("fuse"), MsFlags::empty(), Some(options.as_str()))
            .expect("mount fuse");
        let shared = Arc::clone(&platter);
        thread::spawn(move || serve(device, &shared));
        // Its own way to put a file to disk that is renamed over another would hide that somebody forgot to.
        let options = if kind == "ext4" { "loop,noauto_da_alloc" } else { "loop" };
        let disk = Self { platter, served, mounted: at.to_owned(), options: options.to_owned() };
        disk.mount();
        disk
    }

    fn mount(&self) {
        let file = self.served.join("disk");
        run("mount", &["-o", &self.options, text(&file), text(&self.mounted)]);
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.platter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power: of each piece that was not flushed, `chance` of 100 are there when it is back.
    pub fn cut(&self, dice: &mut Dice, chance: u64) -> Cut {
        let mut platter = self.platter();
        let Platter { now, safe, since, dead, .. } = &mut *platter;
        *dead = true;
        let (mut kept, mut lost) = (0, 0);
        for (at, bytes) in since.drain(..) {
            for (i, piece) in bytes.chunks(PIECE).enumerate() {
                let at = at + (i * PIECE) as u64;
                if dice.below(100) < chance {
                    safe.write_all_at(piece, at).expect("write the disk");
                    kept += 1;
                } else {
                    lost += 1;
                }
                // Later pieces may be of the same place: what is on the disk is what both are to show.
                let mut there = vec![0; piece.len()];
                safe.read_exact_at(&mut there, at).expect("read the disk");
                now.write_all_at(&there, at).expect("write the disk");
            }
        }
        Cut { kept, lost, flushes: platter.flushes }
    }

    /// Brings the power back once nobody uses the disk any more.
    pub fn restore(&self) {
        self.unmount();
        self.platter().dead = false;
        self.mount();
    }

    fn unmount(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match umount2(&self.mounted, MntFlags::empty()) {
                Ok(()) | Err(Errno::EINVAL) => break,
                Err(error) => assert!(Instant::now() < end, "unmount {}: {error}", self.mounted.display()),
            }
            thread::sleep(Duration::from_millis(10));
        }
        // The loop device goes with its last user, which other mount namespaces may have been.
        let file = self.served.join("disk");
        while losetup(&file) {
            assert!(Instant::now() < end, "{} is still in use", file.display());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn losetup(file: &Path) -> bool {
    let output = Command::new("losetup").args(["-j", text(file)]).output().expect("run losetup");
    !output.stdout.is_empty()
}

impl Drop for Disk {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = umount2(&self.mounted, MntFlags::MNT_DETACH);
        } else {
            self.unmount();
        }
        let _ = umount2(&self.served, MntFlags::MNT_DETACH);
    }
}

/// What a cut came to.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Pieces that were not flushed and are there.
    pub kept: usize,
    /// Pieces that are not.
    pub lost: usize,
    /// Flushes before it.
    pub flushes: u64,
}

impl Platter {
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        if self.dead {
            return Err(Errno::EIO);
        }
        self.now.write_all_at(bytes, at).map_err(|_| Errno::EIO)?;
        self.since.push((at, bytes.to_vec()));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Errno> {
        if self.dead {
            return Err(Errno::EIO);
        }
        self.flushes += 1;
        for (at, bytes) in self.since.drain(..) {
            self.safe.write_all_at(&bytes, at).map_err(|_| Errno::EIO)?;
        }
        Ok(())
    }

    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, Errno> {
        if self.dead {
            return Err(Errno::EIO);
        }
        let length = length.min(usize::try_from(self.size.saturating_sub(at)).unwrap_or(0));
        let mut bytes = vec![0; length];
        self.now.read_exact_at(&mut bytes, at).map_err(|_| Errno::EIO)?;
        Ok(bytes)
    }
}

/// What is asked of the file system, as linux/fuse.h numbers it.
mod ask {
    pub(super) const LOOKUP: u32 = 1;
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const SETATTR: u32 = 4;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const STATFS: u32 = 17;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FSYNC: u32 = 20;
    pub(super) const FLUSH: u32 = 25;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const BATCH_FORGET: u32 = 42;
}

const HEADER: usize = 40;
const ROOT: u64 = 1;
const DISK: u64 = 2;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// A file system of one file, until it is unmounted.
fn serve(mut device: File, platter: &Mutex<Platter>) {
    let mut buffer = vec![0; LONGEST + 64 * 1024];
    loop {
        let length = match device.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.raw_os_error(), Some(libc_errno::EINTR | libc_errno::ENOENT)) => {
                continue;
            }
            Err(_) => return,
        };
        let (head, body) = buffer[..length].split_at(HEADER.min(length));
        let (kind, unique, node) = (u32_at(head, 4), u64_at(head, 8), u64_at(head, 16));
        let Some(answer) = answer(kind, node, body, platter) else { continue };
        let (error, bytes) = match answer {
            Ok(bytes) => (0, bytes),
            Err(error) => (-(error as i32), Vec::new()),
        };
        let mut out = Vec::with_capacity(16 + bytes.len());
        out.extend(u32::try_from(16 + bytes.len()).expect("an answer is short").to_le_bytes());
        out.extend(error.to_le_bytes());
        out.extend(unique.to_le_bytes());
        out.extend(bytes);
        // Who asked may be gone.
        let _ = device.write_all(&out);
    }
}

mod libc_errno {
    pub(super) const ENOENT: i32 = 2;
    pub(super) const EINTR: i32 = 4;
}

fn answer(kind: u32, node: u64, body: &[u8], platter: &Mutex<Platter>) -> Option<Result<Vec<u8>, Errno>> {
    let mut platter = platter.lock().unwrap_or_else(PoisonError::into_inner);
    Some(match kind {
        ask::FORGET | ask::BATCH_FORGET | ask::INTERRUPT => return None,
        ask::INIT => {
            let mut out = Vec::new();
            // Version 7.31, the read-ahead that it has, FUSE_BIG_WRITES and FUSE_MAX_PAGES.
            for word in [7, 31, u32_at(body, 8), 1 << 5 | 1 << 22] {
                out.extend(word.to_le_bytes());
            }
            out.extend([16, 0, 12, 0]);
            out.extend((LONGEST as u32).to_le_bytes());
            out.extend(1u32.to_le_bytes());
            out.extend((LONGEST as u32 / 4096).to_le_bytes());
            out.resize(64, 0);
            Ok(out)
        }
        ask::LOOKUP if body == b"disk\0" => {
            let mut out = Vec::new();
            out.extend(DISK.to_le_bytes());
            out.extend([0; 8]);
            // An hour.
            out.extend(3600u64.to_le_bytes());
            out.extend(3600u64.to_le_bytes());
            out.extend([0; 8]);
            out.extend(attributes(DISK, platter.size));
            Ok(out)
        }
        ask::LOOKUP => Err(Errno::ENOENT),
        ask::GETATTR | ask::SETATTR => {
            let mut out = Vec::new();
            out.extend(3600u64.to_le_bytes());
            out.extend([0; 8]);
            out.extend(attributes(node, platter.size));
            Ok(out)
        }
        ask::OPEN => Ok(vec![0; 16]),
        ask::READ => platter.read(u64_at(body, 8), u32_at(body, 16) as usize),
        ask::WRITE => {
            let length = u32_at(body, 16);
            let bytes = body.get(40..40 + length as usize).unwrap_or_default();
            platter.write(u64_at(body, 8), bytes).map(|()| {
                let mut out = length.to_le_bytes().to_vec();
                out.resize(8, 0);
                out
            })
        }
        ask::FSYNC => platter.flush().map(|()| Vec::new()),
        ask::FLUSH | ask::RELEASE => Ok(Vec::new()),
        ask::STATFS => Ok(vec![0; 80]),
        _ => Err(Errno::ENOSYS),
    })
}

/// struct fuse_attr
fn attributes(node: u64, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let size = if node == ROOT { 0 } else { size };
    for word in [node, size, size / 512, 0, 0, 0] {
        out.extend(word.to_le_bytes());
    }
    let mode = if node == ROOT { 0o040_700 } else { 0o100_600 };
    for word in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0u32] {
        out.extend(word.to_le_bytes());
    }
    out
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap_or_else(|e| panic!("run {program}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {said}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_flushed_is_lost_and_the_rest_is_there() {
        let scratch = tempfile::tempdir_in(crate::host::target()).expect("a folder");
        let at = scratch.path().join("at");
        let mut dice = Dice::new();
        for kind in ["ext4", "xfs", "btrfs"] {
            let folder = scratch.path().join(kind);
            fs::create_dir(&folder).expect("make a folder");
            let disk = Disk::make(&folder, &at, 384, kind);
            fs::write(at.join("kept"), vec![7; 300_000]).expect("write");
            File::open(at.join("kept")).and_then(|file| file.sync_all()).expect("sync");
            File::open(&at).and_then(|file| file.sync_all()).expect("sync");
            fs::write(at.join("new"), "new").expect("write");
            let cut = disk.cut(&mut dice, 0);
            assert!(cut.flushes > 0 && cut.kept == 0, "{cut:?}");
            assert!(
                fs::write(at.join("x"), "x").and_then(|()| File::open(at.join("x"))?.sync_all()).is_err()
            );
            disk.restore();
            assert_eq!(fs::read(at.join("kept")).expect("it is there"), vec![7; 300_000]);
            assert!(!at.join("new").exists());
            drop(disk);
            fs::remove_dir(&at).expect("remove");
        }
    }
}
