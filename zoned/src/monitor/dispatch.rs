//! Threads that answer a filter's notified calls from the brand's table.
//!
//! Of a listener's threads one at a time receives calls, and answers most of them before it receives the next: a call
//! handed from thread to thread costs more than most answers ([`super::post`]). When several waited in the kernel,
//! which takes turns with them, the scheduler spread them over the CPUs, and on a busy host a call took 100 µs in place
//! of 6.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use brands::abi::Abi;
use brands::call::{Call, Reply};
use brands::engine::{Compiled, Done};
use brands::table::Why;
use brands::task::{Differs, SystemInfo, World, ZoneRequest};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::confined::{self, Worker};
use super::kmsg::Kmsg;
use super::ledger::Ledger;
use super::post::{Answering, Post};
use super::task::GuestTask;
use super::{trace, vsyscall};
use crate::confine::{Failure, Ids};
use crate::sys::notify::{Listener, Notification, Response};

/// Most threads that answer one listener's calls. Each beyond two is there because a guest's call
/// holds up another.
const MOST_THREADS: usize = 64;

/// Most threads that wait for their turn; others end.
const MOST_IDLE: usize = 8;

/// Whether waiting for a call ends with error ENOENT when no task has the filter any more: Linux
/// 6.11, "seccomp: interrupt SECCOMP_IOCTL_NOTIF_RECV when all users have exited".
static RECEIVE_ENDS: LazyLock<bool> = LazyLock::new(|| {
    let release = nix::sys::utsname::uname().map(|names| names.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 11)
});

/// What every handler of a zone may need.
#[derive(Debug)]
pub struct Zone {
    /// The brand's table at the zone's level.
    pub compiled: Arc<Compiled>,
    /// The kernel that the zone is told of.
    pub world: World,
    /// What of the host it has.
    pub share: Arc<super::share::Share>,
    /// What sysinfo(2) tells of that.
    pub figures: super::share::Recent<SystemInfo>,
    /// Its ids.
    pub ids: Ids,
    /// Its kernel log.
    pub kmsg: Kmsg,
    /// pidfd of process 1.
    pub init: OwnedFd,
    /// Host number of process 1, good while `init` is not reaped.
    pub init_pid: i32,
    /// How many of its callers have a thread to themselves: those that perform calls in place of their own, and those that wait
    /// for the log.
    pub held: AtomicUsize,
    /// What may be another in one of its tasks than in the rest.
    pub differs: Differences,
    /// Inode of its UTS namespace.
    pub uts: u64,
    /// Inode of its user namespace.
    pub userns: u64,
    /// Inode of its pid namespace.
    pub pidns: u64,
    /// Inode of its mount namespace.
    pub mntns: u64,
    /// Files below /proc that the boot showed in a form of the brand's.
    pub proc_files: Vec<CString>,
    /// Its /dev.
    pub dev: OwnedFd,
    /// Whether its root is a file system of its own.
    pub root_is_own: bool,
    /// Of what it writes, where programs are told of it by the brand.
    pub quota: Option<Arc<crate::sys::btrfs::Usage>>,
    /// What is known of programs' ends.
    pub programs: super::space::Programs,
    /// What is known of files that use the vsyscall page.
    pub files: vsyscall::Files,
    /// What the brand did, by call and outcome.
    pub ledger: Arc<Ledger>,
    /// Those who trace its tasks; none where no call is notified.
    pub tracers: Option<trace::Tracers>,
}

/// Which of a zone's facts have to be asked of each task.
#[derive(Debug, Default)]
pub struct Differences {
    personality: AtomicBool,
    names: AtomicBool,
}

impl Differences {
    fn flag(&self, what: Differs) -> &AtomicBool {
        match what {
            Differs::Personality => &self.personality,
            Differs::Names => &self.names,
        }
    }

    /// From now on it may.
    pub fn note(&self, what: Differs) {
        self.flag(what).store(true, Ordering::Release);
    }

    /// Whether it may.
    pub fn may(&self, what: Differs) -> bool {
        self.flag(what).load(Ordering::Acquire)
    }
}

impl Zone {
    /// Asks for the end of the zone as reboot(2) would: in a pid namespace the kernel ends process
    /// 1 with SIGHUP for a restart and SIGINT for a halt.
    pub fn request(&self, what: ZoneRequest) -> Result<(), Errno> {
        tracing::info!(?what, "guest asks for its end");
        crate::sys::process::signal(self.init.as_fd(), libc::SIGKILL)
    }
}

