//! What the handlers know.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_control::ControlHandle;
use tidegate_dataplane::WorkerCounters;

use crate::{Peers, Sampler, gate::GateCounters, metrics::Carried};

/// What the handlers know. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    /// Asks the controller.
    pub control: ControlHandle,
    /// Asks the controller how drains come along.
    pub sampler: Sampler,
    /// Each worker's counters.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// The source at this moment; `None` where there is none.
    pub source: Arc<dyn Fn() -> Option<SourceReport> + Send + Sync>,
    /// The build's version.
    pub version: &'static str,
    /// How many flows the descriptor limit allows.
    pub flow_limit: u64,
    /// The other instances; `None` where this is the only one.
    pub peers: Option<Arc<Peers>>,
    /// What is counted at the gate.
    pub gate: Arc<GateCounters>,
    /// What this process's predecessors counted.
    pub carried: Carried,
}

/// What a source says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// What it is, in one word: `files`.
    pub kind: String,
    /// Where it reads.
    pub directory: PathBuf,
    /// What keeps it from reading, in words; `None` where nothing does.
    pub trouble: Option<String>,
    /// Slice files, valid or not.
    pub files: usize,
    /// Slices known from it.
    pub slices: usize,
    /// Files whose content is not used, each with what is wrong.
    pub invalid: Vec<(String, String)>,
    /// When something in it last changed.
    pub last_event: Option<Instant>,
    /// Events so far.
    pub events: u64,
    /// Invalid contents met so far.
    pub invalid_total: u64,
    /// Its watches on an API server; none where it is no such source.
    pub watches: Vec<WatchReport>,
    /// From when a change began, by the server's clock, to its arrival here; `None` where it is no such source.
    pub trigger_delay: Option<TriggerDelay>,
    /// What Services ask for and this instance cannot do.
    pub problems: Vec<ServiceProblem>,
    /// What writes to the API server; `None` where nothing does.
    pub writer: Option<WriterReport>,
    /// What writes Events on pods; `None` where nothing does.
    pub pod_events: Option<PodEventsReport>,
    /// By how much this machine's clock is ahead of the API server's at least; `None` where nobody has said.
    pub clock_skew_millis: Option<i64>,
}

/// Something that a Service asks for and this instance cannot do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceProblem {
    /// Which Service, as namespace/name.
    pub service: String,
    /// Which of its ports; `None` for the Service as a whole.
    pub port: Option<u16>,
    /// In one word of a short list.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

/// What the writer of statuses and Events says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterReport {
    /// This instance is the one that writes statuses.
    pub leads: bool,
    /// What keeps it from writing, in words; `None` where nothing does.
    pub trouble: Option<String>,
    /// Statuses of Services written so far.
    pub statuses: u64,
    /// Events written so far.
    pub events: u64,
    /// Failures so far, by cause.
    pub errors: Vec<(&'static str, u64)>,
}

/// What the writer of Events on pods says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodEventsReport {
    /// What keeps it from writing, in words; `None` where nothing does.
    pub trouble: Option<String>,
    /// Events written so far.
    pub written: u64,
    /// Events that were to be written and were not.
    pub dropped: u64,
}

/// What a watch says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchReport {
    /// What is watched.
    pub resource: String,
    /// What keeps it from being told, in words; `None` where nothing does.
    pub trouble: Option<String>,
    /// Objects that are known.
    pub objects: usize,
    /// Changes so far.
    pub events: u64,
    /// Changes that came twice or late.
    pub outdated: u64,
    /// Complete lists so far.
    pub lists: u64,
    /// Failures so far, by cause.
    pub errors: Vec<(&'static str, u64)>,
    /// Objects that could not be read so far.
    pub unreadable: u64,
    /// When the server was last heard.
    pub last_contact: Option<Instant>,
}

impl WatchReport {
    /// What is watched.
    pub fn resource(&self) -> &str {
        &self.resource
    }
}

/// Durations that two clocks measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TriggerDelay {
    /// How many.
    pub count: u64,
    /// All together.
    pub sum: Duration,
}
