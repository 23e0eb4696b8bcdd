//! `GET /v1/audit`: what drains came to.

use serde::{Deserialize, Serialize};

use super::DrainCause;

/// `GET /v1/audit`: what every drain came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Those that are over, then those that are on.
    pub records: Vec<AuditRecord>,
    /// Records that are missing because more ended than are kept; none where all of them ended before the time that was
    /// asked for.
    pub dropped: u64,
    /// How far back this process can tell, in milliseconds: since it was started.
    pub known_ms: u64,
}

/// What a drain came to, or has come to so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// The service and port.
    pub service: String,
    /// The endpoint's address and port.
    pub endpoint: String,
    /// Its number.
    pub id: u64,
    /// Its pod, as namespace/name.
    pub pod: Option<String>,
    /// Why it was drained, in words.
    pub why: String,
    /// Why, for programs.
    #[serde(default)]
    pub causes: Vec<DrainCause>,
    /// When the drain began.
    pub began: String,
    /// When its last flow had ended, or it was undone; null while it is on.
    pub ended: Option<String>,
    /// How long it took, or has taken so far, in milliseconds.
    pub took_ms: u64,
    /// It was taken back before its last flow had ended.
    pub undone: bool,
    /// When what is left is cut; null where nothing is.
    pub deadline: Option<String>,
    /// Flows when it began.
    pub flows_at_start: u64,
    /// Flows that are left.
    pub flows_left: u64,
    /// Flows that came after it began. More than none only where `whenNoneReady: servingTerminating` let them.
    pub flows_after_start: u64,
    /// Flows that their clients ended.
    pub ended_by_client: u64,
    /// Flows that the endpoint closed.
    pub ended_by_endpoint: u64,
    /// Flows that were shed ahead of the deadline without losing a byte.
    pub shed: u64,
    /// Flows that were cut at the deadline.
    pub cut: u64,
    /// Flows that the endpoint reset, or that were lost for want of something.
    pub broken: u64,
    /// Flows that configuration, an operator or the end of the process ended.
    pub ordered: u64,
    /// Flows that went on elsewhere: their connect failed here, or another process has them.
    pub elsewhere: u64,
    /// Microseconds from the arrival of the event that began it to the publish after which no new flow came; null where
    /// an operator began it.
    pub published_after_us: Option<u64>,
}

impl AuditRecord {
    /// Nobody noticed this drain: no flow was broken or cut, and none came after it began.
    pub fn broke_nothing(&self) -> bool {
        self.broken == 0 && self.cut == 0 && self.flows_after_start == 0
    }
}
