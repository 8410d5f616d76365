//! What names a file by a folder's descriptor and flags.

use nix::errno::Errno;

use super::files::open_path;
use super::{CWD, O_CLOEXEC, O_NOFOLLOW, O_PATH, by_descriptor, instead, is_error, perform, with_path};
use crate::call::{Answered, Call, Reply};
use crate::task::{At, Found, Task};

const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EACCESS: u32 = 0x200;
const AT_EMPTY_PATH: u32 = 0x1000;

const PATH_MAX: usize = 4096;

const O_CREAT: u64 = 0o100;
const O_EXCL: u64 = 0o200;
const O_LARGEFILE: u64 = 0o100_000;
const O_DIRECTORY: u64 = 0o200_000;
const TMPFILE: u64 = 0o20_000_000;
/// VALID_OPEN_FLAGS of linux/fcntl.h.
const OPEN_FLAGS: u64 = 0o37_777_703;

const RESOLVE_BENEATH: u64 = 8;
const RESOLVE_IN_ROOT: u64 = 16;
const RESOLVE_CACHED: u64 = 32;

/// Answers openat2(2), Linux 5.6.
pub(super) fn openat2(task: &mut dyn Task, call: &Call) -> Answered {
    const HOW: u64 = 24;
    let size = call.word(3);
    if size < HOW {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let mut how = vec![0; size as usize];
    task.read(call.ptr(2), &mut how)?;
    if how[HOW as usize..].iter().any(|&byte| byte != 0) {
        return Err(Errno::E2BIG);
    }
    let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| how[at + i]));
    let (flags, mode, resolve) = (long(0), long(8), long(16));
    let makes = flags & (O_CREAT | TMPFILE) != 0;
    let both = RESOLVE_BENEATH | RESOLVE_IN_ROOT;
    let with_o_path = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_LARGEFILE;
    if flags & !OPEN_FLAGS != 0
        || resolve & !0x3f != 0
        || resolve & both == both
        || mode & !(if makes { 0o7777 } else { 0 }) != 0
        || flags & O_PATH != 0 && flags & !with_o_path != 0
    {
        return Err(Errno::EINVAL);
    }
    if resolve & RESOLVE_CACHED != 0 {
        return Err(Errno::EAGAIN);
    }
    if resolve == 0 {
        return instead(task, "openat", &[call.word(0), call.word(1), flags, mode]);
    }
    resolved(task, call, flags, mode, resolve)
}

/// The monitor finds the file. The guest goes there by the path that was found, with its own rights, and when it
/// has come to that very file, opens it by its descriptor: waiting, where there is something to wait for.
fn resolved(task: &mut dyn Task, call: &Call, flags: u64, mode: u64, resolve: u64) -> Answered {
    let path = task.read_cstr(call.ptr(1), PATH_MAX)?;
    let at = if call.int(0) == CWD as u32 as i32 { At::Cwd } else { At::Fd(call.int(0)) };
    let found = match task.resolve(at, &path, (flags & (O_NOFOLLOW | O_DIRECTORY)) as i32, resolve) {
        Ok(_) if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL => return Err(Errno::EEXIST),
        Err(Errno::ENOENT) if flags & O_CREAT != 0 => {
            let (above, name) = match path.iter().rposition(|&byte| byte == b'/') {
                Some(slash) => (&path[..=slash], slash + 1),
                None => (&b"."[..], 0),
            };
            if matches!(&path[name..], b"" | b"." | b"..") {
                return Err(if path.is_empty() { Errno::ENOENT } else { Errno::EISDIR });
            }
            let above = task.resolve(at, above, O_DIRECTORY as i32, resolve)?;
            let folder = go_to(task, call, &above, O_CLOEXEC)?;
            if is_error(folder) {
                return Ok(Reply::Value(folder));
            }
            let name = call.ptr(1).offset(name as u64).0;
            let opened = perform(task, "openat", &[folder as u64, name, flags | O_NOFOLLOW, mode])?;
            perform(task, "close", &[folder as u64])?;
            return Ok(Reply::Value(opened));
        }
        found => found?,
    };
    if flags & O_PATH != 0 {
        return go_to(task, call, &found, flags & O_CLOEXEC).map(Reply::Value);
    }
    let there = go_to(task, call, &found, O_CLOEXEC)?;
    if is_error(there) {
        return Ok(Reply::Value(there));
    }
    let flags = flags & !(O_CREAT | O_EXCL | O_NOFOLLOW);
    let path = by_descriptor(there as u64);
    let opened = with_path(task, call, &path, "openat", 1, [CWD, 0, flags, mode, 0, 0]);
    perform(task, "close", &[there as u64])?;
    opened.map(Reply::Value)
}

/// Has the guest open what was found, as O_PATH. EAGAIN when it is not there any more, which openat2(2) says too
/// of a path that others change meanwhile.
fn go_to(task: &mut dyn Task, call: &Call, found: &Found, cloexec: u64) -> Result<i64, Errno> {
    let args = [CWD, 0, O_PATH | O_NOFOLLOW | cloexec, 0, 0, 0];
    let there = with_path(task, call, &found.path, "openat", 1, args)?;
    if is_error(there) {
        return Ok(if there == -(Errno::ENOENT as i64) { -(Errno::EAGAIN as i64) } else { there });
    }
    if task.file_status(there as i32)?.id != found.id {
        perform(task, "close", &[there as u64])?;
        return Err(Errno::EAGAIN);
    }
    Ok(there)
}

