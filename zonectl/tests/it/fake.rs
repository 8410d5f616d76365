//! A zoned that gives canned answers over a socket of its own, and remembers what it was asked.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::Value;
use zone_api::{SessionEvent, SessionInput};

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `GET /v1/zones?all=true`
    pub(crate) line: String,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What to answer.
pub(crate) enum Answer {
    /// A status and a JSON body.
    Json(u16, Value),
    /// 200 and text.
    Text(String),
    /// 200 and lines that come one by one.
    Lines(Vec<Value>),
    /// The same, broken off before its end.
    BrokenLines(Vec<Value>),
    /// An answer before a streamed body is read.
    Early(u16, Value),
    /// The connection closes.
    Nothing,
    /// 101, and then this.
    Session(Box<dyn FnOnce(Monitor) + Send>),
}

pub(crate) fn session(then: impl FnOnce(Monitor) + Send + 'static) -> Answer {
    Answer::Session(Box::new(then))
}

pub(crate) struct Fake {
    _folder: tempfile::TempDir,
    socket: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub(crate) fn new(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("zoned.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                thread::spawn(move || serve(stream.expect("a connection"), &*answer, &log));
            }
        });
        Self { _folder: folder, socket, asked }
    }

    /// One that answers everything with a session.
    pub(crate) fn with_session(then: impl FnOnce(Monitor) + Send + 'static) -> Self {
        let once = Mutex::new(Some(then));
        Self::new(move |_| {
            let then = once.lock().expect("no panic").take().expect("one session");
            session(then)
        })
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|a| a.line).collect()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zonectl"));
        command.args(words).env("ZONED_SOCKET", &self.socket);
        command
    }

    /// The same, executed by another program, whose own words come first.
    pub(crate) fn command_by(&self, program: &str, own: &[&str], words: &[&str]) -> Command {
        let plain = self.command(words);
        let mut command = Command::new(program);
        command.args(own).arg(plain.get_program()).args(plain.get_args());
        command.envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
        command
    }

    /// Runs to the end without a terminal.
    pub(crate) fn run(&self, words: &[&str]) -> Outcome {
        self.command(words).stdin(Stdio::null()).output().expect("zonectl runs").into()
    }

    /// The same, fed with bytes.
    pub(crate) fn feed(&self, words: &[&str], bytes: Vec<u8>) -> Outcome {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("zonectl starts");
        let mut stdin = child.stdin.take().expect("it was asked for");
        // A program that takes no more is what some tests are about.
        let feeding = thread::spawn(move || drop(stdin.write_all(&bytes)));
        let output = child.wait_with_output().expect("it ends");
        feeding.join().expect("no panic");
        output.into()
    }
}

/// How zonectl ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
            bytes: output.stdout,
        }
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

fn serve(mut stream: UnixStream, answer: &dyn Fn(&Asked) -> Answer, log: &Mutex<Vec<Asked>>) {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            break String::from_utf8(std::mem::replace(&mut bytes, rest)).expect("a head is text");
        }
        if !fill(&mut stream, &mut bytes) {
            return;
        }
    };
    let line = head.split(" HTTP/1.1").next().unwrap_or("").to_owned();
    let header = |name: &str| {
        let found =
            head.lines().filter_map(|l| l.split_once(':')).find(|(k, _)| k.eq_ignore_ascii_case(name));
        found.map(|(_, v)| v.trim().to_owned())
    };
    let streaming = header("transfer-encoding").is_some_and(|v| v == "chunked");
    let early = Asked { line: line.clone(), body: Vec::new() };
    if streaming && let Answer::Early(status, body) = answer(&early) {
        plain(&mut stream, status, "application/json", &body.to_string());
        // The client may still be sending, and must not be cut off before it reads.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
        return;
    }
    let body = if streaming {
        chunked(&mut stream, bytes)
    } else {
        let length = header("content-length").map_or(0, |v| v.parse().expect("a length"));
        while bytes.len() < length && fill(&mut stream, &mut bytes) {}
        bytes
    };
    let asked = Asked { line, body };
    log.lock().expect("no panic").push(asked.clone());
    match answer(&asked) {
        Answer::Json(status, body) => plain(&mut stream, status, "application/json", &body.to_string()),
        Answer::Text(text) => plain(&mut stream, 200, "text/plain", &text),
        Answer::Lines(lines) => {
            stream_lines(&mut stream, &lines);
            stream.write_all(b"0\r\n\r\n").expect("the client reads");
        }
        Answer::BrokenLines(lines) => stream_lines(&mut stream, &lines),
        Answer::Early(..) | Answer::Nothing => {}
        Answer::Session(then) => {
            assert_eq!(header("upgrade").as_deref(), Some("zones-session"));
            let head =
                "HTTP/1.1 101 Switching Protocols\r\nupgrade: zones-session\r\nconnection: upgrade\r\n\r\n";
            stream.write_all(head.as_bytes()).expect("the client reads");
            then(Monitor { stream, rest: Vec::new() });
        }
    }
}

