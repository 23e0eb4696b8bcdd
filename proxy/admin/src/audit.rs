//! `GET /v1/audit`: the proof that a deploy broke nothing, or the count of what it broke.

use std::time::Duration;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::Deserialize;
use tidegate_control::{AuditRecord, Clock};
use tidegate_core::{FlowEnd, Timestamp};

use crate::{AdminState, api, drains, refusal::Refusal};

/// What it takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    /// Only drains that ended, or were on, in the last so many milliseconds.
    since_ms: Option<u64>,
    /// Only those of this service, namespace/name.
    service: Option<String>,
}

pub(crate) async fn audit(
    State(state): State<AdminState>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<api::Audit>, Refusal> {
    let Query(query) = query.map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, error.body_text())
            .remedy("it takes since_ms (milliseconds) and service (namespace/name)")
    })?;
    let answer = state.control.audit().await?;
    let clock = state.control.clock();
    let from = answer.now.before(Duration::from_millis(query.since_ms.unwrap_or(u64::MAX)));
    let is_meant = |record: &&AuditRecord| {
        let service = record.drain.endpoint.service().service.to_string();
        record.drain.ended >= from && query.service.as_ref().is_none_or(|wanted| *wanted == service)
    };
    let records = answer.records.iter().filter(is_meant).map(|record| audit_record(record, clock)).collect();
    let known_ms = u64::try_from(answer.now.since(Timestamp::default()).as_millis()).unwrap_or(u64::MAX);
    // Those that ended before the time that is asked for are not missing.
    let are_meant = answer.dropped_until.is_some_and(|until| until >= from);
    Ok(Json(api::Audit { records, dropped: if are_meant { answer.dropped } else { 0 }, known_ms }))
}

/// A record as it goes over the wire.
pub fn audit_record(record: &AuditRecord, clock: Clock) -> api::AuditRecord {
    let AuditRecord { drain, over, published_after } = record;
    let time = |at: Timestamp| clock.rfc3339(at);
    let count = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
    api::AuditRecord {
        service: drain.endpoint.service().to_string(),
        endpoint: drain.endpoint.address().to_string(),
        id: drain.endpoint.id().0,
        pod: drain.pod.as_deref().map(str::to_owned),
        why: drain.causes.to_string(),
        causes: drains::causes(&drain.causes),
        began: time(drain.began),
        ended: over.then(|| time(drain.ended)),
        took_ms: count(drain.ended.since(drain.began).as_millis()),
        undone: drain.undone,
        deadline: drain.deadline.map(time),
        flows_at_start: drain.flows_at_start,
        flows_left: drain.flows_left,
        flows_after_start: drain.flows_after_start(),
        ended_by_client: drain.ends.of(FlowEnd::Client),
        ended_by_endpoint: drain.ends.of(FlowEnd::Endpoint),
        shed: drain.ends.of(FlowEnd::Shed),
        cut: drain.ends.of(FlowEnd::Cut),
        broken: drain.ends.of(FlowEnd::Broken),
        ordered: drain.ends.of(FlowEnd::Ordered),
        elsewhere: drain.ends.of(FlowEnd::Elsewhere),
        published_after_us: published_after.map(|took| count(took.as_micros())),
    }
}
