//! Zones as streams: out as the body of an answer, in as the body of a request.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;
use zone_api::{ApiError, Progress};

use super::install::tell;
use crate::lifecycle::Zones;
use crate::server::answer::{Answer, Name, Params, Switch, Unread, off};
use crate::server::peer::Peer;

/// Pieces that may wait for a slow reader.
const WAITING: usize = 8;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct What {
    /// Snapshot; none: the zone as it is now.
    snapshot: Option<String>,
    /// Snapshot that the receiver has.
    base: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct How {
    /// Give up what the zone wrote since the base.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    force: Switch,
}

/// A zone, or what changed in it since a snapshot. A body that does not end as it should is no whole stream.
#[utoipa::path(get, path = "/v1/zones/{name}/send", params(("name" = String, Path), What), responses(
    (status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 400, body = ApiError),
    (status = 403, body = ApiError), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(crate) async fn send(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    Params(what): Params<What>,
) -> Answer<Response> {
    peer.manages(format!("send {name}"))?;
    let job = off(move || zones.begin_send(&name, what.snapshot.as_deref(), what.base.as_deref())).await?;
    Ok(body_of(move |to| job.run(to)))
}

/// An answer whose body `work` writes on another thread.
pub(super) fn body_of(
    work: impl FnOnce(&mut dyn Write) -> Result<(), ApiError> + Send + 'static,
) -> Response {
    let (to, mut pieces) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut body = Pipe { to: to.clone(), piece: Vec::with_capacity(PIECE) };
        let sent = work(&mut body).map_err(io::Error::other).and_then(|()| body.flush());
        if let Err(error) = sent {
            tracing::warn!(%error, "a stream was cut off");
            // The connection breaks off: what the client has is not whole.
            to.blocking_send(Err(error)).ok();
        }
    });
    let body = futures_util::stream::poll_fn(move |context| pieces.poll_recv(context));
    ([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(body)).into_response()
}

/// Makes the zone of a stream, or brings it forward. The answer tells its progress, one JSON document a line, the last one
/// `done` or `failed`.
#[utoipa::path(post, path = "/v1/zones/{name}/receive", params(("name" = String, Path), How),
    request_body(content((Vec<u8> = "application/octet-stream"))), responses(
    (status = 200, body = Progress, content_type = "application/x-ndjson"), (status = 403, body = ApiError)))]
pub(crate) async fn receive(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    Params(how): Params<How>,
    body: Unread,
) -> Answer<Response> {
    peer.manages(format!("receive {name}"))?;
    Ok(tell(Some(body.stream()), move |stream, progress| {
        let stream = stream.unwrap_or_else(|| Box::new(io::empty()));
        zones.receive(&name, how.force.0, stream, progress)
    }))
}

/// Bytes that go to the client at a time.
const PIECE: usize = 128 << 10;

/// An answer's body as a writer on another thread.
struct Pipe {
    to: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.to.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
