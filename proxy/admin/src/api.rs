//! What goes over the wire. Serialized by the proxy and deserialized by its command line.
//!
//! Times are RFC 3339 in UTC with milliseconds; durations are seconds. A client ignores members that it does not
//! know.

mod audit;
mod drains;
mod kubernetes;
mod plan;

use serde::{Deserialize, Serialize};

pub use audit::{Audit, AuditRecord};
pub use drains::{DrainCause, DrainProgress, Drains, EndsBetween};
pub use kubernetes::{HealthOf, PodEvents, ServiceHealth, ServiceProblem, Writer};
pub use plan::{EndpointPlan, LoadAfter, Plan, PlanTotal, ServicePlan, TotalLoad};

/// `GET /v1/status`: the process as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The build's version.
    pub version: String,
    /// When the process started.
    pub started: String,
    /// How long it has run.
    pub uptime_seconds: f64,
    /// Where it is between start and end: `starting`, `ready`, `draining`, `closing`, `waiting`, `stopping`.
    pub phase: String,
    /// New clients may be sent here.
    pub ready: bool,
    /// Why not; empty where they may.
    pub not_ready: Vec<String>,
    /// The generation published last.
    pub generation: u64,
    /// Flows that have not ended.
    pub flows: u64,
    /// How many flows the descriptor limit allows.
    pub flow_limit: u64,
    /// The workers.
    pub workers: Vec<Worker>,
    /// The source of slices; absent where all endpoints are fixed.
    #[serde(default)]
    pub source: Option<Source>,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The services.
    pub services: Vec<Service>,
    /// Where operator drains are kept; absent where they end with the process.
    #[serde(default)]
    pub state_directory: Option<String>,
    /// How the last reload went; absent before the first.
    #[serde(default)]
    pub last_reload: Option<Reload>,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Its number.
    pub worker: usize,
    /// It answered in time.
    pub alive: bool,
    /// The generation it picks from; absent where it did not answer.
    #[serde(default)]
    pub generation: Option<u64>,
}

/// The source of slices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// What it is: `files`.
    pub kind: String,
    /// Where it reads.
    pub path: String,
    /// It has given a complete list.
    pub synced: bool,
    /// What keeps it from reading; absent where nothing does. The last known state stays in force.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Slice files, valid or not.
    pub files: usize,
    /// Slices known from it.
    pub slices: usize,
    /// How long ago something in it last changed; absent before the first.
    #[serde(default)]
    pub age_seconds: Option<f64>,
    /// Events so far.
    pub events: u64,
    /// Files whose content is not used; their last good state is.
    pub invalid_files: Vec<InvalidFile>,
    /// Watches on an API server; none where the source is another.
    #[serde(default)]
    pub watches: Vec<Watch>,
    /// What Services ask for and this instance cannot do.
    #[serde(default)]
    pub problems: Vec<ServiceProblem>,
    /// What writes the status of Services; absent where nothing does.
    #[serde(default)]
    pub writer: Option<Writer>,
    /// What writes Events on pods; absent where nothing does.
    #[serde(default)]
    pub pod_events: Option<PodEvents>,
}

/// A watch on an API server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// What is watched.
    pub resource: String,
    /// What keeps it from being told; absent where nothing does. The last known state stays in force.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Objects that are known.
    pub objects: usize,
    /// Changes so far.
    pub events: u64,
    /// Complete lists so far.
    pub lists: u64,
    /// Failures so far.
    pub errors: u64,
    /// How long ago the server was last heard; absent before the first time.
    #[serde(default)]
    pub contact_age_seconds: Option<f64>,
}

/// A file whose content is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvalidFile {
    /// Which.
    pub file: String,
    /// What is wrong with it.
    pub error: String,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// The address it accepts on.
    pub address: String,
    /// Where its flows go: namespace/name, with `:port` where it names one.
    pub service: String,
    /// Workers accept on it; false while it waits for its source's first complete list.
    pub accepting: bool,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Which: namespace/name, with `:port` where its listener names one.
    pub service: String,
    /// It is in the configuration; false where only flows are left of it.
    pub configured: bool,
    /// Endpoints that new flows may go to.
    pub eligible: usize,
    /// The eligible ones are serving and terminating, because none is ready.
    pub last_resort: bool,
    /// Endpoints, those that are gone and have flows left included.
    pub total: usize,
    /// Endpoints that are draining and have flows left.
    pub draining: usize,
    /// Flows on its endpoints.
    pub flows: u64,
}

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// When.
    pub at: String,
    /// The new configuration is in force.
    pub applied: bool,
    /// Why it is not; absent where it is.
    #[serde(default)]
    pub error: Option<String>,
}

