//! zones/NAME/state.json: what must outlive zoned, and the one writer of it.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zone_api::State;

use super::reserve::{Reserve, is_full};
use super::{Snapshot, Verb, atomic};
use crate::storage::LayerId;

/// Name of the file.
pub const FILE: &str = "state.json";

/// Version of the file's form.
const VERSION: u32 = 1;

/// The states that a zone keeps when nothing of it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durable {
    /// No root.
    Configured,
    /// An install or uninstall did not finish.
    Incomplete,
    /// A root.
    Installed,
}

impl From<Durable> for State {
    fn from(state: Durable) -> Self {
        match state {
            Durable::Configured => Self::Configured,
            Durable::Incomplete => Self::Incomplete,
            Durable::Installed => Self::Installed,
        }
    }
}

/// What is known of a zone for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Form of the file.
    pub version: u32,
    /// Goes up with every write.
    pub generation: u64,
    /// The zone's own for its life.
    pub uuid: Uuid,
    /// Where it stands.
    pub state: Durable,
    /// Which range of host ids is its own; see [`crate::config::daemon::Settings`].
    pub id_slot: u32,
    /// Operation that was under way when this was written, where one can be cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<Verb>,
    /// Why it is in this state, when that was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds since 1970 at which it came into this state.
    pub since: u64,
    /// What lies below `upper`, the topmost first; none: the folder `root` of the zone's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerId>,
    /// Folder of its own files, where that is not the one of its record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Bytes that its own files may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capped: Option<u64>,
    /// What is being done to the root, to be finished after a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Snapshot that its root was last the same as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// uname -m that the root's own programs want, found by install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Boots by its restart policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<Restarts>,
}

/// A change of a zone's root that can be carried out again from any point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// These of the zone's folders become layers, the topmost first, over those that it has.
    Fold(Vec<(String, LayerId)>),
    /// All files of its own give way to these layers.
    Replace(Vec<LayerId>),
    /// The zone gets a root of its own in place of its layers.
    Flatten,
    /// They go to this folder of the same file system.
    Move(PathBuf),
    /// The layers are packed into its folder, of which zoned then knows nothing any more.
    Detach,
    /// The layers in its folder are taken in.
    Attach,
    /// They are copied to this folder, which is emptied where that is cut off.
    CopyTo(PathBuf),
    /// All files of its own give way to what came in a stream: its layers, and the snapshot that they are.
    Receive {
        /// The topmost first.
        layers: Vec<LayerId>,
        /// Its name, and what is kept of it.
        snapshot: Option<Box<(String, Snapshot)>>,
    },
    /// What an install found out comes into the zone's configuration, but for keys that are set by then.
    Configure(Vec<zone_api::Edit>),
    /// Only rubbish is left to be removed: these of the folder, or, where none are named, the zone's files in it.
    Clear(PathBuf, Vec<String>),
}

/// How often a zone was booted again by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    /// In its life.
    pub total: u32,
    /// Without a good while between them.
    pub in_row: u32,
    /// Seconds since 1970 at which it is to be booted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<u64>,
}

impl Record {
    /// A zone without a root.
    pub fn new(id_slot: u32) -> Self {
        Self {
            version: VERSION,
            generation: 0,
            uuid: Uuid::new_v4(),
            state: Durable::Configured,
            id_slot,
            verb: None,
            reason: None,
            since: now(),
            layers: Vec::new(),
            path: None,
            capped: None,
            change: None,
            at: None,
            arch: None,
            restarts: None,
        }
    }

    /// Into another state, because of `verb` while that is under way.
    pub fn to(&self, state: Durable, verb: Option<Verb>, reason: Option<String>) -> Self {
        Self { state, verb, reason, since: now(), ..self.clone() }
    }

    /// Whether something begins with this record in the place of `before`, which has an end that is written, too.
    pub fn begins(&self, before: &Self) -> bool {
        if before.change.is_some() || before.verb.is_some() {
            return false;
        }
        // What makes room must not need any.
        let makes_room = |change: &Change| matches!(change, Change::Clear(..) | Change::Replace(_));
        let change = self.change.as_ref().is_some_and(|change| !makes_room(change));
        before.generation == 0 || change || self.verb.is_some_and(|verb| verb != Verb::Uninstall)
    }

    /// Without a root, and what is known of one.
    pub fn emptied(&self) -> Self {
        let record = self.to(Durable::Configured, None, None);
        Self { layers: Vec::new(), path: None, capped: None, change: None, at: None, arch: None, ..record }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What reading a zone's record comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// This.
    Record(Box<Record>),
    /// No file.
    Nothing,
    /// A file that makes no sense, moved aside; why.
    Corrupt(String),
}

/// A record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Reading.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Writing.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The folder with a folder for each zone.
#[derive(Debug, Clone)]
pub struct Store {
    zones: PathBuf,
    reserve: Arc<Reserve>,
}

impl Store {
    /// The one in `zones`.
    pub fn new(zones: PathBuf) -> Self {
        let reserve = Arc::new(Reserve::new(&zones));
        Self { zones, reserve }
    }

    /// Does `work` again, with the room that is kept for records, where it fails for want of that.
    ///
    /// # Errors
    /// As `work` has them.
    pub(crate) fn with_reserve<T>(&self, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
        self.reserve.try_twice(work)
    }

