//! Processes by descriptor, and namespaces.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::check;

/// pidfd_open(2), Linux 5.3.
pub fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    open_with(pid, 0)
}

/// The same with flags.
pub fn open_with(pid: Pid, flags: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: plain integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), flags) })?;
    // SAFETY: the call has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// pidfd_getfd(2), Linux 5.6.
pub fn descriptor(pidfd: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: plain integers only.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) })?;
    // SAFETY: the call has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A descriptor for what task `tid` has open as `fd`, the same open file description: pidfd_getfd(2), Linux
/// 5.6. Before Linux 6.9 a pidfd is of a process, whose first thread may have other descriptors (CLONE_FILES
/// left out); the caller compares.
pub fn take_descriptor(tid: Pid, tgid: Pid, fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: plain integers only.
    let pidfd = match check(unsafe { libc::syscall(libc::SYS_pidfd_open, tid.as_raw(), libc::PIDFD_THREAD) })
    {
        // SAFETY: the call has just made this descriptor for us.
        Ok(pidfd) => unsafe { OwnedFd::from_raw_fd(pidfd as i32) },
        Err(Errno::EINVAL) => open(tgid)?,
        Err(errno) => return Err(errno),
    };
    descriptor(pidfd.as_fd(), fd)
}

/// AT_MINSIGSTKSZ of getauxval(3), Linux 5.14; what it was for ever where the kernel does not say.
pub fn signal_frame() -> u64 {
    const AT_MINSIGSTKSZ: libc::c_ulong = 51;
    // SAFETY: a plain integer only.
    match unsafe { libc::getauxval(AT_MINSIGSTKSZ) } {
        0 => libc::MINSIGSTKSZ as u64,
        size => size,
    }
}

/// Whether this kernel has modify_ldt(2): reads none of this process's segments. ENOSYS without
/// CONFIG_MODIFY_LDT_SYSCALL.
pub fn segments() -> Result<(), Errno> {
    let read = 0;
    // SAFETY: function 0 writes no more than the size given, which is 0.
    let ret = unsafe { libc::syscall(libc::SYS_modify_ldt, read, std::ptr::null_mut::<libc::c_void>(), 0) };
    // The kernel gives an int in a register that is not extended.
    match ret as i32 {
        -1 => Err(Errno::last()),
        _ => Ok(()),
    }
}

/// pidfd_send_signal(2); a process that is gone is ESRCH.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) })?;
    Ok(())
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

impl Ended {
    /// From the status word of wait(2).
    pub fn from_wait_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Killed(libc::WTERMSIG(status) as u8)
        } else {
            Self::Exited(libc::WEXITSTATUS(status) as u8)
        }
    }
}

/// Reaps a child by its pidfd; with `block` waits for its end. `None`: it still runs.
pub fn reap(pidfd: BorrowedFd<'_>, block: bool) -> Result<Option<Ended>, Errno> {
    let mut flags = WaitPidFlag::WEXITED;
    if !block {
        flags |= WaitPidFlag::WNOHANG;
    }
    wait(pidfd, flags)
}

/// Reaps a child that is about to end; `None` when it did not within `patience`.
pub fn reap_within(pidfd: BorrowedFd<'_>, patience: Duration) -> Option<Ended> {
    crate::confine::wait_readable(pidfd, patience);
    reap(pidfd, false).ok().flatten()
}

fn wait(pidfd: BorrowedFd<'_>, flags: WaitPidFlag) -> Result<Option<Ended>, Errno> {
    loop {
        return match waitid(Id::PIDFd(pidfd), flags) {
            Err(Errno::EINTR) => continue,
            Err(e) => Err(e),
            Ok(WaitStatus::Exited(_, code)) => Ok(Some(Ended::Exited(code as u8))),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ok(Some(Ended::Killed(signal as i32 as u8))),
            Ok(_) => Ok(None),
        };
    }
}

/// Runs `make` with children going to the pid namespace of `pidfd` (setns(2) with CLONE_NEWPID
/// changes that for the calling thread alone).
pub fn in_pid_namespace<T>(pidfd: BorrowedFd<'_>, make: impl FnOnce() -> T) -> Result<T, Errno> {
    let own = std::fs::File::open("/proc/self/ns/pid")
        .map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0)))?;
    set_namespace(pidfd, libc::CLONE_NEWPID)?;
    let made = make();
    set_namespace(own.as_fd(), libc::CLONE_NEWPID)?;
    Ok(made)
}

/// setns(2) of the calling thread, with a namespace's descriptor or a pidfd.
pub fn set_namespace(fd: BorrowedFd<'_>, flags: i32) -> Result<(), Errno> {
    // SAFETY: plain integers only; it changes the calling thread's namespaces alone.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), flags) })?;
    Ok(())
}

/// What follows `key`, colon included, in the text of proc_pid_status(5).
pub fn status_field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

/// The same of a set of signals or capabilities, which is in hex.
pub fn status_set(status: &str, key: &str) -> Option<u64> {
    u64::from_str_radix(status_field(status, key)?, 16).ok()
}

