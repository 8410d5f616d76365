//! A session: an upgraded connection with descriptors on it.
//!
//! The request is written and its answer read here, not by an HTTP library: the monitor may send
//! `Started` right behind the 101, and a read(2) that takes the first byte of it without recvmsg(2)
//! loses the descriptors for good (unix(7), SCM_RIGHTS).

use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{Result, http};
use crate::{ApiError, ErrorKind, SessionEvent, SessionInput};

/// Most descriptors on one message: three, with room for a later version's.
const DESCRIPTORS: usize = 8;

/// Longest head or line that is taken.
const LONGEST: usize = 64 << 10;

/// An open session. Closing it tells the monitor that nobody cares any more.
#[derive(Debug)]
pub struct Session {
    /// The connection.
    pub stream: UnixStream,
    /// Bytes that came and are not yet a whole line.
    pub leftover: Vec<u8>,
    /// Descriptors that came and whose line was not yet taken.
    descriptors: Vec<OwnedFd>,
}

impl Session {
    /// Asks for a session and waits for the 101.
    pub(super) fn open(socket: &Path, path: &str, body: &[u8]) -> Result<Self> {
        let broken = |e: &io::Error| http::gone(path, &http::reason(e));
        let stream = http::connect(socket)?;
        let mut session = Self { stream, leftover: Vec::new(), descriptors: Vec::new() };
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: zoned\r\nConnection: Upgrade\r\nUpgrade: zones-session\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        session.stream.write_all(&request).map_err(|e| broken(&e))?;
        let end = loop {
            if let Some(at) = session.leftover.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if session.leftover.len() > LONGEST || !session.fill().map_err(|e| broken(&e))? {
                return Err(http::gone(path, "it closed the connection without an answer"));
            }
        };
        let head = Head::parse(&session.leftover[..end]);
        session.leftover.drain(..end);
        match head {
            Some(head) if head.status == 101 => Ok(session),
            Some(head) => Err(session.refusal(path, &head)),
            None => Err(http::gone(path, "its answer is not HTTP")),
        }
    }

    /// The error that came in place of a session.
    fn refusal(mut self, path: &str, head: &Head) -> ApiError {
        // zoned sends its errors with their length; a body without one ends with the connection.
        let length = head.length.unwrap_or(LONGEST).min(LONGEST);
        if head.length.is_none() {
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
        }
        while self.leftover.len() < length && matches!(self.fill(), Ok(true)) {}
        self.leftover.truncate(length);
        http::refusal(path, head.status, &self.leftover)
    }

