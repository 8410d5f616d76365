//! One HTTP/1.1 request over a unix socket, and what its answer says.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

pub(super) use hyper::Method;

use super::Result;
use crate::{ApiError, ErrorKind};

/// Bytes of an archive that go at a time.
const PIECE: usize = 128 << 10;

/// Longest line of an answer that is taken, so that a broken server cannot fill the memory.
const LONGEST_LINE: usize = 1 << 20;

/// A request.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) body: Body,
}

/// What goes along with a request.
pub(super) enum Body {
    None,
    Whole { kind: &'static str, bytes: Vec<u8> },
    Stream(Box<dyn Read + Send>),
}

impl Body {
    pub(super) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self> {
        let bytes = serde_json::to_vec(value).map_err(|e| unsendable(&e))?;
        Ok(Self::Whole { kind: "application/json", bytes })
    }

    fn kind(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Whole { kind, .. } => Some(kind),
            Self::Stream(_) => Some("application/octet-stream"),
        }
    }

    fn into_hyper(self) -> BoxBody<Bytes, io::Error> {
        let whole = |bytes: Vec<u8>| Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed();
        match self {
            Self::None => whole(Vec::new()),
            Self::Whole { bytes, .. } => whole(bytes),
            Self::Stream(from) => {
                let (to, pieces) = mpsc::channel(4);
                std::thread::spawn(move || read_pieces(from, &to));
                let pieces = futures_util::stream::unfold(pieces, |mut pieces| async move {
                    pieces.recv().await.map(|piece| (piece.map(Frame::data), pieces))
                });
                BodyExt::boxed(StreamBody::new(pieces))
            }
        }
    }
}

/// Reads until the end, an error (which the connection passes on by breaking off) or nobody listens.
fn read_pieces(mut from: Box<dyn Read + Send>, to: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let mut piece = vec![0; PIECE];
        let piece = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(n) => {
                piece.truncate(n);
                Ok(Bytes::from(piece))
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => Err(e),
        };
        let last = piece.is_err();
        if to.blocking_send(piece).is_err() || last {
            return;
        }
    }
}

/// An error of the client's own: its value cannot be sent.
pub(super) fn unsendable(error: &serde_json::Error) -> ApiError {
    ApiError::new(ErrorKind::Failed, "write the request", error.to_string())
}

/// zoned was there and is no more.
pub(super) fn gone(path: &str, why: &str) -> ApiError {
    ApiError::new(ErrorKind::Unreachable, format!("ask zoned for {path}"), why)
        .hint("zones go on without zoned; see its log for why it ended")
}

/// Connects, and says what to do where that does not work.
pub(super) fn connect(socket: &Path) -> Result<UnixStream> {
    UnixStream::connect(socket).map_err(|e| unconnected(socket, &e))
}

fn unconnected(socket: &Path, error: &io::Error) -> ApiError {
    let what = format!("connect to {}", socket.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => ApiError::new(ErrorKind::NotPermitted, what, reason(error))
            .hint("root and members of the group zones may"),
        _ => ApiError::new(ErrorKind::Unreachable, what, reason(error))
            .hint("start zoned, or name its socket with --socket or ZONED_SOCKET"),
    }
}

/// The sentence of an error in our style: without "(os error 2)" and lower case.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Sends a request and gives the whole answer.
pub(super) fn call(socket: &Path, request: Request<'_>) -> Result<Vec<u8>> {
    let path = request.path.to_owned();
    exchange(socket, request, async |answer| {
        let whole = answer.collect().await.map_err(|e| gone(&path, &e.to_string()))?;
        Ok(whole.to_bytes().to_vec())
    })
}

/// Sends a request and writes the answer to `to` as it comes.
pub(super) fn call_bytes(socket: &Path, request: Request<'_>, to: &mut dyn io::Write) -> Result<()> {
    let path = request.path.to_owned();
    exchange(socket, request, async |mut answer| {
        let write = |e: io::Error| ApiError::new(ErrorKind::Failed, "write the answer", reason(&e));
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|_| {
                ApiError::new(ErrorKind::Failed, format!("ask zoned for {path}"), "the answer was cut off")
                    .hint("its log says why; what was written is not whole")
            })?;
            if let Ok(data) = frame.into_data() {
                to.write_all(&data).map_err(write)?;
            }
        }
        to.flush().map_err(write)
    })
}

/// Sends a request and tells each line of the answer as it comes.
pub(super) fn call_lines(
    socket: &Path,
    request: Request<'_>,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let path = request.path.to_owned();
    exchange(socket, request, async |mut answer| {
        let mut rest = Vec::new();
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|e| gone(&path, &e.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            rest.extend_from_slice(&data);
            let mut from = 0;
            while let Some(length) = rest[from..].iter().position(|b| *b == b'\n') {
                let line = &rest[from..from + length];
                from += length + 1;
                if !line.is_empty() {
                    each(line)?;
                }
            }
            rest.drain(..from);
            if rest.len() > LONGEST_LINE {
                return Err(gone(&path, "its answer has a line without end"));
            }
        }
        if rest.is_empty() { Ok(()) } else { each(&rest) }
    })
}

