//! What is done to a guest's program before it runs: its calls into the vsyscall page are rewritten, and
//! what it lost by gaining privileges is given back ([`setid`]). Likewise a proc that it mounts gets the
//! zone's forms of files.
//!
//! A thread traces the caller for as long as the call takes: it seizes the
//! task while it waits for its answer, lets the kernel perform the call, and has the task stop before
//! it is back in user mode. What a task does meanwhile by itself ends in one stop or another: a
//! failed exec as a return to user mode, a signal at its delivery, a death as its end.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::thread;

use brands::call::{Call, Watch};
use brands::task::Task;
use brands::vsyscall::{self, LEN, Site};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::dispatch::Zone;
use super::task::GuestTask;
use super::{setid, visit};
use crate::sys::credentials::Tracing;
use crate::sys::notify::{self, Listener, Notification, Response};
use crate::sys::ptrace::{self, Stop};

/// Files above this are not searched.
const LARGEST: u64 = 256 << 20;

/// As many files are remembered.
const MOST_FILES: usize = 4096;

/// Whether a call that waits for its answer goes on waiting when its caller is to stop.
static WAITS_KILLABLE: LazyLock<bool> = LazyLock::new(notify::has_wait_killable);

/// Tasks that are traced here.
static TRACED: (Mutex<Vec<Pid>>, Condvar) = (Mutex::new(Vec::new()), Condvar::new());

/// The right to trace a task, which one has at a time: where a signal ends the wait for an answer (before Linux 5.19), a
/// task may be back with the same call while the one before is still looked at.
#[derive(Debug)]
pub(super) struct Turn(Pid);

impl Turn {
    pub(super) fn take(task: Pid) -> Self {
        let (traced, freed) = &TRACED;
        let traced = traced.lock().unwrap_or_else(PoisonError::into_inner);
        let is_taken = |traced: &mut Vec<Pid>| traced.contains(&task);
        freed.wait_while(traced, is_taken).unwrap_or_else(PoisonError::into_inner).push(task);
        Self(task)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (traced, freed) = &TRACED;
        traced.lock().unwrap_or_else(PoisonError::into_inner).retain(|task| *task != self.0);
        freed.notify_all();
    }
}

/// What tells a file's content from another's: device, inode, size, times of change.
type Key = (u64, u64, u64, (i64, i64), (i64, i64));

/// Files whose calls into the page are known.
#[derive(Debug, Default)]
pub struct Files {
    known: Mutex<HashMap<Key, Arc<[Site]>>>,
}

