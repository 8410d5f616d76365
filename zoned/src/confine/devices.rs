//! A zone's /dev: a small tmpfs of the host's with nodes that belong to the zone. Made outside the
//! zone's user namespace, because nodes of a file system mounted inside one cannot be opened.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, makedev, mknodat};
use nix::unistd::{Gid, Uid, fchownat};

use super::Failure;
use crate::sys::mount;

/// Nodes that every zone has: name, major, minor.
pub const NODES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// The terminals of a zone in /dev.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Consoles {
    /// Names of its console.
    pub console: Vec<String>,
    /// Screens beside it, each a terminal of its own.
    pub screens: Vec<String>,
}

/// What a guest says of the terminals that it means to use.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Its init is systemd.
    pub systemd: bool,
    /// Its /etc/inittab (inittab(5)).
    pub inittab: String,
    /// Screens that upstart has a job for: `/etc/init/tty2.conf`.
    pub upstart: Vec<String>,
}

/// Screens of a PC that logins are started on, beside the first.
pub const SCREENS: [&str; 5] = ["tty2", "tty3", "tty4", "tty5", "tty6"];

impl Consoles {
    /// Those of a zone that exists for one program.
    pub fn single() -> Self {
        let console = ["console", "tty0", "tty1"].map(str::to_owned).into();
        Self { console, screens: Vec::new() }
    }

    /// systemd starts a login on /dev/console where there is no /dev/tty0, and on screens where there is. Older inits are
    /// made for a PC: its screens are there as far as the guest starts anything on them, and the first shows the
    /// console. A guest that starts nothing on a screen was made for a machine with a serial line.
    pub fn of(guest: &Wishes) -> Self {
        if guest.systemd {
            return Self { console: vec!["console".to_owned()], screens: Vec::new() };
        }
        let active = || guest.inittab.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let words = || active().flat_map(|l| l.split([':', ' ', '\t']));
        let names = |name: &str| words().any(|w| w == name || w.strip_prefix("/dev/") == Some(name));
        let mut all = Self::single();
        if !names("tty1") {
            let known = ["ttyS0", "ttyS1", "hvc0", "ttyAMA0", "xvc0"];
            all.console.extend(known.iter().filter(|k| names(k)).take(1).map(|k| (*k).to_owned()));
        }
        let is_used = |name: &&&str| names(name) || guest.upstart.iter().any(|job| job == **name);
        all.screens = SCREENS.iter().filter(is_used).map(|name| (*name).to_owned()).collect();
        all
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.console.iter().chain(&self.screens).map(String::as_str)
    }
}

/// Owner and permissions of a new node.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// Host user id.
    pub uid: u32,
    /// Host group id.
    pub gid: u32,
}

