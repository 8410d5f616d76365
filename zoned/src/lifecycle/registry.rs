//! Every zone that there is: its record, what is under way on it, and its monitor while it lives.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use zone_api::{ApiError, ErrorKind, LogLine, State, Zone};

use super::host::{Control, Host, MonitorHandle, Session, Summary};
use super::slots::Slots;
use super::{Paths, because, log, no_such_zone};
use crate::config::Config;
use crate::config::daemon::Settings;
use crate::image::Images;
use crate::state::{Change, Durable, Found, Record, Snapshot, StateError, Store, Verb, check, snapshots};
use crate::storage::{LayerId, Layers};

/// The zones of this host.
pub struct Zones {
    pub(super) host: Arc<dyn Host>,
    pub(super) paths: Paths,
    pub(super) settings: Settings,
    pub(super) store: Store,
    pub(super) layers: Arc<Layers>,
    pub(super) images: Images,
    /// Where the watchers of monitors run.
    pub(super) runtime: Handle,
    /// Told of what happens.
    pub(super) bus: super::bus::Bus,
    /// Whether a record could not be read, so that what it needs is not known.
    pub(super) unsure: AtomicBool,
    table: Mutex<Table>,
    /// Told of every change of a live zone.
    pub(super) changed: Condvar,
}

#[derive(Default)]
pub(super) struct Table {
    /// To be added to and removed from by `add` and `remove` alone.
    pub(super) zones: BTreeMap<String, Entry>,
    pub(super) slots: Slots,
    /// Zone ids in use.
    ids: BTreeSet<u32>,
    /// Counts monitors, to know a zone's new one from its old.
    epoch: u64,
}

impl Table {
    pub(super) fn add(&mut self, name: &str, entry: Entry) {
        self.slots.take(entry.record.id_slot);
        if let Some(was) = self.zones.insert(name.to_owned(), entry) {
            self.slots.free(was.record.id_slot);
        }
    }

    /// Gives a zone another range of ids; to be saved.
    pub(super) fn set_slot(&mut self, name: &str, slot: u32) {
        if let Some(entry) = self.zones.get_mut(name) {
            self.slots.take(slot);
            self.slots.free(entry.record.id_slot);
            entry.record.id_slot = slot;
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(was) = self.zones.remove(name) {
            self.slots.free(was.record.id_slot);
        }
    }
}

pub(super) struct Entry {
    pub(super) record: Record,
    /// Whose record is in memory only.
    pub(super) ephemeral: bool,
    pub(super) snapshots: BTreeMap<String, Snapshot>,
    pub(super) busy: Option<Verb>,
    pub(super) live: Option<Live>,
    /// Something of it could not be torn down.
    pub(super) dirty: bool,
    /// A halt came while a shutdown was under way.
    pub(super) overridden: bool,
    /// Clients that wait for the console of its next boot.
    pub(super) waiting: Vec<Session>,
    /// The connection of a run's client, closed when nothing of the zone is left.
    pub(super) client: Option<OwnedFd>,
    /// Held while the record is being written.
    writer: Arc<Mutex<()>>,
}

#[derive(Clone)]
pub(super) struct Live {
    pub(super) control: Arc<dyn Control>,
    pub(super) epoch: u64,
    pub(super) id: u32,
    pub(super) state: State,
    pub(super) init_pid: Option<i32>,
    pub(super) summary: Summary,
    /// When it was booted or found again.
    pub(super) since: std::time::Instant,
    /// Times that it was rebooted.
    pub(super) reboots: u64,
    /// A verb ends it, so no reason needs to be told.
    pub(super) asked: bool,
    /// It is being torn down.
    pub(super) ending: bool,
}

impl Entry {
    pub(super) fn new(record: Record, ephemeral: bool) -> Self {
        Self {
            record,
            ephemeral,
            snapshots: BTreeMap::new(),
            busy: None,
            live: None,
            dirty: false,
            overridden: false,
            waiting: Vec::new(),
            client: None,
            writer: Arc::default(),
        }
    }

    /// Layers of its root, of its snapshots and of what is being made of it.
    pub(super) fn layers(&self) -> BTreeSet<LayerId> {
        let mut used: BTreeSet<LayerId> = self.record.layers.iter().cloned().collect();
        used.extend(self.snapshots.values().flat_map(|snapshot| snapshot.layers.iter().cloned()));
        match &self.record.change {
            Some(Change::Fold(parts)) => used.extend(parts.iter().map(|(_, id)| id.clone())),
            Some(Change::Replace(layers) | Change::Receive { layers, .. }) => {
                used.extend(layers.iter().cloned())
            }
            _ => {}
        }
        used
    }

