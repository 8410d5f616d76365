//! The host, its brands, and the API itself; whoever can connect may ask.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use zone_api::{ApiError, Brand, Finding};

use crate::lifecycle::Zones;
use crate::server::answer::{Answer, Failure, Name, off};

/// The brands here.
#[utoipa::path(get, path = "/v1/brands", responses((status = 200, body = Vec<Brand>)))]
pub(crate) async fn brands(State(zones): State<Arc<Zones>>) -> Answer<Json<Vec<Brand>>> {
    off(move || Ok(zones.host().brands())).await.map(Json)
}

/// One brand with its table.
#[utoipa::path(get, path = "/v1/brands/{brand}", params(("brand" = String, Path)), responses(
    (status = 200, body = Brand), (status = 404, body = ApiError)))]
pub(crate) async fn brand(State(zones): State<Arc<Zones>>, Name(name): Name) -> Answer<Json<Brand>> {
    let brands = off(move || Ok(zones.host().brands())).await?;
    let known: Vec<String> = brands.iter().map(|brand| brand.name.clone()).collect();
    brands.into_iter().find(|brand| brand.name == name).map(Json).ok_or_else(|| {
        let why = format!("there is no such brand; known: {}", known.join(", "));
        Failure::request(StatusCode::NOT_FOUND, format!("show brand {name}"), why)
    })
}

/// What the host offers and lacks.
#[utoipa::path(get, path = "/v1/doctor", responses((status = 200, body = Vec<Finding>)))]
pub(crate) async fn doctor(State(zones): State<Arc<Zones>>) -> Answer<Json<Vec<Finding>>> {
    off(move || Ok(zones.host().doctor())).await.map(Json)
}

/// Version of zoned.
#[utoipa::path(get, path = "/v1/version", responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// This description, as OpenAPI 3.1.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, content_type = "application/json")))]
pub(crate) async fn document() -> impl IntoResponse {
    // Made once: everybody may ask for it, however often.
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| super::openapi().to_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}
