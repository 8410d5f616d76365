//! A file system of a test's own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::host::{run, target, text};

/// Mounted for as long as this is there.
#[derive(Debug)]
pub struct Mounted {
    /// Where.
    pub at: PathBuf,
    _folder: TempDir,
}

impl Mounted {
    /// One of `mib` MiB, made by the words `make` and mounted with the options `mount`.
    pub fn new(make: &[&str], mount: &str, mib: u64) -> Self {
        let folder = tempfile::tempdir_in(target()).expect("a folder");
        let (image, at) = (folder.path().join("image"), folder.path().join("at"));
        File::create(&image).and_then(|file| file.set_len(mib << 20)).expect("make a disk");
        fs::create_dir(&at).expect("make a folder");
        run(&[make, &[text(&image)]].concat());
        run(&["mount", "-o", mount, text(&image), text(&at)]);
        Self { at, _folder: folder }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(&self.at).status().expect("run umount");
        assert!(done.success() || std::thread::panicking(), "the disk is still in use");
    }
}
