//! `GET /v1/gate`: blocks until no flow is pinned to a pod on any instance, or the time is over.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tidegate_control::{ControlHandle, GateState};
use tidegate_core::{
    GateFacts, Timestamp,
    gate::{Gate, GateOutcome, GatePhase, Judgement},
};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    GateAnswer, GateContext, GateEnd, GateInstance, GateLine, GateProgress,
    counters::Asked,
    feed::{Writer, lines},
    members::{Members, word},
    serve::Caller,
};
use crate::{peers::all::THIS, refusal::Refusal};

/// How long a caller waits that does not say so: less than a pod's usual 30 s until it is killed.
const TIMEOUT: Duration = Duration::from_secs(25);
/// How long a caller waits at most.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// No uid is longer.
const UID_LIMIT: usize = 128;
/// How often flows that end one by one are told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What it takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GateQuery {
    uid: Option<String>,
    timeout_ms: Option<u64>,
    #[serde(default)]
    follow: bool,
}

pub(crate) async fn gate(
    State(context): State<GateContext>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<GateQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let mut asked = Asked::begin(&context.state.gate);
    match begin(context, caller, query, &mut asked).await {
        Ok(Begun { wait, permit, follows: true }) => Ok(follow(wait, permit, asked)),
        Ok(Begun { wait, permit: _permit, follows: false }) => {
            let answer = wait.run(None, &mut asked).await?;
            Ok(Json(answer).into_response())
        }
        Err(refusal) => {
            asked.refused(&refusal);
            Err(refusal)
        }
    }
}

/// A question that was understood, of a pod that is known.
struct Begun {
    wait: Wait,
    /// Its place among those who wait.
    permit: OwnedSemaphorePermit,
    /// Line by line.
    follows: bool,
}

async fn begin(
    context: GateContext,
    caller: Caller,
    query: Result<Query<GateQuery>, QueryRejection>,
    asked: &mut Asked,
) -> Result<Begun, Refusal> {
    let bad = |error: String| {
        let remedy =
            "a gate takes uid (a pod's metadata.uid), timeout_ms (1 to 86400000) and follow (true, false)";
        Refusal::new(StatusCode::BAD_REQUEST, error).remedy(remedy)
    };
    let Query(query) = query.map_err(|error| bad(error.body_text()))?;
    let asked_for = query.timeout_ms.map(Duration::from_millis);
    let limit = asked_for.unwrap_or(TIMEOUT);
    if limit.is_zero() || limit > LONGEST_TIMEOUT {
        return Err(bad("timeout_ms is out of range".to_owned()));
    }
    let is_uid =
        |uid: &str| (1..=UID_LIMIT).contains(&uid.len()) && uid.bytes().all(|byte| byte.is_ascii_graphic());
    if query.uid.as_deref().is_some_and(|uid| !is_uid(uid)) {
        return Err(bad("the uid is none".to_owned()));
    }
    let permit = context.waiters.clone().try_acquire_owned().map_err(|_| {
        asked.is_one_too_many();
        let error = format!("{} pods wait at this gate, which is its limit", context.waiters_limit);
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error).remedy("ask again in a second")
    })?;
    let deadline = Instant::now() + limit;
    let uid: Arc<str> = match query.uid {
        Some(uid) => uid.into(),
        None => pod_at(&context.state.control, caller.address, deadline).await?,
    };
    let mut wait = Wait::begin(context, uid, deadline).await?;
    wait.is_limited = asked_for.is_some();
    Ok(Begun { wait, permit, follows: query.follow })
}

/// Answers line by line.
fn follow(wait: Wait, permit: OwnedSemaphorePermit, mut asked: Asked) -> Response {
    let (writer, response) = lines();
    drop(tokio::spawn(async move {
        let _permit = permit;
        let last = tokio::select! {
            answer = wait.run(Some(&writer), &mut asked) => match answer {
                Ok(answer) => GateLine::Answer(answer),
                Err(refusal) => GateLine::Again(refusal.error),
            },
            () = writer.closed() => return,
        };
        let _ = writer.write(&last).await;
    }));
    response
}

