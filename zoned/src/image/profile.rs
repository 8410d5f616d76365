//! Carries out the install hooks of [`brands::profile`] in a root, and takes them back.
//!
//! What was there is written down before anything is changed. A file is one that the root's own names lead to,
//! is never reached through a link in its last component, and is replaced as a whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use brands::profile::{Facts, HOOKS};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::tree::{kind, names, open_in};
use crate::state::atomic;

/// Name of the journal in a zone's folder.
pub const FILE: &str = "profile.json";

/// Bytes that a file of settings has at most; a longer one is none.
const LONGEST: u64 = 1 << 20;

/// A file that hooks changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Below the root.
    pub file: String,
    /// Words and reasons of the hooks.
    pub hooks: Vec<(String, String)>,
    /// What was there; none: no such file.
    pub before: Option<String>,
    /// What is there now.
    pub after: String,
}

/// Carries out all hooks in `root`; `journal` is written first. Gives what changed.
///
/// # Errors
/// When the journal or a file cannot be written: part of it is then done.
pub fn apply(root: &Path, facts: &Facts, journal: &Path) -> io::Result<Vec<Change>> {
    let folder = open_root(root)?;
    let changes = changes(folder.as_fd(), facts);
    if changes.is_empty() {
        return Ok(changes);
    }
    write_journal(journal, &changes)?;
    for change in &changes {
        put(folder.as_fd(), &change.file, &change.after).map_err(|e| at(&change.file, e))?;
    }
    Ok(changes)
}

/// What a journal says; nothing where there is none.
///
/// # Errors
/// When it cannot be read.
pub fn read(journal: &Path) -> io::Result<Vec<Change>> {
    match std::fs::read_to_string(journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(text) => serde_json::from_str(&text).map_err(io::Error::from),
    }
}

/// Puts back what was there in files that nobody changed since; gives those that somebody did, which stay in the
/// journal. `upper` has what the zone wrote itself, where that is not in `root`.
///
/// # Errors
/// When a file or the journal cannot be written: it can be tried again.
pub fn undo(root: &Path, upper: Option<&Path>, journal: &Path) -> io::Result<Vec<Change>> {
    let folder = open_root(root)?;
    let mut kept = read(journal)?;
    let layer = upper.and_then(|upper| open_root(upper).ok());
    let written = |file: &str| {
        layer.as_ref().is_some_and(|layer| {
            open_in(layer.as_fd(), file.as_bytes(), OFlags::PATH | OFlags::NOFOLLOW).is_ok()
        })
    };
    let mut failed = None;
    kept.retain(|change| {
        let now = text(folder.as_fd(), &change.file);
        // As after an undo that was broken off.
        if now.as_ref() == change.before.as_ref() {
            return false;
        }
        if failed.is_some() || written(&change.file) || now.as_ref() != Some(&change.after) {
            return true;
        }
        let done = match &change.before {
            Some(before) => put(folder.as_fd(), &change.file, before),
            None => remove(folder.as_fd(), &change.file),
        };
        failed = done.err().map(|error| at(&change.file, error));
        failed.is_some()
    });
    if kept.is_empty() {
        match std::fs::remove_file(journal) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    } else {
        write_journal(journal, &kept)?;
    }
    failed.map_or(Ok(kept), Err)
}

fn write_journal(journal: &Path, changes: &[Change]) -> io::Result<()> {
    atomic::write(journal, &serde_json::to_vec_pretty(changes)?, 0o600)
}

fn at(file: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("/{file} of the zone: {error}"))
}

fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(root, flags, Mode::empty())?)
}

/// What all hooks make of a root's files.
fn changes(root: BorrowedFd<'_>, facts: &Facts) -> Vec<Change> {
    let mut found: BTreeMap<String, Change> = BTreeMap::new();
    for hook in HOOKS {
        for file in hook.files.iter().flat_map(|pattern| files(root, pattern)) {
            let old = found.get(&file).map(|change| change.after.clone());
            let (before, old) = match old {
                Some(old) => (None, old),
                None => match text(root, &file) {
                    Some(text) => (Some(text.clone()), text),
                    // Not where something else stands, such as a link into /run, or no folder is.
                    None if hook.makes && is_free(root, &file) => (None, String::new()),
                    None => continue,
                },
            };
            let Some(after) = (hook.change)(&old, facts) else { continue };
            let change = found.entry(file.clone()).or_insert(Change {
                file,
                hooks: Vec::new(),
                before,
                after: String::new(),
            });
            change.after = after;
            change.hooks.push((hook.name.to_owned(), hook.why.to_owned()));
        }
    }
    found.into_values().collect()
}

/// The files that a pattern of a hook means.
fn files(root: BorrowedFd<'_>, pattern: &str) -> Vec<String> {
    let Some(folder) = pattern.strip_suffix("/*") else { return vec![pattern.to_owned()] };
    let open = open_in(root, folder.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
    let Ok(all) = open.and_then(|folder| names(folder.as_fd())) else { return Vec::new() };
    let mut all: Vec<String> = all
        .iter()
        .filter_map(|name| name.to_str().ok())
        .filter(|name| !name.ends_with('~') && !name.ends_with(".bak"))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    all.sort();
    all
}

/// The text of a file that is one.
fn text(root: BorrowedFd<'_>, file: &str) -> Option<String> {
    let (folder, name) = parent(root, file).ok()?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    if !is_settings(&stat) {
        return None;
    }
    let fd = rustix::fs::openat(&folder, name, flags, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(fd).take(LONGEST + 1).read_to_string(&mut text).ok()?;
    Some(text)
}

fn is_settings(stat: &Stat) -> bool {
    kind(stat) == FileType::RegularFile && u64::try_from(stat.st_size).is_ok_and(|size| size <= LONGEST)
}

fn is_free(root: BorrowedFd<'_>, file: &str) -> bool {
    let Ok((folder, name)) = parent(root, file) else { return false };
    matches!(rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT))
}

/// The folder of a file, as the root's own names lead there, and its name in it.
fn parent<'a>(root: BorrowedFd<'_>, file: &'a str) -> Result<(OwnedFd, &'a str), Errno> {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    Ok((open_in(root, folder.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)?, name))
}

