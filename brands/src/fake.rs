//! A guest made of data, for tests of handlers.

use std::collections::{BTreeMap, VecDeque};

use nix::errno::Errno;

use crate::abi::Abi;
use crate::call::{Call, FileId, GuestPtr};
use crate::file::{Entry, Listing, Statfs, Statx, Which};
use crate::level::Level;
use crate::platform::{Platform, Request};
use crate::table;
use crate::task::{
    At, Differs, FileStatus, Found, Ids, Layout, Log, Pseudo, SystemInfo, Task, Timex, World, ZoneRequest,
};

const PAGE: u64 = 4096;

/// A guest whose every property a test can set and look at.
#[derive(Debug, Clone)]
pub struct Fake {
    /// What [`Task::world`] gives.
    pub world: World,
    /// Pages that exist, by page number, and whether they can be written.
    pages: BTreeMap<u64, (Vec<u8>, bool)>,
    /// What [`Task::ids`] gives.
    pub ids: Ids,
    /// What [`Task::personality`] gives.
    pub personality: u32,
    /// What [`Task::names`] gives.
    pub names: (Vec<u8>, Vec<u8>),
    /// Whether the caller is in a UTS namespace made inside.
    pub renamed: bool,
    /// What [`Task::may_differ`] was told.
    pub differs: Vec<Differs>,
    /// What [`Task::system_info`] gives.
    pub system: SystemInfo,
    /// What [`Task::timex`] gives.
    pub timex: Timex,
    /// What [`Task::layout`] gives.
    pub layout: Layout,
    /// What [`Task::space_word`] gives.
    pub space: u64,
    /// The kernel log.
    pub log: FakeLog,
    /// Mounts by path, and the root's own names.
    pub mounts: BTreeMap<Vec<u8>, Pseudo>,
    /// What [`Task::root_is_own`] gives.
    pub root_is_own: bool,
    /// Nodes made.
    pub nodes: Vec<Node>,
    /// Whether the caller is in a pid namespace made inside.
    pub nested: bool,
    /// Pseudo file systems shown.
    pub shown: Vec<(Pseudo, Vec<u8>)>,
    /// Memory zeroed: address, length.
    pub zeroed: Vec<(u64, u64)>,
    /// What was asked of the zone.
    pub requests: Vec<ZoneRequest>,
    /// Files opened.
    pub opened: Vec<Vec<u8>>,
    /// What [`Task::statx`] gives of every path and descriptor.
    pub statx: Option<Statx>,
    /// What was asked of [`Task::statx`]: path or none, and whether a link is followed.
    pub asked: Vec<(At, Vec<u8>, bool)>,
    /// What [`Task::statfs`] gives.
    pub statfs: Option<Statfs>,
    /// The entries of every open directory, at positions 0, 10, 20 and so on; none is no directory.
    pub directory: Option<Vec<(u64, Vec<u8>)>>,
    /// The position of every open directory.
    pub position: i64,
    /// What [`Task::signal_frame`] gives.
    pub signal_frame: u64,
    /// Calls performed.
    pub performed: Vec<(String, [u64; 6])>,
    /// Whether a debugger has the caller, which then performs none.
    pub debugged: bool,
    /// What the next of them answer; 0 when there is nothing left.
    pub answers: VecDeque<i64>,
    /// What [`Task::descriptors`] gives.
    pub descriptors: Vec<u32>,
    /// What [`Task::file_status`] gives.
    pub status: FileStatus,
}

/// A device node that a guest made: where, mode, major and minor.
pub type Node = (At, Vec<u8>, u32, (u32, u32));

/// A kernel log that never waits.
#[derive(Debug, Clone, Default)]
pub struct FakeLog {
    /// All that was logged.
    pub text: Vec<u8>,
    /// How much of it [`Log::clear`] hides.
    pub cleared: usize,
    /// What was not taken yet.
    pub unread: VecDeque<u8>,
}

impl FakeLog {
    /// Logs a text.
    pub fn say(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
        self.unread.extend(text.as_bytes());
    }
}

impl Log for FakeLog {
    fn last(&mut self, max: usize, all: bool) -> Vec<u8> {
        let text = &self.text[if all { 0 } else { self.cleared }..];
        text[text.len().saturating_sub(max)..].to_vec()
    }

    fn clear(&mut self) {
        self.cleared = self.text.len();
    }

    fn unread(&mut self) -> usize {
        self.unread.len()
    }

    fn size(&mut self) -> usize {
        16384
    }
}

impl Fake {
    /// A guest of root's in a zone of the linux brand, at a level and on an arch.
    pub fn linux(level: Option<&str>, arch: Option<&str>) -> Self {
        let request = Request {
            level: level.and_then(|text| Level::parse_release(text).ok()),
            arch: arch.map(str::to_owned),
            host_release: "6.18.2-host".to_owned(),
            host_version: "#7 SMP PREEMPT_DYNAMIC".to_owned(),
            ..Request::default()
        };
        let platform = table::brand("linux").map(|brand| brand.platform(&request));
        Self::new(platform.map_or_else(|| crate::platform::host_world(&request), |p: Platform| p.world))
    }

