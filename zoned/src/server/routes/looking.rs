//! What zones use, for people and for Prometheus.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;
use zone_api::ApiError;
use zone_api::stat::Sample;

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
