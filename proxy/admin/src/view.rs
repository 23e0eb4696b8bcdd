//! Views: status, endpoints, flows.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::Deserialize;
use tidegate_control::{Clock, FlowFilter, Lifecycle, ListenerStatus, WorkerStatus};
use tidegate_core::{
    FlowRow, FlowState, Timestamp,
    table::{DrainView, EndpointView, ServiceView},
};

use crate::{
    AdminState, PodEventsReport, ServiceProblem, SourceReport, WatchReport, WriterReport, api,
    change::state_word, refusal::Refusal,
};

/// How many flows are listed where nobody says how many.
const FLOWS_DEFAULT: usize = 100;
/// How many flows one answer lists at most.
const FLOWS_LIMIT: usize = 10_000;

/// `GET /v1/status`.
pub(crate) async fn status(State(state): State<AdminState>) -> Result<Json<api::Status>, Refusal> {
    let status = state.control.status().await?;
    let services = state.control.services().await?.services;
    let clock = state.control.clock();
    let mut not_ready = Vec::new();
    if status.lifecycle != Lifecycle::Ready {
        not_ready.push(format!("the process is {}", status.lifecycle.word()));
    }
    if !status.synced {
        not_ready.push("the source has given no complete list yet".to_owned());
    }
    let silent = status.workers.iter().filter(|worker| worker.generation.is_none());
    not_ready.extend(silent.map(|worker| format!("worker {} does not answer", worker.worker)));
    Ok(Json(api::Status {
        version: state.version.to_owned(),
        started: clock.rfc3339(clock.started()),
        uptime_seconds: seconds(clock.started(), status.now),
        phase: status.lifecycle.word().to_owned(),
        ready: not_ready.is_empty(),
        not_ready,
        generation: status.generation,
        flows: state
            .workers
            .iter()
            .flat_map(|worker| worker.services())
            .map(|(_, counters)| counters.open())
            .sum(),
        flow_limit: state.flow_limit,
        workers: status.workers.iter().map(worker).collect(),
        source: (state.source)().map(|report| source(&report, status.synced, clock, status.now)),
        listeners: status.listeners.iter().map(listener).collect(),
        services: services.iter().map(service).collect(),
        state_directory: status.state_directory.map(|path| path.display().to_string()),
        last_reload: state.control.last_reload().map(|reload| api::Reload {
            at: clock.rfc3339(reload.at),
            applied: reload.refused.is_none(),
            error: reload.refused,
        }),
    }))
}

/// What `GET /v1/endpoints` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointsQuery {
    service: Option<String>,
}

/// `GET /v1/endpoints`.
pub(crate) async fn endpoints(
    State(state): State<AdminState>,
    query: Result<Query<EndpointsQuery>, QueryRejection>,
) -> Result<Json<api::Endpoints>, Refusal> {
    let Query(EndpointsQuery { service }) = query.map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, error.body_text()).remedy("it takes service (namespace/name)")
    })?;
    let is_meant =
        |of: &&ServiceView| service.as_ref().is_none_or(|service| of.port.service.to_string() == *service);
    let answer = state.control.services().await?;
    let clock = state.control.clock();
    let rows =
        |of: &ServiceView| of.endpoints.iter().map(|view| endpoint(of, view, clock)).collect::<Vec<_>>();
    let endpoints = answer.services.iter().filter(is_meant).flat_map(rows).collect();
    Ok(Json(api::Endpoints { generation: answer.generation, endpoints }))
}

/// What `GET /v1/flows` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlowsQuery {
    limit: Option<usize>,
    service: Option<String>,
    endpoint: Option<String>,
}

/// `GET /v1/flows`.
pub(crate) async fn flows(
    State(state): State<AdminState>,
    query: Result<Query<FlowsQuery>, QueryRejection>,
) -> Result<Json<api::Flows>, Refusal> {
    let bad = |error: String| Refusal::new(StatusCode::BAD_REQUEST, error);
    let Query(query) = query.map_err(|error| {
        bad(error.body_text()).remedy("it takes limit, service (namespace/name) and endpoint")
    })?;
    let limit = query.limit.unwrap_or(FLOWS_DEFAULT);
    if !(1..=FLOWS_LIMIT).contains(&limit) {
        return Err(bad(format!("limit is {limit}; it is a number from 1 to {FLOWS_LIMIT}")));
    }
    let service =
        query.service.map(|service| service.parse()).transpose().map_err(|error| bad(format!("{error}")))?;
    let filter = FlowFilter { service, endpoint: query.endpoint };
    let answer = state.control.flows(filter, limit).await?;
    Ok(Json(api::Flows {
        total: answer.total,
        truncated: answer.truncated,
        silent_workers: answer.silent,
        flows: answer.flows.iter().map(|row| flow(row, answer.now)).collect(),
    }))
}

fn worker(worker: &WorkerStatus) -> api::Worker {
    let WorkerStatus { worker, generation } = *worker;
    api::Worker { worker, alive: generation.is_some(), generation }
}

fn listener(listener: &ListenerStatus) -> api::Listener {
    api::Listener {
        name: listener.name.to_string(),
        address: listener.address.to_string(),
        service: listener.port.to_string(),
        accepting: listener.accepting,
    }
}

