//! Bodies that are read to their end even when nobody wants the rest.
//!
//! A connection closed under a client that is still writing gives it EPIPE, and it may not come to read
//! the answer that says why: "zone a is running" to somebody who pipes an archive in.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;

/// How long somebody may go on writing after the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request's body; dropped before its end, the rest is thrown away as it comes.
pub(super) struct Thorough(Option<Incoming>);

impl Thorough {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl Body for Thorough {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Thorough {
    fn drop(&mut self) {
        let Some(mut rest) = self.0.take().filter(|rest| !rest.is_end_stream()) else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let end = async { while let Some(Ok(_)) = rest.frame().await {} };
                // Who writes longer than that is cut off.
                tokio::time::timeout(PATIENCE, end).await.ok();
            });
        }
    }
}
