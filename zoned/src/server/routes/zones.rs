//! Zones as a whole.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use zone_api::{ApiError, Create, LedgerEntry, LogLine, ProfileChange, Zone};

use crate::lifecycle::Zones;
use crate::server::answer::{Answer, Name, Params, Switch, Unread, off};
use crate::server::peer::{Auth, Peer};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Those too that have no number, as nothing of them runs.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    all: Switch,
}

/// Zones by name: those that the caller has a right on.
#[utoipa::path(get, path = "/v1/zones", params(Which), responses((status = 200, body = Vec<Zone>)))]
pub(crate) async fn list(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Params(which): Params<Which>,
) -> Answer<Json<Vec<Zone>>> {
    let list = off(move || {
        let mut list = zones.list();
        list.retain(|zone| (which.all.0 || zone.id.is_some()) && peer.sees(&zones, &zone.name));
        Ok(list)
    });
    let list = list.await?;
    Ok(Json(list))
}

/// Configures a zone.
#[utoipa::path(post, path = "/v1/zones", request_body = Create, responses(
    (status = 201), (status = 400, body = ApiError), (status = 403, body = ApiError), (status = 409, body = ApiError)))]
pub(crate) async fn create(State(zones): State<Arc<Zones>>, peer: Peer, body: Unread) -> Answer<StatusCode> {
    peer.manages("create a zone")?;
    let create: Create = body.document().await?;
    off(move || zones.create(&create)).await?;
    Ok(StatusCode::CREATED)
}

/// One zone; it takes a right on it.
#[utoipa::path(get, path = "/v1/zones/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = Zone), (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(crate) async fn show(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<Json<Zone>> {
    let zone = off(move || {
        peer.may(&zones, &name, Auth::Any, "show")?;
        zones.zone(&name)
    });
    zone.await.map(Json)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Force {
    /// Halt it first, and uninstall it where that is in the way.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    pub(super) force: Switch,
}

/// Forgets a zone.
#[utoipa::path(delete, path = "/v1/zones/{name}", params(("name" = String, Path), Force), responses(
    (status = 204), (status = 403, body = ApiError), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(crate) async fn delete(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    Params(how): Params<Force>,
) -> Answer<StatusCode> {
    peer.manages(format!("delete {name}"))?;
    off(move || zones.delete(&name, how.force.0)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What happened to a zone, oldest first.
#[utoipa::path(get, path = "/v1/zones/{name}/log", params(("name" = String, Path)), responses(
    (status = 200, body = Vec<LogLine>), (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(crate) async fn log(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<Json<Vec<LogLine>>> {
    let lines = off(move || {
        peer.may(&zones, &name, Auth::Any, "log")?;
        zones.log(&name)
    });
    lines.await.map(Json)
}

/// What a zone's brand did, by call.
#[utoipa::path(get, path = "/v1/zones/{name}/ledger", params(("name" = String, Path)), responses(
    (status = 200, body = Vec<LedgerEntry>), (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(crate) async fn ledger(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<Json<Vec<LedgerEntry>>> {
    let entries = off(move || {
        peer.may(&zones, &name, Auth::Any, "ledger")?;
        zones.ledger(&name)
    });
    entries.await.map(Json)
}

/// Begins a zone's ledger anew.
#[utoipa::path(delete, path = "/v1/zones/{name}/ledger", params(("name" = String, Path)), responses(
    (status = 204), (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(crate) async fn reset_ledger(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<StatusCode> {
    off(move || {
        peer.may(&zones, &name, Auth::Manage, "ledger")?;
        zones.reset_ledger(&name)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What install changed in a zone's own files.
#[utoipa::path(get, path = "/v1/zones/{name}/profile", params(("name" = String, Path)), responses(
    (status = 200, body = Vec<ProfileChange>), (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(crate) async fn profile(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<Json<Vec<ProfileChange>>> {
    let changes = off(move || {
        peer.may(&zones, &name, Auth::Any, "profile")?;
        zones.profile(&name)
    });
    changes.await.map(Json)
}

/// Takes it back; gives the files that were changed since and stay as they are.
#[utoipa::path(delete, path = "/v1/zones/{name}/profile", params(("name" = String, Path)), responses(
    (status = 200, body = Vec<ProfileChange>), (status = 403, body = ApiError), (status = 404, body = ApiError),
    (status = 409, body = ApiError)))]
pub(crate) async fn undo_profile(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<Json<Vec<ProfileChange>>> {
    let kept = off(move || {
        peer.may(&zones, &name, Auth::Manage, "profile")?;
        zones.undo_profile(&name)
    });
    kept.await.map(Json)
}
