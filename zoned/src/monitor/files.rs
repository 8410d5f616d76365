//! What a guest's brand asks of its files. An error here only means that the host's kernel is left to answer
//! the guest.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use brands::file::{Entry, Listing, Statfs, Statx, Which};
use brands::task::{At, Task};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::fstat;
use nix::sys::statfs::fstatfs;
use nix::unistd::{Pid, Whence, lseek64};

use super::task::GuestTask;
use super::visit;
use crate::sys::{files, process};

/// OVERLAYFS_SUPER_MAGIC of linux/magic.h.
const OVERLAY: i64 = 0x794c_7630;

/// statx(2), with ids as the zone has them.
pub(super) fn statx(task: &mut GuestTask<'_>, which: Which<'_>, mask: u32) -> Result<Statx, Errno> {
    in_zone(task)?;
    let mut found = Statx(match which {
        // The link leads to the open file itself, whatever its name has become.
        Which::Open(fd) => {
            let link = CString::new(link(fd)).map_err(|_| Errno::EINVAL)?;
            task.reach(|task| files::statx(task.directory()?, &link, mask))?
        }
        Which::Path { .. } => files::statx(find(task, which)?.as_fd(), c"", mask)?,
    });
    let ids = task.zone.ids;
    found.set_ids(ids.zone(found.uid()), ids.zone(found.gid()));
    Ok(found)
}

/// statfs(2).
pub(super) fn statfs(task: &mut GuestTask<'_>, which: Which<'_>) -> Result<Statfs, Errno> {
    let found = find(task, which)?;
    let [kind, block_size, blocks, free, available, files, files_free, id, name_max, fragment, flags] =
        files::statfs(found.as_fd())?;
    let mut told = Statfs {
        kind,
        block_size,
        blocks,
        free,
        available,
        files,
        files_free,
        id,
        name_max,
        fragment,
        flags,
        is_share: false,
    };
    if let Some(usage) = &task.zone.quota
        && kind as i64 == OVERLAY
        && id == files::statfs(task.open_below("root", OFlag::O_PATH)?.as_fd())?[7]
        && let Some((used, most)) = usage.get()
    {
        hold_to(&mut told, used, most);
    }
    Ok(told)
}

/// What there is of a file system for one who has written `used` bytes to it, and may write `most`.
fn hold_to(told: &mut Statfs, used: u64, most: u64) {
    let block = told.fragment.max(1);
    let left = most.saturating_sub(used) / block;
    told.free = told.free.min(left);
    told.available = told.available.min(left);
    // What df(1) takes for used is the difference.
    told.blocks = told.free + (most / block - left);
    told.is_share = true;
}

/// Entries of an open directory of the guest, whose position moves.
pub(super) fn list(task: &mut GuestTask<'_>, fd: i32, room: usize) -> Result<Listing, Errno> {
    let directory = take(task, fd)?;
    // The kernel may show a reader of proc(5) what it hides from the guest.
    if fstatfs(&directory)?.filesystem_type().0 as i64 == visit::PROC {
        return Err(Errno::ELOOP);
    }
    let start = lseek64(&directory, 0, Whence::SeekCur)?;
    Ok(Listing { start, entries: entries(&files::list_as_i386(directory.as_fd(), room)?) })
}

/// Moves the position of an open directory of the guest.
pub(super) fn seek(task: &mut GuestTask<'_>, fd: i32, position: i64) -> Result<(), Errno> {
    lseek64(&take(task, fd)?, position, Whence::SeekSet).map(drop)
}

/// EXDEV for a task in a user namespace of its own, where ids are not the zone's.
fn in_zone(task: &mut GuestTask<'_>) -> Result<(), Errno> {
    if task.namespace("user")? == task.zone.userns { Ok(()) } else { Err(Errno::EXDEV) }
}

/// Name below /proc/PID of what a guest has open.
fn link(fd: i32) -> String {
    format!("fd/{fd}")
}

/// The file, not opened; found with the guest's rights.
fn find(task: &mut GuestTask<'_>, which: Which<'_>) -> Result<OwnedFd, Errno> {
    let (at, path, follow) = match which {
        Which::Open(fd) => return Ok(task.open_below(&link(fd), OFlag::O_PATH)?.into()),
        Which::Path { at, path, follow } => (at, path, follow),
    };
    let name = CString::new(path).map_err(|_| Errno::EINVAL)?;
    let guest = task.guest()?;
    // Without a visit, which costs a thread, wherever nothing on the way depends on whose root it is.
    let (base, how) = match at {
        _ if path.starts_with(b"/") => ("root".to_owned(), ResolveFlag::RESOLVE_IN_ROOT),
        At::Cwd => ("cwd".to_owned(), ResolveFlag::RESOLVE_BENEATH),
        At::Fd(fd) => (link(fd), ResolveFlag::RESOLVE_BENEATH),
    };
    let base: OwnedFd = task.open_below(&base, OFlag::O_PATH)?.into();
    let flags = if follow { OFlag::empty() } else { OFlag::O_NOFOLLOW };
    let found = match guest.act(|| look(&base, &name, flags, how)) {
        Err(Errno::EXDEV | Errno::EAGAIN) => task.visit(move |place| place.find(at, &name, follow))?,
        Err(Errno::EACCES) => find_as_root(task, base, path, follow)?,
        other => other?,
    };
    // Names in proc(5) such as `self` depend on who looks.
    if fstatfs(&found)?.filesystem_type().0 as i64 == visit::PROC { Err(Errno::ELOOP) } else { Ok(found) }
}

