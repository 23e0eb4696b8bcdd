//! The rollouts: replaces every endpoint, step by step, as a Deployment does (maxSurge 1, maxUnavailable 0).
//!
//! For each replacement a new endpoint starts, is ready a quarter of the pace later, and after another quarter an old
//! one terminates. Nobody waits for it to be gone, so several terminate at a time. An endpoint that terminates is gone
//! when its flows have ended, though not before its preStop time is over, or when its grace is.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::endpoint::{Endpoint, Phase, Pod};
use super::operator::Operator;
use super::plan::Plan;

/// How often terminating endpoints are looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The endpoints of one measurement and who tells the proxy of them.
#[derive(Debug)]
pub(super) struct Deployment<'a, O> {
    pub(super) plan: Plan,
    pub(super) endpoints: &'a mut [Endpoint],
    pub(super) operator: &'a mut O,
}

impl<O: Operator> Deployment<'_, O> {
    /// Replaces every endpoint as often as planned, and waits until the last old one has gone. It ends when it was
    /// planned to also where that was early, so that every proxy gets the same load.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let end = Instant::now() + self.plan.pace * self.plan.replacements() as u32 + self.plan.grace;
        for new in self.plan.endpoints..self.plan.total() {
            self.endpoint(new)?.start(Phase::Starting)?;
            self.tell(new).await?;
            self.pause(self.plan.pace / 4).await?;

            self.endpoint(new)?.record().readying = Some(Instant::now());
            self.endpoint(new)?.pod.phase = Phase::Ready;
            let ready = self.tell(new).await?;
            self.endpoint(new)?.record().ready = Some(ready);
            self.pause(self.plan.pace / 4).await?;

            let old = new - self.plan.endpoints;
            self.endpoint(old)?.pod.phase = Phase::Terminating;
            let terminating = self.tell(old).await?;
            self.endpoint(old)?.record().terminating = Some(terminating);
            self.pause(self.plan.pace / 2).await?;
        }
        while self.endpoints.iter().any(|endpoint| endpoint.pod.phase == Phase::Terminating) {
            self.pause(LOOK).await?;
        }
        self.pause(end.saturating_duration_since(Instant::now()) + self.plan.steady()).await
    }

    /// Lets time pass, and ends endpoints whose time has come.
    async fn pause(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        loop {
            for number in 0..self.endpoints.len() {
                let plan = self.plan;
                if is_over(self.endpoint(number)?, &plan) {
                    self.endpoint(number)?.end().await;
                    self.tell(number).await?;
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    /// Tells the operator of one endpoint's new phase.
    async fn tell(&mut self, number: usize) -> anyhow::Result<Instant> {
        let pods: Vec<Pod> = self.endpoints.iter().map(|endpoint| endpoint.pod).collect();
        let changed = self.endpoint(number)?.pod;
        self.operator.apply(&pods, changed).await
    }

    fn endpoint(&mut self, number: usize) -> anyhow::Result<&mut Endpoint> {
        self.endpoints.get_mut(number).with_context(|| format!("there is no endpoint {number}"))
    }
}

fn is_over(endpoint: &Endpoint, plan: &Plan) -> bool {
    let Some(terminating) = endpoint.terminating_for() else { return false };
    endpoint.pod.phase == Phase::Terminating
        && (terminating >= plan.grace || (terminating >= plan.pre_stop && endpoint.open() == 0))
}