    /// A guest of root's in a zone of this world, with no memory.
    pub fn new(world: World) -> Self {
        let personality = world.personality;
        Self {
            world,
            pages: BTreeMap::new(),
            ids: Ids { euid: 0, egid: 0, effective: u64::MAX },
            personality,
            names: (b"guest".to_vec(), b"(none)".to_vec()),
            renamed: false,
            differs: Vec::new(),
            system: SystemInfo::default(),
            timex: Timex::default(),
            layout: Layout::default(),
            space: 0,
            log: FakeLog::default(),
            mounts: BTreeMap::new(),
            root_is_own: true,
            nodes: Vec::new(),
            nested: false,
            shown: Vec::new(),
            zeroed: Vec::new(),
            requests: Vec::new(),
            opened: Vec::new(),
            statx: None,
            asked: Vec::new(),
            statfs: None,
            directory: None,
            position: 0,
            signal_frame: 3376,
            performed: Vec::new(),
            debugged: false,
            answers: VecDeque::new(),
            descriptors: vec![0, 1, 2],
            status: FileStatus::default(),
        }
    }

    /// Makes the caller an ordinary user.
    pub fn unprivileged(mut self) -> Self {
        self.ids = Ids { euid: 1000, egid: 1000, effective: 0 };
        self
    }

    /// Gives the guest zeroed memory from `at` on, in whole pages.
    pub fn map(&mut self, at: u64, len: u64) {
        for page in at / PAGE..(at + len).div_ceil(PAGE) {
            self.pages.insert(page, (vec![0; PAGE as usize], true));
        }
    }

    /// Makes the page of `at` read-only.
    pub fn protect(&mut self, at: u64) {
        if let Some((_, writable)) = self.pages.get_mut(&(at / PAGE)) {
            *writable = false;
        }
    }

    /// Puts bytes into memory, mapping it if need be; gives the address for a call.
    pub fn put(&mut self, at: u64, bytes: &[u8]) -> u64 {
        for (i, &byte) in bytes.iter().enumerate() {
            let at = at + i as u64;
            let page = self.pages.entry(at / PAGE).or_insert_with(|| (vec![0; PAGE as usize], true));
            page.0[(at % PAGE) as usize] = byte;
        }
        at
    }

    /// Bytes of memory, zero where there is none.
    pub fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let byte = |at: u64| self.pages.get(&(at / PAGE)).map_or(0, |p| p.0[(at % PAGE) as usize]);
        (0..len as u64).map(|i| byte(at + i)).collect()
    }
}

/// A call with these first arguments.
pub fn call(abi: Abi, name: &str, args: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    // A name that the ABI lacks gets a number that no call has, so that a test fails on it.
    Call { abi, nr: abi.number(name).unwrap_or(u32::MAX), args: all, ip: 0 }
}

impl Task for Fake {
    fn world(&self) -> &World {
        &self.world
    }

    fn read(&mut self, at: GuestPtr, buf: &mut [u8]) -> Result<(), Errno> {
        for (i, slot) in buf.iter_mut().enumerate() {
            let at = at.offset(i as u64).0;
            let (page, _) = self.pages.get(&(at / PAGE)).ok_or(Errno::EFAULT)?;
            *slot = page[(at % PAGE) as usize];
        }
        Ok(())
    }

    fn write(&mut self, at: GuestPtr, bytes: &[u8]) -> Result<(), Errno> {
        for (i, &byte) in bytes.iter().enumerate() {
            let at = at.offset(i as u64).0;
            match self.pages.get_mut(&(at / PAGE)) {
                Some((page, true)) => page[(at % PAGE) as usize] = byte,
                _ => return Err(Errno::EFAULT),
            }
        }
        Ok(())
    }

    fn ids(&mut self) -> Result<Ids, Errno> {
        Ok(self.ids.clone())
    }

    fn personality(&mut self) -> Result<u32, Errno> {
        Ok(self.personality)
    }

    fn names(&mut self) -> Result<(Vec<u8>, Vec<u8>), Errno> {
        Ok(self.names.clone())
    }

    fn in_zones_names(&mut self) -> Result<bool, Errno> {
        Ok(!self.renamed)
    }

    fn may_differ(&mut self, what: Differs) {
        self.differs.push(what);
    }

    fn system_info(&mut self) -> Result<SystemInfo, Errno> {
        Ok(self.system)
    }

    fn timex(&mut self) -> Result<Timex, Errno> {
        Ok(self.timex)
    }

    fn layout(&mut self) -> Result<Layout, Errno> {
        Ok(self.layout)
    }

    fn space_word(&mut self) -> Result<u64, Errno> {
        Ok(self.space)
    }

    fn set_space_word(&mut self, word: u64) -> Result<(), Errno> {
        self.space = word;
        Ok(())
    }

