//! The file's shape, as it is written.
//!
//! Everything that can be left out is an `Option`, also what must not be: a missing value is found in `validate`,
//! together with all other findings. The doc comments here are the descriptions in the JSON schema, so they are
//! written for the people who write the file.

mod drain;
mod peers;

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use tidegate_core::{OnRemoval, Policy, ServiceName, WhenNoneReady};

pub(crate) use self::{
    drain::{DrainBlock, RebalanceBlock},
    peers::{GateBlock, PeerTlsBlock, PeersBlock},
};
use crate::{
    audit::AuditBlock,
    configuration::{AdminAddress, Afterwards},
    leaf::{Field, Leaf, Located, Scalar},
    percent::Percent,
    timespan::{AffinityTimeout, Delay, DelayOrNone, KeepaliveSeconds, Timeout, TimeoutOrNone},
    values::{ClassName, FilePath, Name, Namespace, PortText, Whole, WorkerCount},
    words::{ApiVersion, FlowLogMode, Kind},
};

/// The configuration of a Tidegate proxy. Durations are texts with a unit: "250ms", "2s", "1m30s", "3h". Relative
/// paths are relative to the directory of this file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map (`field: value`)")]
#[schemars(rename = "ProxyConfiguration")]
pub(crate) struct Document {
    /// The version of this format: `tidegate.io/v1alpha1`.
    #[schemars(required)]
    pub(crate) api_version: Option<Field<ApiVersion>>,
    /// `ProxyConfiguration`.
    #[schemars(required)]
    pub(crate) kind: Option<Field<Kind>>,
    /// Threads that move bytes: `auto` (one for each processor; the default) or a number from 1 to 1024. A change
    /// needs a restart.
    pub(crate) workers: Option<Field<WorkerCount>>,
    /// Where operators and `tidegate status` reach the proxy. Without it there is no admin API.
    pub(crate) admin: Option<Located<AdminBlock>>,
    /// An address for scrapers on the network that serves only /metrics, /livez and /readyz. Without it the admin
    /// address alone serves them.
    pub(crate) metrics: Option<Located<MetricsBlock>>,
    /// Where pods wait until no flow is pinned to them any more (`tidegate gate wait`). Without it there is no gate.
    pub(crate) gate: Option<Located<GateBlock>>,
    /// The other instances: a gate opens when none of them has a flow left. Without it this instance is the only one.
    pub(crate) peers: Option<Located<PeersBlock>>,
    /// Where endpoints come from: one of a directory and an API server. Not needed if every service has a fixed list
    /// of `endpoints`.
    pub(crate) source: Option<Located<SourceBlock>>,
    /// The addresses that clients connect to. At least one, unless the source is `kubernetes`.
    pub(crate) listeners: Option<Vec<Located<ListenerBlock>>>,
    /// Settings of services. A service that a listener names needs no entry here; it then has the `defaults`.
    pub(crate) services: Option<Vec<Located<ServiceBlock>>>,
    /// Settings for all services that do not say otherwise.
    pub(crate) defaults: Option<DefaultsBlock>,
    /// How the process ends after SIGTERM.
    pub(crate) shutdown: Option<ShutdownBlock>,
    /// Where this process runs, for the topology hints in slices.
    pub(crate) node: Option<NodeBlock>,
    /// A directory for what survives a restart: operators' drains. Without it none is kept. A change needs a
    /// restart.
    pub(crate) state_directory: Option<Field<FilePath>>,
    /// A successor takes over listeners and live flows through a Unix socket. Without it a new process starts only when the
    /// old one has ended. A change needs a restart.
    pub(crate) handoff: Option<Located<HandoffBlock>>,
    /// Which flows get a log line when they end.
    pub(crate) flow_log: Option<FlowLogBlock>,
    /// Where the records of drains go.
    pub(crate) audit: Option<AuditBlock>,
}

/// The admin API.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map with `address`")]
#[schemars(rename = "Admin")]
pub(crate) struct AdminBlock {
    /// A loopback address with a port, or a Unix socket as `unix:/path`. Any other address needs `tokenFile`. A
    /// change needs a restart.
    #[schemars(required)]
    pub(crate) address: Option<Field<AdminAddress>>,
    /// A file with the bearer token that requests must carry. Needed unless `address` is loopback or a Unix socket.
    /// A change needs a restart.
    pub(crate) token_file: Option<Field<FilePath>>,
}

/// The address for scrapers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map with `address`")]
#[schemars(rename = "Metrics")]
pub(crate) struct MetricsBlock {
    /// An IP address with a port. A change needs a restart.
    #[schemars(required)]
    pub(crate) address: Option<Field<SocketAddr>>,
}

