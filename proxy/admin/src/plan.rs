//! `GET /v1/plan`: what a drain would do. Reads and changes nothing. `total` is what several instances say together.

mod total;

use std::time::Duration;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::Deserialize;
use tidegate_control::{
    Clock,
    plan::{DeadlineBy, EndpointPlan, LoadAfter, PlanFilter, ServicePlan},
};
use tidegate_core::Policy;

use crate::{AdminState, api, drains::per_second, refusal::Refusal};

pub(crate) use total::totals;

/// How many endpoints one question may name.
const ENDPOINTS_LIMIT: usize = 1_000;

/// What it takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanQuery {
    /// Only endpoints of this service, namespace/name.
    service: Option<String>,
    /// These, with commas between.
    endpoints: Option<String>,
    /// Those on this node.
    node: Option<String>,
    /// The deadline that the drain would have.
    deadline_ms: Option<u64>,
}

impl PlanQuery {
    fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.endpoints.as_deref().unwrap_or_default().split(',').filter(|name| !name.is_empty())
    }

    /// The first that is a number.
    pub(crate) fn number(&self) -> Option<&str> {
        self.endpoints().find(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

pub(crate) async fn plan(
    State(state): State<AdminState>,
    query: Result<Query<PlanQuery>, QueryRejection>,
) -> Result<Json<api::Plan>, Refusal> {
    let bad = |error: String| Refusal::new(StatusCode::BAD_REQUEST, error);
    let remedy = "it takes service (namespace/name), endpoints (with commas between), node and deadline_ms";
    let Query(query) = query.map_err(|error| bad(error.body_text()).remedy(remedy))?;
    let endpoints: Vec<_> = query.endpoints().map(str::to_owned).collect();
    let service =
        query.service.map(|service| service.parse()).transpose().map_err(|error| bad(format!("{error}")))?;
    if endpoints.is_empty() && query.node.is_none() {
        return Err(
            bad("neither `endpoints` nor `node` says what would be drained".to_owned()).remedy(remedy)
        );
    }
    if endpoints.len() > ENDPOINTS_LIMIT {
        return Err(bad(format!("{} endpoints; at most {ENDPOINTS_LIMIT} are taken", endpoints.len())));
    }
    let deadline = query.deadline_ms.map(Duration::from_millis);
    let answer = state.control.plan(PlanFilter { service, endpoints, node: query.node, deadline }).await?;
    let clock = state.control.clock();
    Ok(Json(api::Plan {
        at: clock.rfc3339(answer.now),
        services: answer.services.iter().map(|plan| of_service(plan, clock)).collect(),
        silent_workers: answer.silent,
    }))
}

fn of_service(plan: &ServicePlan, clock: Clock) -> api::ServicePlan {
    api::ServicePlan {
        service: plan.port.to_string(),
        policy: match plan.policy {
            Policy::LeastFlows => "leastFlows",
            Policy::RoundRobin => "roundRobin",
            Policy::Random => "random",
            Policy::Maglev => "maglev",
        }
        .to_owned(),
        flows_to_move: plan.flows,
        deadline_seconds: seconds(plan.deadline),
        deadline_by: match plan.deadline_by {
            DeadlineBy::Nobody => "nobody",
            DeadlineBy::Asker => "asker",
            DeadlineBy::Service => "service",
            DeadlineBy::Pod => "pod",
        }
        .to_owned(),
        window_seconds: seconds(plan.window),
        reconnects_per_second: plan.reconnects_per_second.map(|rate| (rate * 10.0).round() / 10.0),
        will_be_cut: plan.will_be_cut,
        nobody_left: plan.others.is_empty(),
        endpoints: plan.drained.iter().map(|plan| drained(plan, clock)).collect(),
        others: plan.others.iter().map(load).collect(),
    }
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_millis() as f64 / 1_000.0)
}

fn drained(plan: &EndpointPlan, clock: Clock) -> api::EndpointPlan {
    let EndpointPlan { view, survey, deadline, will_be_cut } = plan;
    let words = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    api::EndpointPlan {
        endpoint: view.endpoint.address().to_string(),
        id: view.endpoint.id().0,
        pod: words(&view.pod),
        node: words(&view.node),
        flows: view.endpoint.admission().flows(),
        idle: survey.map(|survey| survey.idle),
        busy: survey.map(|survey| survey.flows.saturating_sub(survey.idle)),
        bytes_per_second: survey.map(|survey| per_second(survey.bytes)),
        draining: view.drain.is_some(),
        deadline: view.drain.as_ref().and_then(|drain| drain.deadline).map(|at| clock.rfc3339(at)),
        deadline_seconds: seconds(*deadline),
        will_be_cut: *will_be_cut,
    }
}

fn load(other: &LoadAfter) -> api::LoadAfter {
    let words = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    api::LoadAfter {
        endpoint: other.address.to_string(),
        pod: words(&other.pod),
        node: words(&other.node),
        weight: other.weight,
        flows: other.flows,
        flows_after: other.flows_after,
    }
}