/// Whether there is room for the six descriptors of a runtime: tokio panics where it gets some of them and not all. What
/// other threads take in between is not foreseen.
fn spare_descriptors() -> io::Result<()> {
    (0..3).map(|_| UnixStream::pair()).collect::<io::Result<Vec<_>>>().map(drop)
}

/// One exchange on a connection of its own; `take` gets the body of an answer that is 2xx.
fn exchange<T>(
    socket: &Path,
    request: Request<'_>,
    take: impl AsyncFnOnce(Incoming) -> Result<T>,
) -> Result<T> {
    let path = request.path.to_owned();
    let local = |e: io::Error| ApiError::new(ErrorKind::Failed, format!("ask zoned for {path}"), reason(&e));
    let stream = connect(socket)?;
    stream.set_nonblocking(true).map_err(local)?;
    spare_descriptors().map_err(local)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(local)?;
    let result = runtime.block_on(async {
        let stream = tokio::net::UnixStream::from_std(stream).map_err(local)?;
        let broken = |e: hyper::Error| gone(&path, &sentence(&e));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let mut head = hyper::Request::builder()
            .method(request.method)
            .uri(request.path)
            .header(hyper::header::HOST, "zoned");
        if let Some(kind) = request.body.kind() {
            head = head.header(hyper::header::CONTENT_TYPE, kind);
        }
        let request = head
            .body(request.body.into_hyper())
            .map_err(|e| ApiError::new(ErrorKind::Invalid, format!("ask zoned for {path}"), e.to_string()))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        if status.is_success() {
            return take(answer.into_body()).await;
        }
        let body = answer.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        Err(refusal(&path, status.as_u16(), &body))
    });
    // Dropping the runtime would wait for nothing, yet a reader of stdin may still be blocked.
    runtime.shutdown_background();
    result
}

/// hyper's words with the cause, where it knows one: "connection reset by peer".
fn sentence(error: &hyper::Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The error in an answer that is not 2xx; where it has none, what its status says.
pub(super) fn refusal(path: &str, status: u16, body: &[u8]) -> ApiError {
    if let Ok(error) = serde_json::from_slice(body) {
        return error;
    }
    let kind = match status {
        400 | 422 => ErrorKind::Invalid,
        403 => ErrorKind::NotPermitted,
        409 => ErrorKind::WrongState,
        _ => ErrorKind::Failed,
    };
    let text = String::from_utf8_lossy(body);
    let text = text.lines().next().unwrap_or("").trim().trim_end_matches('.');
    let why = match (status, text) {
        (404 | 405, "") => "this zoned does not know the request".to_owned(),
        (_, "") => format!("zoned answered with status {status}"),
        (_, text) => text.to_owned(),
    };
    ApiError::new(kind, format!("ask zoned for {path}"), why)
}

/// An answer as JSON.
pub(super) fn answer_json<T: serde::de::DeserializeOwned>(path: &str, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| {
        ApiError::new(ErrorKind::Failed, format!("read zoned's answer to {path}"), e.to_string())
            .hint("zonectl and zoned may be of different versions")
    })
}

/// An answer as text.
pub(super) fn answer_text(body: &[u8]) -> Result<String> {
    Ok(String::from_utf8_lossy(body).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_servers_own_or_made_from_the_status() {
        let own = ApiError::new(ErrorKind::WrongState, "boot z", "it is configured").hint("install it");
        let body = serde_json::to_vec(&own).unwrap();
        assert_eq!(refusal("/v1/x", 409, &body), own);
        assert_eq!(refusal("/v1/x", 403, b"").kind, ErrorKind::NotPermitted);
        assert_eq!(refusal("/v1/x", 400, b"no such field.\nmore").why, "no such field");
        assert_eq!(refusal("/v1/x", 404, b"").kind, ErrorKind::Failed);
        assert_eq!(refusal("/v1/x", 500, b"").why, "zoned answered with status 500");
    }

    #[test]
    fn a_socket_that_is_not_for_us_is_not_permitted() {
        let error = unconnected(Path::new("/s"), &io::Error::from_raw_os_error(13));
        assert_eq!(
            (error.kind, error.to_string().as_str()),
            (ErrorKind::NotPermitted, "connect to /s: permission denied")
        );
        assert_eq!(
            unconnected(Path::new("/s"), &io::Error::from_raw_os_error(111)).kind,
            ErrorKind::Unreachable
        );
    }

    #[test]
    fn reasons_are_sentences_of_ours() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "no such file or directory");
        assert_eq!(reason(&io::Error::other("")), "");
    }
}
