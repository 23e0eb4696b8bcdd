//! Probes: of the process, as plain text; of a Service, as JSON.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use tidegate_control::NotReady;
use tidegate_core::ServiceName;

use crate::{AdminState, api, refusal::Refusal};

/// Whether the process works at all.
pub(crate) async fn livez(State(state): State<AdminState>) -> impl IntoResponse {
    answer("alive", state.control.alive().await)
}

/// Whether new clients may be sent here: the workers' own answer.
pub(crate) async fn readyz(State(state): State<AdminState>) -> impl IntoResponse {
    answer("ready", state.control.ready().await)
}

/// Whether clients of a Service may be sent to this node: what `healthCheckNodePort` of a Service asks kube-proxy for.
pub(crate) async fn service(
    State(state): State<AdminState>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<impl IntoResponse, Refusal> {
    let wanted = ServiceName::new(namespace, name);
    let services = state.control.services().await?.services;
    let ports = services.iter().filter(|service| service.configured && service.port.service == wanted);
    let Some(local_endpoints) = ports.map(|service| service.local).max() else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("no listener serves {wanted}")));
    };
    let proxy_healthy = state.control.ready().await.is_ok();
    let is_good = proxy_healthy && local_endpoints > 0;
    let status = if is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let service = api::HealthOf { namespace: wanted.namespace().to_owned(), name: wanted.name().to_owned() };
    Ok((status, Json(api::ServiceHealth { service, local_endpoints, proxy_healthy })))
}

fn answer(word: &str, outcome: Result<(), NotReady>) -> (StatusCode, String) {
    match outcome {
        Ok(()) => (StatusCode::OK, format!("{word}\n")),
        Err(NotReady(reasons)) => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}
