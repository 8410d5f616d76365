//! zones/NAME/snapshots/SNAP.json: what a zone's root was made of at one time.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::atomic;
use crate::storage::LayerId;

/// Name of the folder in a zone's.
pub const FOLDER: &str = "snapshots";

/// A snapshot; the file says all but its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Seconds since 1970 at which it was made.
    pub made: u64,
    /// All of the root, the topmost layer first.
    pub layers: Vec<LayerId>,
    /// The snapshot that the zone stood on when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// uname -m that its programs want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Microseconds for which the zone, which ran, was held still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
}

/// Those of the zone in `folder`, by name, and whether these are all. What cannot be read is left out, and told.
pub fn read(folder: &Path) -> (BTreeMap<String, Snapshot>, bool) {
    let (mut found, mut all) = (BTreeMap::new(), true);
    let entries = match std::fs::read_dir(folder.join(FOLDER)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (found, true),
        Err(error) => {
            tracing::error!(folder = %folder.display(), %error, "the snapshots in it cannot be read");
            return (found, false);
        }
    };
    for entry in entries {
        let Ok(entry) = entry else {
            all = false;
            break;
        };
        let path = entry.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".json"));
        let Some(name) = name.filter(|name| crate::config::check_name(name).is_ok()) else { continue };
        let snapshot =
            std::fs::read(&path).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
        match snapshot {
            Ok(snapshot) => drop(found.insert(name.to_owned(), snapshot)),
            Err(error) => {
                all = false;
                tracing::error!(file = %path.display(), %error, "a snapshot that cannot be read");
            }
        }
    }
    (found, all)
}

/// Writes one.
///
/// # Errors
/// It is then not there, or what it was.
pub fn write(folder: &Path, name: &str, snapshot: &Snapshot) -> io::Result<()> {
    let snapshots = folder.join(FOLDER);
    match std::fs::DirBuilder::new().mode(0o700).create(&snapshots) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
        Ok(()) => atomic::sync_folder(folder)?,
    }
    atomic::write(&snapshots.join(format!("{name}.json")), &serde_json::to_vec_pretty(snapshot)?, 0o600)
}

/// Removes one.
///
/// # Errors
/// It may then still be there.
pub fn remove(folder: &Path, name: &str) -> io::Result<()> {
    let snapshots = folder.join(FOLDER);
    std::fs::remove_file(snapshots.join(format!("{name}.json")))?;
    atomic::sync_folder(&snapshots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_kept_and_rubbish_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), (BTreeMap::new(), true));
        let layers = vec![LayerId::new_own(), format!("sha256:{}", "00".repeat(32)).parse().unwrap()];
        let one = Snapshot { made: 7, layers, parent: None, arch: Some("i686".into()), held: Some(12) };
        write(dir.path(), "one", &one).unwrap();
        let two = Snapshot { parent: Some("one".into()), ..one.clone() };
        write(dir.path(), "two", &two).unwrap();
        std::fs::write(dir.path().join("snapshots/three.json"), "{").unwrap();
        std::fs::write(dir.path().join("snapshots/.x.json.tmp"), "{").unwrap();
        let all = BTreeMap::from([("one".to_owned(), one), ("two".to_owned(), two.clone())]);
        assert_eq!(read(dir.path()), (all, false));
        std::fs::remove_file(dir.path().join("snapshots/three.json")).unwrap();
        remove(dir.path(), "one").unwrap();
        assert_eq!(read(dir.path()), (BTreeMap::from([("two".to_owned(), two)]), true));
    }
}