fn look(base: &OwnedFd, name: &CStr, flags: OFlag, how: ResolveFlag) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlag::O_PATH | OFlag::O_CLOEXEC;
    openat2(base, name, OpenHow::new().flags(flags).resolve(how | ResolveFlag::RESOLVE_NO_MAGICLINKS))
}

/// The same for a guest whose capabilities open folders to it: those whose owner and group are the zone's
/// (user_namespaces(7)). Only along a way without links and steps upwards, each of whose folders is looked at.
fn find_as_root(
    task: &mut GuestTask<'_>,
    base: OwnedFd,
    path: &[u8],
    follow: bool,
) -> Result<OwnedFd, Errno> {
    // CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of capabilities(7).
    const DAC: u64 = 1 << 1 | 1 << 2;
    in_zone(task)?;
    if task.ids()?.effective & DAC == 0 || path.ends_with(b"/") {
        return Err(Errno::EACCES);
    }
    let ids = task.zone.ids;
    let is_own = |id: u32| ids.host(ids.zone(id)) == Some(id);
    let mut found = base;
    let mut names = path.split(|&b| b == b'/').filter(|name| !matches!(name, [] | [b'.'])).peekable();
    while let Some(name) = names.next() {
        let folder = fstat(&found)?;
        if !is_own(folder.st_uid) || !is_own(folder.st_gid) {
            return Err(Errno::EACCES);
        }
        let is_last = names.peek().is_none();
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        found = look(&found, &name, OFlag::O_NOFOLLOW, ResolveFlag::RESOLVE_BENEATH)?;
        let is_link = fstat(&found)?.st_mode & libc::S_IFMT == libc::S_IFLNK;
        if is_link && (follow || !is_last) {
            return Err(Errno::ELOOP);
        }
    }
    Ok(found)
}

/// What the guest has open as `fd`, with the position that it shares with the guest.
pub(super) fn take(task: &mut GuestTask<'_>, fd: i32) -> Result<OwnedFd, Errno> {
    let status = task.read_below("status")?;
    let tgid = process::status_field(&status, "Tgid:").and_then(|t| t.trim().parse().ok());
    let tgid = Pid::from_raw(tgid.ok_or(Errno::ESRCH)?);
    let taken = task.reach(|task| process::take_descriptor(task.pid(), tgid, fd))?;
    task.still_there()?;
    let (a, b) = (fstat(&taken)?, task.stat_below(&link(fd))?);
    if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) { Ok(taken) } else { Err(Errno::EBADF) }
}

/// The entries in what getdents64(2) filled.
fn entries(mut bytes: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    while let Some(entry) = first(bytes) {
        bytes = &bytes[entry.1..];
        entries.push(entry.0);
    }
    entries
}

/// The first of them, and its length.
fn first(bytes: &[u8]) -> Option<(Entry, usize)> {
    let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let len = usize::from(u16::from_le_bytes(bytes.get(16..18)?.try_into().ok()?));
    let name = bytes.get(19..len)?;
    let end = name.iter().position(|&b| b == 0)?;
    let entry = Entry {
        inode: long(0)?,
        next: i64::try_from(long(8)?).ok()?,
        kind: *bytes.get(18)?,
        name: name[..end].to_vec(),
    };
    Some((entry, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_where_they_are_cut() {
        let mut bytes = Vec::new();
        for (inode, next, name) in [(7u64, 10u64, &b"name\0"[..]), (1 << 40, 20, b"other\0\0\0")] {
            bytes.extend(inode.to_le_bytes());
            bytes.extend(next.to_le_bytes());
            bytes.extend((19 + name.len() as u16).to_le_bytes());
            bytes.push(8);
            bytes.extend(name);
        }
        let all = entries(&bytes);
        assert_eq!(all.len(), 2);
        assert_eq!(all[1], Entry { inode: 1 << 40, next: 20, kind: 8, name: b"other".to_vec() });
        assert_eq!(entries(&bytes[..bytes.len() - 1]).len(), 1);
        assert!(entries(&[0; 24]).is_empty());
    }
}