    /// Sees that there is the room that is kept for records.
    ///
    /// # Errors
    /// When there is not.
    pub(crate) fn require_room(&self) -> io::Result<()> {
        self.reserve.require()
    }

    /// Does `work` with the room that is kept for records, where there is hardly any else.
    pub(crate) fn lend_reserve<T>(&self, work: impl FnOnce() -> T) -> T {
        self.reserve.lend(work)
    }

    /// Folder of a zone.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.zones.join(name)
    }

    /// The folder that holds them all.
    pub fn zones(&self) -> &Path {
        &self.zones
    }

    /// Names that have a folder, sorted.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>, StateError> {
        let wrong = |source| StateError::Read { path: self.zones.clone(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.zones).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if let Some(name) = entry.file_name().to_str()
                && is_folder
                && crate::config::check_name(name).is_ok()
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// A zone's record. One that makes no sense is moved to state.json.bad.
    ///
    /// # Errors
    /// When there is a file that cannot be read, or moved aside.
    pub fn read(&self, name: &str) -> Result<Found, StateError> {
        let path = self.folder(name).join(FILE);
        let wrong = |source| StateError::Read { path: path.clone(), source };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(wrong(error)),
        };
        let why = match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) if record.version == VERSION => return Ok(Found::Record(Box::new(record))),
            Ok(record) => format!("its version is {}, this zoned knows {VERSION}", record.version),
            Err(error) => error.to_string(),
        };
        std::fs::rename(&path, path.with_extension("json.bad")).map_err(wrong)?;
        Ok(Found::Corrupt(why))
    }

    /// Writes a record, and the zone's folder where it is not there; gives back what stands in the file.
    ///
    /// # Errors
    /// The file then holds what it held.
    pub fn write(&self, name: &str, record: &Record) -> Result<Record, StateError> {
        self.put(name, record, |write, exchange| match write() {
            Err(error) if is_full(&error) => exchange().or_else(|_| self.reserve.try_twice(write)),
            done => done.inspect(|()| drop(self.reserve.require())),
        })
    }

    /// The same for what is begun with it. Nothing is begun for the end of which there may be no room.
    ///
    /// # Errors
    /// The file then holds what it held.
    pub fn begin(&self, name: &str, record: &Record) -> Result<Record, StateError> {
        self.put(name, record, |write, _| self.reserve.require().and_then(|()| write()))
    }

    fn put(
        &self,
        name: &str,
        record: &Record,
        how: impl FnOnce(Way<'_>, Way<'_>) -> io::Result<()>,
    ) -> Result<Record, StateError> {
        let folder = self.folder(name);
        let path = folder.join(FILE);
        let wrong = |source| StateError::Write { path: path.clone(), source };
        let record = Record { generation: record.generation + 1, ..record.clone() };
        let mut bytes = serde_json::to_vec_pretty(&record).map_err(|error| wrong(error.into()))?;
        bytes.push(b'\n');
        let written = || make_folder(&folder).and_then(|()| atomic::write(&path, &bytes, 0o600));
        how(&written, &|| self.reserve.exchange(&path, &bytes)).map_err(wrong)?;
        Ok(record)
    }
}

/// A way to write a record.
type Way<'a> = &'a dyn Fn() -> io::Result<()>;

/// A folder for root alone, that lasts.
fn make_folder(folder: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => folder.parent().map_or(Ok(()), atomic::sync_folder),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned());
        (dir, store)
    }

    #[test]
    fn what_is_written_is_read() {
        let (_dir, store) = store();
        assert_eq!(store.read("a").unwrap(), Found::Nothing);
        let first = store.write("a", &Record::new(7)).unwrap();
        assert_eq!((first.generation, first.id_slot), (1, 7));
        assert_eq!(store.read("a").unwrap(), Found::Record(Box::new(first.clone())));
        let next = first.to(Durable::Incomplete, Some(Verb::Install), None);
        let second = store.write("a", &next).unwrap();
        assert_eq!((second.generation, second.uuid), (2, first.uuid));
        assert_eq!(store.read("a").unwrap(), Found::Record(Box::new(second)));
    }

    #[test]
    fn a_broken_file_is_moved_aside() {
        let (dir, store) = store();
        store.write("a", &Record::new(0)).unwrap();
        let path = dir.path().join("a/state.json");
        for bad in ["", "{", "null", "{\"version\":1}", "\0\0\0"] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(store.read("a").unwrap(), Found::Corrupt(_)), "{bad}");
            assert!(!path.exists());
            assert_eq!(std::fs::read_to_string(dir.path().join("a/state.json.bad")).unwrap(), bad);
        }
        let newer = serde_json::to_string(&Record { version: 9, ..Record::new(0) }).unwrap();
        std::fs::write(&path, newer).unwrap();
        assert_eq!(store.read("a").unwrap(), Found::Corrupt("its version is 9, this zoned knows 1".into()));
    }

    #[test]
    fn names_are_folders_with_a_legal_name() {
        let (dir, store) = store();
        for name in ["b", "a", ".trash", "global", "a b"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(store.names().unwrap(), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn no_content_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (dir, store) = store();
            std::fs::create_dir(dir.path().join("a")).unwrap();
            std::fs::write(dir.path().join("a/state.json"), bytes).unwrap();
            prop_assert!(store.read("a").is_ok());
        }
    }
}