/// Children of this process that came to it because their monitor died: they are in a pid
/// namespace below ours (NSpid of proc_pid_status(5)), which no child of our own making is.
fn adopted() -> Vec<Pid> {
    let own = Pid::this().to_string();
    let is_adopted = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |key: &str| status_field(&status, key).unwrap_or_default();
        field("PPid:") == own && field("NSpid:").split_whitespace().count() > 1
    };
    let found = children().unwrap_or_else(|| numbers("/proc"));
    found.into_iter().filter(is_adopted).map(Pid::from_raw).collect()
}

/// Children of this process; `None` where the kernel does not tell (CONFIG_PROC_CHILDREN).
fn children() -> Option<Vec<i32>> {
    let mut found = Vec::new();
    for thread in numbers("/proc/self/task") {
        match std::fs::read_to_string(format!("/proc/self/task/{thread}/children")) {
            Ok(text) => found.extend(text.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok())),
            // A thread that ended has none.
            Err(_) if !std::path::Path::new("/proc/thread-self/children").exists() => return None,
            Err(_) => {}
        }
    }
    Some(found)
}

/// The numbers among the names of a folder.
fn numbers(folder: &str) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// Reaps all of [`adopted`] as they end. Process 1 of a zone ends only after programs that had
/// entered it were reaped, so none is waited for alone.
pub fn reap_adopted(patience: Duration) {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        let pidfds: Vec<OwnedFd> = adopted().into_iter().filter_map(|pid| open(pid).ok()).collect();
        if pidfds.is_empty() {
            return;
        }
        let mut fds: Vec<_> = pidfds.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
        let left = end.saturating_duration_since(Instant::now());
        let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        for pidfd in &pidfds {
            let _ = reap(pidfd.as_fd(), false);
        }
    }
}

/// Takes over a descriptor that a call has just made.
pub fn own(fd: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: callers pass what accept4(2) has just returned, which nothing else owns.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// fork(2). EBUSY in a process with more than one thread, whose locks would stay as they are in the child.
pub fn fork() -> Result<nix::unistd::ForkResult, Errno> {
    if numbers("/proc/self/task").len() != 1 {
        return Err(Errno::EBUSY);
    }
    // SAFETY: the only thread goes on in the child with all that it had.
    unsafe { nix::unistd::fork() }
}

/// Ends this process at once: nothing that is registered for its end runs, which is its parent's.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: a plain integer only.
    unsafe { libc::_exit(status) }
}

/// Where the command line of this process is: start and length of its memory (proc_pid_cmdline(5)).
pub fn arguments() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(48 - 3);
    let (start, end): (usize, usize) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (start != 0 && start < end).then_some((start, end - start))
}

/// The command line that this process shows, and those that are forked from it.
#[derive(Debug)]
pub struct Title(&'static mut [u8]);

impl Title {
    /// Takes it over; once, by a process of one thread that has read its arguments.
    pub fn take() -> Option<Self> {
        static TAKEN: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
        let is_alone = numbers("/proc/self/task").len() == 1;
        if !is_alone || TAKEN.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return None;
        }
        let (start, len) = arguments()?;
        // SAFETY: the kernel put the arguments there at exec; they stay as long as the process, are written by nobody
        // else, and what std gave out of them are copies.
        Some(Self(unsafe { std::slice::from_raw_parts_mut(start as *mut u8, len) }))
    }

    /// Shows `words`, as far as there is room.
    pub fn show<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        let line = words.flat_map(|word| word.bytes().chain([0]));
        // The last byte stays 0: else the kernel takes the environment for the rest of it.
        let room = self.0.len().saturating_sub(1);
        for (to, byte) in self.0.iter_mut().zip(line.take(room).chain(std::iter::repeat(0))) {
            *to = byte;
        }
    }
}

/// Reaps those children of the calling thread that are at their end and that it does not know: a program that entered a zone
/// can make children of its own ours (CLONE_PARENT of clone(2)), and process 1 of the zone ends only after them.
pub fn reap_strays(knows: impl Fn(Pid) -> bool) {
    // Not those that other threads trace.
    let over = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::__WNOTHREAD;
    while let Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) =
        waitid(Id::All, over | WaitPidFlag::WNOWAIT)
    {
        // One that is known has its turn, and after it comes theirs.
        if knows(pid) || waitid(Id::Pid(pid), over).is_err() {
            return;
        }
    }
}

/// Reaps every child of a process whose children are all at their end; gives up on one that takes
/// longer than `patience`.
pub fn reap_all(patience: Duration) {
    reap_those(|| Id::All, patience);
}

/// The same of the children that are in process group `group`.
pub fn reap_group(group: Pid, patience: Duration) {
    reap_those(|| Id::PGid(group), patience);
}

fn reap_those(those: impl Fn() -> Id<'static>, patience: Duration) {
    let end = Instant::now() + patience;
    loop {
        match waitid(those(), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::StillAlive) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_status_are_read() {
        let status = "Name:\tx\nCapEff:\t000001ffffffffff\n";
        assert_eq!(status_field(status, "Name:"), Some("x"));
        assert_eq!(status_set(status, "CapEff:"), Some(0x1ff_ffff_ffff));
        assert_eq!(status_set("Name:\tx\n", "CapEff:"), None);
    }
}
