//! What makes and closes descriptors.

use nix::errno::Errno;

use super::perform;
use crate::call::{Answered, Call, Reply};
use crate::task::Task;

/// Answers close_range(2), Linux 5.9.
pub(super) fn close_range(task: &mut dyn Task, call: &Call) -> Answered {
    const UNSHARE: i32 = 2;
    const CLOEXEC: i32 = 4;
    const CLONE_FILES: u64 = 0x400;
    const F_SETFD: u64 = 2;
    const FD_CLOEXEC: u64 = 1;
    let (first, last, flags) = (call.int(0) as u32, call.int(1) as u32, call.int(2));
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    if flags & UNSHARE != 0 {
        let unshared = perform(task, "unshare", &[CLONE_FILES])?;
        if unshared != 0 {
            return Ok(Reply::Value(unshared));
        }
    }
    for fd in task.descriptors()?.into_iter().filter(|fd| (first..=last).contains(fd)) {
        // As close_range does, whatever close says: the descriptor is gone.
        if flags & CLOEXEC != 0 {
            perform(task, "fcntl", &[fd.into(), F_SETFD, FD_CLOEXEC])?;
        } else {
            perform(task, "close", &[fd.into()])?;
        }
    }
    Ok(Reply::Value(0))
}

/// Answers memfd_create(2), Linux 3.17.
pub(super) fn memfd_create(task: &mut dyn Task, call: &Call) -> Answered {
    const CLOEXEC: u32 = 1;
    /// NAME_MAX less the kernel's own `memfd:`.
    const LONGEST: usize = 249;
    let flags = call.int(1) as u32;
    let name = task.read_cstr(call.ptr(0), LONGEST + 1).map_err(|errno| match errno {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        other => other,
    })?;
    let file = task.memory_file(&name, flags)?;
    Ok(Reply::Fd { file, cloexec: flags & CLOEXEC != 0 })
}

/// Answers pidfd_open(2), Linux 5.3.
pub(super) fn pidfd_open(task: &mut dyn Task, call: &Call) -> Answered {
    const NONBLOCK: u32 = 0o4000;
    let (pid, flags) = (call.int(0), call.int(1) as u32);
    if pid <= 0 || flags & !NONBLOCK != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Reply::Fd { file: task.process_file(pid, flags)?, cloexec: true })
}

/// Answers pidfd_getfd(2), Linux 5.6.
pub(super) fn pidfd_getfd(task: &mut dyn Task, call: &Call) -> Answered {
    if call.int(2) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Reply::Fd { file: task.descriptor_of(call.int(0), call.int(1))?, cloexec: true })
}
