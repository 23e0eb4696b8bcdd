//! `GET /v1/drains`: how the drains come along, once or as a stream.
//!
//! Workers look at their flows for it, so one sampler asks for all who want to know: whoever asks gets a sample that
//! began after the question, and followers get one a second for as long as there are any. A follower that does not
//! read gets no second sample: it is cut off.

mod follow;
mod sampler;

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tidegate_control::{Clock, Progress, ProgressAnswer, progress};
use tidegate_core::{DrainCause, DrainCauses, FlowEnd, Survey, Timestamp};

use crate::{AdminState, api, audit, refusal::Refusal, serve::Lasting};

pub use sampler::Sampler;

/// What it takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DrainsQuery {
    /// As a stream.
    #[serde(default)]
    follow: bool,
    /// Only those of this service, namespace/name.
    service: Option<String>,
}

pub(crate) async fn drains(
    State(state): State<AdminState>,
    Extension(lasting): Extension<Lasting>,
    query: Result<Query<DrainsQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query.map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, error.body_text())
            .remedy("it takes follow (true or false) and service (namespace/name)")
    })?;
    if query.follow {
        return follow::follow(&state.sampler, query.service, lasting);
    }
    Ok(sample(&state, query.service.as_deref()).await?.into_response())
}

/// What it takes where no stream is to be had.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnceQuery {
    /// Only those of this service, namespace/name.
    service: Option<String>,
}

/// The same for another instance, and for all of them: once.
pub(crate) async fn once(
    State(state): State<AdminState>,
    query: Result<Query<OnceQuery>, QueryRejection>,
) -> Result<Json<api::Drains>, Refusal> {
    let Query(OnceQuery { service }) = query.map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, error.body_text())
            .remedy("it takes service (namespace/name); a stream of all instances there is none: ask again")
    })?;
    sample(&state, service.as_deref()).await
}

async fn sample(state: &AdminState, service: Option<&str>) -> Result<Json<api::Drains>, Refusal> {
    let sample = state.sampler.ask().await?;
    Ok(Json(of_service(&sample, service)))
}

/// Those of one service, where one is named.
fn of_service(drains: &api::Drains, service: Option<&str>) -> api::Drains {
    let mut drains = drains.clone();
    if let Some(service) = service {
        let is_of = |name: &str| name.split(':').next() == Some(service);
        drains.drains.retain(|drain| is_of(&drain.service));
        drains.over.retain(|record| is_of(&record.service));
    }
    drains
}

/// The controller's answer as it goes over the wire.
fn answer(answer: &ProgressAnswer, clock: Clock) -> api::Drains {
    api::Drains {
        at: clock.rfc3339(answer.now),
        drains: answer.drains.iter().filter_map(|drain| row(drain, answer.now, clock)).collect(),
        over: answer.over.iter().map(|record| audit::audit_record(record, clock)).collect(),
        silent_workers: answer.silent.clone(),
    }
}

fn row(progress: &Progress, now: Timestamp, clock: Clock) -> Option<api::DrainProgress> {
    let Progress { service, view, survey, waits, put_off, sheds_from, ends, will_be_cut } = progress;
    let drain = view.drain.as_ref()?;
    let words = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    let time = |at: Timestamp| clock.rfc3339(at);
    Some(api::DrainProgress {
        service: service.to_string(),
        endpoint: view.endpoint.address().to_string(),
        id: view.endpoint.id().0,
        pod: words(&view.pod),
        node: words(&view.node),
        since: time(drain.since),
        since_seconds: -seconds_until(drain.since, now),
        why: drain.causes.to_string(),
        causes: causes(&drain.causes),
        deadline: drain.deadline.map(time),
        deadline_seconds: drain.deadline.map(|at| seconds_until(at, now)),
        sheds_from: sheds_from.map(time),
        waits: *waits,
        put_off: *put_off,
        flows_at_start: drain.flows_at_start,
        flows_left: view.endpoint.admission().flows(),
        idle_share: survey.as_ref().and_then(idle_share),
        bytes_per_second: survey.map(|survey| per_second(survey.bytes)),
        oldest_flow_seconds: survey
            .and_then(|survey| survey.oldest)
            .map(|oldest| now.since(oldest).as_millis() as f64 / 1_000.0),
        ended_by_themselves: drain.ends.of(FlowEnd::Client) + drain.ends.of(FlowEnd::Endpoint),
        shed: drain.ends.of(FlowEnd::Shed),
        cut: drain.ends.of(FlowEnd::Cut),
        broken: drain.ends.of(FlowEnd::Broken),
        ends: ends.map(|(earliest, latest)| api::EndsBetween {
            earliest: time(earliest),
            latest: time(latest),
            earliest_seconds: seconds_until(earliest, now),
            latest_seconds: seconds_until(latest, now),
        }),
        will_be_cut: *will_be_cut,
    })
}

/// Two digits after the point are as much as a survey is worth.
fn idle_share(survey: &Survey) -> Option<f64> {
    (survey.flows > 0).then(|| (survey.idle as f64 / survey.flows as f64 * 100.0).round() / 100.0)
}

/// What was moved while workers looked, as so much a second.
pub(crate) fn per_second(bytes: u64) -> u64 {
    progress::per_second(bytes).round() as u64
}

fn seconds_until(at: Timestamp, now: Timestamp) -> f64 {
    let seconds = |span: std::time::Duration| span.as_millis() as f64 / 1_000.0;
    if at >= now { seconds(at.since(now)) } else { -seconds(now.since(at)) }
}

/// Who wants a drain, for programs.
pub(crate) fn causes(causes: &DrainCauses) -> Vec<api::DrainCause> {
    let cause = |cause: &DrainCause| api::DrainCause {
        kind: cause.kind().to_owned(),
        object: cause.object().unwrap_or_default(),
    };
    causes.iter().map(cause).collect()
}

#[cfg(test)]
mod tests;
