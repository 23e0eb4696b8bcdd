//! `GET /v1/plan`: what a drain would do.

use serde::{Deserialize, Serialize};

/// `GET /v1/plan`. Nothing is changed for it; it is judged from live flows, as if every client whose flow ends came
/// back at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The moment that all of this is about.
    pub at: String,
    /// For each service that has an endpoint that is meant.
    pub services: Vec<ServicePlan>,
    /// Workers that did not answer in time; their flows are missing in what is idle or busy.
    pub silent_workers: Vec<usize>,
}

/// What a drain would do to a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServicePlan {
    /// The service and port.
    pub service: String,
    /// How new flows are shared out.
    pub policy: String,
    /// Flows that would have to move.
    pub flows_to_move: u64,
    /// How long the first of them would have; null where one has as long as it likes, and where `deadline_by` is `pod` and
    /// not all of the endpoints terminate already.
    pub deadline_seconds: Option<f64>,
    /// Who says how long they would have: `asker` (deadline_ms), `service` (its `drain.deadline`), `pod` (when it is
    /// killed, which is known once it terminates) or `nobody`.
    #[serde(default)]
    pub deadline_by: String,
    /// From the first shed to the last; null without `deadline_seconds`.
    pub window_seconds: Option<f64>,
    /// Clients that would have to connect again, per second, while most are shed; null without `deadline_seconds`.
    pub reconnects_per_second: Option<f64>,
    /// Flows that the deadlines would cut as things stand; null without `deadline_seconds`, or where no worker answered.
    pub will_be_cut: Option<u64>,
    /// No endpoint would be left for new flows: sheds and the deadline's cut would wait for one.
    pub nobody_left: bool,
    /// The endpoints that are meant.
    pub endpoints: Vec<EndpointPlan>,
    /// The endpoints that new flows would go to.
    pub others: Vec<LoadAfter>,
}

/// An endpoint that would be drained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointPlan {
    /// Its address and port.
    pub endpoint: String,
    /// Its number.
    pub id: u64,
    /// Its pod, as namespace/name.
    pub pod: Option<String>,
    /// The node it runs on.
    pub node: Option<String>,
    /// Its flows.
    pub flows: u64,
    /// Those of them that were silent for `drain.quiet` or longer; null where no worker answered.
    pub idle: Option<u64>,
    /// The others: they would be cut if they stay so. Null where no worker answered.
    pub busy: Option<u64>,
    /// Bytes that they move in a second, both ways; null where no worker answered.
    pub bytes_per_second: Option<u64>,
    /// It drains already.
    pub draining: bool,
    /// When what is left on it is cut; null where it does not drain yet, or without a deadline.
    #[serde(default)]
    pub deadline: Option<String>,
    /// How long its flows would have: as it drains already where that ends earlier, and else as it would drain. Null as in
    /// the service's.
    #[serde(default)]
    pub deadline_seconds: Option<f64>,
    /// Those of its flows that the deadline would cut as things stand; null without one, or where no worker answered.
    #[serde(default)]
    pub will_be_cut: Option<u64>,
}

/// An endpoint that would take what moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadAfter {
    /// Its address and port.
    pub endpoint: String,
    /// Its pod, as namespace/name.
    pub pod: Option<String>,
    /// The node it runs on.
    pub node: Option<String>,
    /// Its share of new flows, relative to the others'.
    pub weight: u16,
    /// Its flows.
    pub flows: u64,
    /// Its flows afterwards, about.
    pub flows_after: u64,
}

/// What a drain would do to a service on all instances together, as far as they answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanTotal {
    /// The service and port.
    pub service: String,
    /// How many instances have endpoints of it that are meant.
    pub instances: usize,
    /// Flows that would have to move.
    pub flows_to_move: u64,
    /// Clients that would have to connect again, per second, while all instances shed at once; null where one has no
    /// deadline.
    pub reconnects_per_second: Option<f64>,
    /// Flows that the deadline would cut as things stand; null where one has no deadline or cannot tell.
    pub will_be_cut: Option<u64>,
    /// How many of the instances would have no endpoint left for new flows.
    pub nobody_left: usize,
    /// The endpoints that new flows would go to, with what they have of these instances.
    pub others: Vec<TotalLoad>,
}

/// An endpoint that would take what moves, with the flows of all instances that would send it some.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TotalLoad {
    /// Its address and port.
    pub endpoint: String,
    /// Its pod, as namespace/name.
    pub pod: Option<String>,
    /// Its flows.
    pub flows: u64,
    /// Its flows afterwards, about.
    pub flows_after: u64,
}
