//! What the monitor does for a guest that is newer than the host: on the guest's own descriptors.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use brands::call::FileId;
use brands::task::{At, FileStatus, Found};
use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::unistd::{Gid, Pid, Uid, fchown};

use super::dispatch;
use super::files;
use super::task::{GuestTask, gone};
use crate::sys::credentials::Tracing;
use crate::sys::process;

const CAP_SYS_PTRACE: u32 = 19;

/// The ids of a line of proc_pid_status(5): real, effective, saved and of the file system.
fn ids(status: &str, key: &str) -> Result<Vec<u32>, Errno> {
    let line = process::status_field(status, key).ok_or(Errno::ESRCH)?;
    let ids: Vec<u32> = line.split_whitespace().filter_map(|id| id.parse().ok()).collect();
    if ids.len() == 4 { Ok(ids) } else { Err(Errno::ESRCH) }
}

/// A process's numbers, from the host's pid namespace down to its own.
fn numbers(status: &str) -> Vec<i32> {
    let line = process::status_field(status, "NSpid:").unwrap_or_default();
    line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn status_of(pid: i32) -> Result<String, Errno> {
    std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|_| Errno::ESRCH)
}

/// The inode of a namespace of process `pid`.
fn namespace(pid: i32, name: &str) -> Result<u64, Errno> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}/ns/{name}")).map(|m| m.ino()).map_err(|e| gone(&e))
}

