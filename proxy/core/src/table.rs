//! Everything that is known: the one place where facts become decisions.
//!
//! Decided here: which endpoints exist, which of them may take new flows, which drain is on, what is published when.
//! A fact only marks what it touches ([`Table::handle_event`]); what follows is worked out, for all facts so far
//! together, when the owner asks what to do ([`Table::poll_output`]). Not decided here: which endpoint a flow gets
//! (`snapshot`), and when to ask.
//!
//! Inside: `slices` keeps what sources said, `join` makes a list of it (`listed`: each a place in its slice; `source`: or
//! configuration has the list), `service` gives the list its identities, `touch` remembers what to look at, `eligible`
//! chooses, `publish` acts, `drain` counts down, `deadline` says until when, `rebalance` whose flows move to endpoints that
//! were added, `operators` keeps requests, `gate` says what pods wait for, `configure` says which services there are,
//! `pinned` takes flows in from another process, `view` is for people.

mod configure;
mod deadline;
mod drain;
mod eligible;
mod entry;
mod gate;
mod join;
mod listed;
mod numbers;
mod operators;
mod pinned;
mod publish;
mod rebalance;
mod service;
mod slices;
mod source;
#[cfg(test)]
mod tests;
mod touch;
mod view;

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};

use self::{
    deadline::{PodDeadlines, WantedPods},
    eligible::Place,
    gate::Gates,
    numbers::Numbers,
    operators::Operators,
    rebalance::Rebalances,
    service::Service,
    slices::{Arrived, Slices, ignored},
    touch::Touch,
};
pub use self::{
    gate::{GateEndpoint, GateView, Instance},
    pinned::DrainSoFar,
    view::{DrainView, EndpointView, ServiceView},
};
use crate::{
    endpoint::{Endpoint, EndpointId, OperatorRequest},
    event::{EndpointSelector, Event},
    name::{ServiceName, ServicePort, SliceName},
    output::Output,
    slice::Slice,
    snapshot::{ServiceId, Snapshot},
    time::Timestamp,
};

/// Room for this many outputs is kept between two publishes.
const OUTPUTS_KEPT: usize = 1024;

/// Everything that is known. It has one owner.
#[derive(Debug)]
pub struct Table {
    seed: u64,
    synced: bool,
    place: Place,
    slices: Slices,
    /// Changes of slices so far.
    arrivals: u64,
    services: BTreeMap<ServicePort, Service>,
    /// The slot of every service that ever was configured. Slots are not used again for other services, because a
    /// worker may still have a listener that points to one.
    slots: BTreeMap<ServicePort, ServiceId>,
    shadowed: BTreeSet<ServiceName>,
    operators: Operators,
    pod_deadlines: PodDeadlines,
    gates: Gates,
    wanted_pods: WantedPods,
    rebalances: Rebalances,
    numbers: Numbers,
    touched: BTreeMap<ServicePort, Touch>,
    snapshot: Arc<Snapshot>,
    outputs: VecDeque<Output>,
}