/// Replaces a file, or makes it.
fn put(root: BorrowedFd<'_>, file: &str, text: &str) -> io::Result<()> {
    let (folder, name) = parent(root, file)?;
    let temp = format!(".{name}.zone-tmp");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let old = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).ok();
    // The owner of what is new is the folder's: on hosts that shift ids on disk, that is the zone's root.
    let owner = match &old {
        Some(stat) => *stat,
        None => rustix::fs::fstat(&folder)?,
    };
    let _ = rustix::fs::unlinkat(&folder, &*temp, AtFlags::empty());
    let fd = rustix::fs::openat(&folder, &*temp, flags, Mode::from_raw_mode(0o600))?;
    let written = (|| {
        rustix::fs::fchown(&fd, Some(Uid::from_raw(owner.st_uid)), Some(Gid::from_raw(owner.st_gid)))?;
        let mode = old.map_or(0o644, |stat| stat.st_mode & 0o7777);
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
        let mut file = File::from(fd);
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(rustix::fs::renameat(&folder, &*temp, &folder, name)?)
    })();
    if written.is_err() {
        let _ = rustix::fs::unlinkat(&folder, &*temp, AtFlags::empty());
    }
    written
}

fn remove(root: BorrowedFd<'_>, file: &str) -> io::Result<()> {
    let (folder, name) = parent(root, file)?;
    Ok(rustix::fs::unlinkat(&folder, name, AtFlags::empty())?)
}

/// Forgets by what number a root's systemd knows its machine: two must not have one (machine-id(5)).
///
/// # Errors
/// When the file cannot be written.
pub fn forget_machine(root: &Path) -> io::Result<()> {
    let folder = open_root(root)?;
    match text(folder.as_fd(), "etc/machine-id") {
        Some(id) if !id.trim().is_empty() => put(folder.as_fd(), "etc/machine-id", ""),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn facts() -> Facts {
        Facts { hostname: "web".into(), ..Facts::default() }
    }

    #[test]
    fn what_hooks_change_is_written_down_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let (root, upper, journal) =
            (dir.path().join("root"), dir.path().join("upper"), dir.path().join(FILE));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(upper.join("etc")).unwrap();
        let hostname = root.join("etc/hostname");
        fs::write(&hostname, "srv17\n").unwrap();
        fs::set_permissions(&hostname, fs::Permissions::from_mode(0o640)).unwrap();
        let fstab = "/dev/sda1 / ext3 defaults 0 1\n";
        fs::write(root.join("etc/fstab"), fstab).unwrap();
        let changes = apply(&root, &facts(), &journal).unwrap();
        let files: Vec<&str> = changes.iter().map(|change| change.file.as_str()).collect();
        assert_eq!(files, ["etc/fstab", "etc/hostname", "etc/hosts"]);
        assert_eq!(fs::read_to_string(&hostname).unwrap(), "web\n");
        assert_eq!(fs::metadata(&hostname).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(read(&journal).unwrap(), changes);
        // Applied anew there is nothing to do, and the journal still knows what was there first.
        assert_eq!(apply(&root, &facts(), &journal).unwrap(), []);
        assert_eq!(read(&journal).unwrap(), changes);

        // One that the zone wrote, and one that the host's administrator did, are theirs.
        fs::write(upper.join("etc/hostname"), "other\n").unwrap();
        fs::write(root.join("etc/hosts"), "10.0.0.1 x\n").unwrap();
        let kept = undo(&root, Some(&upper), &journal).unwrap();
        assert_eq!(
            kept.iter().map(|change| change.file.as_str()).collect::<Vec<_>>(),
            ["etc/hostname", "etc/hosts"]
        );
        assert_eq!(fs::read_to_string(root.join("etc/fstab")).unwrap(), fstab);
        fs::remove_file(upper.join("etc/hostname")).unwrap();
        fs::write(root.join("etc/hosts"), &changes[2].after).unwrap();
        assert_eq!(undo(&root, Some(&upper), &journal).unwrap(), []);
        assert_eq!(fs::read_to_string(&hostname).unwrap(), "srv17\n");
        assert!(!root.join("etc/hosts").exists() && !journal.exists());
        assert_eq!(undo(&root, Some(&upper), &journal).unwrap(), []);
    }

    #[test]
    fn a_hostile_root_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("hostname"), "host\n").unwrap();
        symlink(&outside, root.join("etc")).unwrap();
        let journal = dir.path().join(FILE);
        assert_eq!(apply(&root, &facts(), &journal).unwrap(), []);
        fs::remove_file(root.join("etc")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        symlink(outside.join("hostname"), root.join("etc/hostname")).unwrap();
        symlink("/run/systemd/resolve/stub-resolv.conf", root.join("etc/resolv.conf")).unwrap();
        nix::unistd::mkfifo(&root.join("etc/fstab"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::write(root.join("etc/inittab"), [b'x', 0xff, b'\n']).unwrap();
        fs::File::create(root.join("etc/hosts")).unwrap().set_len(LONGEST + 1).unwrap();
        let with_servers = Facts { name_servers: vec!["10.88.0.1".into()], ..facts() };
        assert_eq!(apply(&root, &with_servers, &journal).unwrap(), []);
        assert_eq!(fs::read_to_string(outside.join("hostname")).unwrap(), "host\n");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    }
}