impl Files {
    /// The calls in the file that a link of /proc leads to; `None` where it cannot be searched.
    fn sites(&self, link: &str) -> Option<Arc<[Site]>> {
        // Nothing but a regular file is opened: to open a device can do things.
        let path = open(link, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        let path = File::from(path);
        let meta = path.metadata().ok()?;
        if !meta.is_file() || meta.len() > LARGEST {
            return None;
        }
        let changed = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        let key = (meta.dev(), meta.ino(), meta.len(), changed.0, changed.1);
        if let Some(sites) = self.lock().get(&key) {
            return Some(Arc::clone(sites));
        }
        let file = File::open(format!("/proc/self/fd/{}", path.as_raw_fd())).ok()?;
        let sites: Arc<[Site]> = search(file.take(LARGEST)).ok()?.into();
        let mut known = self.lock();
        if known.len() >= MOST_FILES {
            known.clear();
        }
        known.insert(key, Arc::clone(&sites));
        Some(sites)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<[Site]>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The calls in all that `from` gives.
fn search(mut from: impl Read) -> io::Result<Vec<Site>> {
    let mut sites = Vec::new();
    let mut bytes = vec![0; 256 * 1024];
    // How much of `bytes` was read, and where in the file they begin.
    let (mut filled, mut start) = (0, 0);
    loop {
        match from.read(&mut bytes[filled..])? {
            0 => return Ok(sites),
            n => filled += n,
        }
        let found = vsyscall::sites(&bytes[..filled]);
        sites.extend(found.into_iter().map(|site| Site { offset: start + site.offset, ..site }));
        // A call may begin in what is too short for one.
        let kept = filled.min(LEN - 1);
        bytes.copy_within(filled - kept..filled, 0);
        start += filled - kept;
        filled = kept;
    }
}

/// Part of a file in a guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mapping {
    start: u64,
    len: u64,
    /// Where in the file it begins.
    offset: u64,
}

/// Answers a call with Continue and rewrites what it brought into memory.
pub fn watch(zone: &Zone, listener: &Listener, notification: &Notification, call: &Call, what: Watch) {
    let go_on = || {
        // ENOENT: the caller was killed meanwhile.
        let _ = listener.respond(notification.id, Response::Continue);
    };
    if what == Watch::Mapping {
        let link = format!("/proc/{}/fd/{}", notification.pid, call.int(4));
        // What cannot be read is not mapped either, or the guest changed its mind.
        if zone.files.sites(&link).is_none_or(|sites| sites.is_empty()) {
            return go_on();
        }
    }
    let mut mounting = None;
    if what == Watch::Proc {
        match Mounting::of(zone, listener, notification, call) {
            Ok(found) => mounting = Some(found),
            Err(_) => return go_on(),
        }
    }
    let _turn = Turn::take(Pid::from_raw(notification.pid));
    if !listener.is_valid(notification.id) {
        // It is answered already, or will come again.
        return;
    }
    // The end of a tracer lets go of all that it traces, of the dead too, which their parent gets to
    // see then. So this one ends with its work.
    let traced = thread::scope(|scope| {
        let tracer = thread::Builder::new().name("tracer".to_owned()).stack_size(256 * 1024);
        let work = || trace(zone, notification, what, mounting, go_on);
        tracer.spawn_scoped(scope, work)?.join().unwrap_or(Ok(()))
    });
    if let Err(error) = traced {
        // The call may not have been answered yet; one that was is answered to nobody.
        go_on();
        let task = notification.pid;
        tracing::debug!(task, %error, "cannot make a program fit for its zone");
    }
}

/// Does the work of [`watch`] on a thread of its own.
fn trace(
    zone: &Zone,
    notification: &Notification,
    what: Watch,
    mounting: Option<Mounting>,
    go_on: impl FnOnce(),
) -> io::Result<()> {
    let task = Pid::from_raw(notification.pid);
    let _tracing = Tracing::begin()?;
    ptrace::seize(task)?;
    // Were the number somebody else's by now, the answer would go to nobody, and that one is let go.
    if *WAITS_KILLABLE {
        ptrace::interrupt(task)?;
        go_on();
    } else if what == Watch::Program {
        // It stops at the new program by itself, or else on its way back. ESRCH: it is gone, or has its leader's
        // number since.
        go_on();
        let _ = ptrace::interrupt(task);
    } else if !begin_anew(task, notification.nr)? {
        return Ok(());
    }
    follow(|stop| match (what, stop) {
        (Watch::Program, Stop::Executed(task)) => {
            if zone.world.rewrites_vsyscall {
                rewrite(&zone.files, task)?;
            }
            if brands::platform::is_linux32(zone.world.personality) {
                setid::repair(task, zone.world.personality)?;
            }
            Ok(())
        }
        (Watch::Mapping, Stop::Signal(task, _) | Stop::Interrupted(task) | Stop::Call(task)) => {
            rewrite(&zone.files, task)
        }
        (Watch::Proc, Stop::Signal(task, _) | Stop::Interrupted(task) | Stop::Call(task)) => match mounting {
            Some(mounting) if ptrace::registers(task)?.rax == 0 => mounting.dress(zone),
            _ => Ok(()),
        },
        _ => Ok(()),
    })
}

/// Where an interrupt takes a waiting call back (before Linux 5.19): has the task begin its call anew, outside its filters,
/// and stop at the call's end. `false`: it is let go instead, and will make its call once more, or never.
fn begin_anew(task: Pid, call: i32) -> io::Result<bool> {
    ptrace::interrupt(task)?;
    match ptrace::wait()? {
        Stop::Interrupted(task) => {
            ptrace::unfiltered(task)?;
            ptrace::go_on(task)?;
        }
        other => return let_go(other).map(|()| false),
    }
    match ptrace::wait()? {
        // A signal's handler may have been first, and makes calls of its own.
        Stop::Call(task) if ptrace::registers(task)?.orig_rax as i32 == call => ptrace::go_on(task)?,
        other => return let_go(other).map(|()| false),
    }
    Ok(true)
}

/// Lets a task go from a stop that nothing is to be done in.
fn let_go(stop: Stop) -> io::Result<()> {
    let (task, signal) = match stop {
        Stop::Ended => return Ok(()),
        Stop::Executed(task) | Stop::Interrupted(task) | Stop::Call(task) => (task, 0),
        Stop::Signal(task, signal) => (task, signal),
    };
    match ptrace::detach(task, signal) {
        // It was killed where it stood.
        Err(Errno::ESRCH) => Ok(()),
        detached => detached.map_err(Into::into),
    }
}

/// A mount(2) of proc by a guest.
#[derive(Debug)]
struct Mounting {
    guest: visit::Guest,
    target: CString,
}

impl Mounting {
    /// That of a call which waits for its answer.
    fn of(zone: &Zone, listener: &Listener, notification: &Notification, call: &Call) -> Result<Self, Errno> {
        let mut task = GuestTask::new(zone, listener, notification);
        let target = task.read_cstr(call.ptr(1), libc::PATH_MAX as usize)?;
        Ok(Self { guest: task.guest()?, target: CString::new(target).map_err(|_| Errno::EINVAL)? })
    }

    /// Lays the zone's forms of files over those of the new proc.
    fn dress(self, zone: &Zone) -> io::Result<()> {
        let files = visit::proc_files(zone)?;
        Ok(visit::visit(zone, self.guest, |place| place.dress(&self.target, &files))?)
    }
}

/// Waits for the seized task's stop, does `work` in it and lets the task go.
fn follow(work: impl FnOnce(Stop) -> io::Result<()>) -> io::Result<()> {
    let stop = ptrace::wait()?;
    let done = work(stop);
    let gone = let_go(stop);
    done.and(gone)
}

/// Rewrites the calls in all that a stopped task has mapped as code.
fn rewrite(files: &Files, task: Pid) -> io::Result<()> {
    let maps = std::fs::read_to_string(format!("/proc/{task}/maps"))?;
    for mapping in maps.lines().filter_map(code) {
        let (start, end) = (mapping.start, mapping.start + mapping.len);
        if let Some(sites) = files.sites(&format!("/proc/{task}/map_files/{start:x}-{end:x}")) {
            rewrite_mapping(task, &sites, mapping)?;
        }
    }
    Ok(())
}

/// A line of proc_pid_maps(5) that is code of a file.
fn code(line: &str) -> Option<Mapping> {
    let mut fields = line.split_whitespace();
    let (range, rights, offset, _, inode) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if rights.as_bytes().get(2..4) != Some(b"xp") || inode == "0" {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let start = hex(start)?;
    Some(Mapping { start, len: hex(end)?.checked_sub(start)?, offset: hex(offset)? })
}

/// Rewrites those of a file's calls that lie in one of its mappings and still are what they were.
fn rewrite_mapping(task: Pid, sites: &[Site], mapping: Mapping) -> io::Result<()> {
    let inside = |site: &&Site| {
        let at = (site.offset as u64).checked_sub(mapping.offset);
        at.is_some_and(|at| at + LEN as u64 <= mapping.len)
    };
    let mut sites = sites.iter().filter(inside).peekable();
    if sites.peek().is_none() {
        return Ok(());
    }
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let memory: OwnedFd = open(format!("/proc/{task}/mem").as_str(), flags, Mode::empty())?;
    let memory = File::from(memory);
    for site in sites {
        let at = mapping.start + (site.offset as u64 - mapping.offset);
        let mut there = [0; LEN];
        memory.read_exact_at(&mut there, at)?;
        if there == site.call() {
            // Past the page's protection, as a debugger sets a breakpoint; the page becomes private.
            memory.write_all_at(&site.rewritten(), at)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use brands::vsyscall::Function;

    use super::*;

    #[test]
    fn calls_are_found_across_reads() {
        let size = 256 * 1024;
        for at in [0, size - LEN, size - 4, size, size + 1, 2 * size - 8] {
            let mut bytes = vec![0x90; 2 * size + 5];
            let site = Site { offset: at, function: Function::Time, tail: at % 2 == 0 };
            bytes[at..at + LEN].copy_from_slice(&site.call());
            let found = search(&bytes[..]).unwrap();
            assert_eq!(found, [site], "{at}");
        }
    }

    #[test]
    fn code_of_files_is_told_from_other_memory() {
        let line = "00400000-00401000 r-xp 00002000 08:01 77   /bin/true";
        let mapping = Mapping { start: 0x400000, len: 0x1000, offset: 0x2000 };
        assert_eq!(code(line), Some(mapping));
        for other in [
            "00400000-00401000 r--p 00002000 08:01 77   /bin/true",
            "00400000-00401000 r-xs 00002000 08:01 77   /bin/true",
            "7ff000000000-7ff000001000 r-xp 00000000 00:00 0   [vdso]",
            "nonsense",
            "",
        ] {
            assert_eq!(code(other), None, "{other}");
        }
    }
}
