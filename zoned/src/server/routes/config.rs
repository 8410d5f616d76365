//! A zone's configuration.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;
use zone_api::{ApiError, Edit, Edited, Verified};

use crate::lifecycle::Zones;
use crate::server::answer::{Answer, Name, Params, Unread, off};
use crate::server::peer::{Auth, Peer};

const TOML: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/toml")];

/// The configuration as it stands in its file.
#[utoipa::path(get, path = "/v1/zones/{name}/config", params(("name" = String, Path)), responses(
    (status = 200, body = String, content_type = "application/toml"),
    (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(crate) async fn read(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<impl IntoResponse> {
    let text = off(move || {
        peer.may(&zones, &name, Auth::Any, "export")?;
        zones.config_text(&name)
    });
    Ok((TOML, text.await?))
}

/// Puts another configuration in its place.
#[utoipa::path(put, path = "/v1/zones/{name}/config", params(("name" = String, Path)),
    request_body(content = String, content_type = "application/toml"), responses(
    (status = 200, body = Edited), (status = 400, body = ApiError), (status = 403, body = ApiError),
    (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(crate) async fn put(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    body: Unread,
) -> Answer<Json<Edited>> {
    peer.manages(format!("edit {name}"))?;
    let text = body.text().await?;
    off(move || zones.put(&name, &text)).await.map(Json)
}

/// Changes keys of it: all of the edits, or none.
#[utoipa::path(patch, path = "/v1/zones/{name}/config", params(("name" = String, Path)),
    request_body = Vec<Edit>, responses(
    (status = 200, body = Edited), (status = 400, body = ApiError), (status = 403, body = ApiError),
    (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(crate) async fn patch(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    body: Unread,
) -> Answer<Json<Edited>> {
    peer.manages(format!("edit {name}"))?;
    let edits: Vec<Edit> = body.document().await?;
    off(move || zones.edit(&name, &edits)).await.map(Json)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Key {
    /// Key, dotted; all of them as TOML when left out.
    key: Option<String>,
}

/// Values as text, defaults included; nothing where a key has none.
#[utoipa::path(get, path = "/v1/zones/{name}/get", params(("name" = String, Path), Key), responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = 400, body = ApiError), (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(crate) async fn get_key(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    Params(Key { key }): Params<Key>,
) -> Answer<String> {
    off(move || {
        peer.may(&zones, &name, Auth::Any, "get")?;
        match key {
            Some(key) => Ok(zones.config_key(&name, &key)?.unwrap_or_default()),
            None => zones.config_whole(&name),
        }
    })
    .await
}

/// Whether the zone would boot here.
#[utoipa::path(post, path = "/v1/zones/{name}/verify", params(("name" = String, Path)), responses(
    (status = 200, body = Verified), (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(crate) async fn verify(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<Json<Verified>> {
    let verified = off(move || {
        peer.may(&zones, &name, Auth::Any, "verify")?;
        zones.verify(&name)
    });
    verified.await.map(Json)
}
