//! A guest's task as its brand's handlers reach it: through /proc and the notification that says
//! it still waits.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use brands::abi::Abi;
use brands::call::{FileId, GuestPtr};
use brands::file::{Listing, Statfs, Statx, Which};
use brands::task::{
    At, Differs, FileStatus, Found, Ids, Layout, Log, Pseudo, SystemInfo, Task, Timex, World, ZoneRequest,
};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlink};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::Pid;

use super::dispatch::Zone;
use super::forward;
use super::held::Held;
use super::kmsg::{Caller, View};
use super::{files, visit};
use crate::sys::credentials::Tracing;
use crate::sys::notify::{Listener, Notification};
use crate::sys::{memory, process, thread};

/// The task behind one notification, for as long as its call is being answered.
#[derive(Debug)]
pub struct GuestTask<'a> {
    pub(super) zone: &'a Zone,
    pub(super) listener: &'a Listener,
    pub(super) notification: &'a Notification,
    log: View<'a>,
    /// /proc/PID, pinned: it answers for this very task or not at all.
    directory: Option<OwnedFd>,
    memory: Option<File>,
    pub(super) files: Vec<OwnedFd>,
    /// Once it performs calls.
    held: Option<Held<'a>>,
    /// Once it was found to be closed to the zone's owner.
    tracing: Option<Tracing>,
}

/// What an error of an open or a read under /proc/PID means: the task is gone.
pub(super) fn gone(error: &std::io::Error) -> Errno {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) | None => Errno::ESRCH,
        Some(errno) => errno,
    }
}

impl<'a> GuestTask<'a> {
    /// The task whose call is `notification`.
    pub fn new(zone: &'a Zone, listener: &'a Listener, notification: &'a Notification) -> Self {
        Self {
            zone,
            listener,
            notification,
            log: View::new(&zone.kmsg, Caller::default()),
            directory: None,
            memory: None,
            files: Vec::new(),
            held: None,
            tracing: None,
        }
    }

    /// What the caller's thread is called: the file that it executed, unless it gave itself another
    /// name (PR_SET_NAME). Empty once it is gone.
    pub fn program(&mut self) -> Vec<u8> {
        let mut name = [0; 64];
        let read = self
            .open_below("comm", OFlag::O_RDONLY)
            .and_then(|file| file.read_at(&mut name, 0).map_err(|e| gone(&e)));
        name[..read.unwrap_or(0)].trim_ascii_end().to_vec()
    }