/// Where endpoints come from: one of the two.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a map with `endpointSliceDirectory` or `kubernetes`"
)]
#[schemars(rename = "Source")]
pub(crate) struct SourceBlock {
    /// A directory of EndpointSlice files (*.yaml, *.yml, *.json), as `kubectl get endpointslices -o yaml` prints
    /// them. It is followed: write a file beside and rename it in.
    pub(crate) endpoint_slice_directory: Option<Field<FilePath>>,
    /// An API server, followed: `kubernetes: {}` where this runs in a pod. A change needs a restart.
    pub(crate) kubernetes: Option<Located<KubernetesBlock>>,
}

/// An API server as the source.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map such as `{kubeconfig: PATH}`")]
#[schemars(rename = "Kubernetes")]
pub(crate) struct KubernetesBlock {
    /// A kubeconfig. Default: the pod's service account, else what the environment's KUBECONFIG names. `tidegate run
    /// --kubeconfig` comes before it.
    pub(crate) kubeconfig: Option<Field<FilePath>>,
    /// A context of the kubeconfig. Default: its current one. `tidegate run --context` comes before it.
    pub(crate) context: Option<Field<Name>>,
    /// The namespaces whose Services and slices are followed; the slices of `ownService` and of `peers.service` are
    /// wherever they are. Default: all.
    pub(crate) namespaces: Option<Vec<Field<Namespace>>>,
    /// Services of type LoadBalancer with this loadBalancerClass get listeners; `none` for no Service. Default:
    /// tidegate.io/tidegate.
    pub(crate) load_balancer_class: Option<Field<ClassName>>,
    /// The IP addresses on which Services are served. Default: this node's InternalIP, one of each family.
    pub(crate) addresses: Option<Vec<Field<IpAddr>>>,
    /// The headless Service of all instances, as `namespace/name`: by its slices it is known on which nodes one is ready,
    /// and only those are written into the status of Services. Default: `tidegate` in the namespace of the pod
    /// (POD_NAMESPACE in the environment); without either no status is written.
    pub(crate) own_service: Option<Field<ServiceName>>,
    /// Whether endpoints of a node that shuts down, is deleted or scaled down take no new flows although their slices
    /// still say ready. Default: true.
    pub(crate) early_drain: Option<Field<bool>>,
    /// Whether an Event on the pod tells when a drain began with flows on this instance, and what it came to. Written where
    /// POD_NAME is in the environment. Default: true.
    pub(crate) pod_events: Option<Field<bool>>,
}

/// An address that clients connect to, and where their flows go.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a map with `name`, `address` and `service`"
)]
#[schemars(rename = "Listener")]
pub(crate) struct ListenerBlock {
    /// Its name in logs, metrics and status; unique among the listeners.
    #[schemars(required)]
    pub(crate) name: Option<Field<Name>>,
    /// The IP address and port it accepts on; no other listener has it. Port 0 lets the kernel choose one, which is
    /// logged.
    #[schemars(required)]
    pub(crate) address: Option<Field<SocketAddr>>,
    /// The service its flows go to, as `namespace/name`.
    #[schemars(required)]
    pub(crate) service: Option<Field<ServiceName>>,
    /// The port's name in the slices. May be left out where the service has one port.
    pub(crate) port: Option<Field<PortText>>,
}

/// How a flow is kept alive and how the dead are found (tcp(7): TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a map such as `{idle: 15s, interval: 5s}`"
)]
#[schemars(rename = "Keepalive")]
pub(crate) struct KeepaliveBlock {
    /// Whether both legs of a flow are probed while silent. Default: true.
    pub(crate) enabled: Option<Field<bool>>,
    /// Silence before the first probe: whole seconds from 1s to 32767s. Default: 15s.
    pub(crate) idle: Option<Field<KeepaliveSeconds>>,
    /// Time between probes: whole seconds from 1s to 32767s. Default: 5s.
    pub(crate) interval: Option<Field<KeepaliveSeconds>>,
    /// Probes without an answer before the leg is dead: 1 to 127. Default: 3.
    pub(crate) probes: Option<Field<Whole<1, 127>>>,
}

/// Whether a client keeps its endpoint from one flow to the next.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map with `clientIP`")]
#[schemars(rename = "Affinity")]
pub(crate) struct AffinityBlock {
    /// By the client's IP address. `clientIP: {}` turns it on with the default timeout.
    #[serde(rename = "clientIP")]
    pub(crate) client_ip: Option<ClientIpBlock>,
}

/// Affinity by the client's IP address.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map with `timeout`")]
#[schemars(rename = "ClientIP")]
pub(crate) struct ClientIpBlock {
    /// How long it lasts after the client's last flow began: whole seconds from 1s to 24h, or `none` for no
    /// affinity. Default where `clientIP` is given: 3h.
    pub(crate) timeout: Option<Field<AffinityTimeout>>,
}

