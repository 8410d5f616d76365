//! What zones use, for people and for Prometheus.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;
use zone_api::stat::Sample;
use zone_api::{ApiError, ZoneEvent};

use crate::lifecycle::Zones;
use crate::server::answer::{Answer, Params, off};
use crate::server::metrics;
use crate::server::peer::{Auth, Peer};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Names {
    /// Names with commas between them; all zones when left out.
    #[serde(default)]
    names: String,
}

impl Names {
    fn list(&self) -> Vec<String> {
        self.names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}

/// Counters and caps of live zones and of the host: of those that the caller has a right on.
#[utoipa::path(get, path = "/v1/stat", params(Names), responses(
    (status = 200, body = Sample), (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(crate) async fn stat(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Params(names): Params<Names>,
) -> Answer<Json<Sample>> {
    let sample = off(move || {
        let names = names.list();
        names.iter().try_for_each(|name| peer.may(&zones, name, Auth::Any, "stat"))?;
        let mut sample = zones.stat(&names)?;
        sample.zones.retain(|zone| peer.sees(&zones, &zone.name));
        Ok(sample)
    });
    sample.await.map(Json)
}

/// The same as metrics of Prometheus, of all zones.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain"),
    (status = 403, body = ApiError)))]
pub(crate) async fn metrics(State(zones): State<Arc<Zones>>, peer: Peer) -> Answer<impl IntoResponse> {
    peer.manages("read the metrics")?;
    let text = off(move || metrics::text(&zones)).await?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Since {
    /// Names with commas between them; all zones when left out.
    #[serde(default)]
    names: String,
    /// Seconds since 1970: tells first what the zones' logs have from then on.
    since: Option<f64>,
}

/// How often something is said where nothing happens: that a client has left is seen when it is written to.
const PULSE: Duration = Duration::from_secs(15);

/// What happens to zones, one JSON document a line, until the client leaves; where nothing happens an empty line every 15
/// seconds. A client that reads slowly is told how many
/// events it lost. Who manages all zones may follow all, others those that they name and have a right on.
#[utoipa::path(get, path = "/v1/events", params(Since), responses(
    (status = 200, body = ZoneEvent, content_type = "application/x-ndjson"),
    (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(crate) async fn events(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Params(Since { names, since }): Params<Since>,
) -> Answer<Response> {
    let names = Names { names }.list();
    let (from, old, names) = off(move || {
        if names.is_empty() {
            peer.manages("follow all zones")?;
        }
        for name in &names {
            peer.may(&zones, name, Auth::Any, "follow")?;
        }
        let from = zones.follow(&names)?;
        let old = since.map(|since| zones.told_since(&names, since)).unwrap_or_default();
        Ok((from, VecDeque::from(old), names))
    })
    .await?;
    let lines = futures_util::stream::unfold((from, old, names), |(mut from, mut old, names)| async move {
        let event = loop {
            if let Some(event) = old.pop_front() {
                break Some(event);
            }
            match tokio::time::timeout(PULSE, from.recv()).await {
                Ok(Ok(event)) if names.is_empty() || names.contains(&event.zone) => break Some(event),
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Lagged(count))) => break Some(lost(count)),
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => break None,
            }
        };
        let mut line = event.map_or_else(|| Ok(Vec::new()), |event| serde_json::to_vec(&event)).ok()?;
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), (from, old, names)))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

fn lost(count: u64) -> ZoneEvent {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    ZoneEvent {
        time: time.as_secs_f64(),
        zone: String::new(),
        kind: "lost".to_owned(),
        text: format!("{count} events lost: they were not read in time"),
    }
}
