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

/// Counters and caps of live zones and of the host; whoever can connect may ask.
#[utoipa::path(get, path = "/v1/stat", params(Names), responses(
    (status = 200, body = Sample), (status = 404, body = ApiError)))]
pub(crate) async fn stat(
    State(zones): State<Arc<Zones>>,
    Params(names): Params<Names>,
) -> Answer<Json<Sample>> {
    off(move || zones.stat(&names.list())).await.map(Json)
}

/// The same as metrics of Prometheus; whoever can connect may ask.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(zones): State<Arc<Zones>>) -> Answer<impl IntoResponse> {
    let text = off(move || metrics::text(&zones)).await?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
}