#[derive(Debug)]
struct Team {
    listener: Arc<Listener>,
    zone: Arc<Zone>,
    post: Post,
    over: AtomicBool,
    threads: AtomicUsize,
}

/// Answers the calls of process 1 and all that it starts, which `listener` notifies, until none of them has its filter any more.
pub(super) fn serve(listener: OwnedFd, zone: &Arc<Zone>, worker: &mut Worker) {
    let team = Team::of(listener, zone);
    team.threads.store(1, Ordering::Relaxed);
    told(worker.run_last(move || team.if_entered(Team::work)));
}

/// The same of a program that enters a zone, by threads that `worker` makes: so it waits for no filter to be set.
pub(super) fn serve_entering(listener: OwnedFd, zone: &Arc<Zone>, worker: &mut Worker) {
    let team = Team::of(listener, zone);
    told(worker.run(move || team.if_entered(|team| team.start_thread())));
}

fn told(begun: io::Result<()>) {
    if let Err(error) = begun {
        tracing::error!(%error, "nobody answers the zone's calls");
    }
}

impl Team {
    fn of(listener: OwnedFd, zone: &Arc<Zone>) -> Arc<Self> {
        Arc::new(Self {
            listener: Arc::new(Listener::new(listener)),
            zone: Arc::clone(zone),
            post: Post::default(),
            over: AtomicBool::new(false),
            threads: AtomicUsize::new(0),
        })
    }

    fn if_entered(self: Arc<Self>, then: impl FnOnce(Arc<Self>)) {
        match self.enter() {
            Ok(()) => then(self),
            Err(failure) => tracing::error!(why = failure.sentence(), "nobody answers the zone's calls"),
        }
    }

    fn start_thread(self: &Arc<Self>) {
        let team = Arc::clone(self);
        self.threads.fetch_add(1, Ordering::Relaxed);
        let name = "brand".to_owned();
        let started = thread::Builder::new().name(name).stack_size(256 * 1024).spawn(move || team.work());
        if let Err(error) = started {
            self.threads.fetch_sub(1, Ordering::Relaxed);
            tracing::error!(%error, "cannot start a thread for a brand's calls");
        }
    }

    fn work(self: Arc<Self>) {
        loop {
            self.post.take();
            // Those whose callers waited long are many afterwards.
            if !self.hold_post() || self.post.waiting() >= MOST_IDLE {
                break;
            }
        }
        self.threads.fetch_sub(1, Ordering::Relaxed);
    }

    /// Has the calling thread, and those that it makes, be of the zone's owner.
    fn enter(&self) -> Result<(), Failure> {
        // The thread tells the zone's host name by being in its UTS namespace.
        if let Err(error) = crate::sys::process::set_namespace(self.zone.init.as_fd(), libc::CLONE_NEWUTS) {
            tracing::warn!(%error, "cannot enter the zone's UTS namespace");
        }
        confined::become_owner(self.zone.ids.base)
    }

    /// Receives and answers calls for as long as this thread has the post; false when it must end.
    fn hold_post(self: &Arc<Self>) -> bool {
        while let Some(notification) = self.next_call() {
            let answering = self.post.begin();
            // Those who have a caller to themselves are bounded on their own.
            let busy =
                self.threads.load(Ordering::Relaxed).saturating_sub(self.zone.held.load(Ordering::Relaxed));
            if self.post.waiting() == 0 && busy < MOST_THREADS {
                self.start_thread();
            }
            let goes_on = self.answer(&notification, &answering);
            if !goes_on {
                answering.pass();
            }
            if !answering.end() {
                return goes_on;
            }
        }
        self.post.leave();
        false
    }

    fn next_call(&self) -> Option<Notification> {
        while !self.over.load(Ordering::Acquire) {
            // A call that is not yet received can be interrupted by a signal, so it is received at
            // once where a wait for it ends with its last caller (Linux 6.11); older kernels would
            // wait for ever, so there the end is looked out for.
            if !*RECEIVE_ENDS && !self.has_call() {
                self.over.store(true, Ordering::Release);
                continue;
            }
            match self.listener.receive() {
                Ok(notification) if self.answer_at_once(&notification) => {}
                Ok(notification) => return Some(notification),
                // The caller was killed meanwhile, or there is none any more.
                Err(Errno::ENOENT | Errno::EINTR) => {
                    if self.has_ended() {
                        self.over.store(true, Ordering::Release);
                    }
                }
                Err(_) => self.over.store(true, Ordering::Release),
            }
        }
        None
    }