fn source(report: &SourceReport, synced: bool, clock: Clock, now: Timestamp) -> api::Source {
    let invalid =
        |(file, error): &(String, String)| api::InvalidFile { file: file.clone(), error: error.clone() };
    api::Source {
        kind: report.kind.clone(),
        path: report.directory.display().to_string(),
        synced,
        trouble: report.trouble.clone(),
        files: report.files,
        slices: report.slices,
        age_seconds: report.last_event.map(|at| seconds(clock.timestamp(at), now)),
        events: report.events,
        invalid_files: report.invalid.iter().map(invalid).collect(),
        watches: report.watches.iter().map(|it| watch(it, clock, now)).collect(),
        problems: report.problems.iter().map(problem).collect(),
        writer: report.writer.as_ref().map(writer),
        pod_events: report.pod_events.as_ref().map(pod_events),
    }
}

fn problem(problem: &ServiceProblem) -> api::ServiceProblem {
    let ServiceProblem { service, port, reason, message } = problem.clone();
    api::ServiceProblem { service, port, reason: reason.to_owned(), message }
}

fn writer(report: &WriterReport) -> api::Writer {
    let WriterReport { leads, trouble, statuses, events, errors } = report.clone();
    let errors = errors.iter().map(|(_, count)| count).sum();
    api::Writer { leads, trouble, statuses, events, errors }
}

fn pod_events(report: &PodEventsReport) -> api::PodEvents {
    let PodEventsReport { trouble, written, dropped } = report.clone();
    api::PodEvents { trouble, written, dropped }
}

fn watch(report: &WatchReport, clock: Clock, now: Timestamp) -> api::Watch {
    api::Watch {
        resource: report.resource.clone(),
        trouble: report.trouble.clone(),
        objects: report.objects,
        events: report.events,
        lists: report.lists,
        errors: report.errors.iter().map(|(_, count)| count).sum(),
        contact_age_seconds: report.last_contact.map(|at| seconds(clock.timestamp(at), now)),
    }
}

fn service(view: &ServiceView) -> api::Service {
    api::Service {
        service: view.port.to_string(),
        configured: view.configured,
        eligible: view.eligible,
        last_resort: view.last_resort,
        total: view.endpoints.len(),
        draining: view.endpoints.iter().filter(|endpoint| is_draining(endpoint)).count(),
        flows: view.endpoints.iter().map(|endpoint| endpoint.endpoint.admission().flows()).sum(),
    }
}

/// A drain is on and flows are left.
pub(crate) fn is_draining(view: &EndpointView) -> bool {
    view.drain.as_ref().is_some_and(|drain| drain.drained.is_none())
}

fn endpoint(of: &ServiceView, view: &EndpointView, clock: Clock) -> api::Endpoint {
    let words = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    let flows = view.endpoint.admission().flows();
    api::Endpoint {
        service: of.port.to_string(),
        endpoint: view.endpoint.address().to_string(),
        id: view.endpoint.id().0,
        conditions: view.conditions.map(|conditions| api::Conditions {
            ready: conditions.ready,
            serving: conditions.serving,
            terminating: conditions.terminating,
        }),
        eligible: view.eligible,
        admin_state: admin_state(view, clock),
        drain: view.drain.as_ref().map(|drain| drain_view(drain, flows, clock)),
        flows,
        weight: view.weight,
        pod: words(&view.pod),
        node: words(&view.node),
        zone: words(&view.zone),
        slice: view.slice.as_ref().map(|(slice, _)| slice.to_string()),
        slice_generation: view.slice.as_ref().map(|(_, generation)| *generation).filter(|it| *it > 0),
        since: clock.rfc3339(view.since),
    }
}

fn admin_state(view: &EndpointView, clock: Clock) -> api::AdminState {
    let request = view.operator.as_ref();
    api::AdminState {
        state: state_word(request.map(|request| request.state).unwrap_or_default()).to_owned(),
        by: request.map(|request| request.by.clone()),
        reason: request.map(|request| request.reason.clone()).filter(|reason| !reason.is_empty()),
        since: request.map(|request| clock.rfc3339(request.at)),
    }
}

fn drain_view(drain: &DrainView, flows: u64, clock: Clock) -> api::Drain {
    api::Drain {
        since: clock.rfc3339(drain.since),
        why: drain.causes.to_string(),
        flows_at_start: drain.flows_at_start,
        deadline: drain.deadline.map(|at| clock.rfc3339(at)),
        flows_left: flows,
        drained: drain.drained.map(|at| clock.rfc3339(at)),
    }
}

fn flow(row: &FlowRow, now: Timestamp) -> api::Flow {
    let state = match row.state {
        FlowState::Connecting => "connecting",
        FlowState::Open => "open",
        FlowState::ClientClosed => "client_closed",
        FlowState::EndpointClosed => "endpoint_closed",
        FlowState::Ended(_) => "ended",
    };
    api::Flow {
        id: row.id.to_string(),
        listener: row.listener.to_string(),
        service: row.service.to_string(),
        client: row.client.to_string(),
        endpoint: row.endpoint.map(|(_, address)| address.to_string()),
        state: state.to_owned(),
        age_seconds: seconds(row.opened, now),
        idle_seconds: seconds(row.active, now),
        bytes_up: row.bytes_up,
        bytes_down: row.bytes_down,
        attempts: row.attempts,
    }
}

/// Seconds between two moments, to the millisecond.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).as_millis() as f64 / 1_000.0
}
