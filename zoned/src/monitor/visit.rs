//! Work done where a guest's paths mean what the guest means: on a thread of its own, in the
//! guest's mount namespace, root and working directory, with the ids that its files are met with.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::thread;

use brands::task::{At, Found, Pseudo};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, makedev, mknodat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{AccessFlags, Gid, Uid, faccessat, fchownat};

use super::dispatch::Zone;
use crate::confine::devices::{self, Owner};
use crate::sys::credentials::Tracing;
use crate::sys::{mount, process, thread as own};

/// Who the guest is to the file system, by host ids.
#[derive(Debug)]
pub struct Guest {
    directory: OwnedFd,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    umask: u32,
}

impl Guest {
    /// From /proc/PID and the text of its `status`.
    pub fn new(directory: OwnedFd, status: &str) -> Result<Self, Errno> {
        let line = |key: &str| process::status_field(status, key);
        // Uid: and Gid: list the real, effective, saved and file system ids.
        let id =
            |key: &str| line(key).and_then(|l| l.split_whitespace().nth(3)?.parse().ok()).ok_or(Errno::ESRCH);
        let groups =
            line("Groups:").unwrap_or("").split_whitespace().filter_map(|g| g.parse().ok()).collect();
        let umask = line("Umask:").and_then(|l| u32::from_str_radix(l, 8).ok()).unwrap_or(0o022);
        Ok(Self { directory, uid: id("Uid:")?, gid: id("Gid:")?, groups, umask })
    }

    /// Does `work` with the guest's own rights to files.
    pub fn act<T>(&self, work: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        own::set_fs_ids(self.uid, self.gid, &self.groups)?;
        let result = work();
        own::set_fs_ids(0, 0, &[])?;
        result
    }
}

/// As many files has what is shown empty: its root.
const EMPTY_INODES: u64 = 1;

/// The thread's surroundings during a visit.
#[derive(Debug)]
pub struct Place<'a> {
    zone: &'a Zone,
    guest: Guest,
    /// The root of the guest's mount namespace, which a guest that called chroot does not see.
    top: OwnedFd,
}

