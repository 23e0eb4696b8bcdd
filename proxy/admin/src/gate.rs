//! The gate: a pod's preStop asks here, and is answered when no flow is pinned to the pod on any instance.
//!
//! `wait` is the call that blocks, `members` is whom it asks, `feed` is what instances tell each other meanwhile,
//! `serve` is the listener that has both and nothing else, and `counters` is what metrics show of it. Decided here: how
//! many wait, how long, and what they are answered. When a gate opens is `tidegate_core::gate`'s decision.

mod counters;
mod feed;
mod members;
mod serve;
mod wait;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_core::GateFacts;
use tokio::sync::{Semaphore, watch};

pub use self::counters::GateCounters;
pub(crate) use self::{
    counters::{GateEnd, PeerRefusal},
    serve::serve,
};
use crate::AdminState;

/// What a gate answers in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateAnswer {
    /// The pod.
    pub uid: String,
    /// `drained`; `not_terminating` where the pod was not about to end; `reverted` where it was and is not any more;
    /// `time_over` where flows are left, or instances have not said that none is.
    pub outcome: String,
    /// The pod is terminating.
    pub terminating: bool,
    /// No instance that can be reached sends new flows to it.
    pub programmed: bool,
    /// No instance that can be reached has a flow left on it, and none will come.
    pub drained: bool,
    /// Flows that are left, of all instances that can be reached.
    pub flows: u64,
    /// How long this took, in milliseconds.
    pub waited_ms: u64,
    /// What each instance said, this one first.
    pub instances: Vec<GateInstance>,
}

/// What an instance said of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateInstance {
    /// Where it answers; `this` for the one that was asked.
    pub instance: String,
    /// `done`, `flows_left`, `not_programmed` (it may still send new flows), `not_synced` (it has no complete list
    /// yet) or `unreachable`.
    pub state: String,
    /// Its flows.
    pub flows: u64,
    /// Why it cannot be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a gate is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateProgress {
    /// What is waited for: `syncing`, `terminating`, `programmed` or `drained`.
    pub phase: String,
    /// Flows that are left.
    pub flows: u64,
    /// How long it has taken so far, in milliseconds.
    pub waited_ms: u64,
    /// After how long in all it is answered with what is left, in milliseconds.
    #[serde(default)]
    pub ends_after_ms: u64,
    /// The instances that are waited for.
    pub instances: Vec<String>,
}

/// A line of a gate that is followed (`follow=true`): some of how far it is, and in the end the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateLine {
    /// How far it is.
    Progress(GateProgress),
    /// The answer.
    Answer(GateAnswer),
    /// This process stops to answer, and another one goes on: ask again.
    Again(String),
}

/// A line that one instance tells another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FeedLine {
    /// Which process says so.
    pub(crate) process: String,
    pub(crate) synced: bool,
    pub(crate) known: bool,
    pub(crate) terminating: bool,
    pub(crate) programmed: bool,
    pub(crate) flows: u64,
}

impl FeedLine {
    fn new(process: &str, facts: &GateFacts) -> Self {
        let GateFacts { synced, known, terminating, programmed, flows } = *facts;
        Self { process: process.to_owned(), synced, known, terminating, programmed, flows }
    }

    pub(crate) fn facts(&self) -> GateFacts {
        let Self { synced, known, terminating, programmed, flows, .. } = *self;
        GateFacts { synced, known, terminating, programmed, flows }
    }
}

/// What those who ask at the gate have in common.
#[derive(Clone)]
pub(crate) struct GateContext {
    pub(crate) state: AdminState,
    /// One for each pod that waits.
    pub(crate) waiters: Arc<Semaphore>,
    /// How many may wait.
    pub(crate) waiters_limit: usize,
    /// One for each feed to another instance.
    pub(crate) feeds: Arc<Semaphore>,
    /// Closed when no more is answered here.
    pub(crate) serving: watch::Receiver<()>,
}

impl GateContext {
    /// Shares `connections` among those who ask.
    pub(crate) fn new(state: AdminState, connections: usize, serving: watch::Receiver<()>) -> Self {
        let (waiters, feeds) = (connections / 4, connections / 2);
        state.gate.serve();
        let semaphore = |count| Arc::new(Semaphore::new(count));
        Self { state, waiters: semaphore(waiters), waiters_limit: waiters, feeds: semaphore(feeds), serving }
    }

    /// Waits until no more is answered here.
    pub(crate) async fn stopped(&self) {
        let mut serving = self.serving.clone();
        while serving.changed().await.is_ok() {}
    }
}
