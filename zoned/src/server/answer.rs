//! Requests and answers as the API has them: every failure is an [`ApiError`] as JSON.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zone_api::{ApiError, ErrorKind};

/// Bytes that a document in a request may have; archives are not documents.
const LONGEST_DOCUMENT: usize = 1 << 20;

/// How long one may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a handler fails with.
pub(super) struct Failure {
    status: StatusCode,
    error: ApiError,
}

/// What a handler answers.
pub(super) type Answer<T> = Result<T, Failure>;

impl Failure {
    /// A request that makes no sense, with the status that HTTP has for it.
    pub(super) fn request(status: StatusCode, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { status, error: ApiError::new(ErrorKind::Invalid, what, why) }
    }

    /// What it says, as JSON.
    pub(super) fn into_body(self) -> String {
        serde_json::to_string(&self.error).unwrap_or_default()
    }

    /// There are too many connections.
    pub(super) fn busy(what: impl Into<String>, why: impl Into<String>) -> Self {
        let error =
            ApiError::new(ErrorKind::Failed, what, why).hint("close some of them, or try again later");
        Self { status: StatusCode::SERVICE_UNAVAILABLE, error }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let status = match error.kind {
            ErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::NoSuchZone | ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::WrongState => StatusCode::CONFLICT,
            ErrorKind::Unreachable => StatusCode::BAD_GATEWAY,
            ErrorKind::NotPermitted => StatusCode::FORBIDDEN,
        };
        Self { status, error }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.error)).into_response()
    }
}

/// Runs what may block; it goes on when the client leaves.
pub(super) async fn off<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Answer<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Failure::from),
        Err(error) => {
            tracing::error!(%error, "an operation broke off");
            let why = "it broke off by a fault of zoned's own; its log has more";
            Err(ApiError::new(ErrorKind::Failed, "answer the request", why).into())
        }
    }
}

/// A body that nobody has read: first is asked whether its sender may.
pub(super) struct Unread(Body);

impl<S: Send + Sync> FromRequest<S> for Unread {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(Self(request.into_body()))
    }
}

impl Unread {
    /// As a document in JSON; an empty body is an empty object.
    pub(super) async fn document<T: DeserializeOwned>(self) -> Answer<T> {
        let bytes = self.whole().await?;
        let bytes = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
        serde_json::from_slice(bytes)
            .map_err(|error| Failure::request(StatusCode::BAD_REQUEST, "read the request", error.to_string()))
    }

    /// As text.
    pub(super) async fn text(self) -> Answer<String> {
        String::from_utf8(self.whole().await?).map_err(|_| {
            Failure::request(StatusCode::BAD_REQUEST, "read the request", "its body is not UTF-8")
        })
    }

    /// As it comes, however long.
    pub(super) fn stream(self) -> Body {
        self.0
    }

    async fn whole(self) -> Answer<Vec<u8>> {
        let too_long = || {
            let why = format!("its body has more than {LONGEST_DOCUMENT} bytes");
            Failure::request(StatusCode::PAYLOAD_TOO_LARGE, "read the request", why)
        };
        if self.0.size_hint().lower() > LONGEST_DOCUMENT as u64 {
            return Err(too_long());
        }
        let whole = Limited::new(self.0, LONGEST_DOCUMENT).collect();
        match tokio::time::timeout(PATIENCE, whole).await {
            Ok(Ok(bytes)) => Ok(bytes.to_bytes().into()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
            Ok(Err(error)) => {
                Err(Failure::request(StatusCode::BAD_REQUEST, "read the request", error.to_string()))
            }
            Err(_) => {
                let why = format!("its body did not come within {} s", PATIENCE.as_secs());
                Err(Failure::request(StatusCode::REQUEST_TIMEOUT, "read the request", why))
            }
        }
    }
}

/// The name in the path.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        name.map(|Path(name)| Self(name))
            .map_err(|error| Failure::request(StatusCode::BAD_REQUEST, "read the path", error.body_text()))
    }
}

/// What stands after the question mark.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(params)| Self(params))
            .map_err(|error| Failure::request(StatusCode::BAD_REQUEST, "read the query", error.body_text()))
    }
}

/// `?force`, `?force=true` and `?force=false`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Switch(pub(super) bool);

impl TryFrom<String> for Switch {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "" | "true" | "1" => Ok(Self(true)),
            "false" | "0" => Ok(Self(false)),
            _ => Err(format!("{text:?} is not true or false")),
        }
    }
}
