//! Calls that a guest knows and the host's kernel does not have yet: the guest performs older ones in their
//! place ([`Task::perform`]), and where no older one will do the monitor performs the call for it.

mod descriptors;
mod files;
mod paths;
mod waits;

use nix::errno::Errno;

use crate::abi::Abi;
use crate::call::{Answered, Call, Reply};
use crate::table::{Handler, Row, Scope, emulate};
use crate::task::Task;

const fn lacks(name: &'static str, handler: Handler) -> Row {
    emulate(name, handler).within(Scope::Lacks)
}

/// What the host lacks and older calls can do.
pub(super) static ROWS: &[Row] = &[
    lacks("openat2", paths::openat2)
        .about("openat; with RESOLVE_ flags the monitor finds the file")
        .gap("with RESOLVE_ flags folders are searched without CAP_DAC_OVERRIDE, no magic link is followed, a dangling symbolic link is not created through, a file that cannot be come to from the root is not opened and the descriptor is not the lowest; RESOLVE_CACHED is EAGAIN"),
    lacks("faccessat2", paths::faccessat2)
        .about("faccessat, by /proc/thread-self/fd for its flags")
        .gap("AT_EACCESS of a program whose real and effective ids differ is judged by the mode alone"),
    lacks("fchmodat2", paths::fchmodat2).about("fchmodat, by /proc/thread-self/fd for its flags"),
    lacks("statx", files::statx)
        .about("newfstatat, fstatat64 on i386")
        .gap("no time of birth, attributes or mount id; on i386 times end in 2038"),
    lacks("renameat2", files::renameat2)
        .about("renameat; RENAME_NOREPLACE by linkat and unlinkat")
        .gap("folders with RENAME_NOREPLACE are looked up and renamed in two steps; the other flags are EINVAL, as of a file system without them"),
    lacks("execveat", paths::execveat)
        .about("execve, by /proc/thread-self/fd for a descriptor")
        .gap("a script given by a descriptor that closes on exec is not found by its interpreter"),
    lacks("getrandom", files::getrandom).about("the host's random bytes"),
    lacks("memfd_create", descriptors::memfd_create).about("made by the monitor"),
    lacks("copy_file_range", files::copy_file_range)
        .about("done by the monitor")
        .gap("RLIMIT_FSIZE does not bind it; on hosts before 6.9 EBADF for a thread with descriptors of its own"),
    lacks("preadv2", files::preadv2).about("preadv or readv").gap("RWF_NOWAIT is EOPNOTSUPP"),
    lacks("pwritev2", files::pwritev2)
        .about("pwritev or writev, then fsync for RWF_SYNC and RWF_DSYNC")
        .gap("RWF_APPEND and RWF_NOWAIT are EOPNOTSUPP"),
    lacks("close_range", descriptors::close_range).about("close or fcntl of each, after unshare where asked"),
    lacks("pidfd_open", descriptors::pidfd_open)
        .about("made by the monitor")
        .gap("processes in a pid namespace below the caller's are ESRCH"),
    lacks("pidfd_getfd", descriptors::pidfd_getfd)
        .about("done by the monitor, for who may trace the process")
        .gap("with yama's ptrace_scope only CAP_SYS_PTRACE may; on hosts before 6.9 EBADF for a thread with descriptors of its own"),
    lacks("epoll_pwait2", waits::epoll_pwait2).about("epoll_pwait").gap("waits for whole milliseconds; a signal that is ignored makes the wait begin anew"),
    lacks("futex_waitv", waits::futex_waitv)
        .about("futex, for one futex")
        .gap("more than one is ENOSYS; on i386 a timeout needs a host of 5.1"),
];

/// The guest performs another call in place of its own.
fn instead(task: &mut dyn Task, name: &str, args: &[u64]) -> Answered {
    perform(task, name, args).map(Reply::Value)
}

fn perform(task: &mut dyn Task, name: &str, args: &[u64]) -> Result<i64, Errno> {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    task.perform(name, all)
}

/// Whether the kernel's answer is an error; a pointer of a 32-bit guest is none.
fn is_error(answer: i64) -> bool {
    (-4095..0).contains(&answer)
}

/// AT_FDCWD, and −1 as a descriptor, in an argument.
const CWD: u64 = -100i32 as u32 as u64;
const NONE: u64 = u32::MAX as u64;

const O_NOFOLLOW: u64 = 0o400_000;
const O_CLOEXEC: u64 = 0o2_000_000;
const O_PATH: u64 = 0o10_000_000;

/// Memory that a program told of no one, for paths that the guest has not got.
const SCRATCH: u64 = 8192;

/// Performs `name` with `path`, which the guest has not got in its memory, as argument `at` of `args`.
fn with_path(
    task: &mut dyn Task,
    call: &Call,
    path: &[u8],
    name: &str,
    at: usize,
    mut args: [u64; 6],
) -> Result<i64, Errno> {
    if path.len() as u64 >= SCRATCH {
        return Err(Errno::ENAMETOOLONG);
    }
    let map = if call.abi == Abi::I386 { "mmap2" } else { "mmap" };
    let read_write = 3;
    let private_anonymous = 0x22;
    let scratch = perform(task, map, &[0, SCRATCH, read_write, private_anonymous, NONE, 0])?;
    if is_error(scratch) {
        return Ok(scratch);
    }
    let scratch = scratch as u64;
    let written = task.write(crate::call::GuestPtr(scratch), &[path, b"\0"].concat());
    let answer = match written {
        Ok(()) => {
            args[at] = scratch;
            task.perform(name, args)
        }
        Err(errno) => Err(errno),
    };
    perform(task, "munmap", &[scratch, SCRATCH])?;
    answer
}

/// The path by which a thread finds what its descriptor is of, which need not be one of the process's first thread
/// (CLONE_FILES left out), and that one may have ended. Since Linux 3.17.
fn by_descriptor(fd: u64) -> Vec<u8> {
    format!("/proc/thread-self/fd/{}", fd as u32).into_bytes()
}

#[cfg(test)]
mod tests;
