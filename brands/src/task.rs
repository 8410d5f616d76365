//! What a handler may do to a guest, and a stand-in for tests.

use nix::errno::Errno;

use crate::call::{FileId, GuestPtr};
use crate::file::{Listing, Statfs, Statx, Which};
use crate::level::Level;

/// The kernel that a zone's programs are told they run on. Made once at boot from the zone's
/// configuration; the same for every call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    /// The level asked for; `None` means the host's own.
    pub level: Option<Level>,
    /// uname(2) `release`, as /proc/sys/kernel/osrelease shows it.
    pub release: String,
    /// uname(2) `version`, as /proc/sys/kernel/version shows it.
    pub version: String,
    /// uname(2) `machine` for 64-bit processes; in a 32-bit zone the same as `machine32`.
    pub machine: String,
    /// uname(2) `machine` for processes of personality PER_LINUX32 (personality(2)).
    pub machine32: String,
    /// Personality pinned at boot; 0 when none is.
    pub personality: u32,
    /// Whether calls younger than the level fail as they did then.
    pub strict: bool,
    /// The release of the host's kernel, or the older one that it is taken for.
    pub host: Level,
    /// Whether file systems of the zone may number inodes above 32 bits.
    pub wide_inodes: bool,
    /// Whether what the zone writes is limited, and its file system does not tell programs so.
    pub has_quota: bool,
    /// Whether calls into the vsyscall page are rewritten ([`crate::vsyscall`]).
    pub rewrites_vsyscall: bool,
}

/// Ids of the calling task as its zone sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Effective capabilities, one bit each (capabilities(7)).
    pub effective: u64,
}

/// Figures for sysinfo(2), the same as in /proc/meminfo; bytes, seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemInfo {
    /// Seconds since the zone's kernel came up.
    pub uptime: u64,
    /// Load averages, fixed point with 16 fractional bits.
    pub loads: [u64; 3],
    /// Bytes of memory.
    pub total_ram: u64,
    /// Bytes of it unused.
    pub free_ram: u64,
    /// Bytes shared.
    pub shared_ram: u64,
    /// Bytes in buffers.
    pub buffer_ram: u64,
    /// Bytes of swap.
    pub total_swap: u64,
    /// Bytes of it unused.
    pub free_swap: u64,
    /// Tasks in the zone.
    pub procs: u16,
}

/// The fields of `struct timex` that adjtimex(2) reports, in the kernel's units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timex {
    /// Clock state that the call returns: TIME_OK and so on.
    pub state: i32,
    /// `offset` to `tai` in the order of `struct timex`, `modes` left out, `time` split in two:
    /// offset, freq, maxerror, esterror, status, constant, precision, tolerance, sec, usec, tick,
    /// ppsfreq, jitter, shift, stabil, jitcnt, calcnt, errcnt, stbcnt, tai.
    pub fields: [i64; 20],
}

/// Where a task's address space stands, as exec left it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layout {
    /// Unaligned end of the program's last segment in memory (`_end`).
    pub program_end: u64,
    /// Where the kernel began the break: `start_brk` of proc_pid_stat(5).
    pub start_brk: u64,
    /// Page-aligned end of the heap mapping; `start_brk` while there is none.
    pub heap_end: u64,
}

/// A file system that every zone already has mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pseudo {
    /// proc(5)
    Proc,
    /// sysfs(5)
    Sysfs,
    /// devtmpfs: the zone's own /dev
    Dev,
    /// devpts: the zone's own /dev/pts
    Devpts,
    /// Nothing, read-only: what a part of the kernel shows that the zone has no part in.
    Empty,
}

/// How a path is meant: relative to a descriptor of the guest or to its working directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// AT_FDCWD
    Cwd,
    /// A directory descriptor of the guest.
    Fd(i32),
}

/// What stat(2) tells of a guest's descriptor, ids as the zone sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileStatus {
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// File system and inode.
    pub id: (u64, u64),
}

/// A file that was found for a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// A path to it from the guest's root, without symbolic links.
    pub path: Vec<u8>,
    /// As in [`FileStatus`].
    pub id: (u64, u64),
}

/// What is one for all tasks of a zone until some call makes it differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// personality(2)
    Personality,
    /// nodename and domainname of uname(2), by a UTS namespace made inside.
    Names,
}

/// What a guest asks of its zone as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneRequest {
    /// reboot(2) with LINUX_REBOOT_CMD_RESTART.
    Restart,
    /// reboot(2) with LINUX_REBOOT_CMD_HALT or LINUX_REBOOT_CMD_POWER_OFF.
    PowerOff,
}