/// The one pod that has the caller's address.
async fn pod_at(control: &ControlHandle, address: IpAddr, deadline: Instant) -> Result<Arc<str>, Refusal> {
    // Nobody's uid: what is waited for is the source.
    let mut nobody = control.gate("".into()).await?;
    let _ = timeout_at(deadline, nobody.wait_for(|state| state.synced)).await;
    let mut pods = control.pods_at(address).await?.into_iter();
    match (pods.next(), pods.next()) {
        (Some(pod), None) => Ok(pod),
        (None, _) => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            format!("no pod with the address {address} is an endpoint here"),
        )
        .remedy(
            "give the pod's uid (metadata.uid by the downward API), and see that a served Service selects it",
        )),
        (Some(_), Some(_)) => {
            Err(Refusal::new(StatusCode::BAD_REQUEST, format!("several pods have the address {address}"))
                .remedy("give the pod's uid (metadata.uid by the downward API)"))
        }
    }
}

/// A pod that waits.
struct Wait {
    context: GateContext,
    uid: Arc<str>,
    own: watch::Receiver<GateState>,
    deadline: Instant,
    /// The caller said how long it waits. Else the pod's own deadline is the end, where that is known.
    is_limited: bool,
    /// No wait is longer.
    longest: Instant,
    /// The pod's own deadline, the earliest that was seen: it only ever moves earlier, and is known no more where the
    /// endpoint has gone without a flow here while others have some.
    pods_deadline: Option<Timestamp>,
    gate: Gate,
    members: Members,
}

