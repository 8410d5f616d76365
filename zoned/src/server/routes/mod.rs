//! Every route, with its description for OpenAPI.

mod config;
mod host;
mod images;
mod install;
mod looking;
mod places;
mod sessions;
mod snapshots;
mod streams;
mod verbs;
mod zones;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Failure;
use crate::lifecycle::Zones;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "zoned",
        description = "Zones of a Linux host, over a unix socket. Every answer that is not 2xx has an ApiError as its body."
    ),
    components(schemas(zone_api::ApiError, zone_api::Progress, zone_api::Install))
)]
struct Description;

fn described() -> OpenApiRouter<Arc<Zones>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(zones::list, zones::create))
        .routes(routes!(zones::show, zones::delete))
        .routes(routes!(zones::log))
        .routes(routes!(zones::ledger, zones::reset_ledger))
        .routes(routes!(zones::profile, zones::undo_profile))
        .routes(routes!(config::read, config::put, config::patch))
        .routes(routes!(config::get_key))
        .routes(routes!(config::verify))
        .routes(routes!(install::install))
        .routes(routes!(snapshots::list, snapshots::make))
        .routes(routes!(snapshots::delete))
        .routes(routes!(snapshots::rollback))
        .routes(routes!(snapshots::clone))
        .routes(routes!(places::du))
        .routes(routes!(places::relocate))
        .routes(routes!(places::detach))
        .routes(routes!(places::attach))
        .routes(routes!(streams::send))
        .routes(routes!(streams::receive))
        .routes(routes!(verbs::uninstall))
        .routes(routes!(verbs::boot))
        .routes(routes!(verbs::ready))
        .routes(routes!(verbs::halt))
        .routes(routes!(verbs::shutdown))
        .routes(routes!(verbs::reboot))
        .routes(routes!(verbs::ctrl_alt_del))
        .routes(routes!(verbs::shutdown_all))
        .routes(routes!(sessions::login))
        .routes(routes!(sessions::console))
        .routes(routes!(sessions::run))
        .routes(routes!(looking::stat))
        .routes(routes!(looking::metrics))
        .routes(routes!(looking::events))
        .routes(routes!(images::list, images::import))
        .routes(routes!(images::show, images::remove))
        .routes(routes!(images::prune))
        .routes(routes!(images::verify))
        .routes(routes!(images::export))
        .routes(routes!(images::commit))
        .routes(routes!(host::brands))
        .routes(routes!(host::brand))
        .routes(routes!(host::doctor))
        .routes(routes!(host::version))
        .routes(routes!(host::document))
}

/// The description of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = described().into_openapi();
    for item in document.paths.paths.values_mut() {
        let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        methods.into_iter().flatten().for_each(tell_of_failures);
    }
    document
}

/// Adds what any route may answer, so that none has to say it.
fn tell_of_failures(operation: &mut Operation) {
    let mut failures = vec![("500", "It was tried and did not work"), ("503", "Too many connections")];
    if operation.parameters.is_some() || operation.request_body.is_some() {
        failures.push(("400", "It makes no sense"));
    }
    let in_path = |one: &Parameter| matches!(one.parameter_in, ParameterIn::Path);
    if operation.parameters.iter().flatten().any(in_path) {
        failures.push(("404", "There is no such thing"));
    }
    if operation.request_body.is_some() {
        failures.extend([("408", "The body did not come in time"), ("413", "The body is too long")]);
    }
    for (status, description) in failures {
        let error = ContentBuilder::new().schema(Some(Ref::from_schema_name("ApiError"))).build();
        let response = ResponseBuilder::new().description(description).content("application/json", error);
        operation.responses.responses.entry(status.into()).or_insert_with(|| response.build().into());
    }
}

pub(super) fn router(zones: Arc<Zones>) -> Router {
    let (router, _) = described().split_for_parts();
    router.fallback(no_route).method_not_allowed_fallback(no_method).with_state(zones)
}

async fn no_route(method: Method, uri: Uri) -> Failure {
    Failure::request(StatusCode::NOT_FOUND, format!("{method} {}", uri.path()), "there is no such route")
}

async fn no_method(method: Method, uri: Uri) -> Failure {
    let why = format!("the route has no method {method}");
    Failure::request(StatusCode::METHOD_NOT_ALLOWED, format!("{method} {}", uri.path()), why)
}