    /// Receives once, blocking; false when the other end is closed.
    ///
    /// # Errors
    /// As recvmsg(2) has them.
    pub fn fill(&mut self) -> io::Result<bool> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 4096];
        let received = loop {
            let into = &mut [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.stream, into, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                // The end of a monitor that was killed with our input unread; an end like any other.
                Err(rustix::io::Errno::CONNRESET) => return Ok(false),
                other => break other?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.leftover.extend_from_slice(&bytes[..received.bytes]);
        Ok(received.bytes > 0)
    }

    /// The next event among what was received, with the descriptors that belong to it.
    ///
    /// # Errors
    /// When what was received is no event.
    pub fn received(&mut self) -> Result<Option<(SessionEvent, Vec<OwnedFd>)>> {
        let wrong = |why: String| {
            ApiError::new(ErrorKind::Failed, "read the session", why)
                .hint("zonectl and zoned may be of different versions")
        };
        let Some(length) = self.leftover.iter().position(|b| *b == b'\n') else {
            let endless = self.leftover.len() > LONGEST;
            return if endless { Err(wrong("a line without end".into())) } else { Ok(None) };
        };
        let event: SessionEvent =
            serde_json::from_slice(&self.leftover[..length]).map_err(|e| wrong(e.to_string()))?;
        self.leftover.drain(..=length);
        let started = matches!(event, SessionEvent::Started { .. });
        let descriptors = if started { std::mem::take(&mut self.descriptors) } else { Vec::new() };
        Ok(Some((event, descriptors)))
    }

    /// The next event, blocking; `None` when the other end is closed.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no event.
    pub fn next_event(&mut self) -> Result<Option<(SessionEvent, Vec<OwnedFd>)>> {
        loop {
            if let Some(event) = self.received()? {
                return Ok(Some(event));
            }
            let more = self
                .fill()
                .map_err(|e| ApiError::new(ErrorKind::Failed, "read the session", http::reason(&e)))?;
            if !more {
                return Ok(None);
            }
        }
    }

    /// Tells the monitor something.
    ///
    /// # Errors
    /// As write(2) has them.
    pub fn send(&mut self, input: &SessionInput) -> io::Result<()> {
        let mut line = serde_json::to_vec(input)?;
        line.push(b'\n');
        self.stream.write_all(&line)
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What matters of the head of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: Option<usize>,
}

impl Head {
    fn parse(head: &[u8]) -> Option<Self> {
        let head = std::str::from_utf8(head).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
        let length = lines
            .filter_map(|l| l.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse().ok());
        Some(Self { status, length })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Read};
    use std::os::unix::net::UnixListener;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

    use super::*;

    #[test]
    fn heads() {
        let head = |text: &str| Head::parse(text.as_bytes());
        assert_eq!(
            head("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
            Some(Head { status: 101, length: None })
        );
        let refused = "HTTP/1.1 409 Conflict\r\ncontent-LENGTH:  12\r\n\r\n";
        assert_eq!(head(refused), Some(Head { status: 409, length: Some(12) }));
        assert_eq!(head("SSH-2.0\r\n\r\n"), None);
        assert_eq!(head("HTTP/1.1 \r\n\r\n"), None);
    }

    /// A server that answers one connection.
    fn serve(then: impl FnOnce(UnixStream) + Send + 'static) -> (tempfile::TempDir, Result<Session>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let n = stream.read(&mut request).unwrap();
            assert!(request[..n].ends_with(b"{}"), "{}", String::from_utf8_lossy(&request[..n]));
            then(stream);
        });
        let session = Session::open(&socket, "/v1/x", b"{}");
        server.join().unwrap();
        (folder, session)
    }

    #[test]
    fn descriptors_right_behind_the_head_are_kept() {
        let (mut near, far) = io::pipe().unwrap();
        let (_folder, session) = serve(move |mut stream| {
            stream.write_all(b"HTTP/1.1 101 x\r\nupgrade: zones-session\r\n\r\n").unwrap();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = [far.as_fd()];
            assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
            let line = b"{\"event\":\"started\",\"zone\":\"z\",\"tty\":true}\n";
            sendmsg(&stream, &[IoSlice::new(line)], &mut control, SendFlags::empty()).unwrap();
            stream.write_all(b"{\"event\":\"exited\",\"sta").unwrap();
            stream.write_all(b"tus\":7}\n").unwrap();
        });
        let mut session = session.unwrap();
        let (event, descriptors) = session.next_event().unwrap().unwrap();
        assert_eq!(event, SessionEvent::Started { zone: "z".into(), tty: true });
        let mut far = std::fs::File::from(descriptors.into_iter().next().unwrap());
        far.write_all(b"through").unwrap();
        drop(far);
        let mut text = String::new();
        near.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        let (event, descriptors) = session.next_event().unwrap().unwrap();
        assert_eq!((event, descriptors.len()), (SessionEvent::Exited { status: 7 }, 0));
        assert!(session.next_event().unwrap().is_none());
    }

    #[test]
    fn a_refusal_comes_out_as_it_was_sent() {
        let error = ApiError::new(ErrorKind::NoSuchZone, "login z", "there is no zone z");
        let body = serde_json::to_string(&error).unwrap();
        let answer = format!("HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (_folder, session) = serve(move |mut stream| stream.write_all(answer.as_bytes()).unwrap());
        assert_eq!(session.unwrap_err(), error);
    }

    #[test]
    fn an_end_without_an_answer_and_nonsense_are_errors() {
        let (_folder, session) = serve(drop);
        assert_eq!(session.unwrap_err().kind, ErrorKind::Unreachable);
        let (_folder, session) =
            serve(|mut stream| stream.write_all(b"HTTP/1.1 101 x\r\n\r\nnonsense\n").unwrap());
        assert_eq!(session.unwrap().next_event().unwrap_err().kind, ErrorKind::Failed);
    }
}
