//! An HTTP connection that becomes a session, and leaves zoned.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::answer::{Answer, Failure};
use crate::lifecycle::host::Session;

/// Name of the protocol behind the upgrade.
const PROTOCOL: &str = "zones-session";

/// A request that asks to become a session.
pub(super) struct Upgrade(OnUpgrade);

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let asked = parts.headers.get(header::UPGRADE).is_some_and(|value| value == PROTOCOL);
        match parts.extensions.remove::<OnUpgrade>() {
            Some(upgrade) if asked => Ok(Self(upgrade)),
            _ => Err(Failure::request(
                StatusCode::UPGRADE_REQUIRED,
                "open a session",
                format!("the request needs the headers Connection: Upgrade and Upgrade: {PROTOCOL}"),
            )),
        }
    }
}

impl Upgrade {
    /// Answers 101; `take` then gets the connection on a thread that may block.
    pub(super) fn then(self, take: impl FnOnce(Session) + Send + 'static) -> Response {
        tokio::spawn(async move {
            match self.0.await.map_err(std::io::Error::other).and_then(into_session) {
                Ok(session) => {
                    if let Err(error) = tokio::task::spawn_blocking(move || take(session)).await {
                        tracing::error!(%error, "a session broke off");
                    }
                }
                Err(error) => tracing::debug!(%error, "a client left before its session began"),
            }
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, header::HeaderValue::from_static(PROTOCOL));
        response
    }
}

fn into_session(upgraded: hyper::upgrade::Upgraded) -> std::io::Result<Session> {
    let parts = upgraded
        .downcast::<TokioIo<UnixStream>>()
        .map_err(|_| std::io::Error::other("the connection is not a unix socket"))?;
    let stream = parts.io.into_inner().into_std()?;
    stream.set_nonblocking(false)?;
    Ok(Session { conn: stream.into(), leftover: parts.read_buf.to_vec() })
}