    pub(super) fn state(&self) -> State {
        self.live.as_ref().map_or(self.record.state.into(), |live| live.state)
    }
}

impl Zones {
    /// No zones yet: [`Zones::recover`] finds them. `runtime` must have timers and threads to block.
    pub fn new(host: Arc<dyn Host>, paths: Paths, settings: Settings, runtime: Handle) -> Arc<Self> {
        let store = Store::new(paths.root.join("zones"));
        let layers = Layers::new(&paths.root);
        Arc::new(Self {
            host,
            paths,
            settings,
            store,
            images: Images::new(Arc::clone(&layers)),
            layers,
            runtime,
            bus: super::bus::Bus::default(),
            unsure: AtomicBool::new(false),
            table: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// The host that they are on.
    pub fn host(&self) -> &Arc<dyn Host> {
        &self.host
    }

    /// The daemon's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        // No code that holds it leaves the table between two states.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// File of a zone's configuration.
    pub(crate) fn config_path(&self, name: &str) -> PathBuf {
        self.paths.configs.join(format!("{name}.toml"))
    }

    /// A zone's configuration, with the architecture of its root where it names none.
    pub(super) fn config(&self, name: &str) -> Result<Config, ApiError> {
        let mut config = Config::load(&self.config_path(name)).map_err(|error| error.to_api())?;
        if config.arch.is_none() {
            config.arch = self.lock().zones.get(name).and_then(|entry| entry.record.arch.clone());
        }
        Ok(config)
    }

    /// Begins an operation.
    pub(super) fn claim(self: &Arc<Self>, name: &str, verb: Verb) -> Result<Claim, ApiError> {
        self.claim_over(name, verb, &[])
    }

    /// The same; the operations in `over` do not stand in its way.
    pub(super) fn claim_over(
        self: &Arc<Self>,
        name: &str,
        verb: Verb,
        over: &[Verb],
    ) -> Result<Claim, ApiError> {
        self.find(name);
        let mut table = self.lock();
        let what = || format!("{verb} {name}");
        let entry = table.zones.get_mut(name).ok_or_else(|| no_such_zone(what(), name))?;
        let claim = |held| Claim { zones: Arc::clone(self), name: name.to_owned(), held };
        match entry.busy {
            Some(busy) if over.contains(&busy) => {
                check(name, entry.state(), verb)?;
                entry.overridden = true;
                return Ok(claim(false));
            }
            Some(busy) => {
                let why = format!("zone {name}: {busy} is under way");
                return Err(ApiError::new(ErrorKind::WrongState, what(), why)
                    .hint("wait for it to end; zonectl list -c shows it"));
            }
            None => {}
        }
        if entry.ephemeral && !matches!(verb, Verb::Halt | Verb::Shutdown) {
            let why = format!("zone {name} exists only while its program runs");
            return Err(ApiError::new(ErrorKind::WrongState, what(), why).hint("halt ends it"));
        }
        check(name, entry.state(), verb)?;
        entry.busy = Some(verb);
        entry.overridden = false;
        Ok(claim(true))
    }

    /// The monitor of a zone that `verb`, which does not change its state, may be done on.
    pub(super) fn live_for(&self, name: &str, verb: Verb) -> Result<Live, ApiError> {
        self.find(name);
        let table = self.lock();
        let entry = table.zones.get(name).ok_or_else(|| no_such_zone(format!("{verb} {name}"), name))?;
        check(name, entry.state(), verb)?;
        entry.live.clone().ok_or_else(|| {
            ApiError::new(
                ErrorKind::WrongState,
                format!("{verb} {name}"),
                format!("zone {name} has no monitor"),
            )
        })
    }

    pub(super) fn live(&self, name: &str) -> Option<Live> {
        self.lock().zones.get(name)?.live.clone()
    }

    /// Writes what `change` makes of the zone's record; where writing fails it is as it was.
    pub(super) fn save(&self, name: &str, change: impl FnOnce(&Record) -> Record) -> Result<(), ApiError> {
        let Some(writer) = self.lock().zones.get(name).map(|entry| Arc::clone(&entry.writer)) else {
            return Ok(());
        };
        let _one_writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((record, begins, ephemeral)) = self.lock().zones.get(name).map(|entry| {
            let record = change(&entry.record);
            debug_assert_eq!(record.id_slot, entry.record.id_slot, "Table::set_slot changes it");
            let begins = record.begins(&entry.record);
            (record, begins, entry.ephemeral)
        }) else {
            return Ok(());
        };
        // fsync can take seconds on a busy disk: the table is not locked meanwhile.
        let written = if ephemeral {
            record
        } else {
            let written =
                if begins { self.store.begin(name, &record) } else { self.store.write(name, &record) };
            written.map_err(|error| because(format!("keep the state of {name}"), &error))?
        };
        if let Some(entry) = self.lock().zones.get_mut(name) {
            entry.record = written;
        }
        Ok(())
    }

    /// Adds a line to the zone's log.
    pub(super) fn note(&self, name: &str, text: &str) {
        tracing::info!(zone = name, "{text}");
        self.bus.tell(name, super::bus::kind(text), text);
        let ephemeral = self.lock().zones.get(name).is_none_or(|entry| entry.ephemeral);
        if !ephemeral && let Err(error) = log::append(&self.store.folder(name), text) {
            tracing::warn!(zone = name, %error, "its log cannot be written");
        }
    }

    /// Tells where a zone stands now.
    pub(super) fn tell_state(&self, name: &str) {
        let state = self.lock().zones.get(name).map(Entry::state);
        if let Some(state) = state {
            self.bus.tell(name, "state", state.word());
        }
    }

    /// A zone's log.
    ///
    /// # Errors
    /// When there is no such zone, or the log cannot be read.
    pub fn log(&self, name: &str) -> Result<Vec<LogLine>, ApiError> {
        self.known(name, "log")?;
        let ephemeral = self.lock().zones.get(name).is_some_and(|entry| entry.ephemeral);
        let folder = if ephemeral { self.data(name) } else { self.store.folder(name) };
        log::read(&folder).map_err(|error| because(format!("log {name}"), &error))
    }

    /// Folder of the own files of a zone that must be there.
    pub(super) fn known(&self, name: &str, what: &str) -> Result<PathBuf, ApiError> {
        self.find(name);
        match self.lock().zones.get(name) {
            Some(entry) => Ok(self.data_of(name, entry)),
            None => Err(no_such_zone(format!("{what} {name}"), name)),
        }
    }

    /// All zones, by name; those too whose configuration was put there by hand.
    pub fn list(&self) -> Vec<Zone> {
        for name in self.config_names() {
            self.find(&name);
        }
        let names: Vec<String> = self.lock().zones.keys().cloned().collect();
        names.iter().filter_map(|name| self.zone(name).ok()).collect()
    }

    /// One zone.
    ///
    /// # Errors
    /// When it is not there.
    pub fn zone(&self, name: &str) -> Result<Zone, ApiError> {
        let path = self.known(name, "show")?;
        let table = self.lock();
        let entry = table.zones.get(name).ok_or_else(|| no_such_zone("show", name))?;
        let (live, state, busy) = (entry.live.clone(), entry.state(), entry.busy);
        let (record, ephemeral) = (entry.record.clone(), entry.ephemeral);
        drop(table);
        let (summary, trouble) = match &live {
            Some(live) => (live.summary.clone(), None),
            None => match Config::load(&self.config_path(name)) {
                Ok(config) => (Summary::from(&config), None),
                Err(error) => {
                    let unknown = Summary { brand: "?".into(), kernel: None, ip_type: "?".into() };
                    let trouble = (busy.is_none() && !ephemeral).then(|| error.to_api().to_string());
                    (unknown, trouble)
                }
            },
        };
        Ok(Zone {
            id: live.as_ref().map(|live| live.id),
            name: name.to_owned(),
            state,
            path: path.display().to_string(),
            uuid: record.uuid.to_string(),
            brand: summary.brand,
            kernel: summary.kernel,
            ip_type: summary.ip_type,
            busy: busy.map(|verb| verb.word().to_owned()),
            reason: if live.is_some() { None } else { record.reason.or(trouble) },
            init_pid: live.as_ref().and_then(|live| live.init_pid),
            ephemeral,
            restarts: record.restarts.map_or(0, |restarts| restarts.total),
            addresses: if live.is_some() { self.host.addresses(name) } else { Vec::new() },
        })
    }

    /// Zones that have a configuration.
    pub(super) fn config_names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.paths.configs) else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".toml")?.to_owned()))
            .filter(|name| crate::config::check_name(name).is_ok())
            .collect()
    }

    /// Takes up a zone whose configuration came to be by hand.
    fn find(&self, name: &str) {
        let known = self.lock().zones.contains_key(name);
        if !known && crate::config::check_name(name).is_ok() && self.config_path(name).is_file() {
            self.take_up(name);
        }
    }

    /// Reads a zone's record, or makes one; what cannot be read makes it incomplete.
    pub(super) fn take_up(&self, name: &str) {
        self.take_up_as(name, self.store.read(name));
    }

    /// The same where it was read before.
    pub(super) fn take_up_as(&self, name: &str, found: Result<Found, StateError>) {
        let mut table = self.lock();
        if table.zones.contains_key(name) {
            return;
        }
        let (record, to_write) = match found {
            Ok(Found::Record(record)) => (*record, false),
            Ok(Found::Nothing) => match self.free_slot(&table) {
                Ok(slot) => (Record::new(slot), true),
                Err(error) => {
                    tracing::warn!(zone = name, %error, "it cannot be taken up");
                    return;
                }
            },
            Ok(Found::Corrupt(why)) => {
                let slot = self.free_slot(&table).unwrap_or(0);
                let why = format!("its state.json made no sense and was moved aside: {why}");
                (Record::new(slot).to(Durable::Incomplete, None, Some(why)), true)
            }
            Err(error) => {
                self.unsure.store(true, Ordering::Relaxed);
                let why = because("read its state", &error).why;
                (Record::new(0).to(Durable::Incomplete, None, Some(why)), false)
            }
        };
        let corrupt = record.reason.clone().filter(|_| to_write);
        let mut entry = Entry::new(record, false);
        // One without a root has none, though a crash may have left their files.
        if entry.record.state != Durable::Configured {
            let (found, all) = snapshots::read(&self.store.folder(name));
            entry.snapshots = found;
            if !all {
                self.unsure.store(true, Ordering::Relaxed);
            }
        }
        table.add(name, entry);
        drop(table);
        if to_write && let Err(error) = self.save(name, Record::clone) {
            tracing::warn!(zone = name, %error, "its state cannot be kept");
        }
        if let Some(why) = corrupt {
            self.note(name, &format!("incomplete: {why}"));
        }
    }

    /// The lowest range of host ids that no zone has.
    pub(super) fn free_slot(&self, table: &Table) -> Result<u32, ApiError> {
        let slots = self.settings.id_slots;
        Some(table.slots.lowest_free()).filter(|&slot| slot < slots).ok_or_else(|| {
            ApiError::new(
                ErrorKind::Failed,
                "give the zone host ids",
                format!("all {slots} ranges are taken"),
            )
            .hint("delete zones, or raise id-slots in zoned.toml")
        })
    }

    /// A zone id that no live zone has; 0 is the global zone's.
    pub(super) fn take_id(&self) -> u32 {
        let mut table = self.lock();
        let id = (1..).find(|id| !table.ids.contains(id)).unwrap_or(u32::MAX);
        table.ids.insert(id);
        id
    }

    pub(super) fn free_id(&self, id: u32) {
        self.lock().ids.remove(&id);
    }

    /// Takes a started or found monitor's zone for live, and watches it.
    pub(super) fn go_live(
        self: &Arc<Self>,
        name: &str,
        handle: MonitorHandle,
        live: impl FnOnce(u64, Arc<dyn Control>) -> Live,
    ) {
        let mut table = self.lock();
        table.epoch += 1;
        let live = live(table.epoch, handle.control);
        let epoch = live.epoch;
        table.ids.insert(live.id);
        if let Some(entry) = table.zones.get_mut(name) {
            entry.live = Some(live);
        }
        drop(table);
        self.changed.notify_all();
        self.tell_state(name);
        self.watch(name.to_owned(), epoch, handle.events);
        self.connect_waiting(name);
    }

    /// Waits until `done` says so of the zone's monitor (`None` when it is gone or is another one).
    pub(super) fn wait(
        &self,
        name: &str,
        epoch: u64,
        longest: Duration,
        done: impl Fn(Option<&Live>) -> bool,
    ) -> bool {
        let look = |table: &Table| {
            let live = table.zones.get(name).and_then(|entry| entry.live.as_ref());
            done(live.filter(|live| live.epoch == epoch))
        };
        let (table, _) = self
            .changed
            .wait_timeout_while(self.lock(), longest, |table| !look(table))
            .unwrap_or_else(PoisonError::into_inner);
        look(&table)
    }

    /// Whether it is gone within that time.
    pub(super) fn wait_gone(&self, name: &str, epoch: u64, longest: Duration) -> bool {
        self.wait(name, epoch, longest, |live| live.is_none())
    }
}

/// An operation under way on a zone; others can begin when it is dropped.
pub(super) struct Claim {
    pub(super) zones: Arc<Zones>,
    pub(super) name: String,
    /// Whether the operation is this claim's, or one that it broke into.
    held: bool,
}

impl Claim {
    /// A claim on an entry that was made with its verb in it.
    pub(super) fn of_new(zones: Arc<Zones>, name: String) -> Self {
        Self { zones, name, held: true }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.held
            && let Some(entry) = self.zones.lock().zones.get_mut(&self.name)
        {
            entry.busy = None;
        }
    }
}
