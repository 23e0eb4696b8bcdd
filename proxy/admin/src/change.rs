//! Changes: drain, undrain, close a flow.

use std::{net::SocketAddr, time::Duration};

use axum::{Extension, Json, extract::State, http::StatusCode};
use tidegate_control::{Clock, DrainChange, DrainOutcome};
use tidegate_core::{AdminState as Wanted, EndpointSelector, FlowId, ServiceName};

use crate::{AdminState, access::Peer, api, body::JsonBody, refusal::Refusal};

/// `POST /v1/drain`.
pub(crate) async fn drain(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<api::DrainRequest>,
) -> Result<Json<api::DrainAnswer>, Refusal> {
    let selector = selector(&request)?;
    let by = request.by.unwrap_or(peer.name);
    let deadline = request.deadline_ms.map(Duration::from_millis);
    let outcome = state.control.drain(selector, by, request.reason.unwrap_or_default(), deadline).await?;
    Ok(Json(answer(&outcome, state.control.clock())))
}

/// `POST /v1/undrain`.
pub(crate) async fn undrain(
    State(state): State<AdminState>,
    Extension(peer): Extension<Peer>,
    JsonBody(request): JsonBody<api::DrainRequest>,
) -> Result<Json<api::DrainAnswer>, Refusal> {
    let selector = selector(&request)?;
    if request.deadline_ms.is_some() {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "`deadline_ms` has no meaning for undrain".to_owned(),
        ));
    }
    let by = request.by.unwrap_or(peer.name);
    let outcome = state.control.undrain(selector, by, request.reason.unwrap_or_default()).await?;
    Ok(Json(answer(&outcome, state.control.clock())))
}

/// `POST /v1/flows/close`.
pub(crate) async fn close_flow(
    State(state): State<AdminState>,
    JsonBody(request): JsonBody<api::CloseRequest>,
) -> Result<Json<api::CloseAnswer>, Refusal> {
    let id = u64::from_str_radix(&request.flow, 16).map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("`{}` is not a flow's number", request.flow))
            .remedy("take the `id` that /v1/flows shows")
    })?;
    state.control.close_flow(FlowId(id)).await?;
    Ok(Json(api::CloseAnswer { flow: request.flow }))
}

/// The endpoints that a request means: an address, or else a pod's name, with or without its namespace.
fn selector(request: &api::DrainRequest) -> Result<EndpointSelector, Refusal> {
    let bad = |error: String| Refusal::new(StatusCode::BAD_REQUEST, error);
    let service: ServiceName = request.service.parse().map_err(|error| bad(format!("{error}")))?;
    if let Ok(address) = request.endpoint.parse::<SocketAddr>() {
        return Ok(EndpointSelector::Address { service, address });
    }
    let pod = match request.endpoint.split_once('/') {
        Some((namespace, pod)) if namespace == service.namespace() => pod,
        Some(_) => {
            return Err(bad(format!("pod `{}` is not in the namespace of `{service}`", request.endpoint)));
        }
        None => &request.endpoint,
    };
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if pod.is_empty() || pod.len() > 253 || !pod.bytes().all(is_name) {
        return Err(bad(format!("`{}` is neither address:port nor a pod's name", request.endpoint))
            .remedy("take the `endpoint` or `pod` that /v1/endpoints shows"));
    }
    Ok(EndpointSelector::Pod { service, pod: pod.into() })
}

fn answer(outcome: &DrainOutcome, clock: Clock) -> api::DrainAnswer {
    let (kept, kept_error) = match &outcome.kept {
        Ok(kept) => (*kept, None),
        Err(error) => (false, Some(error.to_string())),
    };
    let endpoints = outcome.endpoints.iter().map(|it| change(it, clock)).collect();
    api::DrainAnswer { endpoints, kept, kept_error }
}

fn change(change: &DrainChange, clock: Clock) -> api::DrainChange {
    api::DrainChange {
        service: change.service.to_string(),
        endpoint: change.address.to_string(),
        id: change.id.0,
        pod: change.pod.as_deref().map(str::to_owned),
        state: state_word(change.state).to_owned(),
        unchanged: change.unchanged,
        eligible: change.eligible,
        flows: change.flows,
        deadline: change.deadline.map(|at| clock.rfc3339(at)),
        earlier_deadline: change.earlier_deadline,
    }
}

/// The word for an admin state in the API.
pub(crate) const fn state_word(state: Wanted) -> &'static str {
    match state {
        Wanted::InService => "in_service",
        Wanted::Drain => "drain",
    }
}
