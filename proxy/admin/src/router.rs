//! What is served where.

use std::time::Duration;

use axum::{
    Router,
    extract::Request,
    http::{
        HeaderValue, Method, StatusCode, Uri,
        header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::time::timeout;

use crate::{
    AdminState,
    access::{self, Access},
    audit, change, dashboard, drains, metrics,
    peers::all,
    plan, probe,
    refusal::Refusal,
    view,
};

/// How long one request may take, its body included.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// The whole API.
pub(crate) fn operators(state: AdminState, access: Access) -> Router {
    let router = Router::new()
        .route("/", get(dashboard::page))
        .route("/dashboard.css", get(dashboard::style))
        .route("/dashboard.js", get(dashboard::script))
        .route("/dashboard.svg", get(dashboard::picture))
        .route("/livez", get(probe::livez))
        .route("/readyz", get(probe::readyz))
        .route("/healthz/services/{namespace}/{name}", get(probe::service))
        .route("/metrics", get(metrics::render))
        .route("/v1/status", get(view::status))
        .route("/v1/endpoints", get(view::endpoints))
        .route("/v1/flows", get(view::flows))
        .route("/v1/audit", get(audit::audit))
        .route("/v1/all/audit", get(all::audit))
        .route("/v1/all/drains", get(all::drains))
        .route("/v1/all/endpoints", get(all::endpoints))
        .route("/v1/all/plan", get(all::plan))
        .route("/v1/all/drain", post(all::drain))
        .route("/v1/all/undrain", post(all::undrain))
        .route("/v1/drains", get(drains::drains))
        .route("/v1/plan", get(plan::plan))
        .route("/v1/drain", post(change::drain))
        .route("/v1/undrain", post(change::undrain))
        .route("/v1/flows/close", post(change::close_flow))
        .with_state(state);
    // The last layer comes first: who is not let in waits for nothing and learns nothing.
    finish(router).layer(from_fn_with_state(access, access::check))
}

/// What scrapers on the network see.
pub(crate) fn scrapers(state: AdminState) -> Router {
    let router = Router::new()
        .route("/livez", get(probe::livez))
        .route("/readyz", get(probe::readyz))
        .route("/healthz/services/{namespace}/{name}", get(probe::service))
        .route("/metrics", get(metrics::render))
        .with_state(state);
    finish(router)
}

fn finish(router: Router) -> Router {
    router.fallback(unknown_path).method_not_allowed_fallback(wrong_method).layer(from_fn(bound))
}

/// Ends a request that takes too long, and keeps answers out of caches.
pub(crate) async fn bound(request: Request, next: Next) -> Response {
    let mut response = timeout(REQUEST_LIMIT, next.run(request)).await.unwrap_or_else(|_| {
        Refusal::new(StatusCode::REQUEST_TIMEOUT, format!("the request took longer than {REQUEST_LIMIT:?}"))
            .into_response()
    });
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn unknown_path(uri: Uri) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("there is no `{}` here", uri.path())).remedy(
        "the API is under /v1: status, endpoints, flows, drains, audit, plan, drain, undrain, flows/close; and, of all \
         instances, all/endpoints, all/drains, all/audit, all/plan, all/drain, all/undrain",
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("`{}` does not take {method}", uri.path()))
        .remedy("changes are POST with a JSON body, everything else is GET")
}

#[cfg(test)]
mod tests;
