//! What is done to a guest's program before it runs: its uses of the vsyscall page are rewritten ([`vsyscall`]), and
//! what it lost by gaining privileges is given back ([`setid`]). Likewise a proc that it mounts gets the
//! zone's forms of files.
//!
//! A thread traces the caller for as long as the call takes: it seizes the
//! task while it waits for its answer, lets the kernel perform the call, and has the task stop before
//! it is back in user mode. What a task does meanwhile by itself ends in one stop or another: a
//! failed exec as a return to user mode, a signal at its delivery, a death as its end.

use std::ffi::CString;
use std::io;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use brands::abi::Abi;
use brands::call::{Call, Watch};
use brands::level::Level;
use brands::task::Task;
use nix::errno::Errno;
use nix::unistd::Pid;

use super::confined::{self, Role};
use super::dispatch::Zone;
use super::task::GuestTask;
use super::{notes, setid, visit, vsyscall};
use crate::confine::Failure;
use crate::sys::credentials::Tracing;
use crate::sys::notify::{self, Listener, Notification, Response};
use crate::sys::ptrace::{self, Stop};

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

/// Confines a thread that answers calls. Where an interrupt takes a waiting call back (before Linux 5.19), such a thread has to
/// suspend a guest's filters, which nobody may who has one.
pub(super) fn confine() -> Result<(), Failure> {
    if *WAITS_KILLABLE { confined::confine(Role::Calls) } else { confined::drop_capabilities(Role::Calls) }
}

type Job = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Makes the threads that trace a zone's tasks. They are under no filter: who suspends a guest's must have none
/// (PTRACE_O_SUSPEND_SECCOMP of ptrace(2)), and those who answer calls have one, as all that they make.
#[derive(Debug)]
pub struct Tracers(Sender<(Job, SyncSender<JoinHandle<io::Result<()>>>)>);

impl Tracers {
    /// To be called by a thread that is not confined.
    pub fn begin(owner: u32) -> io::Result<Self> {
        let (requests, jobs) = mpsc::channel::<(Job, SyncSender<JoinHandle<io::Result<()>>>)>();
        let work = move || {
            let is_one = confined::become_owner(owner);
            if let Err(failure) = is_one.and_then(|()| confined::drop_capabilities(Role::Calls)) {
                tracing::error!(why = failure.sentence(), "cannot trace the zone's tasks");
                return;
            }
            for (job, answer) in jobs {
                let tracer = thread::Builder::new().name("tracer".to_owned()).stack_size(256 * 1024);
                if let Ok(tracer) = tracer.spawn(job) {
                    let _ = answer.send(tracer);
                }
            }
        };
        thread::Builder::new().name("tracers".to_owned()).stack_size(64 * 1024).spawn(work)?;
        Ok(Self(requests))
    }

    /// Does the work on a thread of its own, and waits for the thread's end.
    fn run(&self, job: Job) -> io::Result<()> {
        let (answer, made) = mpsc::sync_channel(1);
        self.0.send((job, answer)).map_err(|_| Errno::ESRCH)?;
        let tracer = made.recv().map_err(|_| Errno::EAGAIN)?;
        tracer.join().unwrap_or(Ok(()))
    }
}