/// The zone's own kernel log, the ring behind syslog(2).
pub trait Log {
    /// Copies the last `max` bytes logged since [`Log::clear`]; `all` ignores the clear mark.
    fn last(&mut self, max: usize, all: bool) -> Vec<u8>;
    /// Hides what was logged so far from [`Log::last`].
    fn clear(&mut self);
    /// Bytes not yet taken by [`Task::take_log`].
    fn unread(&mut self) -> usize;
    /// Bytes that the ring can hold.
    fn size(&mut self) -> usize;
}

/// Everything that a handler may do to the guest task whose call it answers. The implementation
/// checks that the notification is still alive before each write and whatever else has an effect
/// (seccomp_unotify(2), SECCOMP_IOCTL_NOTIF_ID_VALID); a vanished guest is ESRCH, which is
/// then sent to nobody.
pub trait Task {
    /// The zone's configured kernel.
    fn world(&self) -> &World;

    /// Fills `buf` from the guest's memory. EFAULT when any byte cannot be read.
    fn read(&mut self, at: GuestPtr, buf: &mut [u8]) -> Result<(), Errno>;

    /// Writes `bytes` to the guest's memory. EFAULT when any byte cannot be written.
    fn write(&mut self, at: GuestPtr, bytes: &[u8]) -> Result<(), Errno>;

