//! Flags, operations and options that are younger than their call: a strict zone answers them as the kernel of
//! its level did.
//!
//! Every line has been held against two sources where there are two: the calls' man pages (man-pages 6.20: HISTORY,
//! and `since Linux` beside the flag), and the headers and calls of the kernel's releases themselves (2.6.9, 2.6.18,
//! 2.6.20, 2.6.24, 2.6.31, 2.6.32, 2.6.34, 2.6.37, 3.0, 3.3, 3.5, 3.6, 3.8, 3.16, 3.19, 4.3, 4.4, 4.10, 4.12, 4.15, 4.18,
//! 5.0, 5.3, 5.9, 5.17). Where the pages are silent: the logs of strace and musl, which name the release of the
//! commit that brought a constant. The errors are those of the releases before it; a line says so where that was not
//! plain.
//!
//! What old kernels ignored without a word is not here: the host's kernel does not ignore it, and a program cannot
//! tell either. That is O_CLOEXEC, O_PATH, MAP_FIXED_NOREPLACE, flags of clone(2), of mount(2), of umount2(2) before
//! 2.6.34, of inotify_add_watch(2), of recvmsg(2) and msgrcv(2), masks of statx(2), and FALLOC_FL_PUNCH_HOLE beside
//! FALLOC_FL_KEEP_SIZE before 2.6.38. Nor is what stands in memory: socketcall(2), so all sockets of an i386 zone below
//! 4.3, open_how, clone_args, sched_attr, io_uring_params, bpf_attr, EPOLL* events. The vDSO answers
//! clock_gettime(2) unseen.

use nix::errno::Errno;

use crate::cond::{Cond, int};
use crate::level::Level;
use crate::table::{Row, Scope, Why, refuse};

mod facilities;
mod files;
mod sockets;
mod tasks;

pub(super) use facilities::ROWS as FACILITIES;
pub(super) use files::ROWS as FILES;
pub(super) use sockets::{OPTIONS, ROWS as SOCKETS};
pub(super) use tasks::ROWS as TASKS;

type Release = (u16, u16, u16);

/// A row for calls that a kernel before `release` answered with `errno`.
const fn young(name: &'static str, release: Release, errno: Errno, cond: Cond) -> Row {
    let before = Level::new(release.0, release.1, release.2);
    refuse(name, errno, Why::NotYet).when(cond).before(before).within(Scope::Strict).about(ABOUT)
}

/// The same for kernels from `since` on: older ones had another error, or none.
const fn between(name: &'static str, since: Release, release: Release, errno: Errno, cond: Cond) -> Row {
    young(name, release, errno, cond).since(Level::new(since.0, since.1, since.2))
}

/// The same for kernels before `release` which answered with `errno` what came still later.
const fn younger(name: &'static str, release: Release, errno: Errno, cond: Cond, came: Release) -> Row {
    young(name, release, errno, cond).came(Level::new(came.0, came.1, came.2))
}

const ABOUT: &str = "a flag or operation that came later";

/// Command, operation or option `n` in argument `at`.
const fn op(at: u8, n: u64) -> Cond {
    int(at).is(n)
}

/// Command `n` or a later one in argument `at`.
const fn from(at: u8, n: u32) -> Cond {
    int(at).at_least(n)
}

/// Any of these flags in argument `at`.
const fn flags(at: u8, mask: u64) -> Cond {
    int(at).any_of(mask)
}
