//! zoned's side of a monitor: start one, find one, talk to it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, socket, socketpair};

use super::wire::{self, Asked, Event, Reply, Request, Said};

/// What reaches zoned unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// From the monitor.
    Event(Event),
    /// The connection ended: the monitor is gone.
    Lost,
}

type Waiting = Arc<Mutex<HashMap<u64, Sender<Reply>>>>;

/// A connection to a living monitor.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    waiting: Waiting,
    next: AtomicU64,
}

/// The monitor went away before it answered.
#[derive(Debug, thiserror::Error)]
#[error("the zone's monitor is gone")]
pub struct Gone;

impl Link {
    /// Starts a monitor: `program` with `arguments`, its connection as standard input, its log in
    /// `log`. News arrive at `news` until the connection ends.
    pub fn start(
        program: &Path,
        arguments: &[&OsStr],
        log: &Path,
        news: impl Fn(News) + Send + 'static,
    ) -> io::Result<Self> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let log = std::fs::OpenOptions::new().append(true).create(true).open(log)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .current_dir("/")
            .spawn()?;
        // Only while this zoned lives is the monitor its child; its end is learnt from the
        // connection, and this thread merely reaps it.
        thread::Builder::new().name("reap".into()).stack_size(64 * 1024).spawn(move || child.wait())?;
        Self::over(ours, news)
    }

    /// Connects to the monitor that listens in `run_dir`; an error means that there is none.
    pub fn find(run_dir: &Path, news: impl Fn(News) + Send + 'static) -> io::Result<Self> {
        // Through a descriptor, since the path of a socket is at most 107 bytes long (unix(7)).
        let dir = std::fs::File::open(run_dir)?;
        let path = format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), wire::SOCKET);
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
        Self::over(socket, news)
    }

    fn over(socket: OwnedFd, news: impl Fn(News) + Send + 'static) -> io::Result<Self> {
        let waiting: Waiting = Arc::default();
        let reader = socket.try_clone()?;
        let theirs = Arc::clone(&waiting);
        thread::Builder::new().name("monitor-link".into()).stack_size(256 * 1024).spawn(move || {
            read(&reader, &theirs, &news);
            // Whoever still waits is told by the closed channel.
            theirs.lock().unwrap_or_else(PoisonError::into_inner).clear();
            news(News::Lost);
        })?;
        Ok(Self { socket, waiting, next: AtomicU64::new(1) })
    }

    /// Asks for something and waits for the answer; `fd` is a client's connection to hand over.
    pub fn ask(&self, request: Request, fd: Option<&OwnedFd>) -> Result<Reply, Gone> {
        self.send(request, fd)?.recv().map_err(|_| Gone)
    }

    fn send(&self, request: Request, fd: Option<&OwnedFd>) -> Result<Receiver<Reply>, Gone> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sender);
        let sent = wire::send(self.socket.as_fd(), &Asked { number, request }, fd);
        if sent.is_err() {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            return Err(Gone);
        }
        Ok(receiver)
    }

    /// Host pid of the monitor (SO_PEERCRED of unix(7)); for messages.
    pub fn pid(&self) -> Option<i32> {
        nix::sys::socket::getsockopt(&self.socket, nix::sys::socket::sockopt::PeerCredentials)
            .ok()
            .map(|c| c.pid())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Ends the reader's wait.
        let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }
}

fn read(socket: &OwnedFd, waiting: &Waiting, news: &impl Fn(News)) {
    loop {
        match wire::receive::<Said>(socket, MsgFlags::empty()) {
            Ok(Some((Said::Reply(number, reply), _))) => {
                let asker = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
                if let Some(asker) = asker {
                    // One that no longer waits gets nothing.
                    let _ = asker.send(reply);
                }
            }
            Ok(Some((Said::Event(event), _))) => news(News::Event(event)),
            Err(Errno::EBADMSG) => tracing::error!("a monitor sent a message that makes no sense"),
            Ok(None) | Err(_) => return,
        }
    }
}
