//! Images.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use zone_api::{ApiError, CommitZone, Image, ImageDetails, ImportImage, Progress, Pruned, VerifyImages};

use super::install::tell;
use super::streams::body_of;
use crate::lifecycle::{ImportJob, Zones};
use crate::server::answer::{Answer, Name, Params, Switch, Unread, off};
use crate::server::peer::Peer;

/// Images by name.
#[utoipa::path(get, path = "/v1/images", responses((status = 200, body = Vec<Image>), (status = 403, body = ApiError)))]
pub(crate) async fn list(State(zones): State<Arc<Zones>>, peer: Peer) -> Answer<Json<Vec<Image>>> {
    peer.manages("list images")?;
    off(move || Ok(zones.images())).await.map(Json)
}

/// One image, by its name or the digest of its manifest.
#[utoipa::path(get, path = "/v1/images/{name}", params(("name" = String, Path)), responses(
    (status = 200, body = ImageDetails), (status = 403, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn show(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<Json<ImageDetails>> {
    peer.manages(format!("show image {name}"))?;
    off(move || zones.image(&name)).await.map(Json)
}

/// Takes an image's name away.
#[utoipa::path(delete, path = "/v1/images/{name}", params(("name" = String, Path)), responses(
    (status = 204), (status = 403, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn remove(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
) -> Answer<StatusCode> {
    peer.manages(format!("remove image {name}"))?;
    off(move || zones.remove_image(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct From {
    /// Source whose archive is the request's body. Else the body names the source.
    source: Option<String>,
    /// Name of the image.
    name: Option<String>,
}

/// Brings an image in. The answer is one JSON document a line, the last one `done` or `failed`; the import goes on when
/// the client leaves.
#[utoipa::path(post, path = "/v1/images", params(From),
    request_body(content((ImportImage = "application/json"), (Vec<u8> = "application/octet-stream"))), responses(
    (status = 200, body = Progress, content_type = "application/x-ndjson"), (status = 400, body = ApiError),
    (status = 403, body = ApiError)))]
pub(crate) async fn import(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Params(from): Params<From>,
    body: Unread,
) -> Answer<Response> {
    peer.manages("import an image")?;
    let (import, body) = match from.source {
        Some(source) => (ImportImage { source, name: from.name }, Some(body.stream())),
        None => (body.document().await?, None),
    };
    let job = ImportJob { zones, source: import.source, name: import.name };
    Ok(tell(body, move |archive, progress| job.run(archive, progress)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Dry {
    /// Only tell what would be removed.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    dry: Switch,
}

/// Removes layers and documents that no image and no zone needs.
#[utoipa::path(post, path = "/v1/prune-images", params(Dry), responses(
    (status = 200, body = Pruned), (status = 403, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn prune(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Params(how): Params<Dry>,
) -> Answer<Json<Pruned>> {
    peer.manages("prune images")?;
    off(move || zones.prune_images(how.dry.0)).await.map(Json)
}

/// Holds the layers and documents of images against their digests. The answer is one JSON document a line: `verified` with what was
/// found, and the last one `done` or `failed`.
#[utoipa::path(post, path = "/v1/verify-images", request_body = VerifyImages, responses(
    (status = 200, body = Progress, content_type = "application/x-ndjson"), (status = 403, body = ApiError)))]
pub(crate) async fn verify(State(zones): State<Arc<Zones>>, peer: Peer, body: Unread) -> Answer<Response> {
    peer.manages("verify images")?;
    let verify: VerifyImages = body.document().await?;
    Ok(tell(None, move |_, progress| {
        let verified = zones.verify_images(&verify, progress)?;
        progress(Progress::Verified(verified));
        Ok(())
    }))
}

/// Makes an image of what a zone wrote over the image that it comes of. The answer is one JSON document a line, the last one
/// `done` or `failed`. A zone that runs is held still for a moment.
#[utoipa::path(post, path = "/v1/zones/{name}/commit", params(("name" = String, Path)), request_body = CommitZone, responses(
    (status = 200, body = Progress, content_type = "application/x-ndjson"), (status = 400, body = ApiError),
    (status = 403, body = ApiError), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(crate) async fn commit(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    body: Unread,
) -> Answer<Response> {
    peer.manages(format!("commit {name}"))?;
    let commit: CommitZone = body.document().await?;
    let job = off(move || zones.begin_commit(&name, &commit)).await?;
    Ok(tell(None, move |_, progress| job.run(progress)))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Archive {
    /// `oci`, the default: of an OCI image layout; `docker`: as docker save writes it.
    kind: Option<String>,
    /// What the image is called in it.
    reference: Option<String>,
    /// How its layers are packed: `gzip`, `zstd`, `none`.
    compression: Option<String>,
}

/// An image as an archive. A body that does not end as it should is no whole archive.
#[utoipa::path(get, path = "/v1/images/{name}/export", params(("name" = String, Path), Archive), responses(
    (status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 400, body = ApiError),
    (status = 403, body = ApiError), (status = 500, body = ApiError)))]
pub(crate) async fn export(
    State(zones): State<Arc<Zones>>,
    peer: Peer,
    Name(name): Name,
    Params(archive): Params<Archive>,
) -> Answer<Response> {
    peer.manages(format!("export {name}"))?;
    let Archive { kind, reference, compression } = archive;
    let kind = kind.unwrap_or_else(|| "oci".to_owned());
    let job =
        off(move || zones.begin_export(&name, reference.as_deref(), &kind, compression.as_deref())).await?;
    Ok(body_of(move |to| job.run(to)))
}