/// `GET /v1/endpoints`: every endpoint of every service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The generation published last.
    pub generation: u64,
    /// The endpoints by service, those that are gone last.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its service.
    pub service: String,
    /// Its address and port.
    pub endpoint: String,
    /// Its number, unique in the process's life.
    pub id: u64,
    /// Its conditions; null where it is gone from all slices.
    pub conditions: Option<Conditions>,
    /// New flows may go to it.
    pub eligible: bool,
    /// What operators want of it.
    pub admin_state: AdminState,
    /// The drain that is on; null where none is.
    pub drain: Option<Drain>,
    /// Its flows.
    pub flows: u64,
    /// Its share of new flows, relative to the others'.
    pub weight: u16,
    /// Its pod, as namespace/name.
    pub pod: Option<String>,
    /// The node it runs on.
    pub node: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// The slice its facts come from, as namespace/name; null for a fixed one.
    pub slice: Option<String>,
    /// That slice's generation, where it has one.
    #[serde(default)]
    pub slice_generation: Option<u64>,
    /// When its conditions last changed, or when it appeared or went.
    pub since: String,
}

/// The three EndpointSlice conditions, defaults applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// May take new flows.
    pub ready: bool,
    /// Answers its readiness probe.
    pub serving: bool,
    /// Its pod is about to end.
    pub terminating: bool,
}

/// What operators want of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminState {
    /// `in_service` or `drain`.
    pub state: String,
    /// Who asked; absent where nobody did.
    #[serde(default)]
    pub by: Option<String>,
    /// Why; absent where nobody asked or nobody said.
    #[serde(default)]
    pub reason: Option<String>,
    /// Since when; absent where nobody asked.
    #[serde(default)]
    pub since: Option<String>,
}

/// A drain that is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Since when.
    pub since: String,
    /// Why, in words.
    pub why: String,
    /// Flows when it began.
    pub flows_at_start: u64,
    /// Flows that are left.
    pub flows_left: u64,
    /// When what is left is cut; null where nothing is.
    #[serde(default)]
    pub deadline: Option<String>,
    /// When the last flow ended; null while some are left.
    pub drained: Option<String>,
}

/// `GET /v1/flows`: live flows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    /// How many there are that fit the filter; at least that many where `truncated`.
    pub total: usize,
    /// A worker has more flows than it looked through for this filter.
    pub truncated: bool,
    /// Workers that did not answer in time; their flows are missing here.
    pub silent_workers: Vec<usize>,
    /// At most as many as asked for, the oldest first.
    pub flows: Vec<Flow>,
}

/// A live flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Its number, as `/v1/flows/close` takes it.
    pub id: String,
    /// Its listener.
    pub listener: String,
    /// Its service.
    pub service: String,
    /// The client's address.
    pub client: String,
    /// The endpoint's address; null while none is picked.
    pub endpoint: Option<String>,
    /// `connecting`, `open`, `client_closed`, `endpoint_closed` or `ended`.
    pub state: String,
    /// Since it was accepted.
    pub age_seconds: f64,
    /// Since bytes last moved.
    pub idle_seconds: f64,
    /// Bytes from the client to the endpoint.
    pub bytes_up: u64,
    /// Bytes from the endpoint to the client.
    pub bytes_down: u64,
    /// Connects that were tried.
    pub attempts: u32,
}

/// `POST /v1/drain` and `POST /v1/undrain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// The Service, as namespace/name.
    pub service: String,
    /// The endpoint: address:port, or its pod's name.
    pub endpoint: String,
    /// Why, for other operators.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who asks, for other operators; where it is absent, the address that asks.
    #[serde(default)]
    pub by: Option<String>,
    /// How long its flows may go on, in milliseconds; idle ones are shed ahead of that, and what is left is cut. 0 leaves
    /// a second, in which quiet ones are shed. An earlier deadline stays. Absent: what the service's settings say. Not
    /// for undrain.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
}

/// The answer to a drain or an undrain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainAnswer {
    /// The endpoints that were meant: one per port of the Service.
    pub endpoints: Vec<DrainChange>,
    /// It survives a restart.
    pub kept: bool,
    /// Why it does not although there is a state directory; absent otherwise.
    #[serde(default)]
    pub kept_error: Option<String>,
}

/// An endpoint that a drain or an undrain meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainChange {
    /// Its service.
    pub service: String,
    /// Its address and port.
    pub endpoint: String,
    /// Its number.
    pub id: u64,
    /// Its pod, as namespace/name.
    pub pod: Option<String>,
    /// The admin state it has: `in_service` or `drain`.
    pub state: String,
    /// It had that state before.
    pub unchanged: bool,
    /// New flows may go to it.
    pub eligible: bool,
    /// Its flows.
    pub flows: u64,
    /// When what is left of them is cut; null where nothing is.
    #[serde(default)]
    pub deadline: Option<String>,
    /// `deadline` is earlier than what was asked for, and stays: while a drain is on, its deadline only moves earlier.
    #[serde(default)]
    pub earlier_deadline: bool,
}

/// `POST /v1/flows/close`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    /// The flow's number, as `/v1/flows` shows it.
    pub flow: String,
}

/// The answer to a close.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseAnswer {
    /// The flow that was closed.
    pub flow: String,
}

/// What every refusal says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What is wrong.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}