/// Two blocks take the same settings; serde's `flatten` would lose the place of every value.
macro_rules! settings_blocks {
    ($(
        $(#[$block:meta])*
        $name:ident { $( $(#[$own:meta])* $own_name:ident : $own_type:ty, )* }
    )*) => { $(
        #[derive(Clone, Debug, Deserialize, JsonSchema)]
        $(#[$block])*
        pub(crate) struct $name {
            $( $(#[$own])* pub(crate) $own_name: $own_type, )*
            /// How an endpoint is picked for a new flow. Default: leastFlows.
            pub(crate) policy: Option<Field<Policy>>,
            /// How long one connect to an endpoint may take: more than 0, less than 25 days. Default: 2s.
            pub(crate) connect_timeout: Option<Field<Timeout>>,
            /// How many endpoints are tried for one flow before it is refused: 1 to 16. Default: 3.
            pub(crate) connect_attempts: Option<Field<Whole<1, 16>>>,
            /// How long a flow may be silent in both directions before it is closed, or `none`. Default: none.
            pub(crate) idle_timeout: Option<Field<TimeoutOrNone>>,
            /// What happens to a new flow while no endpoint is ready. Default: refuse.
            pub(crate) when_none_ready: Option<Field<WhenNoneReady>>,
            /// What happens to the flows of an endpoint that vanished without having been terminating. Default:
            /// keep.
            pub(crate) on_removal: Option<Field<OnRemoval>>,
            /// Whether a client keeps its endpoint from one flow to the next. Default: no affinity.
            pub(crate) affinity: Option<AffinityBlock>,
            /// TCP keepalive on both legs of a flow.
            pub(crate) keepalive: Option<KeepaliveBlock>,
            /// How long sent data may stay unacknowledged on either leg before the flow ends (TCP_USER_TIMEOUT), or
            /// `none` for the kernel's own rule. It also ends a flow whose reader pauses for so long. Default: none.
            pub(crate) user_timeout: Option<Field<TimeoutOrNone>>,
            /// The same, armed by itself on the endpoint's leg once the endpoint is gone from all slices, or `none`
            /// for never. Default: 10s.
            pub(crate) dead_peer_timeout: Option<Field<TimeoutOrNone>>,
            /// What brings the flows of a draining endpoint to their end. Default: nothing does.
            pub(crate) drain: Option<DrainBlock>,
            /// How old a flow may get before it is shed at its next quiet moment (it is never cut for this), or `none`.
            /// Default: none.
            pub(crate) max_lifetime: Option<Field<TimeoutOrNone>>,
            /// By up to how much of that a flow's own limit is shorter, at random: `0%` to `50%`. Default: 10%.
            pub(crate) max_lifetime_jitter: Option<Field<Percent<50>>>,
            /// Whether flows are moved from endpoints that have more than their fair share after others were added, the
            /// idlest first. `rebalance: {}` turns it on. Default: they are not.
            pub(crate) rebalance: Option<Located<RebalanceBlock>>,
        }

        impl $name {
            /// The settings, without what else the block holds.
            pub(crate) fn settings(&self) -> Settings<'_> {
                Settings {
                    policy: &self.policy,
                    connect_timeout: &self.connect_timeout,
                    connect_attempts: &self.connect_attempts,
                    idle_timeout: &self.idle_timeout,
                    when_none_ready: &self.when_none_ready,
                    on_removal: &self.on_removal,
                    affinity: &self.affinity,
                    keepalive: &self.keepalive,
                    user_timeout: &self.user_timeout,
                    dead_peer_timeout: &self.dead_peer_timeout,
                    drain: &self.drain,
                    max_lifetime: &self.max_lifetime,
                    max_lifetime_jitter: &self.max_lifetime_jitter,
                    rebalance: &self.rebalance,
                }
            }
        }
    )* };
}

/// What `defaults` and a service have in common.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a> {
    pub(crate) policy: &'a Option<Field<Policy>>,
    pub(crate) connect_timeout: &'a Option<Field<Timeout>>,
    pub(crate) connect_attempts: &'a Option<Field<Whole<1, 16>>>,
    pub(crate) idle_timeout: &'a Option<Field<TimeoutOrNone>>,
    pub(crate) when_none_ready: &'a Option<Field<WhenNoneReady>>,
    pub(crate) on_removal: &'a Option<Field<OnRemoval>>,
    pub(crate) affinity: &'a Option<AffinityBlock>,
    pub(crate) keepalive: &'a Option<KeepaliveBlock>,
    pub(crate) user_timeout: &'a Option<Field<TimeoutOrNone>>,
    pub(crate) dead_peer_timeout: &'a Option<Field<TimeoutOrNone>>,
    pub(crate) drain: &'a Option<DrainBlock>,
    pub(crate) max_lifetime: &'a Option<Field<TimeoutOrNone>>,
    pub(crate) max_lifetime_jitter: &'a Option<Field<Percent<50>>>,
    pub(crate) rebalance: &'a Option<Located<RebalanceBlock>>,
}

settings_blocks! {
    /// Settings for all services that do not say otherwise.
    #[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map of settings")]
    #[schemars(rename = "Defaults")]
    DefaultsBlock {}

    /// A service and its settings.
    #[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map with `name` and settings")]
    #[schemars(rename = "Service")]
    ServiceBlock {
        /// The service, as `namespace/name`.
        #[schemars(required)]
        name: Option<Field<ServiceName>>,
        /// A fixed list of endpoints, for an edge without EndpointSlices: "IP:port", or {address: "IP:port", weight:
        /// 1 to 65535}. Slices of this service are then ignored.
        endpoints: Option<Vec<Located<EndpointBlock>>>,
    }
}

/// An endpoint of a fixed list.
#[derive(Clone, Debug)]
pub(crate) enum EndpointBlock {
    /// Its address alone; its weight is 1.
    Address(Result<SocketAddr, String>),
    /// Its address and its weight.
    Weighted(WeightedBlock),
}

/// An endpoint with a weight.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "WeightedEndpoint")]
pub(crate) struct WeightedBlock {
    /// Its IP address and port.
    #[schemars(required)]
    pub(crate) address: Option<Field<SocketAddr>>,
    /// Its share of new flows, relative to the others': 1 to 65535. Default: 1.
    pub(crate) weight: Option<Field<Whole<1, 65535>>>,
}

impl JsonSchema for EndpointBlock {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Endpoint".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let address = SocketAddr::describe();
        let weighted = generator.subschema_for::<WeightedBlock>();
        schemars::json_schema!({ "oneOf": [address, weighted] })
    }
}

impl<'de> Deserialize<'de> for EndpointBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EndpointVisitor;
        impl<'de> Visitor<'de> for EndpointVisitor {
            type Value = EndpointBlock;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an endpoint: `\"IP:port\"` or `{address: \"IP:port\", weight: 1}`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<EndpointBlock, E> {
                Ok(EndpointBlock::Address(SocketAddr::read(&Scalar::Text(text.to_owned()))))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EndpointBlock, A::Error> {
                WeightedBlock::deserialize(MapAccessDeserializer::new(map)).map(EndpointBlock::Weighted)
            }
        }
        deserializer.deserialize_any(EndpointVisitor)
    }
}

/// How the process ends after SIGTERM.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map with `delay` and `grace`")]
#[schemars(rename = "Shutdown")]
pub(crate) struct ShutdownBlock {
    /// How long it goes on accepting after it said that it is not ready, so that whoever balances over proxies can
    /// take notice: 0s to 24 days. Default: 5s.
    pub(crate) delay: Option<Field<Delay>>,
    /// How long it then waits for flows to end before it cuts them: 0s to 24 days, or `none` to wait for ever.
    /// Default: none.
    pub(crate) grace: Option<Field<DelayOrNone>>,
}

/// Where this process runs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map with `name` and `zone`")]
#[schemars(rename = "Node")]
pub(crate) struct NodeBlock {
    /// The node's name, as in `nodeName` of an endpoint. Default: none; node hints are then ignored.
    pub(crate) name: Option<Field<Name>>,
    /// The node's zone, as in `zone` of an endpoint. Default: none; zone hints are then ignored.
    pub(crate) zone: Option<Field<Name>>,
}

/// How a successor takes over.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map with `socket`")]
#[schemars(rename = "Handoff")]
pub(crate) struct HandoffBlock {
    /// The Unix socket on which the two meet, in a directory that only the proxy's user can write to.
    #[schemars(required)]
    pub(crate) socket: Option<Field<FilePath>>,
    /// How long a successor waits until its source is complete before it gives up. Default: 30s.
    pub(crate) timeout: Option<Field<Timeout>>,
    /// How long the predecessor waits for flows that did not move before it cuts them. Default: 1h.
    pub(crate) linger: Option<Field<Delay>>,
    /// What the predecessor does when it has handed over and has no flow left. Default: exit.
    pub(crate) afterwards: Option<Field<Afterwards>>,
    /// A Unix socket on which this process answers `tidegate probe` for itself: it never goes to a successor. Default:
    /// none.
    pub(crate) probe_socket: Option<Field<FilePath>>,
}

/// The log of flows: one line per flow when it ends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map with `mode`")]
#[schemars(rename = "FlowLog")]
pub(crate) struct FlowLogBlock {
    /// Which flows get a line. Default: off.
    pub(crate) mode: Option<Field<FlowLogMode>>,
    /// With `mode: sampled`, one flow of how many: 1 to 1000000. Default: 100.
    pub(crate) sample_every: Option<Field<Whole<1, 1_000_000>>>,
}
