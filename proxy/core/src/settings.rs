//! A service's settings, with the defaults that the configuration documents.

use alloc::sync::Arc;
use core::time::Duration;

use crate::ranges::SourceRanges;

/// How an endpoint is picked among the eligible ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Of two at random, the one with fewer flows per weight.
    #[default]
    LeastFlows,
    /// One after the other, by weight.
    RoundRobin,
    /// At random, by weight.
    Random,
    /// By the client's address, with little change when endpoints come and go (Maglev, NSDI 2016).
    Maglev,
}

/// What happens to a new flow while no endpoint is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WhenNoneReady {
    /// It is refused at once.
    #[default]
    Refuse,
    /// It goes to an endpoint that is serving and terminating, if there is one (KEP-1669).
    ServingTerminating,
}

/// What happens to flows whose endpoint vanished without having been terminating.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnRemoval {
    /// Nothing: they end by themselves, or when the kernel finds their end dead.
    #[default]
    Keep,
    /// They are drained, as if the endpoint had been terminating: a deadline that counts from a drain's beginning holds
    /// for them.
    Deadline,
    /// They are closed.
    Close,
}

/// When the flows of a draining endpoint are brought to their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DrainDeadline {
    /// Never: they end by themselves.
    #[default]
    None,
    /// When their pod is killed, less [`DrainSettings::margin`]: its `metadata.deletionTimestamp`. None for an endpoint
    /// without a pod, or while the pod is not terminating.
    Pod,
    /// So long after the drain began.
    After(Duration),
}

/// How the flows of a draining endpoint are brought to their end, where there is a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DrainSettings {
    /// When what is left is cut.
    pub deadline: DrainDeadline,
    /// How long before the pod is killed its flows have to be gone.
    pub margin: Duration,
    /// How long before the deadline shedding begins; `None` for the last half of the time that the drain has.
    pub window: Option<Duration>,
    /// How long a flow must have been silent to be shed.
    pub quiet: Duration,
    /// The most sheds in a second, of the service and on this instance; at least 1.
    pub max_per_second: u32,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self {
            deadline: DrainDeadline::default(),
            margin: Duration::from_secs(2),
            window: None,
            quiet: Duration::from_millis(250),
            max_per_second: 500,
        }
    }
}

/// How old a flow may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LifetimeSettings {
    /// The most; `None` for ever. An older flow is shed at its next quiet moment, and never cut.
    pub max: Option<Duration>,
    /// By up to so many percent of that a flow's own limit is shorter, so that flows which began together do not end
    /// together; at most 100.
    pub jitter: u8,
}

impl Default for LifetimeSettings {
    fn default() -> Self {
        Self { max: None, jitter: 10 }
    }
}

/// How flows are moved to endpoints that were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RebalanceSettings {
    /// The most sheds in a second on this instance; at least 1.
    pub max_per_second: u32,
    /// Nothing is done where no endpoint has more than its fair share and so many percent.
    pub tolerance: u8,
    /// How long a service's endpoints have to stay as they are first.
    pub delay: Duration,
}

impl Default for RebalanceSettings {
    fn default() -> Self {
        Self { max_per_second: 10, tolerance: 10, delay: Duration::from_secs(30) }
    }
}

/// TCP keepalive on both legs (tcp(7): TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Keepalive {
    /// Silence before the first probe; whole seconds.
    pub idle: Duration,
    /// Time between probes; whole seconds.
    pub interval: Duration,
    /// Probes without an answer before the leg is dead.
    pub probes: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(15), interval: Duration::from_secs(5), probes: 3 }
    }
}

/// What a service's flows are treated by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// How an endpoint is picked.
    pub policy: Policy,
    /// What happens while none is ready.
    pub when_none_ready: WhenNoneReady,
    /// What happens to flows of an endpoint that vanished without terminating.
    pub on_removal: OnRemoval,
    /// How long one connect may take.
    pub connect_timeout: Duration,
    /// How many endpoints are tried for one flow, at least 1.
    pub connect_attempts: u32,
    /// How long a flow may be silent both ways; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// ClientIP affinity and how long it lasts after the last flow began; `None` for no affinity.
    pub affinity_timeout: Option<Duration>,
    /// Keepalive on both legs; `None` to leave it off.
    pub keepalive: Option<Keepalive>,
    /// TCP_USER_TIMEOUT on both legs from the start; `None` leaves the kernel's own.
    pub user_timeout: Option<Duration>,
    /// TCP_USER_TIMEOUT armed on endpoint legs once their endpoint is gone; `None` for never.
    pub dead_peer_timeout: Option<Duration>,
    /// What ends the flows of a draining endpoint.
    pub drain: DrainSettings,
    /// What ends flows that have grown old.
    pub lifetime: LifetimeSettings,
    /// What moves flows to endpoints that were added; `None` for nothing.
    pub rebalance: Option<RebalanceSettings>,
    /// Only endpoints on this node (traffic policy Local).
    pub local_only: bool,
    /// The clients that are taken; `None` for everybody.
    pub source_ranges: Option<Arc<SourceRanges>>,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            when_none_ready: WhenNoneReady::default(),
            on_removal: OnRemoval::default(),
            connect_timeout: Duration::from_secs(2),
            connect_attempts: 3,
            idle_timeout: None,
            affinity_timeout: None,
            keepalive: Some(Keepalive::default()),
            user_timeout: None,
            dead_peer_timeout: Some(Duration::from_secs(10)),
            drain: DrainSettings::default(),
            lifetime: LifetimeSettings::default(),
            rebalance: None,
            local_only: false,
            source_ranges: None,
        }
    }
}
