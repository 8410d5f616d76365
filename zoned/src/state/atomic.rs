//! Files that are whole at every instant: temp file, fsync, rename, fsync of the folder.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Puts `bytes` where `path` is; after a crash there is the old content or the new.
/// The caller sees to it that one writer at a time is at this path.
///
/// # Errors
/// As the calls have them; the old content is then still there.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    // One name, so that crashes leave one file at most; the point keeps it from being a zone's.
    let temp = folder.join(format!(".{}.tmp", name.to_string_lossy()));
    let written = fill(&temp, bytes, mode).and_then(|()| std::fs::rename(&temp, path));
    if let Err(error) = written {
        // The write's own error is the one to tell.
        std::fs::remove_file(&temp).ok();
        return Err(error);
    }
    sync_folder(folder)
}

fn fill(temp: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(temp)?;
    // The umask must not decide over it, nor the file that a crash left.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes renames and removals in `folder` last.
///
/// # Errors
/// As open(2) and fsync(2) have them.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_with_its_mode_and_no_temp_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        std::fs::write(dir.path().join(".state.json.tmp"), "half of it, from a cra").unwrap();
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o644).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        std::fs::create_dir(&path).unwrap();
        assert!(write(&path, b"one", 0o600).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(&dir.path().join("none/state.json"), b"one", 0o600).is_err());
    }

    #[test]
    fn a_link_in_the_place_of_the_temp_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "keep").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join(".a.tmp")).unwrap();
        assert!(write(&dir.path().join("a"), b"one", 0o600).is_err());
        assert_eq!(std::fs::read(&victim).unwrap(), b"keep");
    }
}