impl Wait {
    /// A pod that is an endpoint here. Where this instance does not know yet, it is waited for.
    async fn begin(context: GateContext, uid: Arc<str>, deadline: Instant) -> Result<Self, Refusal> {
        let control = &context.state.control;
        let gate = Gate::new(control.clock().now());
        let longest = Instant::now() + LONGEST_TIMEOUT;
        let mut own = control.gate(Arc::clone(&uid)).await?;
        tokio::select! {
            synced = timeout_at(deadline, own.wait_for(|state| state.synced)) => match synced {
                Ok(Ok(state)) if !state.facts().known => return Err(no_endpoint(&uid)),
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(_)) => return Err(again()),
            },
            () = context.stopped() => return Err(again()),
        }
        // By now the slices of the instances' own Service are known, too.
        let members = Members::read(context.state.peers.clone(), Arc::clone(&uid), control).await?;
        let (is_limited, pods_deadline) = (true, None);
        Ok(Self { context, uid, own, deadline, is_limited, longest, pods_deadline, gate, members })
    }

    /// Waits until the gate opens, or the time is over, and counts which.
    async fn run(mut self, writer: Option<&Writer>, asked: &mut Asked) -> Result<GateAnswer, Refusal> {
        match self.outcome(writer).await {
            Ok((outcome, answer)) => {
                asked.answered(GateEnd::of_outcome(outcome), &answer);
                Ok(answer)
            }
            Err(refusal) => {
                asked.refused(&refusal);
                Err(refusal)
            }
        }
    }

    async fn outcome(
        &mut self,
        writer: Option<&Writer>,
    ) -> Result<(Option<GateOutcome>, GateAnswer), Refusal> {
        let mut told: Option<(GateProgress, Instant)> = None;
        loop {
            let control = self.context.state.control.clone();
            let (state, now) = (self.own.borrow_and_update().clone(), control.clock().now());
            let facts = state.facts();
            self.pods_deadline = [self.pods_deadline, state.view.deadline].into_iter().flatten().min();
            let end = self.end();
            let (phase, again_at) = match self.gate.judge(&facts, &self.members.states(), now) {
                Judgement::Open(outcome) => {
                    // Whoever has started since the list was read may have sent flows.
                    if outcome == GateOutcome::Drained && self.members.read_again(&control).await? {
                        continue;
                    }
                    return Ok((Some(outcome), self.answer(Some(outcome), &facts, now)));
                }
                Judgement::Wait { phase, again } => (phase, again),
            };
            if Instant::now() >= end {
                return Ok((None, self.answer(None, &facts, now)));
            }
            if self.members.reads_at().is_some_and(|at| at <= Instant::now()) {
                self.members.read_again(&control).await?;
                continue;
            }
            let wakes = [again_at.map(|at| self.instant(at)), self.members.reads_at()];
            let mut wake = wakes.into_iter().flatten().fold(end, Instant::min);
            if let Some(writer) = writer {
                let progress = self.progress(phase, &facts, end);
                match told.as_ref().and_then(|(before, at)| untold_until(before, *at, &progress)) {
                    Some(later) => wake = wake.min(later),
                    None if told.as_ref().is_some_and(|(before, _)| before.says_the_same(&progress)) => {}
                    None => {
                        writer.write(&GateLine::Progress(progress.clone())).await.map_err(|_| again())?;
                        told = Some((progress, Instant::now()));
                    }
                }
            }
            tokio::select! {
                changed = self.own.changed() => changed.map_err(|_| again())?,
                () = self.members.hear(&control) => {}
                () = sleep_until(wake) => {}
                () = self.context.stopped() => return Err(again()),
            }
        }
    }

    /// When what is left is answered, at the latest.
    fn end(&self) -> Instant {
        match self.pods_deadline.map(|at| self.instant(at)) {
            Some(end) if self.is_limited => end.min(self.deadline),
            Some(end) => end.min(self.longest),
            None => self.deadline,
        }
    }

    fn instant(&self, at: Timestamp) -> Instant {
        let origin = self.context.state.control.clock().origin();
        Instant::from_std(origin) + Duration::from_nanos(at.as_nanos())
    }

    fn progress(&self, phase: GatePhase, own: &GateFacts, end: Instant) -> GateProgress {
        let (all, clock) = (self.instances(own), self.context.state.control.clock());
        let (now, end) = (clock.now(), end.into_std().saturating_duration_since(clock.origin()));
        GateProgress {
            phase: match phase {
                GatePhase::Syncing => "syncing",
                GatePhase::Terminating => "terminating",
                GatePhase::Programmed => "programmed",
                GatePhase::Drained => "drained",
            }
            .to_owned(),
            flows: all.iter().map(|instance| instance.flows).sum(),
            waited_ms: millis(now.since(self.gate.began())),
            ends_after_ms: millis(end.saturating_sub(self.gate.began().since(Timestamp::default()))),
            instances: all.into_iter().filter(|it| it.state != "done").map(|it| it.instance).collect(),
        }
    }

    fn answer(&self, outcome: Option<GateOutcome>, own: &GateFacts, now: Timestamp) -> GateAnswer {
        let instances = self.instances(own);
        let is_terminating = !matches!(outcome, Some(GateOutcome::NotTerminating | GateOutcome::Reverted))
            && (own.terminating || outcome.is_some());
        let reached = || instances.iter().filter(|instance| instance.state != "unreachable");
        let programmed = is_terminating && reached().all(|it| it.state == "done" || it.state == "flows_left");
        GateAnswer {
            uid: self.uid.to_string(),
            outcome: match outcome {
                Some(GateOutcome::Drained) => "drained",
                Some(GateOutcome::NotTerminating) => "not_terminating",
                Some(GateOutcome::Reverted) => "reverted",
                None => "time_over",
            }
            .to_owned(),
            terminating: is_terminating,
            programmed,
            drained: programmed && reached().all(|it| it.state == "done"),
            flows: reached().map(|instance| instance.flows).sum(),
            waited_ms: millis(now.since(self.gate.began())),
            instances,
        }
    }

    fn instances(&self, own: &GateFacts) -> Vec<GateInstance> {
        let mut all = vec![GateInstance {
            instance: THIS.to_owned(),
            state: word(own).to_owned(),
            flows: own.flows,
            error: None,
        }];
        all.extend(self.members.instances());
        all
    }
}

impl GateProgress {
    fn says_the_same(&self, other: &Self) -> bool {
        let Self { phase, flows, instances, ends_after_ms, waited_ms: _ } = self;
        (phase, *flows, instances, *ends_after_ms)
            == (&other.phase, other.flows, &other.instances, other.ends_after_ms)
    }
}

/// Until when news are kept back, because others were told a moment ago: flows that end one by one are told together.
fn untold_until(before: &GateProgress, told: Instant, news: &GateProgress) -> Option<Instant> {
    let later = told + PROGRESS_EVERY;
    let is_small = before.phase == news.phase && !before.says_the_same(news);
    (is_small && Instant::now() < later).then_some(later)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn no_endpoint(uid: &str) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!("the pod {uid} is no endpoint of a service that is served here"),
    )
    .remedy(
        "is this the pod's metadata.uid, and does a Service with a listener here select it? Nothing is to be \
             waited for if not",
    )
}

fn again() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "this process stops to answer").remedy("ask again")
}
