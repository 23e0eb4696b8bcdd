//! `GET /v1/drains`: how the drains come along that are on.

use serde::{Deserialize, Serialize};

use super::AuditRecord;

/// `GET /v1/drains`; with `follow=true` one of these a second, each on a line of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drains {
    /// The moment that all of this is about.
    pub at: String,
    /// The drains that are on, by service and address.
    pub drains: Vec<DrainProgress>,
    /// Those that ended in the last ten seconds.
    pub over: Vec<AuditRecord>,
    /// Workers that did not answer in time; their flows are missing in `idle_share`, `bytes_per_second` and
    /// `oldest_flow_seconds`.
    pub silent_workers: Vec<usize>,
}

/// How a drain comes along.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainProgress {
    /// The service and port.
    pub service: String,
    /// The endpoint's address and port.
    pub endpoint: String,
    /// Its number.
    pub id: u64,
    /// Its pod, as namespace/name.
    pub pod: Option<String>,
    /// The node it runs on.
    pub node: Option<String>,
    /// Since when.
    pub since: String,
    /// How long that was before `at`.
    #[serde(default)]
    pub since_seconds: f64,
    /// Why, in words.
    pub why: String,
    /// Why, for programs; not empty.
    pub causes: Vec<DrainCause>,
    /// When what is left is cut; null where nothing is.
    pub deadline: Option<String>,
    /// How long that is from `at`; negative where it is over.
    pub deadline_seconds: Option<f64>,
    /// When idle flows begin to be shed; null without a deadline.
    pub sheds_from: Option<String>,
    /// No endpoint of the service is ready: sheds and the deadline's cut wait until one is.
    pub waits: bool,
    /// The deadline is over and was put off, because no endpoint was ready for a while: flows have time to be shed.
    #[serde(default)]
    pub put_off: bool,
    /// Flows when it began.
    pub flows_at_start: u64,
    /// Flows that are left.
    pub flows_left: u64,
    /// How many of those, from 0 to 1, were silent for `drain.quiet` or longer; null where no worker answered.
    pub idle_share: Option<f64>,
    /// Bytes that they move in a second, both ways, as seen over a quarter of a second; null where no worker answered.
    pub bytes_per_second: Option<u64>,
    /// How long ago the oldest of them was accepted; null where none is left or no worker answered.
    pub oldest_flow_seconds: Option<f64>,
    /// Flows that their clients or the endpoint ended so far.
    pub ended_by_themselves: u64,
    /// Flows that were shed so far.
    pub shed: u64,
    /// Flows that were cut so far.
    pub cut: u64,
    /// Flows that the endpoint reset so far, or that were lost for want of something.
    pub broken: u64,
    /// When the last flow will have ended: judged by how flows closed in the last 30 seconds and by the deadline; null
    /// where nothing is known.
    pub ends: Option<EndsBetween>,
    /// Flows that the deadline will cut as things stand: those that are busy at this moment, and those for whom
    /// `drain.maxPerSecond` leaves no time; null without a deadline, while it waits, and where it was put off.
    pub will_be_cut: Option<u64>,
}

/// Why an endpoint is drained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainCause {
    /// `slice` (it says terminating), `node` (it is going away), `operator`, `gate` (the pod waits there though its slice
    /// calls it ready) or `removal` (it went from all slices without having been terminating).
    pub kind: String,
    /// The slice or the gate's pod as namespace/name, the node's or the operator's name; empty where there is none.
    pub object: String,
}

/// An estimate, as a range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndsBetween {
    /// If as many flows close in a second as did.
    pub earliest: String,
    /// If each flow is as likely to close as flows were; at the deadline at the latest.
    pub latest: String,
    /// How long the earliest is from `at`.
    pub earliest_seconds: f64,
    /// How long the latest is from `at`.
    pub latest_seconds: f64,
}
