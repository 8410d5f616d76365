//! A guest's task as its brand's handlers reach it: through /proc and the notification that says
//! it still waits.

use std::ffi::CString;
use std::fs::File;
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

use super::dispatch::{self, Zone};
use super::forward;
use super::held::{Apart, Held};
use super::kmsg::{Caller, View};
use super::post::Answering;
use super::space::Space;
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
    /// The answer, where others wait for its end.
    answering: Option<&'a Answering<'a>>,
    log: View<'a>,
    /// /proc/PID, pinned: it answers for this very task or not at all.
    directory: Option<OwnedFd>,
    pub(super) space: Space,
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
    pub fn new(
        zone: &'a Zone,
        listener: &'a Listener,
        notification: &'a Notification,
        answering: Option<&'a Answering<'a>>,
    ) -> Self {
        Self {
            zone,
            listener,
            notification,
            answering,
            log: View(&zone.kmsg),
            directory: None,
            space: Space::default(),
            files: Vec::new(),
            held: None,
            tracing: None,
        }
    }

    /// Whether it is our own code still, on its way to the guest's program.
    pub fn is_ours(&mut self) -> bool {
        self.stat_below("exe").is_ok_and(|exe| dispatch::is_ours((exe.st_dev, exe.st_ino)))
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

    /// Has nobody wait for what is done next.
    fn let_others_go_first(&self) {
        if let Some(answering) = self.answering {
            answering.pass();
        }
    }

    /// Runs `work` on a thread that sees paths as the guest does.
    pub(super) fn visit<T: Send>(
        &mut self,
        work: impl FnOnce(&visit::Place<'_>) -> Result<T, Errno> + Send,
    ) -> Result<T, Errno> {
        let guest = self.guest()?;
        self.let_others_go_first();
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

/// What sysinfo(2) tells of the zone.
fn figures(zone: &Zone) -> SystemInfo {
    let host = rustix::system::sysinfo();
    let bytes = |units: u64| units * u64::from(host.mem_unit);
    let share = &zone.share;
    let mut info = SystemInfo {
        uptime: u64::try_from(host.uptime).unwrap_or(0).saturating_sub(share.younger),
        loads: host.loads,
        total_ram: bytes(host.totalram),
        free_ram: bytes(host.freeram),
        shared_ram: bytes(host.sharedram),
        buffer_ram: bytes(host.bufferram),
        total_swap: bytes(host.totalswap),
        free_swap: bytes(host.freeswap),
        procs: host.procs,
    };
    if share.is_shown || zone.world.level.is_some() {
        if let Some(memory) = share.memory(&host) {
            info.total_ram = memory.total << 10;
            info.free_ram = (memory.total - memory.used) << 10;
            info.shared_ram = share.shared() << 10;
            info.buffer_ram = 0;
            info.total_swap = memory.swap_total << 10;
            info.free_swap = (memory.swap_total - memory.swap_used) << 10;
        }
        if let Some(tasks) = share.tasks() {
            info.procs = u16::try_from(tasks).unwrap_or(u16::MAX);
        }
    }
    if share.is_shown {
        info.loads = share.loads().map(|load| (load * 65536.0) as u64);
    }
    info
}

impl Task for GuestTask<'_> {
    fn world(&self) -> &World {
        &self.zone.world
    }

    fn read(&mut self, at: GuestPtr, buf: &mut [u8]) -> Result<(), Errno> {
        // process_vm_readv heeds the guest's page protections, which /proc/PID/mem does not. Were the number somebody
        // else's by now, what was read comes to nothing: whatever is done after it looks whether the call still waits,
        // which then says that it waited here too, and an answer to a call that does not is sent to nobody.
        self.reach(|task| memory::read(task.pid(), at.0, buf))
    }

    fn write(&mut self, at: GuestPtr, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Ok(());
        }
        // Were the number another task's by now, it could only be one of the zone's.
        if self.tracing.is_none() {
            if self.notification.is_old() {
                self.still_there()?;
            }
            match memory::write(self.pid(), at.0, bytes) {
                Err(Errno::EPERM) => {}
                written => return written,
            }
        }
        // Where it could be anybody's a write goes to the pinned address space, since it must not go astray.
        let memory = self.writable(at, bytes.len() as u64)?;
        memory.write_all_at(bytes, at.0).map_err(|_| Errno::EFAULT)
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

    /// The figures that /proc/meminfo has: programs take one from the other.
    fn system_info(&mut self) -> Result<SystemInfo, Errno> {
        Ok(self.zone.figures.get(std::time::Instant::now(), || figures(self.zone)))
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
        self.layout_of_space()
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
        let zeroes = [0; 16384];
        let mut done = 0;
        while done < len {
            let now = (len - done).min(zeroes.len() as u64);
            self.write(at.offset(done), &zeroes[..now as usize])?;
            done += now;
        }
        Ok(())
    }

    fn log(&mut self) -> &mut dyn Log {
        &mut self.log
    }

    fn take_log(&mut self, max: usize) -> Result<Vec<u8>, Errno> {
        let directory = self.directory()?.try_clone_to_owned().ok();
        let _apart = Apart::begin(&self.zone.held).ok_or(Errno::EAGAIN)?;
        self.let_others_go_first();
        self.zone.kmsg.take(max, &Caller { directory })
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
        Ok(self.namespace("pid")? == self.zone.pidns)
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
            None => {
                self.let_others_go_first();
                Held::take(self.listener, self.notification, abi, &self.zone.held)?
            }
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

    fn own_id(&self, id: u32) -> Option<u32> {
        id.checked_sub(self.zone.ids.base).filter(|id| *id < crate::confine::IDS)
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
