//! zoned's side of a monitor: start one, find one, talk to it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getsockopt, socket, socketpair, sockopt,
};
use nix::unistd::Pid;

use super::wire::{self, Asked, Event, Reply, Request, Said};
use super::zygote::Zygote;
use crate::confine::wait_readable;
use crate::sys::process::{self, Ended};

/// What reaches zoned unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// From the monitor.
    Event(Event),
    /// The connection ended: the monitor is gone.
    Lost {
        /// Signal that killed it, where it was our child.
        signal: Option<i32>,
    },
}

type Waiting = Arc<Mutex<HashMap<u64, Sender<Reply>>>>;

/// What was asked of a monitor and is not answered yet.
#[derive(Debug, Clone)]
pub struct Questions(Waiting);

impl Questions {
    /// Tells who waits that there will be no answer.
    pub fn give_up(&self) {
        give_up(&self.0);
    }
}

/// Who waits is told by the closed channel.
fn give_up(waiting: &Waiting) {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// A connection to a living monitor.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    waiting: Waiting,
    next: AtomicU64,
}

/// Why a monitor did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It went away.
    #[error("the zone's monitor is gone")]
    Gone,
    /// It does not take so much at once.
    #[error("the request is longer than {} KiB", wire::MAX / 1024)]
    TooLong,
}

impl Link {
    /// Has a monitor made for zone `name`, its log in `log`. News arrive at `news` until the connection ends.
    pub fn start(
        zygote: &Zygote,
        name: &str,
        log: &Path,
        news: impl Fn(News) + Send + 'static,
    ) -> io::Result<Self> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let log = std::fs::OpenOptions::new().append(true).create(true).open(log)?;
        zygote.make(name, theirs.as_fd(), &log)?;
        Self::over(ours, None, news)
    }

    /// Connects to the monitor that listens in `run_dir`; an error means that there is none.
    pub fn find(run_dir: &Path, news: impl Fn(News) + Send + 'static) -> io::Result<Self> {
        // Through a descriptor, since the path of a socket is at most 107 bytes long (unix(7)).
        let dir = std::fs::File::open(run_dir)?;
        let path = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), wire::SOCKET);
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
        let pidfd = peer(&socket).and_then(|pid| process::open(Pid::from_raw(pid)).ok());
        Self::over(socket, pidfd, news)
    }

    /// `found` is the pidfd of a monitor that another zoned made.
    fn over(
        socket: OwnedFd,
        found: Option<OwnedFd>,
        news: impl Fn(News) + Send + 'static,
    ) -> io::Result<Self> {
        let waiting: Waiting = Arc::default();
        let reader = socket.try_clone()?;
        let theirs = Arc::clone(&waiting);
        thread::Builder::new().name("monitor-link".into()).stack_size(256 * 1024).spawn(move || {
            let made = read(&reader, &theirs, &news);
            // It is gone only when it is no process any more.
            let signal = match (made, found) {
                // A child of ours, whose zygote is not its parent any more.
                (Some(pidfd), _) => match process::reap(pidfd.as_fd(), true) {
                    Ok(Some(Ended::Killed(signal))) => Some(signal.into()),
                    _ => None,
                },
                (None, Some(pidfd)) => {
                    wait_readable(pidfd.as_fd(), PATIENCE);
                    None
                }
                (None, None) => None,
            };
            give_up(&theirs);
            news(News::Lost { signal });
        })?;
        Ok(Self { socket, waiting, next: AtomicU64::new(1) })
    }

    /// Asks for something and waits for the answer; `fd` is a client's connection to hand over.
    pub fn ask(&self, request: Request, fd: Option<&OwnedFd>) -> Result<Reply, Unanswered> {
        self.send(request, fd)?.recv().map_err(|_| Unanswered::Gone)
    }

    fn send(&self, request: Request, fd: Option<&OwnedFd>) -> Result<Receiver<Reply>, Unanswered> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        let sent = wire::send(self.socket.as_fd(), &Asked { number, request }, fd);
        if sent.is_err() {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            return Err(if sent == Err(Errno::EMSGSIZE) { Unanswered::TooLong } else { Unanswered::Gone });
        }
        Ok(receiver)
    }

    /// What is asked by way of it.
    pub fn questions(&self) -> Questions {
        Questions(Arc::clone(&self.waiting))
    }

    /// Host pid of the monitor (SO_PEERCRED of unix(7)); for messages.
    pub fn pid(&self) -> Option<i32> {
        peer(&self.socket)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Ends the reader's wait.
        let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }
}

/// How long an adopted monitor may take from the end of its connection to its own.
const PATIENCE: Duration = Duration::from_secs(5);

fn peer(socket: &OwnedFd) -> Option<i32> {
    getsockopt(socket, sockopt::PeerCredentials).ok().map(|credentials| credentials.pid())
}

/// Until the connection ends; what the monitor said that it is.
fn read(socket: &OwnedFd, waiting: &Waiting, news: &impl Fn(News)) -> Option<OwnedFd> {
    let mut made = None;
    loop {
        match wire::receive::<Said>(socket, MsgFlags::empty()) {
            Ok(Some((Said::Hello, pidfd))) => made = pidfd,
            Ok(Some((Said::Reply(number, reply), _))) => {
                let asker = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
                if let Some(asker) = asker {
                    // One that no longer waits gets nothing.
                    let _ = asker.send(reply);
                }
            }
            Ok(Some((Said::Event(event), _))) => news(News::Event(event)),
            Err(Errno::EBADMSG) => {
                tracing::error!("a monitor sent a message that makes no sense");
                // It may have been the answer to any of them, and nobody waits for ever.
                give_up(waiting);
            }
            // Nothing was taken from the queue.
            Err(Errno::ENOMEM) => thread::sleep(Duration::from_millis(20)),
            Ok(None) | Err(_) => return made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::scm;

    #[test]
    fn who_gets_an_answer_that_makes_no_sense_waits_no_longer() {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let link = Link::over(ours, None, |_| {}).unwrap();
        let answers = thread::spawn(move || {
            for answer in [&b"{\"reply\":7}"[..], b"no JSON"] {
                let asked = wire::receive::<Asked>(&theirs, MsgFlags::empty()).unwrap();
                assert!(matches!(asked, Some((Asked { request: Request::Status, .. }, None))));
                scm::send(&theirs, answer, &[]).unwrap();
            }
            theirs
        });
        for _ in 0..2 {
            assert!(matches!(link.ask(Request::Status, None), Err(Unanswered::Gone)));
        }
        answers.join().unwrap();
    }
}
