//! install: the answer tells its progress while it goes on, and an archive can come along meanwhile.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;
use zone_api::{ApiError, Install, Progress};

use crate::lifecycle::Zones;
use crate::server::answer::{Answer, Name, Params, Unread, off};
use crate::server::peer::Peer;

/// How often a step's count is told at most.
const PACE: Duration = Duration::from_millis(50);

/// Pieces of an archive that may wait for the one who unpacks.
const PIECES: usize = 16;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// Source whose archive is the request's body: `tar:-`. Else the body names the source.
    source: Option<String>,
}

/// Fills a zone's root. The answer is one JSON document a line, the last one `done` or `failed`; the
/// install goes on when the client leaves.
#[utoipa::path(post, path = "/v1/zones/{name}/install", params(("name" = String, Path), From),
    request_body(content((Install = "application/json"), (Vec<u8> = "application/octet-stream"))), responses(
    (status = 200, body = Progress, content_type = "application/x-ndjson"), (status = 400, body = ApiError),
    (status = 403, body = ApiError), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(crate) async fn install(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    Params(from): Params<From>,
    body: Unread,
) -> Answer<Response> {
    peer.manages(format!("install {name}"))?;
    let (source, body) = match from.source {
        Some(source) => (source, Some(body.stream())),
        None => (body.document::<Install>().await?.source, None),
    };
    let job = off(move || zones.begin_install(&name, &source)).await?;
    Ok(tell(body, move |archive, progress| job.run(archive, progress)))
}

/// What may block for long, with a body that it reads and an answer that tells how far it is.
pub(super) fn tell(
    body: Option<Body>,
    work: impl FnOnce(Option<Box<dyn Read + Send>>, &(dyn Fn(Progress) + Sync)) -> Result<(), ApiError>
    + Send
    + 'static,
) -> Response {
    let from = body.map(|body| {
        let (pieces, reader) = Pieces::new();
        tokio::spawn(pump(body, pieces));
        Box::new(reader) as Box<dyn Read + Send>
    });
    let (lines, mut told) = mpsc::unbounded_channel();
    tokio::task::spawn_blocking(move || {
        let told = Telling { lines, last: Mutex::new(None) };
        let end = match work(from, &|progress| told.tell(&progress)) {
            Ok(()) => Progress::Done,
            Err(error) => Progress::Failed { error },
        };
        told.tell(&end);
    });
    let body = futures_util::stream::poll_fn(move |context| told.poll_recv(context));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response()
}

/// Tells a client that reads, and does not mind one that has left.
struct Telling {
    lines: mpsc::UnboundedSender<io::Result<Bytes>>,
    last: Mutex<Option<Instant>>,
}

impl Telling {
    fn tell(&self, progress: &Progress) {
        if matches!(progress, Progress::At { .. }) {
            let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if last.is_some_and(|last| last.elapsed() < PACE) {
                return;
            }
            *last = Some(Instant::now());
        }
        if let Ok(mut line) = serde_json::to_vec(progress) {
            line.push(b'\n');
            self.lines.send(Ok(line.into())).ok();
        }
    }
}

/// A body as a reader on another thread.
struct Pieces {
    from: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Pieces {
    fn new() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (to, from) = mpsc::channel(PIECES);
        (to, Self { from, piece: Bytes::new() })
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.from.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.piece.len());
        into[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

/// Moves a body on, as long as somebody reads.
async fn pump(mut body: Body, pieces: mpsc::Sender<io::Result<Bytes>>) {
    while let Some(frame) = body.frame().await {
        let piece = match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(_trailers)) => continue,
            Err(error) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the archive broke off on its way: {error}"),
            )),
        };
        let broken = piece.is_err();
        if pieces.send(piece).await.is_err() || broken {
            return;
        }
    }
}
