//! What a guest's brand asks of its files. An error here only means that the host's kernel is left to answer
//! the guest.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use brands::file::{Entry, Listing, Statfs, Statx, Which};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{fstat, fstatat};
use nix::unistd::{Pid, Whence, lseek64};

use super::task::GuestTask;
use super::visit;
use crate::sys::{files, process};

/// statx(2), with ids as the zone has them.
pub(super) fn statx(task: &mut GuestTask<'_>, which: Which<'_>, mask: u32) -> Result<Statx, Errno> {
    in_zone(task)?;
    let mut found = Statx(match which {
        // The link leads to the open file itself, whatever its name has become.
        Which::Open(fd) => files::statx(task.directory()?, &link(fd)?, mask)?,
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
    Ok(Statfs { kind, block_size, blocks, free, available, files, files_free, id, name_max, fragment, flags })
}

/// Entries of an open directory of the guest, whose position moves.
pub(super) fn list(task: &mut GuestTask<'_>, fd: i32, room: usize) -> Result<Listing, Errno> {
    let directory = take(task, fd)?;
    // The kernel may show a reader of proc(5) what it hides from the guest.
    if nix::sys::statfs::fstatfs(&directory)?.filesystem_type().0 as i64 == visit::PROC {
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
    let theirs = fstatat(task.directory()?, "ns/user", AtFlags::empty())?;
    if theirs.st_ino == task.zone.userns { Ok(()) } else { Err(Errno::EXDEV) }
}

/// Name below /proc/PID of what a guest has open.
fn link(fd: i32) -> Result<CString, Errno> {
    CString::new(format!("fd/{fd}")).map_err(|_| Errno::EINVAL)
}

fn find(task: &mut GuestTask<'_>, which: Which<'_>) -> Result<OwnedFd, Errno> {
    match which {
        Which::Open(fd) => Ok(task.open_below(&format!("fd/{fd}"), OFlag::O_PATH)?.into()),
        Which::Path { at, path, follow } => {
            let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
            task.visit(move |place| place.find(at, &path, follow))
        }
    }
}

/// What the guest has open as `fd`, with the position that it shares with the guest.
fn take(task: &mut GuestTask<'_>, fd: i32) -> Result<OwnedFd, Errno> {
    let status = task.read_below("status")?;
    let tgid = process::status_field(&status, "Tgid:").and_then(|t| t.trim().parse().ok());
    let taken = process::take_descriptor(task.pid(), Pid::from_raw(tgid.ok_or(Errno::ESRCH)?), fd)?;
    task.still_there()?;
    let (a, b) = (fstat(&taken)?, fstatat(task.directory()?, link(fd)?.as_c_str(), AtFlags::empty())?);
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
