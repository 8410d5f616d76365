//! A zone's console: one terminal, watched by any number of clients, kept in a file. And its screens, which nobody watches.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::sys::tty;

/// Bytes of the past that a new client is shown.
const TAIL: usize = 4096;

/// Size at which console.log is put aside as console.log.0.
const MOST_LOG: u64 = 1 << 20;

/// Most bytes kept for a client that does not read; beyond them it loses output.
const MOST_PENDING: usize = 256 * 1024;

/// The console of a zone, over all its boots.
#[derive(Debug)]
pub struct Console {
    terminal: Option<Terminal>,
    screens: Vec<Terminal>,
    tail: VecDeque<u8>,
    log: Log,
    viewers: Vec<Viewer>,
    next: u64,
}

#[derive(Debug)]
struct Terminal {
    master: File,
    /// Keeps the terminal from hanging up while no guest process has it open.
    peer: Option<OwnedFd>,
}

/// A client's data connection.
#[derive(Debug)]
struct Viewer {
    number: u64,
    data: UnixStream,
    pending: VecDeque<u8>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
}

impl Console {
    /// A console that logs to `path`.
    pub fn new(path: &Path) -> Self {
        let log = Log { path: path.to_owned(), file: None, size: 0 };
        Self { terminal: None, screens: Vec::new(), tail: VecDeque::new(), log, viewers: Vec::new(), next: 0 }
    }

    /// Takes over the terminals of a new boot.
    pub fn connect(&mut self, master: OwnedFd, screens: Vec<OwnedFd>) {
        self.terminal = Some(Terminal::of(master));
        self.screens = screens.into_iter().map(Terminal::of).collect();
    }

    /// Shows what the terminal still holds and lets go of it.
    pub fn disconnect(&mut self) {
        self.read_terminal();
        self.terminal = None;
        self.screens.clear();
    }

    /// The screens, to wait for output on.
    pub fn screens(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.screens.iter().map(|screen| screen.master.as_fd()).enumerate()
    }

    /// Takes what the guest wrote on a screen, so that who writes there does not come to wait.
    pub fn drain_screen(&mut self, number: usize) {
        let Some(screen) = self.screens.get_mut(number) else { return };
        let is_there = match screen.master.read(&mut [0; 8192]) {
            Err(e) if e.raw_os_error() == Some(libc::EIO) => screen.reopen(),
            _ => true,
        };
        if !is_there {
            self.screens.remove(number);
        }
    }

    /// The terminal, to wait for output on.
    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().map(|t| t.master.as_fd())
    }

    /// Connections to wait on, and whether each also waits to be written to.
    pub fn viewers(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, bool)> {
        self.viewers.iter().map(|v| (v.number, v.data.as_fd(), !v.pending.is_empty()))
    }

    /// Adds a client, which is shown the end of what there was; the answer is its side.
    pub fn add_viewer(&mut self) -> io::Result<(u64, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let number = self.next;
        self.next += 1;
        let mut viewer = Viewer { number, data: ours, pending: self.tail.clone() };
        viewer.flush();
        self.viewers.push(viewer);
        Ok((number, theirs))
    }

    /// Lets a client go.
    pub fn remove_viewer(&mut self, number: u64) {
        self.viewers.retain(|v| v.number != number);
    }

    /// Sets the terminal's size.
    pub fn resize(&self, rows: u16, columns: u16) {
        if let Some(terminal) = &self.terminal {
            let _ = tty::set_size(terminal.master.as_fd(), rows, columns);
        }
    }

    /// Passes on what the guest wrote, as much as is there.
    pub fn read_terminal(&mut self) {
        let mut buffer = [0; 8192];
        for _ in 0..16 {
            let Some(terminal) = &mut self.terminal else { return };
            match terminal.master.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => self.show(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.raw_os_error() == Some(libc::EIO) => {
                    if !terminal.reopen() {
                        self.terminal = None;
                    }
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// Passes on what a client typed; false when it is gone.
    pub fn read_viewer(&mut self, number: u64) -> bool {
        let Some(viewer) = self.viewers.iter_mut().find(|v| v.number == number) else { return false };
        viewer.flush();
        let mut buffer = [0; 4096];
        match viewer.data.read(&mut buffer) {
            Ok(0) => {
                self.remove_viewer(number);
                false
            }
            Ok(n) => {
                if let Some(terminal) = &mut self.terminal {
                    // A guest that does not read loses input, as on a serial line.
                    let _ = terminal.master.write(&buffer[..n]);
                }
                true
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => true,
            Err(_) => {
                self.remove_viewer(number);
                false
            }
        }
    }

    fn show(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.log.write(bytes);
        for viewer in &mut self.viewers {
            if viewer.pending.len() + bytes.len() <= MOST_PENDING {
                viewer.pending.extend(bytes);
            }
            viewer.flush();
        }
    }
}

impl Terminal {
    fn of(master: OwnedFd) -> Self {
        let _ = nix::fcntl::fcntl(&master, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK));
        let peer = tty::open_peer(master.as_fd()).ok();
        Self { master: File::from(master), peer }
    }

    /// The last session on it ended and hung it up; a new opener revives it.
    fn reopen(&mut self) -> bool {
        self.peer = tty::open_peer(self.master.as_fd()).ok();
        self.peer.is_some()
    }
}

impl Viewer {
    fn flush(&mut self) {
        while !self.pending.is_empty() {
            match self.data.write(self.pending.make_contiguous()) {
                Ok(n) => {
                    self.pending.drain(..n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

impl Log {
    fn open(&mut self) {
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path);
        self.file = opened.ok();
        self.size = self.file.as_ref().and_then(|f| f.metadata().ok()).map_or(0, |m| m.len());
    }

    /// A full disk costs lines of the log, never the console.
    fn write(&mut self, bytes: &[u8]) {
        if self.size + bytes.len() as u64 > MOST_LOG {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".0");
            let _ = fs::rename(&self.path, aside);
            self.file = None;
        }
        if self.file.is_none() {
            self.open();
        }
        if let Some(file) = &mut self.file
            && file.write_all(bytes).is_ok()
        {
            self.size += bytes.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_see_the_past_and_the_present_and_type() {
        let dir = tempfile::tempdir().unwrap();
        let mut console = Console::new(&dir.path().join("console.log"));
        let pty = nix::pty::openpty(None, None).unwrap();
        nix::sys::termios::tcgetattr(&pty.slave)
            .and_then(|mut t| {
                nix::sys::termios::cfmakeraw(&mut t);
                nix::sys::termios::tcsetattr(&pty.slave, nix::sys::termios::SetArg::TCSANOW, &t)
            })
            .unwrap();
        let mut guest = File::from(pty.slave);
        console.connect(pty.master, Vec::new());
        guest.write_all(b"login: ").unwrap();
        console.read_terminal();
        let (number, mut client) = console.add_viewer().unwrap();
        let mut buffer = [0; 64];
        let n = client.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"login: ");
        client.write_all(b"root").unwrap();
        assert!(console.read_viewer(number));
        let n = guest.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..n], b"root");
        drop(client);
        assert!(!console.read_viewer(number));
        assert_eq!(fs::read(dir.path().join("console.log")).unwrap(), b"login: ");
    }
}