    /// Reads a string of at most `max` bytes, its NUL left off: EFAULT when it runs into
    /// unreadable memory, ENAMETOOLONG when it has no NUL within `max`. Reads page by page, so a
    /// string at the end of a mapping is found.
    fn read_cstr(&mut self, at: GuestPtr, max: usize) -> Result<Vec<u8>, Errno> {
        const PAGE: u64 = 4096;
        let mut out = Vec::new();
        let mut next = at;
        while out.len() < max {
            let in_page = (PAGE - next.0 % PAGE) as usize;
            let mut chunk = vec![0; in_page.min(max - out.len())];
            self.read(next, &mut chunk)?;
            if let Some(end) = chunk.iter().position(|&b| b == 0) {
                out.extend_from_slice(&chunk[..end]);
                return Ok(out);
            }
            next = next.offset(chunk.len() as u64);
            out.extend_from_slice(&chunk);
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Ids and capabilities of the caller in its zone.
    fn ids(&mut self) -> Result<Ids, Errno>;

    /// The caller's personality (personality(2)).
    fn personality(&mut self) -> Result<u32, Errno>;

    /// nodename and domainname of the caller's UTS namespace, 64 bytes each at most.
    fn names(&mut self) -> Result<(Vec<u8>, Vec<u8>), Errno>;

    /// Whether the caller is in the zone's UTS namespace, and not in one that was made inside.
    fn in_zones_names(&mut self) -> Result<bool, Errno>;

    /// Says that from now on this has to be asked of each task, which costs more than it does for the zone.
    fn may_differ(&mut self, what: Differs);

    /// Figures for sysinfo(2).
    fn system_info(&mut self) -> Result<SystemInfo, Errno>;

    /// What adjtimex(2) with `modes` 0 reports on the host.
    fn timex(&mut self) -> Result<Timex, Errno>;

    /// Where the caller's program and break lie.
    fn layout(&mut self) -> Result<Layout, Errno>;

    /// Eight bytes of state of the caller's address space. They live in that address space, so
    /// the kernel itself makes them follow: zero after exec, copied by fork, shared by vfork and
    /// CLONE_VM. A guest can overwrite them: check what is read.
    fn space_word(&mut self) -> Result<u64, Errno>;

    /// Sets what [`Task::space_word`] reads.
    fn set_space_word(&mut self, word: u64) -> Result<(), Errno>;

    /// Makes `len` bytes of the guest's memory from `at` read as zero.
    fn zero(&mut self, at: GuestPtr, len: u64) -> Result<(), Errno>;

    /// The zone's kernel log.
    fn log(&mut self) -> &mut dyn Log;

    /// Takes up to `max` unread bytes of the log; waits for some, and answers EINTR so that a guest's
    /// signals are served (syslog(2), SYSLOG_ACTION_READ).
    fn take_log(&mut self, max: usize) -> Result<Vec<u8>, Errno>;

    /// Makes a device node at a guest's path, resolved as the guest would, with the guest's
    /// umask and ids, and makes it usable there. `mode` holds type and permission bits; `dev` is
    /// (major, minor). The caller has checked that the device may be made.
    fn mknod(&mut self, at: At, path: &[u8], mode: u32, dev: (u32, u32)) -> Result<(), Errno>;

    /// What is mounted at a guest's path: the pseudo file system, when it is one of them.
    fn mounted_at(&mut self, path: &[u8]) -> Result<Option<Pseudo>, Errno>;

    /// Whether the caller is in the zone's pid namespace, and not in one that was made inside.
    fn in_zones_pids(&mut self) -> Result<bool, Errno>;

    /// Whether a guest's path names its zone's root directory.
    fn is_root(&mut self, path: &[u8]) -> Result<bool, Errno>;

    /// Whether the zone's root is its own file system, so that a remount touches nothing else.
    fn root_is_own(&self) -> bool;

    /// Shows the zone's own `what` at a guest's path as well.
    fn show(&mut self, what: Pseudo, path: &[u8]) -> Result<(), Errno>;

    /// Undoes [`Task::show`] at a guest's path; false when nothing of the kind is there.
    fn unshow(&mut self, path: &[u8]) -> Result<bool, Errno>;

    /// Asks for the zone to stop or start again. The call that asked does not return.
    fn request(&mut self, what: ZoneRequest) -> Result<(), Errno>;

    /// Opens a guest's path read-only on the host side, for [`crate::call::Reply::Fd`].
    fn open(&mut self, path: &[u8]) -> Result<FileId, Errno>;

    /// statx(2) of a guest's file with STATX_* `mask`. `None` where only the host's kernel can answer the
    /// guest: an error of any kind, a path through a magic link of proc(5) or into it, a caller in a user
    /// namespace of its own, or one whose capability alone opens a way with links or steps upwards.
    fn statx(&mut self, which: Which<'_>, mask: u32) -> Option<Statx>;

    /// statfs(2) of a guest's file; `None` as for [`Task::statx`].
    fn statfs(&mut self, which: Which<'_>) -> Option<Statfs>;

    /// Reads entries from a guest's open directory, as many as fit `room` bytes of `struct linux_dirent64`
    /// (getdents64(2)), and moves its position. `None`, and the position is where it was, on an error, and
    /// for directories of proc(5).
    fn list(&mut self, fd: i32, room: usize) -> Option<Listing>;

    /// Moves the position of a guest's open directory to one of a [`Listing`].
    fn seek(&mut self, fd: i32, position: i64) -> Result<(), Errno>;

    /// Bytes of stack that the host's CPU needs to deliver a signal (AT_MINSIGSTKSZ of getauxval(3)).
    fn signal_frame(&mut self) -> u64;

    /// Makes the caller itself perform the call `name` of its ABI in place of the one that it made, and gives
    /// the kernel's answer: a value, or an error as its negative number. Return that answer as it is: it may
    /// say that the call is to be made again after a signal. From the first on nothing can be given to the
    /// caller any more; several can be performed one after the other. When a signal comes first, the
    /// caller's own call begins anew, and the error that is then answered here is sent to nobody.
    fn perform(&mut self, name: &str, args: [u64; 6]) -> Result<i64, Errno>;

    /// The caller's descriptors, in their order.
    fn descriptors(&mut self) -> Result<Vec<u32>, Errno>;

    /// What a descriptor of the caller's is of; O_PATH ones too.
    fn file_status(&mut self, fd: i32) -> Result<FileStatus, Errno>;

    /// What the zone calls the host's user or group `id`, if that is one of its own.
    fn own_id(&self, id: u32) -> Option<u32>;

    /// Whether the caller's real user and group are its effective ones.
    fn ids_are_real(&mut self) -> Result<bool, Errno>;

    /// Fills `buf` with the host's random bytes.
    fn random(&mut self, buf: &mut [u8]) -> Result<(), Errno>;

    /// A file of memfd_create(2) that belongs to the caller.
    fn memory_file(&mut self, name: &[u8], flags: u32) -> Result<FileId, Errno>;

    /// A file of pidfd_open(2), for a process by the number that the caller knows it by.
    fn process_file(&mut self, pid: i32, flags: u32) -> Result<FileId, Errno>;

    /// What descriptor `fd` of the process behind the caller's `pidfd` is of, when the caller may trace that
    /// process (ptrace(2), PTRACE_MODE_ATTACH_REALCREDS).
    fn descriptor_of(&mut self, pidfd: i32, fd: i32) -> Result<FileId, Errno>;

    /// copy_file_range(2) between the caller's descriptors, each with an offset or with its own; gives the
    /// bytes copied.
    fn copy_range(
        &mut self,
        from: (i32, Option<i64>),
        to: (i32, Option<i64>),
        len: u64,
    ) -> Result<usize, Errno>;

    /// Finds a guest's path as openat2(2) does with O_PATH, `flags` and `resolve`, as the guest would but
    /// without its capabilities.
    fn resolve(&mut self, at: At, path: &[u8], flags: i32, resolve: u64) -> Result<Found, Errno>;
}
