//! What a live zone has on the host's side of its network: `RUN/NAME/network.json`, written before any of it
//! is made, so that whoever comes by can take it down.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Interface;
use super::shared::Lent;
use crate::confine::Failure;
use crate::state::atomic;

/// Name of the file in a zone's run folder.
const FILE: &str = "network.json";

/// Everything to take down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// zoned's own bridge, where the zone is on it.
    pub(super) bridge: Option<String>,
    /// Ports of bridges, by their names on the host. Each has a chain of that name.
    pub(super) ports: Vec<(String, Interface)>,
    /// Interfaces of the host that the zone has.
    pub(super) moved: Vec<Moved>,
    /// What the zone is told that it is called; empty where its configuration does not say.
    #[serde(default)]
    pub(super) hostname: String,
    /// The zone's addresses, with their prefixes.
    pub(super) addresses: Vec<String>,
    /// Those of them that are on the host's own interfaces.
    #[serde(default)]
    pub(super) lent: Vec<Lent>,
}

/// An interface of the host that a zone has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moved {
    /// Its name on the host.
    pub(super) own: String,
    /// Its name in the zone at boot.
    pub(super) inner: String,
    /// Its number in the zone, which a guest cannot change as it can names; 0 until it is there.
    pub(super) index: u32,
}

/// The records of all zones of a run folder, by their names.
pub(super) fn all(run: &Path) -> Vec<(String, Record)> {
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let record = Record::read(&entry.path()).ok().flatten()?;
            Some((entry.file_name().to_string_lossy().into_owned(), record))
        })
        .collect()
}

/// The same without the zone whose run folder that is.
pub(super) fn others(run: &Path, run_dir: &Path) -> Vec<(String, Record)> {
    let mut records = all(run);
    records.retain(|(name, _)| run.join(name) != run_dir);
    records
}

impl Record {
    /// The record in a zone's run folder; `None` where it has no network.
    pub(super) fn read(run_dir: &Path) -> Result<Option<Self>, Failure> {
        let path = run_dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            other => other.map_err(|e| Failure::new("read", path.display(), e))?,
        };
        let read = serde_json::from_str(&text);
        read.map(Some).map_err(|e| Failure::new("read", path.display(), io::Error::other(e)))
    }

    pub(super) fn write(&self, run_dir: &Path) -> Result<(), Failure> {
        let path = run_dir.join(FILE);
        let fail = |e: io::Error| Failure::new("write", path.display(), e);
        let text = serde_json::to_vec(self).map_err(|e| fail(io::Error::other(e)))?;
        atomic::write(&path, &text, 0o644).map_err(fail)
    }

    pub(super) fn forget(run_dir: &Path) -> Result<(), Failure> {
        let path = run_dir.join(FILE);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure::new("remove", path.display(), e)),
            _ => Ok(()),
        }
    }
}
