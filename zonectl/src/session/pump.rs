//! Bytes between our descriptors and those of a program in a zone.
//!
//! Our own may be shared with other processes: their flags are left alone, and whatever they are,
//! blocking or not, works.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::{Errno, read, write};
use rustix::pipe::{SpliceFlags, splice};

/// Bytes at a time: what a pipe holds (pipe(7)).
pub(super) const PIECE: usize = 64 << 10;

/// VEOF of a terminal that nobody changed, ^D (termios(3)).
const EOF: &[u8] = &[4];

/// What the end of our stdin does to the program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// Closes it.
    Close,
    /// Types ^D, all that a terminal knows.
    TypeEof,
}

/// Which of the descriptors can be read or are at their end; waits until one is.
pub(super) fn ready<const N: usize>(descriptors: [BorrowedFd<'_>; N]) -> io::Result<[bool; N]> {
    let mut polled = descriptors.map(|d| PollFd::from_borrowed_fd(d, PollFlags::IN));
    loop {
        match poll(&mut polled, None) {
            Err(Errno::INTR) => {}
            Ok(_) => break,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(polled.map(|p| !p.revents().is_empty()))
}

fn wait_writable(to: BorrowedFd<'_>) -> io::Result<()> {
    let mut polled = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
    match poll(&mut polled, None) {
        Err(Errno::INTR) => Ok(()),
        other => other.map(drop).map_err(Into::into),
    }
}

/// Writes it all, also to a descriptor that somebody made nonblocking.
pub(super) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_writable(to)?,
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Reads once, also from a descriptor that somebody made nonblocking; 0 at the end.
pub(super) fn read_some(from: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match read(from, &mut *into) {
            Ok(n) => return Ok(n),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => drop(ready([from])?),
            // The last of a pty's slave ends is closed: an end like any other (pty(7)).
            Err(Errno::IO) => return Ok(0),
            Err(e) => return Err(e.into()),
        }
    }
}

/// Carries a program's output to `to` until its end, or until `stop` is closed and nothing is left.
///
/// # Errors
/// Those of writing, EPIPE among them.
pub(super) fn output(from: OwnedFd, to: OwnedFd, stop: impl AsFd) -> io::Result<()> {
    let (input, output) = (from.as_fd(), to.as_fd());
    let kind = |fd| rustix::fs::fstat(fd).map(|s| FileType::from_raw_mode(s.st_mode));
    // splice(2) moves pages instead of bytes. Only out of a zone: in the other direction pages of the host's
    // files would come into a guest's hands.
    let mut splicing =
        kind(input)? == FileType::Fifo && matches!(kind(output)?, FileType::Fifo | FileType::RegularFile);
    let mut buffer = Vec::new();
    loop {
        let [more, stopped] = ready([input, stop.as_fd()])?;
        if !more {
            if stopped {
                return Ok(());
            }
            continue;
        }
        if splicing {
            match splice(input, None, output, None, 16 * PIECE, SpliceFlags::empty()) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_writable(output)?,
                // A file opened for appending, or on a filesystem that cannot.
                Err(Errno::INVAL) => splicing = false,
                Err(e) => return Err(e.into()),
            }
            continue;
        }
        buffer.resize(PIECE, 0);
        match read_some(input, &mut buffer)? {
            0 => return Ok(()),
            n => write_all(output, &buffer[..n])?,
        }
    }
}

/// Carries our stdin to a program until its end, or until the program takes no more.
pub(super) fn input(from: OwnedFd, to: OwnedFd, at_end: AtEnd) {
    let mut buffer = vec![0; PIECE];
    // An stdin that cannot be read is at its end; a program that takes no more (EPIPE) ends by itself.
    while let Ok(n @ 1..) = read_some(from.as_fd(), &mut buffer) {
        if write_all(to.as_fd(), &buffer[..n]).is_err() {
            return;
        }
    }
    if at_end == AtEnd::TypeEof {
        let _ = write_all(to.as_fd(), EOF);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use super::*;

    /// 1 MiB in which every byte value stands, so that nothing that rewrites bytes passes.
    fn bytes() -> Vec<u8> {
        (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect()
    }

    fn through(to: File) -> File {
        let (from, mut writer) = io::pipe().unwrap();
        let (stopped, _stop) = io::pipe().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&bytes()).unwrap());
        let mut result = to.try_clone().unwrap();
        output(from.into(), to.into(), stopped).unwrap();
        writing.join().unwrap();
        result.rewind().unwrap();
        result
    }

    #[test]
    fn files_get_every_byte_spliced_or_appended() {
        for append in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("f");
            File::create(&path).unwrap();
            let mut options = File::options();
            let file = options.read(true).append(append).write(true).open(&path).unwrap();
            let mut read = Vec::new();
            through(file).read_to_end(&mut read).unwrap();
            assert!(read == bytes(), "append {append}");
        }
    }

    #[test]
    fn a_stop_ends_it_only_when_nothing_is_left() {
        let (from, mut writer) = io::pipe().unwrap();
        let (mut near, to) = io::pipe().unwrap();
        let (stopped, stop) = io::pipe().unwrap();
        writer.write_all(b"last words").unwrap();
        drop(stop);
        // The writer stays open, as that of a daemon the program left behind.
        output(from.into(), to.into(), stopped).unwrap();
        let mut text = String::new();
        near.read_to_string(&mut text).unwrap();
        assert_eq!(text, "last words");
    }

    #[test]
    fn a_reader_that_left_is_epipe_and_the_program_learns_it() {
        let (from, mut writer) = io::pipe().unwrap();
        let (near, to) = io::pipe().unwrap();
        let (stopped, _stop) = io::pipe().unwrap();
        drop(near);
        writer.write_all(b"x").unwrap();
        let error = output(from.into(), to.into(), stopped).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(writer.write_all(b"y").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn nonblocking_ends_of_others_work() {
        let (from, mut writer) = io::pipe().unwrap();
        let (mut near, to) = io::pipe().unwrap();
        let nonblocking = |fd: BorrowedFd<'_>| {
            rustix::fs::fcntl_setfl(fd, rustix::fs::OFlags::NONBLOCK).unwrap();
        };
        nonblocking(from.as_fd());
        nonblocking(to.as_fd());
        let carrying = std::thread::spawn(move || input(from.into(), to.into(), AtEnd::Close));
        let writing = std::thread::spawn(move || writer.write_all(&bytes()).unwrap());
        let mut read = Vec::new();
        near.read_to_end(&mut read).unwrap();
        carrying.join().unwrap();
        writing.join().unwrap();
        assert!(read == bytes());
    }
}