/// Makes the file system, detached. `devices` are further nodes of the host.
pub fn make(root: Owner, devices: &[String], consoles: &Consoles) -> Result<OwnedFd, Failure> {
    let id = |n: u32| CString::new(n.to_string()).unwrap_or_default();
    let (uid, gid) = (id(root.uid), id(root.gid));
    let options: [(&CStr, &CStr); 5] =
        [(c"mode", c"0755"), (c"size", c"1m"), (c"nr_inodes", c"4096"), (c"uid", &uid), (c"gid", &gid)];
    let attributes = mount::MOUNT_ATTR_NOSUID | mount::MOUNT_ATTR_NOEXEC;
    let dev = mount::make(c"tmpfs", &options, attributes).map_err(|e| Failure::new("make", "/dev", e))?;
    let dir = dev.as_fd();
    for (name, major, minor) in NODES {
        node(&dev, name, libc::S_IFCHR | 0o666, (major, minor), root)?;
    }
    for (name, target) in LINKS {
        nix::unistd::symlinkat(target, dir, name)
            .map_err(|e| Failure::new("make", format!("/dev/{name}"), e))?;
    }
    for (name, mode) in [("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)] {
        directory(&dev, name, mode, root)?;
    }
    for name in consoles.names() {
        node(&dev, name, libc::S_IFREG | 0o600, (0, 0), root)?;
    }
    for device in devices {
        host_device(&dev, device, root)?;
    }
    Ok(dev)
}

/// Adds the host's node at `path`, which lies below /dev, under the same name.
fn host_device(dev: &OwnedFd, path: &str, root: Owner) -> Result<(), Failure> {
    let fail = |e: nix::Error| Failure::new("add device", path, e);
    let found = nix::sys::stat::stat(path).map_err(fail)?;
    let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
    if kind != SFlag::S_IFCHR && kind != SFlag::S_IFBLK {
        return Err(Failure::new("add device", path, std::io::Error::other("it is not a device node")));
    }
    let name = path.strip_prefix("/dev/").unwrap_or(path);
    let mut above = String::new();
    for part in Path::new(name).parent().into_iter().flat_map(Path::components) {
        above.push_str(&part.as_os_str().to_string_lossy());
        if nix::sys::stat::fstatat(dev, above.as_str(), AtFlags::empty()).is_err() {
            directory(dev, &above, 0o755, root)?;
        }
        above.push('/');
    }
    let numbers = (nix::sys::stat::major(found.st_rdev), nix::sys::stat::minor(found.st_rdev));
    node(dev, name, found.st_mode, numbers, root)
}

/// Makes one node or file below `dir`. `mode` holds type and permissions, which the umask of this
/// process does not touch.
pub fn node(
    dir: impl AsFd,
    name: &str,
    mode: u32,
    (major, minor): (u64, u64),
    owner: Owner,
) -> Result<(), Failure> {
    let fail = |e: nix::Error| Failure::new("make", format!("/dev/{name}"), e);
    let permissions = Mode::from_bits_truncate(mode & 0o7777);
    let kind = SFlag::from_bits_truncate(mode & libc::S_IFMT);
    mknodat(&dir, name, kind, permissions, makedev(major, minor)).map_err(fail)?;
    finish(&dir, name, permissions, owner).map_err(fail)
}

/// Name of what is to be /proc/kmsg in its file system.
pub const KMSG: &str = "kmsg";

/// The zone's /proc/kmsg, while it is being made.
#[derive(Debug)]
pub struct Kmsg {
    /// What it lies in, detached: a ramfs, of which df(1) lists nothing wherever it is shown.
    pub home: OwnedFd,
    /// Where it is fed.
    pub feed: OwnedFd,
}

/// Makes it, a FIFO. The kernel's own is the host's, and no zone may open it; klogd and rsyslog want one that can be waited for.
pub fn kmsg(root: Owner) -> Result<Kmsg, Failure> {
    let attributes = mount::MOUNT_ATTR_NOSUID | mount::MOUNT_ATTR_NODEV | mount::MOUNT_ATTR_NOEXEC;
    let home = mount::make(c"ramfs", &[(c"mode", c"0755")], attributes)
        .map_err(|e| Failure::new("make", "/proc/kmsg", e))?;
    node(&home, KMSG, libc::S_IFIFO | 0o400, (0, 0), root)?;
    // For reading, too, so that it can be opened before anybody reads (fifo(7)).
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let feed = nix::fcntl::openat(&home, KMSG, flags, Mode::empty());
    Ok(Kmsg { feed: feed.map_err(|e| Failure::new("open", "/proc/kmsg", e))?, home })
}

fn directory(dir: &OwnedFd, name: &str, mode: u32, owner: Owner) -> Result<(), Failure> {
    let fail = |e: nix::Error| Failure::new("make", format!("/dev/{name}"), e);
    nix::sys::stat::mkdirat(dir, name, Mode::from_bits_truncate(mode)).map_err(fail)?;
    finish(dir, name, Mode::from_bits_truncate(mode), owner).map_err(fail)
}

fn finish(dir: impl AsFd, name: &str, mode: Mode, owner: Owner) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    fchownat(&dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    nix::sys::stat::fchmodat(&dir, name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(inittab: &str) -> Consoles {
        Consoles::of(&Wishes { inittab: inittab.to_owned(), ..Wishes::default() })
    }

    #[test]
    fn serial_consoles_are_found_where_there_is_no_screen() {
        let last = |inittab: &str| of(inittab).console.pop().unwrap();
        assert_eq!(last("ttyS0::respawn:/sbin/getty -L  ttyS0 115200 vt100 # GENERIC\n"), "ttyS0");
        assert_eq!(last("T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n"), "ttyS0");
        assert_eq!(last("tty1::respawn:x\nttyS0::respawn:/sbin/getty\n"), "tty1");
        assert_eq!(last("#ttyS0::respawn:x\n::sysinit:/etc/rc\n"), "tty1");
    }

    #[test]
    fn screens_are_there_where_logins_are_started_on_them() {
        let inittab = "1:2345:respawn:/sbin/getty 38400 tty1\n2:23:respawn:/sbin/getty 38400 tty2\n\
                       #3:23:respawn:/sbin/getty 38400 tty3\n/dev/tty4::askfirst:-/bin/sh\n";
        assert_eq!(of(inittab).screens, ["tty2", "tty4"]);
        let upstart = Wishes { upstart: vec!["tty5".to_owned()], ..Wishes::default() };
        assert_eq!(Consoles::of(&upstart).screens, ["tty5"]);
        let systemd = Wishes { systemd: true, inittab: inittab.to_owned(), ..Wishes::default() };
        assert_eq!(Consoles::of(&systemd).console, ["console"]);
        assert!(Consoles::of(&systemd).screens.is_empty());
    }
}
