//! Verbs that answer when they are done.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use zone_api::{ApiError, Boot, Shutdown};

use crate::lifecycle::Zones;
use crate::server::answer::{Answer, Name, Unread, off};
use crate::server::peer::{Auth, Peer};

/// Removes a zone's root.
#[utoipa::path(post, path = "/v1/zones/{name}/uninstall", params(("name" = String, Path)), responses(
    (status = 204), (status = 403, body = ApiError), (status = 404, body = ApiError),
    (status = 409, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn uninstall(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<StatusCode> {
    peer.manages(format!("uninstall {name}"))?;
    off(move || zones.uninstall(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shuts all running zones down, those last that others are booted after; answers when all have ended.
#[utoipa::path(post, path = "/v1/shutdown", request_body = Shutdown, responses(
    (status = 204), (status = 403, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn shutdown_all(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    body: Unread,
) -> Answer<StatusCode> {
    peer.manages("shut all zones down")?;
    let how: Shutdown = body.document().await?;
    off(move || zones.shutdown_all(how.timeout)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Starts a zone's init; answers when it was started.
#[utoipa::path(post, path = "/v1/zones/{name}/boot", params(("name" = String, Path)), request_body = Boot, responses(
    (status = 204), (status = 400, body = ApiError), (status = 403, body = ApiError),
    (status = 404, body = ApiError), (status = 409, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn boot(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    body: Unread,
) -> Answer<StatusCode> {
    peer.ask(&zones, &name, Auth::Manage, "boot").await?;
    let boot: Boot = body.document().await?;
    managed(zones, peer, name, "boot", move |zones, name| {
        may_word(peer, zones, name, &boot)?;
        zones.boot(name, boot)
    })
    .await
}

/// Makes a zone's platform and starts nothing in it.
#[utoipa::path(post, path = "/v1/zones/{name}/ready", params(("name" = String, Path)), request_body = Boot, responses(
    (status = 204), (status = 403, body = ApiError), (status = 404, body = ApiError),
    (status = 409, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn ready(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    body: Unread,
) -> Answer<StatusCode> {
    peer.ask(&zones, &name, Auth::Manage, "ready").await?;
    let boot: Boot = body.document().await?;
    managed(zones, peer, name, "ready", move |zones, name| {
        may_word(peer, zones, name, &boot)?;
        zones.ready(name, boot)
    })
    .await
}

/// Ends a zone at once.
#[utoipa::path(post, path = "/v1/zones/{name}/halt", params(("name" = String, Path)), responses(
    (status = 204), (status = 403, body = ApiError), (status = 404, body = ApiError),
    (status = 409, body = ApiError)))]
pub(crate) async fn halt(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<StatusCode> {
    managed(zones, peer, name, "halt", |zones, name| zones.halt(name)).await
}

/// Asks a zone's init to end; answers when the zone has ended, or runs again.
#[utoipa::path(post, path = "/v1/zones/{name}/shutdown", params(("name" = String, Path)),
    request_body = Shutdown, responses(
    (status = 204), (status = 403, body = ApiError), (status = 404, body = ApiError),
    (status = 409, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn shutdown(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    body: Unread,
) -> Answer<StatusCode> {
    peer.ask(&zones, &name, Auth::Manage, "shutdown").await?;
    let how: Shutdown = body.document().await?;
    managed(zones, peer, name, "shutdown", move |zones, name| zones.shutdown(name, &how)).await
}

/// Ends a zone at once and boots it again.
#[utoipa::path(post, path = "/v1/zones/{name}/reboot", params(("name" = String, Path)), responses(
    (status = 204), (status = 403, body = ApiError), (status = 404, body = ApiError),
    (status = 409, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn reboot(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<StatusCode> {
    managed(zones, peer, name, "reboot", |zones, name| zones.reboot(name)).await
}

/// Presses Ctrl-Alt-Del in a zone; what comes of it is the guest's.
#[utoipa::path(post, path = "/v1/zones/{name}/ctrl-alt-del", params(("name" = String, Path)), responses(
    (status = 204), (status = 403, body = ApiError), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(crate) async fn ctrl_alt_del(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<StatusCode> {
    managed(zones, peer, name, "ctrl-alt-del", |zones, name| zones.ctrl_alt_del(name)).await
}

/// An init of the caller's choice is a program of the caller's in the zone, as its root.
fn may_word(peer: Peer, zones: &Zones, name: &str, boot: &Boot) -> Result<(), ApiError> {
    if boot.init.is_none() && boot.args.is_none() {
        return Ok(());
    }
    peer.may(zones, name, Auth::Login, "choose the init of")
}

/// A verb that a zone's own `manage` gives a right to.
async fn managed(
    zones: Arc<Zones>,
    peer: Peer,
    name: String,
    verb: &'static str,
    work: impl FnOnce(&Arc<Zones>, &str) -> Result<(), ApiError> + Send + 'static,
) -> Answer<StatusCode> {
    off(move || {
        peer.may(&zones, &name, Auth::Manage, verb)?;
        work(&zones, &name)
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