fn fill(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> bool {
    let mut piece = [0; 65536];
    let n = stream.read(&mut piece).unwrap_or(0);
    bytes.extend_from_slice(&piece[..n]);
    n > 0
}

/// A chunked body (RFC 9112, section 7.1); empty when it is broken off.
fn chunked(stream: &mut UnixStream, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let Some(at) = bytes.windows(2).position(|w| w == b"\r\n") else {
            if !fill(stream, &mut bytes) {
                return Vec::new();
            }
            continue;
        };
        let size = std::str::from_utf8(&bytes[..at]).expect("a size is text");
        let size = usize::from_str_radix(size, 16).expect("a size is a number");
        while bytes.len() < at + 2 + size + 2 {
            if !fill(stream, &mut bytes) {
                return Vec::new();
            }
        }
        body.extend_from_slice(&bytes[at + 2..at + 2 + size]);
        bytes.drain(..at + 2 + size + 2);
        if size == 0 {
            return body;
        }
    }
}

fn plain(stream: &mut UnixStream, status: u16, kind: &str, body: &str) {
    let head =
        format!("HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    // A client that was stopped does not read its answer.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

fn stream_lines(stream: &mut UnixStream, lines: &[Value]) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("the client reads");
    for line in lines {
        // Chunks do not end where lines do.
        let line = format!("{line}\n");
        let (one, two) = line.split_at(line.len() / 2);
        for part in [one, two] {
            write!(stream, "{:x}\r\n{part}\r\n", part.len()).expect("the client reads");
        }
    }
}

/// The monitor's end of a session.
pub(crate) struct Monitor {
    stream: UnixStream,
    rest: Vec<u8>,
}

impl Monitor {
    /// Says that the program runs, with its descriptors.
    pub(crate) fn started(&self, tty: bool, descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        let mut line =
            serde_json::to_vec(&SessionEvent::Started { zone: "z".into(), tty }).expect("it is JSON");
        line.push(b'\n');
        let sent = sendmsg(&self.stream, &[IoSlice::new(&line)], &mut control, SendFlags::empty());
        assert_eq!(sent, Ok(line.len()));
    }

    /// Makes pipes, says that the program runs, and gives the program's ends.
    pub(crate) fn pipes(&self) -> (std::io::PipeReader, std::io::PipeWriter, std::io::PipeWriter) {
        let (stdin, near_in) = std::io::pipe().expect("a pipe");
        let (near_out, stdout) = std::io::pipe().expect("a pipe");
        let (near_err, stderr) = std::io::pipe().expect("a pipe");
        self.started(false, &[near_in.as_fd(), near_out.as_fd(), near_err.as_fd()]);
        (stdin, stdout, stderr)
    }

    pub(crate) fn event(&mut self, event: &SessionEvent) {
        let mut line = serde_json::to_vec(event).expect("it is JSON");
        line.push(b'\n');
        // A client that left does not read on.
        let _ = self.stream.write_all(&line);
    }

    /// The next thing the client says; `None` when it left.
    pub(crate) fn input(&mut self) -> Option<SessionInput> {
        loop {
            if let Some(at) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=at).collect();
                return Some(serde_json::from_slice(&line).expect("it is an input"));
            }
            if !fill(&mut self.stream, &mut self.rest) {
                return None;
            }
        }
    }
}
