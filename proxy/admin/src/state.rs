//! What the handlers know.

use std::{path::PathBuf, sync::Arc, time::Instant};

use tidegate_control::ControlHandle;
use tidegate_dataplane::WorkerCounters;

/// What the handlers know. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    /// Asks the controller.
    pub control: ControlHandle,
    /// Each worker's counters.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// The source at this moment; `None` where there is none.
    pub source: Arc<dyn Fn() -> Option<SourceReport> + Send + Sync>,
    /// The build's version.
    pub version: &'static str,
    /// How many flows the descriptor limit allows.
    pub flow_limit: u64,
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
}