/// Answers a call with Continue and rewrites what it brought into memory.
pub fn watch(
    zone: &Arc<Zone>,
    listener: &Arc<Listener>,
    notification: &Notification,
    call: &Call,
    what: Watch,
) {
    let id = notification.id;
    let go_on = move |listener: &Listener| {
        // ENOENT: the caller was killed meanwhile.
        let _ = listener.respond(id, Response::Continue);
    };
    if what == Watch::Mapping {
        let link = format!("/proc/{}/fd/{}", notification.pid, call.int(4));
        // What cannot be read is not mapped either, or the guest changed its mind.
        if !zone.files.is_to_be_rewritten(&link, call.int(2) & libc::PROT_EXEC != 0) {
            return go_on(listener);
        }
    }
    let mut mounting = None;
    if what == Watch::Proc {
        match Mounting::of(zone, listener, notification, call) {
            Ok(found) => mounting = Some(found),
            Err(_) => return go_on(listener),
        }
    }
    let _turn = Turn::take(Pid::from_raw(notification.pid));
    if !listener.is_valid(notification.id) {
        // It is answered already, or will come again.
        return;
    }
    // The end of a tracer lets go of all that it traces, of the dead too, which their parent gets to
    // see then. So this one ends with its work.
    let (own, heard, notified) = (Arc::clone(zone), Arc::clone(listener), *notification);
    let work = move || trace(&own, &notified, what, mounting, || go_on(&heard));
    let traced = match &zone.tracers {
        Some(tracers) => tracers.run(Box::new(work)),
        None => Err(Errno::ENOSYS.into()),
    };
    if let Err(error) = traced {
        // The call may not have been answered yet; one that was is answered to nobody.
        go_on(listener);
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
    follow(|stop| match (what, *stop) {
        (Watch::Program, Stop::Executed(task)) => {
            // What cannot be rewritten does not keep the rest from being done.
            let rewritten =
                if zone.world.rewrites_vsyscall { vsyscall::rewrite(&zone.files, stop) } else { Ok(()) };
            if brands::platform::is_linux32(zone.world.personality) {
                setid::repair(task, zone.world.personality)?;
            }
            if let Some(level) = zone.world.level.filter(|_| zone.world.strict) {
                tell_level(zone, task, level)?;
            }
            rewritten
        }
        (Watch::Mapping, Stop::Signal(..) | Stop::Interrupted(_) | Stop::Call(_)) => {
            vsyscall::rewrite(&zone.files, stop)
        }
        (Watch::Proc, Stop::Signal(task, _) | Stop::Interrupted(task) | Stop::Call(task)) => match mounting {
            Some(mounting) if ptrace::registers(task)?.rax == 0 => mounting.dress(zone),
            _ => Ok(()),
        },
        _ => Ok(()),
    })
}

/// Has a strict zone's new program find its level in the vDSO, and writes down what it says that it needs.
fn tell_level(zone: &Zone, task: Pid, level: Level) -> io::Result<()> {
    let Some(needs) = notes::tell(task, level)?.filter(|needs| *needs > level) else { return Ok(()) };
    let abi = if ptrace::is_32bit(&ptrace::registers(task)?) { Abi::I386 } else { Abi::X86_64 };
    let name = || std::fs::read(format!("/proc/{task}/comm")).unwrap_or_default().trim_ascii_end().to_vec();
    zone.ledger.count_tag(abi, needs, name);
    Ok(())
}

/// Where an interrupt takes a waiting call back (before Linux 5.19): has the task begin its call anew, outside its filters,
/// and stop at the call's end. `false`: it is let go instead, and will make its call once more, or never.
fn begin_anew(task: Pid, call: i32) -> io::Result<bool> {
    ptrace::interrupt(task)?;
    match ptrace::wait()? {
        Stop::Interrupted(task) => {
            ptrace::unfiltered(task)?;
            ptrace::go_on(task, 0)?;
        }
        other => return let_go(other).map(|()| false),
    }
    match ptrace::wait()? {
        // A signal's handler may have been first, and makes calls of its own.
        Stop::Call(task) if ptrace::registers(task)?.orig_rax as i32 == call => ptrace::go_on(task, 0)?,
        other => return let_go(other).map(|()| false),
    }
    Ok(true)
}

/// Lets a task go from a stop that nothing is to be done in.
fn let_go(stop: Stop) -> io::Result<()> {
    let Some(task) = stop.task() else { return Ok(()) };
    match ptrace::detach(task, stop.signal()) {
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
        let mut task = GuestTask::new(zone, listener, notification, None);
        let target = task.read_cstr(call.ptr(1), libc::PATH_MAX as usize)?;
        Ok(Self { guest: task.guest()?, target: CString::new(target).map_err(|_| Errno::EINVAL)? })
    }

    /// Lays the zone's forms of files over those of the new proc.
    fn dress(self, zone: &Zone) -> io::Result<()> {
        let files = visit::proc_files(zone)?;
        Ok(visit::visit(zone, self.guest, |place| place.dress(&self.target, &files))?)
    }
}

/// Waits for the seized task's stop, does `work` in it and lets the task go from the stop that this leaves it in.
fn follow(work: impl FnOnce(&mut Stop) -> io::Result<()>) -> io::Result<()> {
    let mut stop = ptrace::wait()?;
    let done = work(&mut stop);
    let gone = let_go(stop);
    done.and(gone)
}