    /// Waits for a call; false when no task has the filter any more.
    fn has_call(&self) -> bool {
        loop {
            let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(_) => return false,
                Ok(_) => return fds[0].revents().is_some_and(|e| e.contains(PollFlags::POLLIN)),
            }
        }
    }

    /// Whether no task has the filter any more (POLLHUP, Linux 5.9).
    fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::empty())];
        let polled = poll(&mut fds, PollTimeout::ZERO).is_ok();
        polled && fds[0].revents().is_some_and(|e| e.contains(PollFlags::POLLHUP))
    }

    /// Answers a call whose answer stands in the table, which holds up nobody; false for others.
    fn answer_at_once(&self, notification: &Notification) -> bool {
        let compiled = &self.zone.compiled;
        let Some(call) = call_of(notification) else { return false };
        let Some(answer) = compiled.fixed(&call) else { return false };
        let program = || GuestTask::new(&self.zone, &self.listener, notification, None).program();
        self.zone.ledger.count(&call, compiled.done(&call, &answer.map(Reply::Value)), None, program);
        let response = answer.map_or_else(Response::Error, Response::Value);
        // ENOENT: the caller was killed meanwhile.
        let _ = self.listener.respond(notification.id, response);
        true
    }

    /// Answers a call; false when this thread must end, to let go what it traces.
    fn answer(&self, notification: &Notification, answering: &Answering<'_>) -> bool {
        let Some(call) = call_of(notification) else {
            let _ = self.listener.respond(notification.id, Response::Error(Errno::ENOSYS));
            return true;
        };
        let compiled = &self.zone.compiled;
        let mut task = GuestTask::new(&self.zone, &self.listener, notification, Some(answering));
        let mut answered = compiled.answer(&mut task, &call);
        let done = compiled.done(&call, &answered);
        tracing::trace!(?call, ?answered, ?done, "call");
        let withholds = || compiled.row(&call).and_then(|row| row.why).is_some_and(Why::withholds);
        let withheld = matches!(done, Done::Masked | Done::Refused) && withholds();
        if withheld && task.is_ours() {
            // Between the filter and exec our own code goes on, which no level binds.
            answered = Ok(Reply::Continue);
        } else {
            // Before the answer, so that the caller is still there, and a run's end finds all counted.
            let needs = if done == Done::Masked { compiled.needs(&call) } else { None };
            self.zone.ledger.count(&call, done, needs, || task.program());
        }
        if let Some(held) = task.take_held() {
            return held.finish(&answered);
        }
        let response = match answered {
            Ok(Reply::Value(value)) => Response::Value(value),
            Ok(Reply::Continue) => Response::Continue,
            Ok(Reply::Watch(what)) => {
                answering.pass();
                trace::watch(&self.zone, &self.listener, notification, &call, what);
                return true;
            }
            Err(errno) => Response::Error(errno),
            Ok(Reply::Fd { file, cloexec }) => match task.file(file) {
                Some(file) => {
                    let _ = self.listener.respond_with_fd(notification.id, file, cloexec);
                    return true;
                }
                None => Response::Error(Errno::EBADF),
            },
        };
        // ENOENT: the caller was killed meanwhile.
        let _ = self.listener.respond(notification.id, response);
        true
    }
}

fn call_of(notification: &Notification) -> Option<Call> {
    let abi = [Abi::X86_64, Abi::I386].into_iter().find(|abi| abi.audit_arch() == notification.arch)?;
    Some(Call { abi, nr: notification.nr as u32, args: notification.args, ip: notification.ip })
}

/// Whether the file that something executes is our own program: it was not yet executed into another, or is our reaper.
pub fn is_ours(exe: (u64, u64)) -> bool {
    static OURS: LazyLock<Option<(u64, u64)>> = LazyLock::new(|| file_id("/proc/self/exe"));
    Some(exe) == *OURS
}

/// The same of a process.
pub fn runs_ours(pid: impl std::fmt::Display) -> bool {
    file_id(&format!("/proc/{pid}/exe")).is_some_and(is_ours)
}

/// Device and inode.
pub fn file_id(path: &str) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}
