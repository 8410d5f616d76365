//! Where the files of a zone are: move, detach, attach.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use zone_api::{ApiError, Attach, Attached, DiskUse, Move};

use crate::lifecycle::Zones;
use crate::server::answer::{Answer, Name, Params, Switch, Unread, off};
use crate::server::peer::Peer;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Dry {
    /// Only tell what would be.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    dry: Switch,
}

/// Where the disk went.
#[utoipa::path(get, path = "/v1/du", responses(
    (status = 200, body = DiskUse), (status = 403, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn du(State(zones): State<Arc<Zones>>, peer: Peer) -> Answer<Json<DiskUse>> {
    peer.manages("count what zones take")?;
    off(move || zones.disk_use()).await.map(Json)
}

/// Puts a zone's own files into another folder.
#[utoipa::path(post, path = "/v1/zones/{name}/move", params(("name" = String, Path)), request_body = Move, responses(
    (status = 204), (status = 400, body = ApiError), (status = 403, body = ApiError), (status = 404, body = ApiError),
    (status = 409, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn relocate(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    body: Unread,
) -> Answer<StatusCode> {
    peer.manages(format!("move {name}"))?;
    let to: Move = body.document().await?;
    off(move || zones.relocate(&name, Path::new(&to.path))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets go of a zone's folder, which has all that another zoned needs to attach it. Answers with the manifest.
#[utoipa::path(post, path = "/v1/zones/{name}/detach", params(("name" = String, Path), Dry), responses(
    (status = 200, body = String), (status = 403, body = ApiError), (status = 404, body = ApiError),
    (status = 409, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn detach(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    Params(how): Params<Dry>,
) -> Answer<String> {
    peer.manages(format!("detach {name}"))?;
    off(move || zones.detach(&name, how.dry.0)).await
}

/// Makes a zone's root of a folder that was detached.
#[utoipa::path(post, path = "/v1/zones/{name}/attach", params(("name" = String, Path)), request_body = Attach, responses(
    (status = 200, body = Attached), (status = 400, body = ApiError), (status = 403, body = ApiError),
    (status = 409, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn attach(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    body: Unread,
) -> Answer<Json<Attached>> {
    peer.manages(format!("attach {name}"))?;
    let how: Attach = body.document().await?;
    let attached = off(move || zones.attach(&name, Path::new(&how.path), how.dry, how.force));
    attached.await.map(Json)
}
