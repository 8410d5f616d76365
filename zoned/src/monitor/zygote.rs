//! The process that monitors are forked from. It has one thread, and has done beforehand what every monitor would
//! do first; so a monitor costs a fork, and shares with the others what none of them changes.
//!
//! A spare waits for the next zone already: zoned's request reaches it at once, and the zygote makes another.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin};

use super::brand::{Branded, Disks};
use super::confined::{self, Worker};
use super::ledger::Ledger;
use super::wire::{self, Asked, Request, Said};
use crate::config::Config;
use crate::sys::{process, scm};

/// Room for the longest name of a zone where programs look for it (proc_pid_cmdline(5)).
const ROOM: usize = 80;

/// zoned's side.
#[derive(Debug)]
pub struct Zygote {
    requests: OwnedFd,
    child: Mutex<Child>,
}

impl Zygote {
    /// Starts one: `program` with `arguments` and this module's verb.
    pub fn start(program: &Path, arguments: &[&OsStr]) -> io::Result<Self> {
        let (requests, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let child = Command::new(program)
            .arg0("zoned")
            .args(arguments)
            .args(["zygote", &" ".repeat(ROOM)])
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .current_dir("/")
            // Not to be ended by the keys of zoned's terminal.
            .process_group(0)
            .spawn()?;
        Ok(Self { requests, child: Mutex::new(child) })
    }

    /// Whether it has ended.
    pub fn is_gone(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(child.try_wait(), Ok(None))
    }

    /// Makes a monitor for zone `name`, which speaks over `control` and writes its log to `log`.
    pub fn make(&self, name: &str, control: BorrowedFd<'_>, log: &File) -> io::Result<()> {
        // Spares that were killed are our children, and nobody else looks for their end.
        let group = self.child.lock().unwrap_or_else(PoisonError::into_inner).id();
        process::reap_group(Pid::from_raw(group as i32), Duration::ZERO);
        scm::send(&self.requests, name.as_bytes(), &[control, log.as_fd()])?;
        Ok(())
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // It and the spare end with the requests.
        let _ = nix::sys::socket::shutdown(self.requests.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.wait();
        process::reap_group(Pid::from_raw(child.id() as i32), Duration::from_secs(1));
    }
}

/// A process that is to be a monitor.
#[derive(Debug)]
pub struct Taken {
    /// Name of the zone.
    pub name: String,
    /// Its connection to zoned.
    pub control: OwnedFd,
    /// Who is to answer the zone's calls.
    pub worker: Worker,
}

/// How many processes wait to be monitors.
const SPARES: usize = 2;

/// How long the zygote leaves the processor to a zone that is booting, in milliseconds, while it has another spare.
const BREATH: u8 = 25;

/// Makes spares as they are taken; returns in each that was, and `None` where zoned is gone. `arguments` are those
/// that the process was started with.
pub fn serve(requests: OwnedFd, arguments: &[String]) -> Result<Option<Taken>, Errno> {
    // The last is the room for names.
    let shown = arguments.get(..arguments.len().saturating_sub(1)).unwrap_or_default();
    let mut title = process::Title::take();
    if let Some(title) = &mut title {
        title.show(shown.iter().map(String::as_str));
    }
    let _ = prctl::set_name(c"zone-zygote");
    let null = File::open("/dev/null").map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0)))?;
    warm();
    // Each spare holds the other end of one of these until it is taken.
    let mut spares: Vec<OwnedFd> = Vec::new();
    loop {
        while spares.len() < SPARES {
            let (taken, held) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            match process::fork()? {
                ForkResult::Parent { child } => {
                    drop(held);
                    let _ = waitpid(child, None);
                    spares.push(taken);
                }
                ForkResult::Child => match process::fork() {
                    // Its parent is zoned from now on, which is our subreaper.
                    Ok(ForkResult::Child) => return spare(&requests, shown, title, &null),
                    Ok(ForkResult::Parent { .. }) => process::exit_now(0),
                    Err(_) => process::exit_now(1),
                },
            }
        }
        if !wait(&requests, &mut spares, PollTimeout::NONE) {
            return Ok(None);
        }
        if !spares.is_empty() && !wait(&requests, &mut spares, BREATH.into()) {
            return Ok(None);
        }
    }
}

/// Waits until a spare is taken and takes it from the list; whether zoned is still there.
fn wait(requests: &OwnedFd, spares: &mut Vec<OwnedFd>, patience: PollTimeout) -> bool {
    let mut fds: Vec<_> = spares.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
    fds.push(PollFd::new(requests.as_fd(), PollFlags::empty()));
    while poll(&mut fds, patience) == Err(Errno::EINTR) {}
    let is_over = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
    let gone: Vec<bool> = fds.iter().map(is_over).collect();
    let mut those = gone.iter();
    spares.retain(|_| those.next() == Some(&false));
    gone.last() == Some(&false)
}

/// Does what does not depend on the zone: tables are indexed, and what a boot will use of the heap and the program is
/// in this process's memory.
fn warm() {
    confined::prepare();
    for brand in brands::table::all() {
        let text = format!("name = \"warm\"\nbrand = \"{}\"\n", brand.name);
        let Ok(config) = Config::parse(&text, "zygote") else { continue };
        for wide_inodes in [false, true] {
            let disks = Disks { wide_inodes, has_quota: false };
            if let Ok(branded) = Branded::of(&config, None, &[], disks, None) {
                branded.share(&config);
            }
        }
        let asked = Asked { number: 0, request: Request::Limit(Box::new(config)) };
        let line = serde_json::to_vec(&asked).unwrap_or_default();
        drop(serde_json::from_slice::<Asked>(&line));
    }
    drop(Ledger::default());
}

/// Waits to be taken.
fn spare(
    requests: &OwnedFd,
    shown: &[String],
    title: Option<process::Title>,
    null: &File,
) -> Result<Option<Taken>, Errno> {
    // What it shares with the zygote it copies when it first writes to it, which is better done before somebody waits.
    warm();
    super::settle();
    // In no thread of a monitor but by its descriptor for it is a child's end heard: one that does not block the signal takes it.
    SigSet::from(Signal::SIGCHLD).thread_block()?;
    let worker = Worker::ahead();
    let (name, fds) = scm::receive(requests, 4096, MsgFlags::empty())?;
    let Ok([control, log]) = <[OwnedFd; 2]>::try_from(fds) else { return Ok(None) };
    let name = String::from_utf8_lossy(&name).into_owned();
    let own = process::open(Pid::this())?;
    wire::send(&control, &Said::Hello, Some(&own))?;
    drop(own);
    // Until now it was of the zygote's group, by which zoned reaps those that nobody took, and those that it did not hear of.
    let _ = nix::unistd::setsid();
    // Where a log can be lost, a monitor need not be.
    let _ = dup2_stderr(&log);
    // It was the requests.
    let _ = dup2_stdin(null);
    if let (Some(mut title), Some((_, options))) = (title, shown.split_last()) {
        title.show(options.iter().map(String::as_str).chain(["monitor", &name]));
    }
    let _ = prctl::set_name(c"zone-monitor");
    Ok(Some(Taken { name, control, worker }))
}
