//! Placeholder: written next. The public face is fixed.

use alloc::{string::String, sync::Arc, vec::Vec};

use crate::{
    conditions::Conditions,
    endpoint::{Endpoint, OperatorRequest},
    event::Event,
    name::{ServicePort, SliceName},
    output::Output,
    settings::ServiceSettings,
    snapshot::ServiceId,
    time::Timestamp,
};

/// Everything that is known: the one place where facts become decisions. It has one owner.
#[derive(Debug)]
pub struct Table {}

impl Table {
    /// An empty table; `seed` decides the affinity tables' hash.
    pub fn new(seed: u64) -> Self {
        let _ = seed;
        Self {}
    }

    /// Takes a fact in. What follows from it comes out of [`Table::poll_output`].
    pub fn handle_event(&mut self, event: Event, now: Timestamp) {
        let _ = (event, now);
    }

    /// The next thing to do; `None` when there is nothing. Events handled before one call are published together.
    pub fn poll_output(&mut self, now: Timestamp) -> Option<Output> {
        let _ = now;
        None
    }

    /// The generation that was published last; 0 before the first.
    pub fn generation(&self) -> u64 {
        0
    }

    /// Whether a complete list has been seen.
    pub fn is_synced(&self) -> bool {
        false
    }

    /// A service's slot.
    pub fn service_id(&self, port: &ServicePort) -> Option<ServiceId> {
        let _ = port;
        None
    }

    /// Every configured service with its endpoints, in the order of names; also services that were given up while
    /// flows are left on their endpoints.
    pub fn services(&self) -> Vec<ServiceView> {
        Vec::new()
    }
}

/// A service as an operator sees it.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Which.
    pub port: ServicePort,
    /// How its flows are treated.
    pub settings: Arc<ServiceSettings>,
    /// It is in the configuration; false where only flows are left of it.
    pub configured: bool,
    /// How many of its endpoints new flows may go to.
    pub eligible: usize,
    /// The eligible ones are serving and terminating, because none is ready.
    pub last_resort: bool,
    /// Its endpoints, by address, the present ones first.
    pub endpoints: Vec<EndpointView>,
}

/// An endpoint as an operator sees it.
#[derive(Clone, Debug)]
pub struct EndpointView {
    /// The endpoint with its flow count.
    pub endpoint: Arc<Endpoint>,
    /// Its conditions; `None` where it is gone from all slices.
    pub conditions: Option<Conditions>,
    /// New flows may go to it now.
    pub eligible: bool,
    /// Its share of new flows, relative to the others'.
    pub weight: u16,
    /// What an operator asked for.
    pub operator: Option<OperatorRequest>,
    /// The drain that is on.
    pub drain: Option<DrainView>,
    /// When its conditions last changed, or when it appeared or went.
    pub since: Timestamp,
    /// The pod's name, as namespace/name.
    pub pod: Option<Arc<str>>,
    /// The node it runs on.
    pub node: Option<Arc<str>>,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// The slice its facts come from, with the slice's generation; `None` for a fixed one.
    pub slice: Option<(SliceName, u64)>,
}

/// A drain that is on.
#[derive(Clone, Debug)]
pub struct DrainView {
    /// Since when.
    pub since: Timestamp,
    /// Why, in words.
    pub why: String,
    /// Flows when it began.
    pub flows_at_start: u64,
    /// When the last flow ended; `None` while some are left.
    pub drained: Option<Timestamp>,
}
