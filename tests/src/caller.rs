//! Requests as any user of the host makes them, to the byte.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::http::{header, headers};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process's credentials; one without further groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Caller {
    /// Root of the host.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };

    /// A user that nobody knows.
    pub const STRANGER: Self = Self { uid: 54_321, gid: 54_321 };

    /// A user of the host, by name.
    pub fn named(user: &str) -> Self {
        let found = nix::unistd::User::from_name(user).expect("the user database can be asked");
        let found = found.unwrap_or_else(|| panic!("this host has no user {user}"));
        Self { uid: found.uid.as_raw(), gid: found.gid.as_raw() }
    }

    /// Does something on a thread that has these credentials. Those of a socket stay with it.
    pub fn act<T: Send>(self, what: impl FnOnce() -> T + Send) -> T {
        let become_him = move || -> io::Result<()> {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            set_thread_groups(&[])?;
            set_thread_res_gid(gid, gid, gid)?;
            Ok(set_thread_res_uid(uid, uid, uid)?)
        };
        std::thread::scope(|scope| {
            let acting = scope.spawn(move || {
                become_him().unwrap_or_else(|e| panic!("become {self:?}: {e}"));
                what()
            });
            acting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Connects to a zoned.
    pub fn connect(self, socket: &Path) -> io::Result<UnixStream> {
        let stream = self.act(|| UnixStream::connect(socket))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP's.
    pub status: u16,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// Whole, unless it has no end.
    pub body: Vec<u8>,
}

impl Reply {
    /// Value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request on a connection of its own. Of a session, and of what goes on for ever, only the head is read.
pub fn ask(
    socket: &Path,
    caller: Caller,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Reply> {
    let mut stream = caller.connect(socket)?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: zoned\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("connection")) {
        head.push_str("Connection: close\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let sent = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body));
    // Who is refused before he has sent all can still read why.
    read_reply(&mut stream, !path.starts_with("/v1/events")).or_else(|e| sent.and(Err(e)))
}

/// Reads an answer; where it goes on for ever, its head.
pub fn read_reply(stream: &mut UnixStream, whole: bool) -> io::Result<Reply> {
    let broken = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| broken(&format!("no status: {line:?}")))?;
    let mut reply = Reply { status, headers: headers(&mut reader)?, body: Vec::new() };
    if status == 101 || status == 200 && !whole {
        return Ok(reply);
    }
    if reply.header("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim_end(), 16).map_err(|_| broken("no size of a chunk"))?;
            reader.by_ref().take(size).read_to_end(&mut reply.body)?;
            line.clear();
            reader.read_line(&mut line)?;
            if size == 0 {
                return Ok(reply);
            }
        }
    }
    let length = reply.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut reply.body)?;
    Ok(reply)
}