    fn zero(&mut self, at: GuestPtr, len: u64) -> Result<(), Errno> {
        self.zeroed.push((at.0, len));
        Ok(())
    }

    fn log(&mut self) -> &mut dyn Log {
        &mut self.log
    }

    fn take_log(&mut self, max: usize) -> Result<Vec<u8>, Errno> {
        let unread = &mut self.log.unread;
        if unread.is_empty() {
            return Err(Errno::EINTR);
        }
        let len = max.min(unread.len());
        Ok(unread.drain(..len).collect())
    }

    fn mknod(&mut self, at: At, path: &[u8], mode: u32, dev: (u32, u32)) -> Result<(), Errno> {
        self.nodes.push((at, path.to_vec(), mode, dev));
        Ok(())
    }

    fn mounted_at(&mut self, path: &[u8]) -> Result<Option<Pseudo>, Errno> {
        Ok(self.mounts.get(path).copied())
    }

    fn in_zones_pids(&mut self) -> Result<bool, Errno> {
        Ok(!self.nested)
    }

    fn is_root(&mut self, path: &[u8]) -> Result<bool, Errno> {
        Ok(path == b"/")
    }

    fn root_is_own(&self) -> bool {
        self.root_is_own
    }

    fn show(&mut self, what: Pseudo, path: &[u8]) -> Result<(), Errno> {
        self.shown.push((what, path.to_vec()));
        Ok(())
    }

    fn unshow(&mut self, path: &[u8]) -> Result<bool, Errno> {
        let before = self.shown.len();
        self.shown.retain(|(_, shown)| shown != path);
        Ok(self.shown.len() < before)
    }

    fn request(&mut self, what: ZoneRequest) -> Result<(), Errno> {
        self.requests.push(what);
        Ok(())
    }

    fn open(&mut self, path: &[u8]) -> Result<FileId, Errno> {
        self.opened.push(path.to_vec());
        Ok(FileId(self.opened.len() as u32 - 1))
    }

    fn statx(&mut self, which: Which<'_>, _: u32) -> Option<Statx> {
        self.asked.push(match which {
            Which::Path { at, path, follow } => (at, path.to_vec(), follow),
            Which::Open(fd) => (At::Fd(fd), Vec::new(), true),
        });
        self.statx
    }

    fn statfs(&mut self, _: Which<'_>) -> Option<Statfs> {
        self.statfs
    }

    fn list(&mut self, _: i32, room: usize) -> Option<Listing> {
        let all = self.directory.as_ref()?;
        let start = self.position;
        let mut left = room;
        let mut entries = Vec::new();
        let first = usize::try_from(start / 10).ok()?;
        for (i, (inode, name)) in all.iter().enumerate().skip(first) {
            let Some(rest) = left.checked_sub((20 + name.len()).next_multiple_of(8)) else { break };
            left = rest;
            entries.push(Entry { inode: *inode, next: 10 * (i as i64 + 1), kind: 8, name: name.clone() });
        }
        if entries.is_empty() && first < all.len() {
            return None;
        }
        self.position = entries.last().map_or(start, |last| last.next);
        Some(Listing { start, entries })
    }

    fn seek(&mut self, _: i32, position: i64) -> Result<(), Errno> {
        self.position = position;
        Ok(())
    }

    fn signal_frame(&mut self) -> u64 {
        self.signal_frame
    }

    fn perform(&mut self, name: &str, args: [u64; 6]) -> Result<i64, Errno> {
        if self.debugged {
            return Err(Errno::ENOSYS);
        }
        self.performed.push((name.to_owned(), args));
        Ok(self.answers.pop_front().unwrap_or(0))
    }

    fn descriptors(&mut self) -> Result<Vec<u32>, Errno> {
        Ok(self.descriptors.clone())
    }

    fn file_status(&mut self, _: i32) -> Result<FileStatus, Errno> {
        Ok(self.status)
    }

    fn own_id(&self, id: u32) -> Option<u32> {
        id.checked_sub(100_000).filter(|id| *id < 65536)
    }

    fn ids_are_real(&mut self) -> Result<bool, Errno> {
        Ok(true)
    }

    fn random(&mut self, buf: &mut [u8]) -> Result<(), Errno> {
        buf.fill(4);
        Ok(())
    }

    fn memory_file(&mut self, name: &[u8], _: u32) -> Result<FileId, Errno> {
        self.open(name)
    }

    fn process_file(&mut self, pid: i32, _: u32) -> Result<FileId, Errno> {
        self.open(pid.to_string().as_bytes())
    }

    fn descriptor_of(&mut self, _: i32, fd: i32) -> Result<FileId, Errno> {
        self.open(fd.to_string().as_bytes())
    }

    fn copy_range(&mut self, _: (i32, Option<i64>), _: (i32, Option<i64>), len: u64) -> Result<usize, Errno> {
        Ok(len as usize)
    }

    fn resolve(&mut self, _: At, path: &[u8], _: i32, _: u64) -> Result<Found, Errno> {
        Ok(Found { path: [b"/", path].concat(), id: self.status.id })
    }
}