    /// The caller, when it performed calls.
    pub fn take_held(&mut self) -> Option<Held<'a>> {
        self.held.take()
    }

    /// A file that a handler opened.
    pub fn file(&self, id: FileId) -> Option<BorrowedFd<'_>> {
        self.files.get(id.0 as usize).map(AsFd::as_fd)
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.notification.pid)
    }

    /// ESRCH once the call is no longer waiting, and its number may be somebody else's.
    pub(super) fn still_there(&self) -> Result<(), Errno> {
        // One that is held cannot go, and its notification is answered.
        if self.held.is_some() || self.listener.is_valid(self.notification.id) {
            Ok(())
        } else {
            Err(Errno::ESRCH)
        }
    }

    /// /proc/PID of the very task that made the call.
    pub(super) fn directory(&mut self) -> Result<BorrowedFd<'_>, Errno> {
        if self.directory.is_none() {
            let path = format!("/proc/{}", self.notification.pid);
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let opened = nix::fcntl::open(path.as_str(), flags, Mode::empty()).map_err(|_| Errno::ESRCH)?;
            self.still_there()?;
            self.directory = Some(opened);
        }
        self.directory.as_ref().map(AsFd::as_fd).ok_or(Errno::ESRCH)
    }

    pub(super) fn open_below(&mut self, name: &str, flags: OFlag) -> Result<File, Errno> {
        self.reach(|task| {
            openat(task.directory()?, name, flags | OFlag::O_CLOEXEC, Mode::empty()).map(File::from)
        })
    }

    /// stat(2) of a name below /proc/PID.
    pub(super) fn stat_below(&mut self, name: &str) -> Result<FileStat, Errno> {
        self.reach(|task| fstatat(task.directory()?, name, AtFlags::empty()))
    }

    /// Inode of the task's namespace of this kind, as namespaces(7) names it.
    pub(super) fn namespace(&mut self, kind: &str) -> Result<u64, Errno> {
        let path = format!("/proc/{}/ns/{kind}", self.notification.pid);
        // `uts:[4026531838]`. To read the link is half the price of following it.
        let link = self.reach(|task| {
            let link = readlink(path.as_str())?;
            task.still_there().map(|()| link)
        })?;
        let inode = link.to_str().and_then(|text| text.split(['[', ']']).nth(1)?.parse().ok());
        inode.ok_or(Errno::ESRCH)
    }

    /// Does what needs a right to the task's memory. The owner of the zone's user namespace has it, but for programs that
    /// no user of the zone may read and for our own on their way into the zone.
    pub(super) fn reach<T>(
        &mut self,
        mut work: impl FnMut(&mut Self) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match work(self) {
            Err(Errno::EPERM | Errno::EACCES) if self.tracing.is_none() => {
                self.tracing = Some(Tracing::begin()?);
                work(self)
            }
            result => result,
        }
    }

    pub(super) fn read_below(&mut self, name: &str) -> Result<String, Errno> {
        // These files have no size to ask for, and most fit the first read.
        let file = self.open_below(name, OFlag::O_RDONLY)?;
        let mut bytes = vec![0; 4096];
        let mut got = 0;
        loop {
            match nix::unistd::read(&file, &mut bytes[got..]).map_err(|e| gone(&e.into()))? {
                0 => break,
                n => got += n,
            }
            if got == bytes.len() {
                bytes.resize(2 * got, 0);
            }
        }
        bytes.truncate(got);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The guest's memory, pinned: a descriptor of this address space and no other, of which
    /// `len` bytes from `at` may be written. Writing there ignores page protections, which are
    /// therefore looked up.
    fn writable(&mut self, at: GuestPtr, len: u64) -> Result<&File, Errno> {
        let maps = self.open_below("maps", OFlag::O_RDONLY)?;
        let writable = match memory::is_writable(maps.as_fd(), at.0, len) {
            Some(writable) => writable,
            None => is_writable(&self.mappings()?, at.0, len),
        };
        if !writable {
            return Err(Errno::EFAULT);
        }
        if self.memory.is_none() {
            self.memory = Some(self.open_below("mem", OFlag::O_RDWR)?);
        }
        self.still_there()?;
        self.memory.as_ref().ok_or(Errno::ESRCH)
    }

    /// Mappings of proc_pid_maps(5): start, end, whether writable.
    fn mappings(&mut self) -> Result<Vec<(u64, u64, bool)>, Errno> {
        Ok(parse_maps(&self.read_below("maps")?))
    }

    /// Field `n`, counted from 1 as in proc_pid_stat(5), from 3 up.
    fn stat_fields(&mut self) -> Result<Vec<u64>, Errno> {
        let text = self.read_below("stat")?;
        // The name in field 2 may hold anything; it ends with the last parenthesis.
        let rest = text.rsplit_once(')').ok_or(Errno::ESRCH)?.1;
        Ok(rest.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect())
    }

    /// Where the state of the address space is kept: the word that exec leaves zero at the very
    /// top of the first stack, above everything that a program is told of (binfmt_elf).
    fn space_address(&mut self) -> Result<u64, Errno> {
        let start_stack = *self.stat_fields()?.get(28 - 3).ok_or(Errno::ESRCH)?;
        let top = self
            .mappings()?
            .into_iter()
            .find(|&(start, end, _)| (start..end).contains(&start_stack))
            .map(|(_, end, _)| end)
            .ok_or(Errno::EFAULT)?;
        Ok(top - 8)
    }

    /// Runs `work` on a thread that sees paths as the guest does.
    pub(super) fn visit<T: Send>(
        &mut self,
        work: impl FnOnce(&visit::Place<'_>) -> Result<T, Errno> + Send,
    ) -> Result<T, Errno> {
        let guest = self.guest()?;
        visit::visit(self.zone, guest, work)
    }

    /// Who the guest is to the file system.
    pub(super) fn guest(&mut self) -> Result<visit::Guest, Errno> {
        let status = self.read_below("status")?;
        let directory = self.directory()?.try_clone_to_owned().map_err(|_| Errno::EMFILE)?;
        let guest = visit::Guest::new(directory, &status)?;
        self.still_there()?;
        Ok(guest)
    }
}

/// start, end and writability of each line of proc_pid_maps(5).
fn parse_maps(text: &str) -> Vec<(u64, u64, bool)> {
    let parse = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let hex = |s| u64::from_str_radix(s, 16).ok();
        Some((hex(start)?, hex(end)?, rest.as_bytes().get(1) == Some(&b'w')))
    };
    text.lines().filter_map(parse).collect()
}

