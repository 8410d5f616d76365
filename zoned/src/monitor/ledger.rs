//! What a zone's brand did, by call: counted always, kept in the zone's folder as `ledger.json`.
//!
//! Numbers that some table knows have counters in an array, so that counting is one addition. They are made where one is
//! counted first: a zone asks for few of all calls. What is known of the first time stands behind a lock that only the
//! first of a kind takes.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use brands::abi::Abi;
use brands::call::Call;
use brands::engine::Done;
use brands::history;
use brands::level::Level;
use serde::{Deserialize, Serialize};
use zone_api::LedgerEntry;

use crate::state::{atomic, now};

/// Name of the file in the zone's folder.
pub const FILE: &str = "ledger.json";

/// Version of the file's form.
const VERSION: u32 = 1;

/// Numbers that no table knows are the guest's to choose: so many are told apart for each ABI, all
/// others are counted together.
const MOST_UNKNOWN: usize = 64;

const DONE: [Done; 5] = [Done::Emulated, Done::Refused, Done::Masked, Done::Unknown, Done::Passed];

/// Counts of one call, by what was done.
type Counters = [AtomicU64; DONE.len()];

/// What a zone's guests asked for and got since its ledger was begun.
#[derive(Debug)]
pub struct Ledger {
    /// For each ABI, for each number below the first that no table knows.
    known: [Vec<OnceLock<Box<Counters>>>; Abi::ALL.len()],
    more: Mutex<More>,
}

#[derive(Debug, Default)]
struct More {
    first: BTreeMap<Key, First>,
    /// Counts of numbers that no table knows; `None` is all that are not told apart.
    unknown: BTreeMap<(Abi, Option<u32>), u64>,
    /// Programs whose note names a kernel younger than the level: how many were executed, and the first of them.
    tags: BTreeMap<Abi, (u64, First)>,
    /// From earlier lives of the zone.
    past: Vec<LedgerEntry>,
}

/// ABI, number and what was done.
type Key = (Abi, Option<u32>, Done);

#[derive(Debug)]
struct First {
    program: String,
    time: u64,
    needs: Option<Level>,
}

impl First {
    fn entry(&self, call: String, abi: Abi, done: Done, count: u64) -> LedgerEntry {
        LedgerEntry {
            call,
            abi: abi.to_string(),
            done: done.as_str().to_owned(),
            count,
            needs: self.needs.map(|level| level.to_string()),
            program: self.program.clone(),
            first: self.time,
        }
    }
}

/// What stands in the place of a call where a program asked for a kernel by its .note.ABI-tag.
const TAG: &str = "ABI-tag";

/// The form of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    entries: Vec<LedgerEntry>,
}

impl Default for Ledger {
    fn default() -> Self {
        let counters = |abi: Abi| {
            std::iter::repeat_with(Default::default).take(history::last(abi) as usize + 1).collect()
        };
        Self { known: Abi::ALL.map(counters), more: Mutex::default() }
    }
}

impl Ledger {
    /// One that goes on from what was kept in `folder`.
    pub fn resume(folder: &Path) -> Self {
        let ledger = Self::default();
        match read(folder) {
            Ok(past) => ledger.lock().past = past,
            Err(error) => tracing::warn!(%error, "the zone's ledger begins anew"),
        }
        ledger
    }

    fn lock(&self) -> MutexGuard<'_, More> {
        self.more.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counters(&self, call: &Call) -> Option<&Counters> {
        let abi = Abi::ALL.iter().position(|abi| *abi == call.abi)?;
        let counters = self.known[abi].get(usize::try_from(call.nr).ok()?)?;
        Some(counters.get_or_init(Default::default))
    }

    /// Counts a call. `needs` is the release that it would have needed; `program` is asked for the
    /// caller's name, the first time alone.
    pub fn count(&self, call: &Call, done: Done, needs: Option<Level>, program: impl FnOnce() -> Vec<u8>) {
        let before = match self.counters(call) {
            Some(counters) => counters[done as usize].fetch_add(1, Ordering::Relaxed),
            None => return self.count_unknown(call, done, program),
        };
        // Two flags of one call may need different releases.
        if before == 0 || needs.is_some() {
            self.note((call.abi, Some(call.nr), done), needs, program);
        }
    }