impl Table {
    /// An empty table; `seed` decides the affinity tables' hash.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            synced: false,
            place: Place::default(),
            slices: Slices::default(),
            arrivals: 0,
            services: BTreeMap::new(),
            slots: BTreeMap::new(),
            shadowed: BTreeSet::new(),
            operators: Operators::default(),
            pod_deadlines: PodDeadlines::default(),
            gates: Gates::default(),
            wanted_pods: WantedPods::default(),
            rebalances: Rebalances::default(),
            numbers: Numbers::default(),
            touched: BTreeMap::new(),
            snapshot: Arc::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes a fact in. What follows from it comes out of [`Table::poll_output`].
    pub fn handle_event(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::ServicesConfigured(services) => self.configure(services),
            Event::NodeIs { name, zone } => {
                let place = &mut self.place;
                if (&place.node, &place.zone) != (&name, &zone) {
                    (place.node, place.zone) = (name, zone);
                    self.touch_every_service();
                }
            }
            Event::NodesLeaving(nodes) => {
                if self.place.leaving != nodes {
                    self.place.leaving = nodes;
                    self.touch_every_service();
                }
            }
            Event::SlicesListed(slices) => self.list(slices),
            Event::SlicesChanged { applied, deleted } => self.change(applied, &deleted),
            Event::SliceApplied(slice) => self.apply(slice),
            Event::SliceDeleted(name) => self.replace(&name, None),
            Event::AdminStateRequested { endpoints, state, by, reason, deadline } => {
                let request = OperatorRequest { state, by, reason, at: now, deadline };
                let service = self.operators.request(endpoints, request);
                self.touch_services_of(&service);
            }
            Event::PodDeadline { namespace, uid, killed } => self.pod_deadline(&namespace, uid, killed),
            Event::PodGone { uid } => self.pod_gone(&uid),
            Event::EndpointEmptied(id) => self.endpoint_emptied(id, now),
        }
    }

    /// The next thing to do; `None` when there is nothing. Events handled before one call are published together.
    ///
    /// A snapshot comes ahead of everything else and should be shown to the workers at once: admissions have changed
    /// already when this returns.
    pub fn poll_output(&mut self, now: Timestamp) -> Option<Output> {
        if !self.touched.is_empty() {
            self.publish(now);
        }
        let output = self.outputs.pop_front();
        if output.is_none() && self.outputs.capacity() > OUTPUTS_KEPT {
            // What the first list of many endpoints took is not needed again.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// The generation that was published last; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.snapshot.generation()
    }

    /// The snapshot that was published last.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Whether a complete list has been seen.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// A service's slot.
    pub fn service_id(&self, port: &ServicePort) -> Option<ServiceId> {
        self.services.get(port).filter(|service| service.configured).map(|service| service.slot)
    }

    /// The endpoint with this number, present or gone with flows left.
    pub fn endpoint(&self, id: EndpointId) -> Option<Arc<Endpoint>> {
        let endpoint = self.numbers.find(id)?;
        self.services.get(endpoint.service())?.knows(&endpoint).then_some(endpoint)
    }

    /// How many slices are known, those that are ignored included.
    pub fn slice_count(&self) -> usize {
        self.slices.len()
    }

    /// What operators have asked for and is still in force. Requested again in this order of a new table, it has the
    /// same effect.
    pub fn operator_requests(&self) -> Vec<(EndpointSelector, OperatorRequest)> {
        self.operators.all()
    }

    /// A complete list: what it lacks is gone.
    fn list(&mut self, slices: Vec<Slice>) {
        let listed: BTreeSet<SliceName> = slices.iter().map(|slice| slice.name.clone()).collect();
        let lacking: Vec<SliceName> =
            self.slices.names().filter(|name| !listed.contains(name)).cloned().collect();
        self.change(slices, &lacking);
        if !self.synced {
            self.synced = true;
            self.touch_every_service();
        }
    }

    /// What is gone comes last, so that an endpoint which moved to another slice is never without one.
    fn change(&mut self, applied: Vec<Slice>, deleted: &[SliceName]) {
        for slice in applied {
            self.apply(slice);
        }
        for name in deleted {
            self.replace(name, None);
        }
    }

    fn apply(&mut self, slice: Slice) {
        let old = self.slices.get(&slice.name);
        let known = old.map(|old| &old.slice);
        // What is known already changes nothing (S9).
        if known == Some(&slice) {
            return;
        }
        self.outputs.extend(ignored(known, &slice).into_iter().map(Output::Notice));
        self.arrivals += 1;
        let name = slice.name.clone();
        let new = Arc::new(Arrived::after(old.map(|old| &**old), slice, self.arrivals));
        self.replace(&name, Some(&new));
    }

    fn replace(&mut self, name: &SliceName, new: Option<&Arc<Arrived>>) {
        let old = self.slices.replace(name, new.cloned());
        let old_service = old.as_ref().and_then(|old| slices::joined(&old.slice)).cloned();
        let new_service = new.and_then(|new| slices::joined(&new.slice)).cloned();
        if old_service == new_service {
            if let Some(service) = &old_service {
                self.join(service, old.as_ref(), new);
            }
            return;
        }
        // The name was used again for another Service (S3).
        if let Some(service) = &new_service {
            self.join(service, None, new);
        }
        if let Some(service) = &old_service {
            self.join(service, old.as_ref(), None);
        }
    }

    /// Marks all that can have changed for every service.
    fn touch_every_service(&mut self) {
        for (port, service) in &self.services {
            if service.configured {
                self.touched.entry(port.clone()).or_default().choice = true;
            }
        }
    }

    fn touch_services_of(&mut self, name: &ServiceName) {
        let first = ServicePort { service: name.clone(), port: None };
        for (port, _) in self.services.range(first..).take_while(|(port, _)| port.service == *name) {
            self.touched.entry(port.clone()).or_default().choice = true;
        }
    }
}