/// Whether `len` bytes from `at` all lie in writable mappings.
fn is_writable(mappings: &[(u64, u64, bool)], at: u64, len: u64) -> bool {
    let Some(end) = at.checked_add(len) else { return false };
    let mut next = at;
    for &(start, stop, writable) in mappings {
        if next >= end {
            break;
        }
        if (start..stop).contains(&next) {
            if !writable {
                return false;
            }
            next = stop;
        }
    }
    next >= end
}

impl Task for GuestTask<'_> {
    fn world(&self) -> &World {
        &self.zone.world
    }

    fn read(&mut self, at: GuestPtr, buf: &mut [u8]) -> Result<(), Errno> {
        // process_vm_readv heeds the guest's page protections, which /proc/PID/mem does not. Were
        // the number somebody else's by now, what was read is thrown away.
        self.reach(|task| memory::read(task.pid(), at.0, buf))?;
        self.still_there()
    }

    fn write(&mut self, at: GuestPtr, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Ok(());
        }
        // Were the number another task's by now, it could only be one of the zone's.
        if self.tracing.is_none() {
            self.still_there()?;
            match memory::write(self.pid(), at.0, bytes) {
                Err(Errno::EPERM) => {}
                written => return written,
            }
        }
        // Where it could be anybody's a write goes to the pinned address space, since it must not go astray.
        self.writable(at, bytes.len() as u64)?.write_all_at(bytes, at.0).map_err(|_| Errno::EFAULT)
    }

    fn ids(&mut self) -> Result<Ids, Errno> {
        let status = self.read_below("status")?;
        let number = |key: &str, column: usize| -> Option<u32> {
            process::status_field(&status, key)?.split_whitespace().nth(column)?.parse().ok()
        };
        let capabilities = process::status_set(&status, "CapEff:");
        // Capabilities in a user namespace that anybody may make inside are none over the zone.
        let is_zones = self.namespace("user")? == self.zone.userns;
        let capabilities = capabilities.map(|set| if is_zones { set } else { 0 });
        Ok(Ids {
            euid: self.zone.ids.zone(number("Uid:", 1).ok_or(Errno::ESRCH)?),
            egid: self.zone.ids.zone(number("Gid:", 1).ok_or(Errno::ESRCH)?),
            effective: capabilities.ok_or(Errno::ESRCH)?,
        })
    }

    fn personality(&mut self) -> Result<u32, Errno> {
        if !self.zone.differs.may(Differs::Personality) {
            return Ok(self.zone.world.personality);
        }
        // One line of eight digits, which one read gives whole.
        let mut line = [0; 16];
        let file = self.open_below("personality", OFlag::O_RDONLY)?;
        let got = nix::unistd::read(&file, &mut line).map_err(|e| gone(&e.into()))?;
        let text = std::str::from_utf8(&line[..got]).map_err(|_| Errno::ESRCH)?;
        u32::from_str_radix(text.trim_end(), 16).map_err(|_| Errno::ESRCH)
    }

    fn names(&mut self) -> Result<(Vec<u8>, Vec<u8>), Errno> {
        use std::os::unix::ffi::OsStrExt;
        let own = |_: ()| -> Result<_, Errno> {
            let names = nix::sys::utsname::uname()?;
            Ok((names.nodename().as_bytes().to_vec(), names.domainname().as_bytes().to_vec()))
        };
        // This thread is in the zone's UTS namespace; a guest may have made one of its own.
        if !self.zone.differs.may(Differs::Names) || self.in_zones_names()? {
            return own(());
        }
        let back = File::open("/proc/thread-self/ns/uts").map_err(|e| gone(&e))?;
        let namespace = self.open_below("ns/uts", OFlag::O_RDONLY)?;
        process::set_namespace(namespace.as_fd(), libc::CLONE_NEWUTS)?;
        let names = own(());
        process::set_namespace(back.as_fd(), libc::CLONE_NEWUTS)?;
        names
    }

    fn in_zones_names(&mut self) -> Result<bool, Errno> {
        Ok(self.namespace("uts")? == self.zone.uts)
    }

    fn may_differ(&mut self, what: Differs) {
        self.zone.differs.note(what);
    }

    /// The host's figures, as /proc/meminfo shows them: programs take one from the other.
    fn system_info(&mut self) -> Result<SystemInfo, Errno> {
        let info = nix::sys::sysinfo::sysinfo()?;
        let (load1, load5, load15) = info.load_average();
        let fixed = |load: f64| (load * 65536.0) as u64;
        Ok(SystemInfo {
            uptime: info.uptime().as_secs(),
            loads: [fixed(load1), fixed(load5), fixed(load15)],
            total_ram: info.ram_total(),
            free_ram: info.ram_unused(),
            shared_ram: 0,
            buffer_ram: 0,
            total_swap: info.swap_total(),
            free_swap: info.swap_free(),
            procs: info.process_count(),
        })
    }

    fn timex(&mut self) -> Result<Timex, Errno> {
        let (state, t) = thread::read_timex()?;
        Ok(Timex {
            state,
            fields: [
                t.offset,
                t.freq,
                t.maxerror,
                t.esterror,
                i64::from(t.status),
                t.constant,
                t.precision,
                t.tolerance,
                t.time.tv_sec,
                t.time.tv_usec,
                t.tick,
                t.ppsfreq,
                t.jitter,
                i64::from(t.shift),
                t.stabil,
                t.jitcnt,
                t.calcnt,
                t.errcnt,
                t.stbcnt,
                i64::from(t.tai),
            ],
        })
    }

    fn layout(&mut self) -> Result<Layout, Errno> {
        let fields = self.stat_fields()?;
        let start_brk = *fields.get(47 - 3).ok_or(Errno::ESRCH)?;
        let is_32bit = self.notification.arch == brands::abi::Abi::I386.audit_arch();
        let exe = self.open_below("exe", OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        let program_end = program_end(is_32bit, &exe, || self.open_below("auxv", OFlag::O_RDONLY))?;
        let heap_end = self
            .mappings()?
            .into_iter()
            .find(|&(start, end, _)| (start..end).contains(&start_brk))
            .map_or(start_brk, |(_, end, _)| end);
        Ok(Layout { program_end, start_brk, heap_end })
    }

    fn space_word(&mut self) -> Result<u64, Errno> {
        let address = self.space_address()?;
        let mut word = [0; 8];
        self.read(GuestPtr(address), &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    fn set_space_word(&mut self, word: u64) -> Result<(), Errno> {
        let address = self.space_address()?;
        self.write(GuestPtr(address), &word.to_le_bytes())
    }

    fn zero(&mut self, at: GuestPtr, len: u64) -> Result<(), Errno> {
        let mut memory = self.writable(at, len)?;
        memory.seek(SeekFrom::Start(at.0)).map_err(|_| Errno::EFAULT)?;
        let mut left = len;
        let zeroes = [0; 16384];
        while left > 0 {
            let now = left.min(zeroes.len() as u64) as usize;
            memory.write_all(&zeroes[..now]).map_err(|_| Errno::EFAULT)?;
            left -= now as u64;
        }
        Ok(())
    }

    fn log(&mut self) -> &mut dyn Log {
        if let Ok(directory) = self.directory() {
            let directory = directory.try_clone_to_owned().ok();
            self.log = View::new(&self.zone.kmsg, Caller { directory });
        }
        &mut self.log
    }

    fn mknod(&mut self, at: At, path: &[u8], mode: u32, dev: (u32, u32)) -> Result<(), Errno> {
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        self.visit(move |place| place.mknod(at, &path, mode, dev))
    }

    fn mounted_at(&mut self, path: &[u8]) -> Result<Option<Pseudo>, Errno> {
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        self.visit(move |place| place.mounted_at(&path))
    }

    fn in_zones_pids(&mut self) -> Result<bool, Errno> {
        self.visit(|place| place.in_zones_pids())
    }

    fn is_root(&mut self, path: &[u8]) -> Result<bool, Errno> {
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        self.visit(move |place| place.is_root(&path))
    }

    fn root_is_own(&self) -> bool {
        self.zone.root_is_own
    }

    fn show(&mut self, what: Pseudo, path: &[u8]) -> Result<(), Errno> {
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        self.visit(move |place| place.show(what, &path))
    }

    fn unshow(&mut self, path: &[u8]) -> Result<bool, Errno> {
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        self.visit(move |place| place.unshow(&path))
    }

    fn request(&mut self, what: ZoneRequest) -> Result<(), Errno> {
        self.still_there()?;
        self.zone.request(what)
    }

    fn open(&mut self, path: &[u8]) -> Result<FileId, Errno> {
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        let file = self.visit(move |place| place.open(&path))?;
        self.files.push(file);
        Ok(FileId(self.files.len() as u32 - 1))
    }

    fn statx(&mut self, which: Which<'_>, mask: u32) -> Option<Statx> {
        files::statx(self, which, mask).ok()
    }

    fn statfs(&mut self, which: Which<'_>) -> Option<Statfs> {
        files::statfs(self, which).ok()
    }

    fn list(&mut self, fd: i32, room: usize) -> Option<Listing> {
        files::list(self, fd, room).ok()
    }

    fn seek(&mut self, fd: i32, position: i64) -> Result<(), Errno> {
        files::seek(self, fd, position)
    }

    fn signal_frame(&mut self) -> u64 {
        process::signal_frame()
    }

    fn perform(&mut self, name: &str, args: [u64; 6]) -> Result<i64, Errno> {
        let abi = Abi::from_audit_arch(self.notification.arch).ok_or(Errno::ENOSYS)?;
        let nr = abi.number(name).ok_or(Errno::ENOSYS)?;
        // Opened while the notification says whose they are.
        self.directory()?;
        let mut held = match self.held.take() {
            Some(held) => held,
            None => Held::take(self.listener, self.notification, abi, &self.zone.held)?,
        };
        let answer = held.perform(nr, args);
        self.held = Some(held);
        answer
    }

    fn descriptors(&mut self) -> Result<Vec<u32>, Errno> {
        self.list_descriptors()
    }

    fn file_status(&mut self, fd: i32) -> Result<FileStatus, Errno> {
        self.status_of_descriptor(fd)
    }

    fn ids_are_real(&mut self) -> Result<bool, Errno> {
        self.has_real_ids()
    }

    fn random(&mut self, buf: &mut [u8]) -> Result<(), Errno> {
        forward::random(buf)
    }

    fn memory_file(&mut self, name: &[u8], flags: u32) -> Result<FileId, Errno> {
        self.make_memory_file(name, flags)
    }

    fn process_file(&mut self, pid: i32, flags: u32) -> Result<FileId, Errno> {
        self.open_process(pid, flags)
    }

    fn descriptor_of(&mut self, pidfd: i32, fd: i32) -> Result<FileId, Errno> {
        self.descriptor_of_process(pidfd, fd)
    }

    fn copy_range(
        &mut self,
        from: (i32, Option<i64>),
        to: (i32, Option<i64>),
        len: u64,
    ) -> Result<usize, Errno> {
        self.copy_between(from, to, len)
    }

    fn resolve(&mut self, at: At, path: &[u8], flags: i32, resolve: u64) -> Result<Found, Errno> {
        self.resolve_path(at, path, flags, resolve)
    }
}

/// Unaligned end of a program's last segment: from the file that was executed, moved by as much as its
/// entry was (AT_ENTRY of getauxval(3)). `auxv` opens /proc/PID/auxv.
pub fn program_end(
    is_32bit: bool,
    exe: &File,
    auxv: impl FnOnce() -> Result<File, Errno>,
) -> Result<u64, Errno> {
    let mut head = vec![0; 4096];
    let got = exe.read_at(&mut head, 0).map_err(|e| gone(&e))?;
    head.truncate(got);
    let header = goblin::elf::Elf::parse_header(&head).map_err(|_| Errno::ENOEXEC)?;
    let ctx = goblin::container::Ctx::new(
        if is_32bit { goblin::container::Container::Little } else { goblin::container::Container::Big },
        goblin::container::Endian::Little,
    );
    let table = usize::try_from(header.e_phoff).map_err(|_| Errno::ENOEXEC)?;
    let segments = goblin::elf::ProgramHeader::parse(&head, table, usize::from(header.e_phnum), ctx)
        .map_err(|_| Errno::ENOEXEC)?;
    let end = segments
        .iter()
        .filter(|s| s.p_type == goblin::elf::program_header::PT_LOAD)
        .map(|s| s.p_vaddr.wrapping_add(s.p_memsz))
        .max()
        .ok_or(Errno::ENOEXEC)?;
    if header.e_type != goblin::elf::header::ET_DYN {
        return Ok(end);
    }
    let mut bytes = Vec::new();
    auxv()?.read_to_end(&mut bytes).map_err(|e| gone(&e))?;
    let entry = auxv_entry(&bytes, is_32bit).ok_or(Errno::ENOEXEC)?;
    Ok(end.wrapping_add(entry.wrapping_sub(header.e_entry)))
}

/// AT_ENTRY of an auxiliary vector with words of the guest's size.
fn auxv_entry(bytes: &[u8], is_32bit: bool) -> Option<u64> {
    const AT_ENTRY: u64 = 9;
    let size = if is_32bit { 4 } else { 8 };
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, &b| word << 8 | u64::from(b));
    bytes
        .chunks_exact(2 * size)
        .map(|pair| (word(&pair[..size]), word(&pair[size..])))
        .find(|&(key, _)| key == AT_ENTRY)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writable_ranges_may_span_mappings() {
        let maps =
            parse_maps("1000-2000 rw-p 0 0:0 0\n2000-3000 rw-p 0\n3000-4000 r--p 0\n5000-6000 rw-p 0\n");
        assert!(is_writable(&maps, 0x1800, 0x1000));
        assert!(!is_writable(&maps, 0x2fff, 2));
        assert!(!is_writable(&maps, 0x5fff, 2));
        assert!(!is_writable(&maps, u64::MAX, 2));
        assert!(is_writable(&maps, 0x5fff, 1));
    }

    #[test]
    fn entries_of_both_sizes() {
        let mut narrow = Vec::new();
        for word in [6u32, 4096, 9, 0x8048000, 0, 0] {
            narrow.extend(word.to_le_bytes());
        }
        assert_eq!(auxv_entry(&narrow, true), Some(0x8048000));
        let wide: Vec<u8> = [9u64, 0x40_1000, 0, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(auxv_entry(&wide, false), Some(0x40_1000));
    }
}