    fn count_unknown(&self, call: &Call, done: Done, program: impl FnOnce() -> Vec<u8>) {
        let mut more = self.lock();
        let there = more.unknown.contains_key(&(call.abi, Some(call.nr)));
        let full = || more.unknown.keys().filter(|(abi, _)| *abi == call.abi).count() >= MOST_UNKNOWN;
        let nr = (there || !full()).then_some(call.nr);
        *more.unknown.entry((call.abi, nr)).or_insert(0) += 1;
        drop(more);
        self.note((call.abi, nr, done), None, program);
    }

    fn note(&self, key: Key, needs: Option<Level>, program: impl FnOnce() -> Vec<u8>) {
        if let Some(first) = self.lock().first.get_mut(&key) {
            first.needs = first.needs.max(needs);
            return;
        }
        // Outside of the lock: it asks the kernel.
        // Escaped, since a guest may call itself anything.
        let program = program().escape_ascii().to_string();
        tracing::info!(call = name(key.0, key.1), done = key.2.as_str(), program, "first call of its kind");
        self.lock().first.entry(key).or_insert(First { program, time: now(), needs });
    }

    /// Counts a program of `abi` that says by its note that it needs at least kernel `needs`.
    pub fn count_tag(&self, abi: Abi, needs: Level, program: impl FnOnce() -> Vec<u8>) {
        let mut more = self.lock();
        if let Some((count, first)) = more.tags.get_mut(&abi) {
            *count += 1;
            first.needs = first.needs.max(Some(needs));
            return;
        }
        let program = program().escape_ascii().to_string();
        more.tags.insert(abi, (1, First { program, time: now(), needs: Some(needs) }));
    }

    /// All of it, by call.
    pub fn entries(&self) -> Vec<LedgerEntry> {
        let more = self.lock();
        let mut entries = more.past.clone();
        for (&(abi, nr, done), first) in &more.first {
            let known = nr.and_then(|nr| self.counters(&Call { abi, nr, args: [0; 6], ip: 0 }));
            let count = match known {
                Some(counters) => counters[done as usize].load(Ordering::Relaxed),
                None => more.unknown.get(&(abi, nr)).copied().unwrap_or(0),
            };
            add(&mut entries, first.entry(name(abi, nr), abi, done, count));
        }
        for (&abi, (count, first)) in &more.tags {
            add(&mut entries, first.entry(TAG.to_owned(), abi, Done::Masked, *count));
        }
        entries.sort_by(|a, b| (&a.call, &a.abi, &a.done).cmp(&(&b.call, &b.abi, &b.done)));
        entries
    }

    /// Calls that need a younger kernel than the zone's; not those that it had no more.
    pub fn younger(&self) -> Vec<LedgerEntry> {
        let mut entries = self.entries();
        entries.retain(|entry| entry.done == Done::Masked.as_str() && entry.needs.is_some());
        entries
    }

