//! What the admin API says of Services of an API server, and of what is written to one.

use serde::{Deserialize, Serialize};

/// Something that a Service asks for and this instance cannot do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceProblem {
    /// Which Service, as namespace/name.
    pub service: String,
    /// Which of its ports; absent for the Service as a whole.
    #[serde(default)]
    pub port: Option<u16>,
    /// In one word, as in the Service's Events.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// What writes the status of Services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// This instance is the one that does; otherwise another one should.
    pub leads: bool,
    /// What keeps it from writing, or from finding out whether it may; absent where nothing does.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Statuses written so far.
    pub statuses: u64,
    /// Events written so far.
    pub events: u64,
    /// Failures so far.
    pub errors: u64,
}

/// What writes Events on pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodEvents {
    /// What keeps it from writing; absent where nothing does.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Events written so far.
    pub written: u64,
    /// Events that were to be written and were not.
    pub dropped: u64,
}

/// `GET /healthz/services/NAMESPACE/NAME`, as kube-proxy answers it: 200 where there are local endpoints and the proxy is
/// ready, 503 otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceHealth {
    /// Which Service.
    pub service: HealthOf,
    /// Its endpoints on this node that take new flows because they are ready; of several ports, those of the port that
    /// has most.
    pub local_endpoints: usize,
    /// The proxy itself takes new clients.
    #[serde(rename = "serviceProxyHealthy")]
    pub proxy_healthy: bool,
}

/// A Service by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthOf {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}