/// Runs `work` as described above. The thread ends with it, and so does its stay.
pub fn visit<T: Send>(
    zone: &Zone,
    guest: Guest,
    work: impl FnOnce(&Place<'_>) -> Result<T, Errno> + Send,
) -> Result<T, Errno> {
    thread::scope(|scope| {
        scope
            .spawn(move || {
                let _tracing = Tracing::begin()?;
                let path = OFlag::O_PATH | OFlag::O_CLOEXEC;
                let root = openat(&guest.directory, "root", path, Mode::empty())?;
                let cwd = openat(&guest.directory, "cwd", path, Mode::empty())?;
                let namespace =
                    openat(&guest.directory, "ns/mnt", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
                own::enter_mounts(namespace.as_fd())?;
                let top = open("/", path, Mode::empty())?;
                own::set_root(root.as_fd(), cwd.as_fd())?;
                // This thread's alone; the guest's is applied by hand.
                nix::sys::stat::umask(Mode::empty());
                work(&Place { zone, guest, top })
            })
            .join()
            .unwrap_or(Err(Errno::EIO))
    })
}

/// Copies of the brand's files over /proc, from where the boot put them, and their names below it.
pub fn proc_files(zone: &Zone) -> Result<Vec<(&CStr, OwnedFd)>, Errno> {
    let copy = |name: &CStr| {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let path = [b"proc/", name.to_bytes()].concat();
        let file = openat2(AT_FDCWD, path.as_slice(), how)?;
        // The guest may have unmounted it.
        if mount::is_root(file.as_fd())? {
            mount::clone_tree(file.as_fd(), c"", false)
        } else {
            Err(Errno::ENOENT)
        }
    };
    // From a mount namespace that the monitor is in, since before Linux 6.15 no other can be cloned from.
    thread::scope(|scope| {
        let work = || {
            own::enter_mounts(zone.init.as_fd())?;
            Ok(zone.proc_files.iter().filter_map(|name| Some((name.as_c_str(), copy(name).ok()?))).collect())
        };
        scope.spawn(work).join().unwrap_or(Err(Errno::EIO))
    })
}

fn resolve(base: BorrowedFd<'_>, path: &CStr, flags: OFlag, how: ResolveFlag) -> Result<OwnedFd, Errno> {
    // /proc/PID/root and its like open to this thread, with the host's CAP_SYS_PTRACE, what they
    // would not to the guest: the host's root, for a login that is on its way in.
    let how =
        OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(how | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(base, path, how)
}

impl Place<'_> {
    fn as_guest<T>(&self, work: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
        self.guest.act(work)
    }

    fn resolve(&self, path: &CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
        self.as_guest(|| resolve(AT_FDCWD, path, flags, ResolveFlag::empty()))
    }

    /// What the guest has open as `fd`, to begin a path from. The guest itself may not see that in /proc: whoever changed
    /// its ids is closed to its own user.
    fn base(&self, fd: i32) -> Result<OwnedFd, Errno> {
        let link = format!("fd/{fd}");
        let base =
            openat(&self.guest.directory, link.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
        base.map_err(|_| Errno::EBADF)
    }

    fn resolve_at(&self, at: At, path: &CStr, flags: OFlag, how: ResolveFlag) -> Result<OwnedFd, Errno> {
        match at {
            // Of no matter then.
            At::Fd(_) if path.to_bytes().starts_with(b"/") && how.is_empty() => self.resolve(path, flags),
            At::Cwd => self.as_guest(|| resolve(AT_FDCWD, path, flags, how)),
            At::Fd(fd) => {
                let base = self.base(fd)?;
                self.as_guest(|| resolve(base.as_fd(), path, flags, how))
            }
        }
    }

    /// mknodat(2) of a device that the caller's brand allows.
    pub fn mknod(&self, at: At, path: &CStr, mode: u32, dev: (u32, u32)) -> Result<(), Errno> {
        let bytes = path.to_bytes();
        let trimmed = bytes.iter().rposition(|&b| b != b'/').map_or(&b""[..], |end| &bytes[..=end]);
        let (above, name) = match trimmed.iter().rposition(|&b| b == b'/') {
            Some(0) => (&b"/"[..], &trimmed[1..]),
            Some(slash) => (&trimmed[..slash], &trimmed[slash + 1..]),
            None => (&b"."[..], trimmed),
        };
        if name.is_empty() || name == b"." || name == b".." {
            return Err(if bytes.is_empty() { Errno::ENOENT } else { Errno::EEXIST });
        }
        let above = std::ffi::CString::new(above).map_err(|_| Errno::EINVAL)?;
        let name = std::str::from_utf8(name).map_err(|_| Errno::EINVAL)?;
        let mode = mode & !(self.guest.umask & 0o777);
        let parent = self.resolve_at(at, &above, OFlag::O_PATH | OFlag::O_DIRECTORY, ResolveFlag::empty())?;
        let parent = self.as_guest(|| {
            // As the kernel orders it: an existing name is EEXIST, then the folder's permissions.
            match fstatat_nofollow(&parent, name) {
                Ok(()) => return Err(Errno::EEXIST),
                // What ends with a slash is a folder's name.
                Err(Errno::ENOENT) if trimmed.len() == bytes.len() => {}
                Err(e) => return Err(e),
            }
            may_write(&parent)?;
            Ok(parent)
        })?;
        let owner = Owner { uid: self.guest.uid, gid: self.guest.gid };
        let numbers = (u64::from(dev.0), u64::from(dev.1));

        if dev != CONSOLE && fstat(&parent)?.st_dev == fstat(&self.zone.dev)?.st_dev {
            // The zone's /dev lies outside its user namespace: a real node works there. The guest
            // can put a link to /proc/1/exe in its place at once, so nothing here may follow one:
            // mknod itself sets the permissions.
            let kind = SFlag::from_bits_truncate(mode & libc::S_IFMT);
            mknodat(
                &parent,
                name,
                kind,
                Mode::from_bits_truncate(mode & 0o7777),
                makedev(numbers.0, numbers.1),
            )?;
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            return fchownat(&parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW);
        }
        if dev == (0, 0) {
            // An overlay's whiteout, which is never opened; any user namespace may make it
            // (Linux 5.8).
            return self.as_guest(|| {
                mknodat(&parent, name, SFlag::S_IFCHR, Mode::from_bits_truncate(mode & 0o7777), makedev(0, 0))
            });
        }
        // Elsewhere a node could not be opened, so a usable one is bound over a file of its name.
        let device = if dev == CONSOLE { self.console()? } else { self.usable_node(mode, numbers, owner)? };
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let placeholder =
            self.as_guest(|| openat(&parent, name, flags, Mode::from_bits_truncate(mode & 0o777)))?;
        drop(placeholder);
        let target = std::ffi::CString::new(name).map_err(|_| Errno::EINVAL)?;
        mount::attach(&device, parent.as_fd(), &target).inspect_err(|_| {
            let _ = nix::unistd::unlinkat(&parent, name, nix::unistd::UnlinkatFlags::NoRemoveDir);
        })
    }

    /// The zone's own console, which a node of that number would not be, but the host's.
    fn console(&self) -> Result<OwnedFd, Errno> {
        let path = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let own = openat(&self.top, c"dev/console", path, Mode::empty()).map_err(|_| Errno::EPERM)?;
        if fstat(&own)?.st_mode & libc::S_IFMT != libc::S_IFCHR {
            return Err(Errno::EPERM);
        }
        mount::clone_tree(own.as_fd(), c"", false)
    }

    /// A detached mount of nothing but a device node.
    fn usable_node(&self, mode: u32, numbers: (u64, u64), owner: Owner) -> Result<OwnedFd, Errno> {
        let options: [(&CStr, &CStr); 3] = [(c"mode", c"0700"), (c"size", c"4k"), (c"nr_inodes", c"8")];
        let home = mount::make(c"tmpfs", &options, mount::MOUNT_ATTR_NOSUID | mount::MOUNT_ATTR_NOEXEC)?;
        devices::node(&home, "node", mode, numbers, owner).map_err(errno_of)?;
        // Before Linux 6.15 only what is attached in the caller's own namespace can be cloned.
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    own::own_mounts(self.top.as_fd())?;
                    mount::attach(&home, AT_FDCWD, c"/")?;
                    mount::clone_tree(home.as_fd(), c"node", false)
                })
                .join()
                .unwrap_or(Err(Errno::EIO))
        })
    }

    /// What is mounted with its root at `path`.
    pub fn mounted_at(&self, path: &CStr) -> Result<Option<Pseudo>, Errno> {
        let opened = self.resolve(path, OFlag::O_PATH)?;
        self.mounted_as(&opened)
    }

    /// What `opened` is the root of.
    fn mounted_as(&self, opened: &OwnedFd) -> Result<Option<Pseudo>, Errno> {
        if !mount::is_root(opened.as_fd())? {
            return Ok(None);
        }
        if fstat(opened)?.st_dev == fstat(&self.zone.dev)?.st_dev {
            return Ok(Some(Pseudo::Dev));
        }
        let statfs = fstatfs(opened)?;
        Ok(match statfs.filesystem_type().0 as i64 {
            TMPFS if statfs.files() == EMPTY_INODES => Some(Pseudo::Empty),
            PROC => Some(Pseudo::Proc),
            SYSFS => Some(Pseudo::Sysfs),
            DEVPTS => Some(Pseudo::Devpts),
            _ => None,
        })
    }

    /// Whether the guest is in the zone's pid namespace.
    fn in_zones_pids(&self) -> Result<bool, Errno> {
        let theirs = fstatat(&self.guest.directory, "ns/pid", AtFlags::empty())?;
        Ok(theirs.st_ino == self.zone.pidns)
    }

    /// Whether the guest is in the mount namespace that the zone was booted with.
    fn in_zones_mounts(&self) -> Result<bool, Errno> {
        let theirs = fstatat(&self.guest.directory, "ns/mnt", AtFlags::empty())?;
        Ok(theirs.st_ino == self.zone.mntns)
    }

    /// Whether `path` is the zone's root.
    pub fn is_root(&self, path: &CStr) -> Result<bool, Errno> {
        let opened = self.resolve(path, OFlag::O_PATH)?;
        let (a, b) = (fstat(&opened)?, fstat(&self.top)?);
        Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }

    /// Shows the zone's own `what` at `path` too.
    pub fn show(&self, what: Pseudo, path: &CStr) -> Result<(), Errno> {
        let target = self.resolve(path, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let own = match what {
            Pseudo::Proc => c"proc",
            Pseudo::Sysfs => c"sys",
            Pseudo::Dev => c"dev",
            Pseudo::Devpts => c"dev/pts",
            Pseudo::Empty => {
                let attributes = mount::MOUNT_ATTR_RDONLY
                    | mount::MOUNT_ATTR_NOSUID
                    | mount::MOUNT_ATTR_NODEV
                    | mount::MOUNT_ATTR_NOEXEC;
                let empty = mount::make(c"tmpfs", &[(c"mode", c"0755"), (c"nr_inodes", c"1")], attributes)?;
                return mount::attach(empty, target.as_fd(), c"");
            }
        };
        let tree = mount::clone_tree(self.top.as_fd(), own, true)?;
        mount::attach(tree, target.as_fd(), c"")
    }

    /// Lays files over those of the same name in the proc that is mounted at `path`, as far as it has them.
    pub fn dress(&self, path: &CStr, files: &[(&CStr, OwnedFd)]) -> Result<(), Errno> {
        let proc = self.resolve(path, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        if self.mounted_as(&proc)? != Some(Pseudo::Proc) {
            return Err(Errno::ENOENT);
        }
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV,
        );
        for (name, file) in files {
            // One of `subset=pid` has none of them.
            if let Ok(place) = openat2(&proc, *name, how) {
                mount::attach(file, place.as_fd(), c"")?;
            }
        }
        Ok(())
    }

    /// Takes away what is mounted or shown at `path`: a view of the kernel that is not one of those
    /// that the zone was booted with, and what lies over it. Those it was booted with stay for all: an init that mounted
    /// proc to look for SELinux unmounts it again, and a zone cannot mount another. In a mount namespace that was made
    /// inside they are the kernel's to unmount.
    pub fn unshow(&self, path: &CStr) -> Result<bool, Errno> {
        let target = self.resolve(path, OFlag::O_PATH)?;
        let kind = self.mounted_as(&target)?;
        if !matches!(kind, Some(Pseudo::Proc | Pseudo::Sysfs | Pseudo::Dev)) {
            return Ok(false);
        }
        let there = mount::id(target.as_fd())?;
        // In a pid namespace made inside, the proc that was booted with is hardly of use.
        let own = if kind == Some(Pseudo::Proc) && !self.in_zones_pids()? { &[][..] } else { &OWN };
        for &own in own {
            let own = openat(&self.top, own, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
            if mount::id(own.as_fd())? == there {
                return self.in_zones_mounts();
            }
        }
        // By the descriptor, so that no symbolic link comes in between.
        nix::unistd::fchdir(&target)?;
        nix::mount::umount2(".", nix::mount::MntFlags::MNT_DETACH)?;
        Ok(true)
    }

    /// The file at `path`, found with the guest's rights and not opened. ELOOP where the way leads through
    /// a magic link of proc(5).
    pub fn find(&self, at: At, path: &CStr, follow: bool) -> Result<OwnedFd, Errno> {
        let flags = if follow { OFlag::O_PATH } else { OFlag::O_PATH | OFlag::O_NOFOLLOW };
        self.resolve_at(at, path, flags, ResolveFlag::empty())
    }

    /// Finds a path with the guest's rights and flags of openat2(2).
    pub fn locate(&self, at: At, path: &CStr, flags: OFlag, resolve: ResolveFlag) -> Result<Found, Errno> {
        let file = self.resolve_at(at, path, flags, resolve)?;
        let status = fstat(&file)?;
        // This thread's root is the guest's, and the path begins there; the /proc of its task is the host's.
        let link = format!("../self/fd/{}", file.as_raw_fd());
        let path = readlinkat(&self.guest.directory, link.as_str())?.into_vec();
        // It begins with other words where there is no way from the root.
        if path.first() != Some(&b'/') {
            return Err(Errno::EAGAIN);
        }
        Ok(Found { path, id: (status.st_dev, status.st_ino) })
    }

    /// Opens `path` for reading with the guest's rights.
    pub fn open(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        self.resolve(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
    }
}

/// Where the boot puts what [`Place::unshow`] leaves alone.
const OWN: [&CStr; 3] = [c"proc", c"sys", c"dev"];

/// /dev/console
const CONSOLE: (u32, u32) = (5, 1);

/// PROC_SUPER_MAGIC of linux/magic.h.
pub const PROC: i64 = 0x9fa0;
const SYSFS: i64 = 0x6265_6572;
const TMPFS: i64 = 0x0102_1994;
const DEVPTS: i64 = 0x1cd1;

fn errno_of(failure: crate::confine::Failure) -> Errno {
    failure.source.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn fstatat_nofollow(dir: &OwnedFd, name: &str) -> Result<(), Errno> {
    nix::sys::stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(drop)
}

/// Whether this thread's file ids may write to a folder.
fn may_write(dir: &OwnedFd) -> Result<(), Errno> {
    faccessat(dir, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)
}