impl GuestTask<'_> {
    fn keep(&mut self, file: OwnedFd) -> FileId {
        self.files.push(file);
        FileId(self.files.len() as u32 - 1)
    }

    pub(super) fn list_descriptors(&mut self) -> Result<Vec<u32>, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let folder: OwnedFd = self.open_below("fd", flags)?.into();
        let mut folder = nix::dir::Dir::from_fd(folder)?;
        let names = folder.iter().flatten();
        let mut all: Vec<u32> = names.filter_map(|e| e.file_name().to_str().ok()?.parse().ok()).collect();
        all.sort_unstable();
        Ok(all)
    }

    pub(super) fn status_of_descriptor(&mut self, fd: i32) -> Result<FileStatus, Errno> {
        let found = self.stat_below(&format!("fd/{fd}")).map_err(|_| Errno::EBADF)?;
        let ids = &self.zone.ids;
        Ok(FileStatus {
            mode: found.st_mode,
            uid: ids.zone(found.st_uid),
            gid: ids.zone(found.st_gid),
            id: (found.st_dev, found.st_ino),
        })
    }

    pub(super) fn has_real_ids(&mut self) -> Result<bool, Errno> {
        let status = self.read_below("status")?;
        let same = |key| ids(&status, key).map(|ids| ids[0] == ids[1]);
        Ok(same("Uid:")? && same("Gid:")?)
    }

    pub(super) fn make_memory_file(&mut self, name: &[u8], flags: u32) -> Result<FileId, Errno> {
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        let status = self.read_below("status")?;
        let (uid, gid) = (ids(&status, "Uid:")?[3], ids(&status, "Gid:")?[3]);
        let ours = MFdFlags::from_bits_retain(flags) | MFdFlags::MFD_CLOEXEC;
        let file = memfd_create(name.as_c_str(), ours)?;
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        Ok(self.keep(file))
    }

    pub(super) fn open_process(&mut self, pid: i32, flags: u32) -> Result<FileId, Errno> {
        let caller = self.read_below("status")?;
        let depth = numbers(&caller).len();
        let space = self.namespace("pid")?;
        let entries = std::fs::read_dir("/proc").map_err(|e| gone(&e))?;
        let all = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        // The caller's rights to it do not matter, nor do ours.
        let _tracing = Tracing::begin()?;
        for host in all {
            let Ok(status) = status_of(host) else { continue };
            let numbers = numbers(&status);
            if numbers.len() != depth || numbers.last() != Some(&pid) {
                continue;
            }
            let file = process::open_with(Pid::from_raw(host), flags)?;
            // Asked with the process in hand, whose number is its own while it is not reaped.
            if namespace(host, "pid") == Ok(space) {
                return Ok(self.keep(file));
            }
        }
        Err(Errno::ESRCH)
    }

    pub(super) fn descriptor_of_process(&mut self, pidfd: i32, fd: i32) -> Result<FileId, Errno> {
        let process = files::take(self, pidfd)?;
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd()));
        let info = info.map_err(|e| gone(&e))?;
        let pid = process::status_field(&info, "Pid:").and_then(|pid| pid.parse::<i32>().ok());
        let pid = pid.ok_or(Errno::EBADF)?;
        if pid <= 0 {
            return Err(Errno::ESRCH);
        }
        let allowed = self.may_trace(pid);
        let file = process::descriptor(process.as_fd(), fd);
        if !allowed? {
            return Err(Errno::EPERM);
        }
        // It took the descriptor of the process that was judged: `process` holds no other, and a program
        // that it executed meanwhile with more rights would have been judged anew.
        if !self.may_trace(pid)? {
            return Err(Errno::EPERM);
        }
        let file = file?;
        Ok(self.keep(file))
    }

    /// The rule of ptrace(2) under PTRACE_MODE_ATTACH_REALCREDS.
    fn may_trace(&mut self, pid: i32) -> Result<bool, Errno> {
        let (caller, other) = (self.read_below("status")?, status_of(pid)?);
        if process::status_field(&caller, "Tgid:") == process::status_field(&other, "Tgid:") {
            return Ok(true);
        }
        // Our own program is closed to the owner of the zone, as to everybody in there.
        let space = match namespace(pid, "user") {
            Err(Errno::EACCES | Errno::EPERM) => return Ok(false),
            space => space?,
        };
        if space != self.namespace("user")? || dispatch::runs_ours(pid) {
            return Ok(false);
        }
        let set = |status: &str, key| process::status_set(status, key).ok_or(Errno::ESRCH);
        if set(&caller, "CapEff:")? >> CAP_SYS_PTRACE & 1 != 0 {
            return Ok(true);
        }
        let yama = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
        if yama.is_ok_and(|scope| scope.trim() != "0") {
            return Ok(false);
        }
        let same =
            |key| Ok(ids(&other, key)?[..3].iter().all(|&id| Ok(id) == ids(&caller, key).map(|c| c[0])));
        let less = set(&other, "CapPrm:")? & !set(&caller, "CapPrm:")? == 0;
        // Files of what may not be dumped belong to root (proc_pid(5)).
        let owner = fstat(File::open(format!("/proc/{pid}/stat")).map_err(|e| gone(&e))?)?.st_uid;
        Ok(same("Uid:")? && same("Gid:")? && less && owner == ids(&other, "Uid:")?[1])
    }

    pub(super) fn copy_between(
        &mut self,
        from: (i32, Option<i64>),
        to: (i32, Option<i64>),
        len: u64,
    ) -> Result<usize, Errno> {
        let (source, target) = (files::take(self, from.0)?, files::take(self, to.0)?);
        let (mut at, mut into) = (from.1.map(|at| at as u64), to.1.map(|at| at as u64));
        let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
        rustix::fs::copy_file_range(&source, at.as_mut(), &target, into.as_mut(), len)
            .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
    }

    pub(super) fn resolve_path(
        &mut self,
        at: At,
        path: &[u8],
        flags: i32,
        resolve: u64,
    ) -> Result<Found, Errno> {
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_PATH;
        let resolve = ResolveFlag::from_bits_retain(resolve);
        self.visit(move |place| place.locate(at, &path, flags, resolve))
    }
}

/// Random bytes of the host.
pub(super) fn random(buf: &mut [u8]) -> Result<(), Errno> {
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(buf)).map_err(|e| gone(&e))
}
