//! Building the walls of a zone: namespaces, mounts, ids, capabilities, control groups, devices
//! and limits.

pub mod boot;
pub mod cgroup;
pub mod clocks;
mod control;
pub mod cpus;
pub mod devices;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
pub mod inodes;
pub mod limits;
pub mod login;
mod named;
pub mod outside;
pub mod owners;
pub mod privileges;
pub mod root;
pub mod storm;
pub mod usage;
pub mod watch;

use std::fmt::Display;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use brands::level::Level;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The release of the host's kernel; `None` where it does not say.
pub fn running_level() -> Option<Level> {
    let host = nix::sys::utsname::uname().ok()?;
    Some(Level::of_host(&host.release().to_string_lossy()))
}

/// One step of building or tearing down that did not work.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {object}")]
pub struct Failure {
    /// What was done: "mount".
    pub operation: String,
    /// To what.
    pub object: String,
    /// Why it did not work.
    #[source]
    pub source: io::Error,
}

impl Failure {
    /// A failure of `operation` on `object`.
    pub fn new(operation: impl Display, object: impl Display, source: impl Into<io::Error>) -> Self {
        Self { operation: operation.to_string(), object: object.to_string(), source: source.into() }
    }

    /// The whole sentence, cause included.
    pub fn sentence(&self) -> String {
        format!("{self}: {}", self.source)
    }
}

/// Host ids of a zone: its 0 to 65535 are `base` and up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Host id of the zone's root.
    pub base: u32,
}

/// Number of ids that every zone has.
pub const IDS: u32 = 65536;

impl Ids {
    /// One line of /proc/PID/uid_map (user_namespaces(7)).
    pub fn map(self) -> String {
        format!("0 {} {IDS}\n", self.base)
    }

    /// Host id of a zone's id.
    pub fn host(self, id: u32) -> Option<u32> {
        (id < IDS).then_some(self.base + id)
    }

    /// The zone's id of a host id; 65534 for ids that are not the zone's, as the kernel shows them.
    pub fn zone(self, id: u32) -> u32 {
        match id.checked_sub(self.base) {
            Some(zone) if zone < IDS => zone,
            _ => 65534,
        }
    }

    /// Owner of what belongs to the zone's root.
    pub fn root(self) -> devices::Owner {
        devices::Owner { uid: self.base, gid: self.base }
    }
}

/// The text of /proc/self/mountinfo.
pub fn mountinfo() -> Result<String, Failure> {
    let path = "/proc/self/mountinfo";
    // Without room beforehand it would be asked for in ever larger parts, each of which the kernel writes anew.
    let mut text = String::with_capacity(32 * 1024);
    let read = std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    read.map(|_| text).map_err(|e| Failure::new("read", path, e))
}

/// Mount point, file system type and super options of each line of proc_pid_mountinfo(5).
pub fn mounts(mountinfo: &str) -> impl Iterator<Item = (PathBuf, &str, &str)> {
    mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        Some((left.split(' ').nth(4).map(unescape)?, right.next()?, right.nth(1).unwrap_or_default()))
    })
}

/// A path of /proc/self/mountinfo, where space, tab, newline and backslash are octal.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\').then(|| text.get(at + 1..at + 4)).flatten();
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// What the monitor itself is worth when the host runs out of memory (proc_pid_oom_score_adj(5)): its zone would go with it.
pub const OOM_MONITOR: &str = "-900";

/// Takes that from a process which it starts in the zone, with the least that the guest can set.
pub fn give_up_to_oom(pid: nix::unistd::Pid) {
    // It may have ended, and says so itself.
    let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "0");
}

/// Whether `fd` became readable within `patience`; of a pidfd: whether its process ended.
pub fn wait_readable(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    matches!(poll(&mut fds, timeout), Ok(1..))
}
