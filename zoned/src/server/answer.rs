//! Requests and answers as the API has them: every failure is an [`ApiError`] as JSON.

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zone_api::{ApiError, ErrorKind};

/// Bytes that a document in a request may have; archives are not documents.
pub(super) const LONGEST_DOCUMENT: usize = 1 << 20;

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
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let status = match error.kind {
            ErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::NoSuchZone => StatusCode::NOT_FOUND,
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

/// A document as JSON; an empty body is an empty object.
pub(super) struct Doc<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Doc<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Answer<Self> {
        let bytes = whole(request.into_body()).await?;
        let bytes = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
        serde_json::from_slice(bytes)
            .map(Self)
            .map_err(|error| Failure::request(StatusCode::BAD_REQUEST, "read the request", error.to_string()))
    }
}

/// A whole body in UTF-8.
pub(super) struct Text(pub(super) String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Answer<Self> {
        let bytes = whole(request.into_body()).await?;
        String::from_utf8(bytes).map(Self).map_err(|_| {
            Failure::request(StatusCode::BAD_REQUEST, "read the request", "its body is not UTF-8")
        })
    }
}

async fn whole(body: Body) -> Answer<Vec<u8>> {
    match Limited::new(body, LONGEST_DOCUMENT).collect().await {
        Ok(bytes) => Ok(bytes.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::request(
            StatusCode::PAYLOAD_TOO_LARGE,
            "read the request",
            format!("its body has more than {LONGEST_DOCUMENT} bytes"),
        )),
        Err(error) => Err(Failure::request(StatusCode::BAD_REQUEST, "read the request", error.to_string())),
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
