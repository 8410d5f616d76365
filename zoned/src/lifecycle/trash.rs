//! Folders on their way out: renamed first, so that a crash leaves no half of one in its place.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;
use zone_api::ApiError;

use super::{Zones, because};
use crate::image::profile;
use crate::state::atomic;

/// What of a zone's folder is its root and grew with it.
pub(super) const ROOT_PARTS: [&str; 9] = [
    "root",
    "own",
    "upper",
    "work",
    "snapshots",
    "console.log",
    "console.log.0",
    "monitor.log",
    profile::FILE,
];

impl Zones {
    fn trash(&self) -> PathBuf {
        self.store.zones().join(".trash")
    }

    /// Removes those parts of a folder.
    pub(super) fn discard(&self, folder: &Path, parts: &[&str]) -> Result<(), ApiError> {
        let wrong = |path: &Path, error: io::Error| because(format!("remove {}", path.display()), &error);
        // Beside it where it may be of another file system.
        let trash = if folder.starts_with(self.store.zones()) { self.trash() } else { folder.join(".trash") };
        // It may be on another disk than the reserve, and full.
        let _ = self.store.with_reserve(|| std::fs::create_dir_all(&trash));
        let mut bins = Vec::new();
        for part in parts {
            let (path, bin) = (folder.join(part), trash.join(Uuid::new_v4().simple().to_string()));
            let moved = self.store.with_reserve(|| std::fs::rename(&path, &bin));
            match moved {
                Ok(()) => bins.push(bin),
                // This is how a full disk comes to have room: where it is. A crash leaves a part of it, and what to do.
                _ if path.symlink_metadata().is_ok() => bins.push(path),
                _ => {}
            }
        }
        atomic::sync_folder(folder).map_err(|error| wrong(folder, error))?;
        if folder.join(".trash") == trash && trash.is_dir() {
            // Whole: also what was on its way out when a crash cut this off.
            bins.push(trash);
        }
        bins.iter().try_for_each(|bin| self.empty_bin(bin))
    }

    /// Removes all of a zone's folder.
    pub(super) fn trash_zone(&self, name: &str) -> Result<(), ApiError> {
        self.trash_folder(&self.store.folder(name))
    }

    pub(super) fn trash_folder(&self, folder: &Path) -> Result<(), ApiError> {
        let wrong = |error: io::Error| because(format!("remove {}", folder.display()), &error);
        let bin = self.trash().join(Uuid::new_v4().simple().to_string());
        std::fs::create_dir_all(self.trash()).map_err(wrong)?;
        match self.store.with_reserve(|| std::fs::rename(folder, &bin)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(wrong)?,
        }
        if let Some(parent) = folder.parent() {
            atomic::sync_folder(parent).map_err(wrong)?;
        }
        self.empty_bin(&bin)
    }

    pub(super) fn empty_bin(&self, bin: &Path) -> Result<(), ApiError> {
        // On btrfs what is removed takes room at first.
        let removed = self.store.with_reserve(|| {
            if bin.symlink_metadata()?.is_dir() {
                self.host.empty(bin)?;
                std::fs::remove_dir(bin)
            } else {
                std::fs::remove_file(bin)
            }
        });
        removed.map_err(|error| because(format!("remove {}", bin.display()), &error))
    }

    /// Goes on where a crash cut this off.
    pub(super) fn empty_trash(&self) {
        let paths =
            self.lock().zones.values().filter_map(|entry| entry.record.path.clone()).collect::<Vec<_>>();
        let all = paths.into_iter().map(|path| path.join(".trash")).chain([self.trash()]);
        for bin in all.filter_map(|trash| std::fs::read_dir(trash).ok()).flatten().flatten() {
            if let Err(error) = self.empty_bin(&bin.path()) {
                tracing::warn!(%error, "what an uninstall began to remove is still there");
            }
        }
    }
}