/// Does `name` to what a folder's descriptor, a path and flags name, by way of /proc/thread-self/fd: `args` are those
/// of `name`, with room for the path at `at`. Before, the file itself may be judged.
fn by_proc(
    task: &mut dyn Task,
    call: &Call,
    flags: u32,
    judge: impl FnOnce(&mut dyn Task, u64) -> Result<Option<i64>, Errno>,
    (name, at, args): (&str, usize, [u64; 6]),
) -> Answered {
    let empty = flags & AT_EMPTY_PATH != 0 && task.read_cstr(call.ptr(1), PATH_MAX)?.is_empty();
    if empty && call.int(0) == CWD as u32 as i32 {
        return with_path(task, call, b".", name, at, args).map(Reply::Value);
    }
    let fd = if empty {
        i64::from(call.int(0))
    } else {
        open_path(task, call.word(0), call.word(1), flags & AT_SYMLINK_NOFOLLOW == 0)?
    };
    if is_error(fd) {
        return Ok(Reply::Value(if empty { -(Errno::EBADF as i64) } else { fd }));
    }
    let fd = fd as u64;
    let answer = match judge(task, fd) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => with_path(task, call, &by_descriptor(fd), name, at, args),
        Err(errno) => Err(errno),
    };
    if !empty {
        perform(task, "close", &[fd])?;
    }
    // A descriptor that is not there is a file that is not there, in /proc.
    answer.map(|answer| {
        Reply::Value(if empty && answer == -(Errno::ENOENT as i64) { -(Errno::EBADF as i64) } else { answer })
    })
}

/// Answers faccessat2(2), Linux 5.8.
pub(super) fn faccessat2(task: &mut dyn Task, call: &Call) -> Answered {
    let (mode, flags) = (call.int(2) as u32, call.int(3) as u32);
    if flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 || mode & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    let effective = flags & AT_EACCESS != 0 && !task.ids_are_real()?;
    if flags & !AT_EACCESS == 0 && !effective {
        return instead(task, "faccessat", &[call.word(0), call.word(1), mode.into()]);
    }
    let judge = |task: &mut dyn Task, fd: u64| {
        if !effective {
            return Ok(None);
        }
        let ids = task.ids()?;
        let file = task.file_status(fd as i32)?;
        let granted = if ids.effective >> CAP_DAC_OVERRIDE & 1 != 0 {
            // What nobody may execute, root may not either.
            6 | u32::from(file.mode & 0o111 != 0 || file.mode & S_IFMT == S_IFDIR)
        } else if ids.euid == file.uid {
            file.mode >> 6
        } else if ids.egid == file.gid {
            file.mode >> 3
        } else {
            file.mode
        };
        Ok(Some(if mode & !granted == 0 { 0 } else { -(Errno::EACCES as i64) }))
    };
    by_proc(task, call, flags, judge, ("faccessat", 1, [CWD, 0, mode.into(), 0, 0, 0]))
}

const CAP_DAC_OVERRIDE: u32 = 1;
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFLNK: u32 = 0o120_000;

/// Answers fchmodat2(2), Linux 6.6.
pub(super) fn fchmodat2(task: &mut dyn Task, call: &Call) -> Answered {
    let (mode, flags) = (call.word(2), call.int(3) as u32);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags == 0 {
        return instead(task, "fchmodat", &[call.word(0), call.word(1), mode]);
    }
    // No file system changes the mode of a symbolic link (Linux 6.6).
    let judge = |task: &mut dyn Task, fd: u64| {
        let is_link = task.file_status(fd as i32)?.mode & S_IFMT == S_IFLNK;
        Ok(is_link.then_some(-(Errno::EOPNOTSUPP as i64)))
    };
    by_proc(task, call, flags, judge, ("chmod", 0, [0, mode, 0, 0, 0, 0]))
}

/// Answers execveat(2), Linux 3.19.
pub(super) fn execveat(task: &mut dyn Task, call: &Call) -> Answered {
    let flags = call.int(4) as u32;
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = task.read_cstr(call.ptr(1), PATH_MAX)?;
    let (argv, envp) = (call.word(2), call.word(3));
    if flags & AT_SYMLINK_NOFOLLOW != 0 && !path.is_empty() {
        let fd = open_path(task, call.word(0), call.word(1), false)?;
        if is_error(fd) {
            return Ok(Reply::Value(fd));
        }
        let status = task.file_status(fd as i32);
        perform(task, "close", &[fd as u64])?;
        if status?.mode & S_IFMT == S_IFLNK {
            return Err(Errno::ELOOP);
        }
    }
    let at_cwd = call.int(0) == CWD as u32 as i32;
    if path.is_empty() && flags & AT_EMPTY_PATH == 0 {
        return Err(Errno::ENOENT);
    }
    if path.first() == Some(&b'/') || at_cwd && !path.is_empty() {
        return instead(task, "execve", &[call.word(1), argv, envp]);
    }
    let path = match (at_cwd, path.is_empty()) {
        (true, _) => b".".to_vec(),
        (false, true) => by_descriptor(call.word(0)),
        (false, false) => [&by_descriptor(call.word(0))[..], b"/", &path].concat(),
    };
    if !at_cwd && task.file_status(call.int(0)).is_err() {
        return Err(Errno::EBADF);
    }
    with_path(task, call, &path, "execve", 0, [0, argv, envp, 0, 0, 0]).map(Reply::Value)
}
