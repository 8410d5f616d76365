//! Snapshots of a zone's root, and clones.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use zone_api::{ApiError, CloneZone, Cloned, NewSnapshot, Snapshot};

use crate::lifecycle::Zones;
use crate::server::answer::{Answer, Name, Unread, off};
use crate::server::peer::{Auth, Peer};

/// A zone's snapshots, the oldest first.
#[utoipa::path(get, path = "/v1/zones/{name}/snapshots", params(("name" = String, Path)), responses(
    (status = 200, body = Vec<Snapshot>), (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(crate) async fn list(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<Json<Vec<Snapshot>>> {
    let all = off(move || {
        peer.may(&zones, &name, Auth::Any, "snapshots")?;
        zones.snapshots(&name)
    });
    all.await.map(Json)
}

/// Keeps a zone's root as it is now. A zone that runs is held still for a moment.
#[utoipa::path(post, path = "/v1/zones/{name}/snapshots", params(("name" = String, Path)),
    request_body = NewSnapshot, responses(
    (status = 200, body = Snapshot), (status = 400, body = ApiError), (status = 403, body = ApiError),
    (status = 404, body = ApiError), (status = 409, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn make(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    body: Unread,
) -> Answer<Json<Snapshot>> {
    peer.ask(&zones, &name, Auth::Manage, "snapshot").await?;
    let new: NewSnapshot = body.document().await?;
    off(move || zones.snapshot(&name, &new.name)).await.map(Json)
}

/// Forgets a snapshot; what others are made of stays.
#[utoipa::path(delete, path = "/v1/zones/{name}/snapshots/{snapshot}",
    params(("name" = String, Path), ("snapshot" = String, Path)), responses(
    (status = 204), (status = 403, body = ApiError), (status = 404, body = ApiError),
    (status = 409, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn delete(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Path((name, snapshot)): Path<(String, String)>,
) -> Answer<StatusCode> {
    off(move || {
        peer.may(&zones, &name, Auth::Manage, "snapshot")?;
        zones.delete_snapshot(&name, &snapshot)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a zone the root of a snapshot. One that runs is halted, and booted again.
#[utoipa::path(post, path = "/v1/zones/{name}/snapshots/{snapshot}/rollback",
    params(("name" = String, Path), ("snapshot" = String, Path)), responses(
    (status = 204), (status = 403, body = ApiError), (status = 404, body = ApiError),
    (status = 409, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn rollback(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Path((name, snapshot)): Path<(String, String)>,
) -> Answer<StatusCode> {
    off(move || {
        peer.may(&zones, &name, Auth::Manage, "rollback")?;
        zones.rollback(&name, &snapshot)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a zone whose root begins as this one's; one that is not there is configured as this one is.
#[utoipa::path(post, path = "/v1/zones/{name}/clone", params(("name" = String, Path)),
    request_body = CloneZone, responses(
    (status = 200, body = Cloned), (status = 400, body = ApiError), (status = 403, body = ApiError),
    (status = 404, body = ApiError), (status = 409, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn clone(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    body: Unread,
) -> Answer<Json<Cloned>> {
    peer.ask(&zones, &name, Auth::CloneFrom, "clone").await?;
    let clone: CloneZone = body.document().await?;
    let made = off(move || {
        // Into a zone that the caller manages.
        if zones.zone(&clone.to).is_ok() {
            peer.may(&zones, &clone.to, Auth::Manage, "clone to")?;
        } else {
            peer.manages(format!("create {}", clone.to))?;
        }
        let notes = zones.clone_zone(&name, clone.snapshot.as_deref(), &clone.to)?;
        Ok(Cloned { notes })
    });
    made.await.map(Json)
}
