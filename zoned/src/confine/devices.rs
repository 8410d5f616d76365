//! A zone's /dev: a small tmpfs of the host's with nodes that belong to the zone. Made outside the
//! zone's user namespace, because nodes of a file system mounted inside one cannot be opened.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::AtFlags;
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

/// Names under which the zone's console stands in /dev. /dev/tty0 and /dev/tty1 are what a kernel
/// with a screen makes of it.
pub const CONSOLES: [&str; 3] = ["console", "tty0", "tty1"];

/// Consoles of other names that a guest's /etc/inittab (inittab(5)) starts programs on, where it
/// starts none on a screen: such a guest was made for a machine with a serial line.
pub fn serial_consoles(inittab: &str) -> Vec<String> {
    let active = || inittab.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let words = || active().flat_map(|l| l.split([':', ' ', '\t']));
    if words().any(|w| w == "tty1" || w == "/dev/tty1") {
        return Vec::new();
    }
    let known = ["ttyS0", "ttyS1", "hvc0", "ttyAMA0", "xvc0"];
    known.iter().filter(|k| words().any(|w| w == **k)).take(1).map(|k| (*k).to_owned()).collect()
}

/// Owner and permissions of a new node.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// Host user id.
    pub uid: u32,
    /// Host group id.
    pub gid: u32,
}

/// Makes the file system, detached. `devices` are further nodes of the host, `consoles` names of
/// the console beside [`CONSOLES`].
pub fn make(root: Owner, devices: &[String], consoles: &[String]) -> Result<OwnedFd, Failure> {
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
    for name in CONSOLES.iter().copied().chain(consoles.iter().map(String::as_str)) {
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

    #[test]
    fn serial_consoles_are_found_where_there_is_no_screen() {
        assert_eq!(
            serial_consoles("ttyS0::respawn:/sbin/getty -L  ttyS0 115200 vt100 # GENERIC\n"),
            ["ttyS0"]
        );
        assert_eq!(serial_consoles("T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n"), ["ttyS0"]);
        assert!(serial_consoles("tty1::respawn:x\nttyS0::respawn:/sbin/getty\n").is_empty());
        assert!(serial_consoles("#ttyS0::respawn:x\n::sysinit:/etc/rc\n").is_empty());
    }
}
