//! Requests that become sessions.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use zone_api::{ApiError, Login, Run};

use crate::lifecycle::Zones;
use crate::server::answer::{Answer, Name, Unread, off};
use crate::server::peer::{Auth, Peer};
use crate::server::session::Upgrade;

/// A program in a running zone. With `Upgrade: zones-session` the connection becomes its session.
#[utoipa::path(post, path = "/v1/zones/{name}/login", params(("name" = String, Path)),
    request_body = Login, responses(
    (status = 101), (status = 403, body = ApiError), (status = 404, body = ApiError),
    (status = 409, body = ApiError), (status = 426, body = ApiError)))]
pub(crate) async fn login(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    upgrade: Answer<Upgrade>,
    body: Unread,
) -> Answer<Response> {
    peer.ask(&zones, &name, Auth::Login, "login").await?;
    let upgrade = upgrade?;
    let login: Login = body.document().await?;
    let (here, zone) = (Arc::clone(&zones), name.clone());
    off(move || here.may_login(&zone)).await?;
    Ok(upgrade.then(move |session| {
        if let Err(error) = zones.login(&name, login, session) {
            tracing::info!(zone = name, %error, "a login was refused");
        }
    }))
}

/// A zone's console. With `Upgrade: zones-session` the connection becomes its session.
#[utoipa::path(post, path = "/v1/zones/{name}/console", params(("name" = String, Path)), responses(
    (status = 101), (status = 403, body = ApiError), (status = 404, body = ApiError),
    (status = 408, body = ApiError), (status = 409, body = ApiError), (status = 413, body = ApiError),
    (status = 426, body = ApiError)))]
pub(crate) async fn console(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    upgrade: Answer<Upgrade>,
    body: Unread,
) -> Answer<Response> {
    peer.ask(&zones, &name, Auth::Login, "console").await?;
    let upgrade = upgrade?;
    body.document::<serde::de::IgnoredAny>().await?;
    let (here, zone) = (Arc::clone(&zones), name.clone());
    off(move || here.may_console(&zone)).await?;
    Ok(upgrade.then(move |session| {
        if let Err(error) = zones.console(&name, session) {
            tracing::info!(zone = name, %error, "a console was refused");
        }
    }))
}

/// A zone that exists while its program runs. With `Upgrade: zones-session` the connection becomes its
/// session.
#[utoipa::path(post, path = "/v1/run", request_body = Run, responses(
    (status = 101), (status = 400, body = ApiError), (status = 403, body = ApiError),
    (status = 426, body = ApiError)))]
pub(crate) async fn run(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    upgrade: Answer<Upgrade>,
    body: Unread,
) -> Answer<Response> {
    peer.manages("run")?;
    let upgrade = upgrade?;
    let run: Run = body.document().await?;
    let job = off(move || zones.begin_run(run)).await?;
    Ok(upgrade.then(move |session| {
        let name = job.name().to_owned();
        if let Err(error) = job.run(session) {
            tracing::info!(zone = name, %error, "a run did not start");
        }
    }))
}