    /// Forgets everything.
    pub fn reset(&self) {
        let mut more = self.lock();
        *more = More::default();
        let counted = self.known.iter().flatten().filter_map(OnceLock::get);
        for counter in counted.flat_map(|counters| counters.iter()) {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Whether anything was counted in this life.
    pub fn has_counted(&self) -> bool {
        let more = self.lock();
        !more.first.is_empty() || !more.tags.is_empty()
    }

    /// Writes it to the zone's folder.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(&Kept { version: VERSION, entries: self.entries() })?;
        bytes.push(b'\n');
        atomic::write(&folder.join(FILE), &bytes, 0o600)
    }
}

/// What was kept in a zone's folder; nothing where there is no file.
pub fn read(folder: &Path) -> io::Result<Vec<LedgerEntry>> {
    let bytes = match std::fs::read(folder.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let kept: Kept = serde_json::from_slice(&bytes)?;
    if kept.version != VERSION {
        return Err(io::Error::other(format!("its version is {}, this zoned knows {VERSION}", kept.version)));
    }
    Ok(kept.entries)
}

/// The call's name, or its number where no table has one.
fn name(abi: Abi, nr: Option<u32>) -> String {
    match nr {
        Some(nr) => abi.name(nr).map_or_else(|| nr.to_string(), str::to_owned),
        None => "others".to_owned(),
    }
}

/// Adds an entry to those of an earlier time.
fn add(entries: &mut Vec<LedgerEntry>, new: LedgerEntry) {
    let same = |old: &&mut LedgerEntry| (&old.call, &old.abi, &old.done) == (&new.call, &new.abi, &new.done);
    match entries.iter_mut().find(same) {
        Some(old) => {
            old.count = old.count.saturating_add(new.count);
            let level = |text: &Option<String>| {
                text.as_deref().and_then(|text| Level::parse_release(text).ok()).map(|(level, _)| level)
            };
            if level(&new.needs) > level(&old.needs) {
                old.needs = new.needs;
            }
        }
        None => entries.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(abi: Abi, nr: u32) -> Call {
        Call { abi, nr, args: [0; 6], ip: 0 }
    }

    fn count(ledger: &Ledger, nr: u32, done: Done, program: &str) {
        ledger.count(&call(Abi::X86_64, nr), done, None, || program.as_bytes().to_vec());
    }

    fn told(entries: &[LedgerEntry]) -> Vec<(&str, &str, u64, &str)> {
        entries.iter().map(|e| (&*e.call, &*e.done, e.count, &*e.program)).collect()
    }

    #[test]
    fn calls_are_counted_and_the_first_program_stays() {
        let ledger = Ledger::default();
        for program in ["a", "b", "c"] {
            count(&ledger, 63, Done::Emulated, program);
        }
        count(&ledger, 63, Done::Refused, "d\n\x1b[31m\\");
        let entries = ledger.entries();
        let expected = [("uname", "emulated", 3, "a"), ("uname", "refused", 1, "d\\n\\x1b[31m\\\\")];
        assert_eq!(told(&entries), expected);
        assert_eq!(entries[0].abi, "x86_64");
        assert!(entries[0].first > 0);
    }

    #[test]
    fn the_youngest_flag_of_a_call_decides_what_it_needs() {
        let ledger = Ledger::default();
        for patch in [17, 26, 5] {
            let needs = Some(Level::new(2, 6, patch));
            ledger.count(&call(Abi::I386, 120), Done::Masked, needs, || b"x".to_vec());
        }
        let entries = ledger.younger();
        assert_eq!((entries[0].needs.as_deref(), entries[0].count), (Some("2.6.26"), 3));
    }

    #[test]
    fn what_programs_say_that_they_need_is_an_entry() {
        let ledger = Ledger::default();
        ledger.count_tag(Abi::X86_64, Level::new(2, 6, 32), || b"sh".to_vec());
        ledger.count_tag(Abi::X86_64, Level::new(3, 2, 0), || b"ls".to_vec());
        ledger.count_tag(Abi::X86_64, Level::new(2, 6, 18), || b"ps".to_vec());
        let entries = ledger.younger();
        assert_eq!(told(&entries), [("ABI-tag", "masked", 3, "sh")]);
        assert_eq!(entries[0].needs.as_deref(), Some("3.2"));
        assert!(ledger.has_counted());
    }

    #[test]
    fn a_guest_that_counts_up_does_not_make_it_grow() {
        let ledger = Ledger::default();
        for nr in 0..10_000 {
            count(&ledger, 1_000_000 + nr, Done::Unknown, "loop");
        }
        count(&ledger, 1_000_000, Done::Unknown, "loop");
        let entries = ledger.entries();
        assert_eq!(entries.len(), MOST_UNKNOWN + 1);
        assert_eq!(entries.iter().map(|e| e.count).sum::<u64>(), 10_001);
        let others = entries.iter().find(|e| e.call == "others").unwrap();
        assert_eq!(others.count, 10_000 - MOST_UNKNOWN as u64);
    }

    #[test]
    fn it_goes_on_from_what_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let needs = |patch| Some(Level::new(2, 6, patch));
        let first = Ledger::resume(folder.path());
        first.count(&call(Abi::X86_64, 318), Done::Masked, needs(9), || b"old".to_vec());
        first.keep(folder.path()).unwrap();
        let second = Ledger::resume(folder.path());
        second.count(&call(Abi::X86_64, 318), Done::Masked, needs(10), || b"new".to_vec());
        count(&second, 63, Done::Emulated, "new");
        let entries = second.entries();
        assert_eq!(told(&entries), [("getrandom", "masked", 2, "old"), ("uname", "emulated", 1, "new")]);
        assert_eq!(entries[0].needs.as_deref(), Some("2.6.10"));
        second.reset();
        assert_eq!(second.entries(), []);
        second.keep(folder.path()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), []);
        std::fs::write(folder.path().join(FILE), "{\"version\":9,\"entries\":[]}").unwrap();
        assert!(read(folder.path()).is_err());
        assert_eq!(Ledger::resume(folder.path()).entries(), []);
    }
}
