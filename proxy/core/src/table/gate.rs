//! What a gate asks of the table: of which services a pod is an endpoint, whether it is terminating, whether anybody
//! may still be sent to it, and how many flows are left on it.
//!
//! Decided here, too: what a gate asks for. A pod that terminates and waits at a gate gets no new flows, also where
//! its slices still call it ready (publishNotReadyAddresses) or it would do as a last resort although another endpoint
//! is open. That ends when the pod is gone or does not terminate any more, whatever becomes of the gate. Not decided
//! here: how long a gate waits, and for whom (`crate::gate`).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::{
    mem,
    net::{IpAddr, SocketAddr},
};

use super::{Table, entry::Entry, service::Service, slices::joined};
use crate::{
    admission::AdmissionMode,
    endpoint::{Endpoint, EndpointIdentity},
    event::PodRef,
    gate::GateFacts,
    name::{ServiceName, ServicePort},
    time::Timestamp,
};

/// The name of the port on which instances answer each other, in the slices of their own Service.
const GATE_PORT: &str = "gate";

/// The pods that wait at a gate, or did and are still terminating.
#[derive(Debug, Default)]
pub(super) struct Gates(BTreeMap<Arc<str>, Gate>);

/// A pod's gate.
#[derive(Debug, Default)]
struct Gate {
    /// Where it is an endpoint, present or gone with flows left; as of the last publish.
    places: BTreeSet<(ServicePort, EndpointIdentity)>,
    /// All endpoints were looked at for it.
    is_looked_for: bool,
    /// Nobody waits any more.
    is_left: bool,
}

/// A pod as its gate sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateView {
    /// Where it is an endpoint, present or gone with flows left, in the order of services.
    pub endpoints: Vec<GateEndpoint>,
    /// When its flows have to be gone, because its processes are killed: where that is known.
    pub deadline: Option<Timestamp>,
}

/// One of the endpoints that a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateEndpoint {
    /// Of which service.
    pub service: ServicePort,
    /// Where.
    pub address: SocketAddr,
    /// The slices say that it is terminating, or it is gone from them.
    pub terminating: bool,
    /// Its admission is closed: no flow enters any more.
    pub closed: bool,
    /// Its flows, those that connect included.
    pub flows: u64,
}

/// Where another instance of this proxy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its address.
    pub address: IpAddr,
    /// The port on which it answers; `None` where its slice names none.
    pub port: Option<u16>,
    /// Its pod, as namespace/name.
    pub pod: Option<Arc<str>>,
    /// Its node.
    pub node: Option<Arc<str>>,
}

impl GateView {
    /// What an instance with this view can tell others; `synced` where its source has given a complete list.
    pub fn facts(&self, synced: bool) -> GateFacts {
        let all = &self.endpoints;
        GateFacts {
            synced,
            known: !all.is_empty(),
            terminating: all.iter().any(|endpoint| endpoint.terminating),
            programmed: all.iter().all(|endpoint| endpoint.closed),
            flows: all.iter().map(|endpoint| endpoint.flows).sum(),
        }
    }
}

impl Gates {
    /// Whether a gate drains this endpoint, which is present: nothing else would.
    pub(super) fn drains(&self, entry: &Entry) -> bool {
        let conditions = entry.facts.conditions;
        conditions.terminating && conditions.ready && self.is_asked(entry)
    }

    /// Closes last resorts that wait at a gate, where another endpoint is open: whoever picked from a snapshot of a
    /// moment ago could still enter.
    pub(super) fn close_last_resorts(&self, present: &mut BTreeMap<SocketAddr, Entry>, any_is_open: bool) {
        if self.0.is_empty() || !any_is_open {
            return;
        }
        let is_last_resort = |entry: &&mut Entry| entry.mode == AdmissionMode::LastResort;
        for entry in present.values_mut().filter(is_last_resort) {
            if self.is_asked(entry) {
                entry.mode = AdmissionMode::Closed;
            }
        }
    }

    /// Looks where the pods are endpoints of this service, after its endpoints may have changed.
    pub(super) fn look(&mut self, port: &ServicePort, service: &Service) {
        if self.0.is_empty() {
            return;
        }
        for gate in self.0.values_mut() {
            gate.places.retain(|(of, _)| of != port);
        }
        service.present.values().chain(service.gone.values()).for_each(|entry| self.found(&entry.endpoint));
    }

    /// There is such an endpoint.
    pub(super) fn found(&mut self, endpoint: &Endpoint) {
        let identity = endpoint.identity();
        if let Some(gate) = identity.pod_uid.as_ref().and_then(|uid| self.0.get_mut(uid)) {
            gate.places.insert((endpoint.service().clone(), identity.clone()));
        }
    }

    /// Forgets pods whose gate nobody waits at and that do not terminate any more.
    pub(super) fn forget(&mut self, services: &BTreeMap<ServicePort, Service>) {
        self.0.retain(|_, gate| !gate.is_left || gate.places.iter().any(|it| is_terminating(services, it)));
    }

    fn is_asked(&self, entry: &Entry) -> bool {
        let uid = entry.endpoint.identity().pod_uid.as_ref();
        uid.is_some_and(|uid| self.0.contains_key(uid))
    }

    /// The terminating pods that are waited for, of services that take their deadlines from there: also where no flow
    /// is left here, because another instance may have some, and whoever waits is answered by the pod's deadline.
    pub(super) fn pods_wanted(
        &self,
        services: &BTreeMap<ServicePort, Service>,
    ) -> impl Iterator<Item = PodRef> {
        let places = self.0.values().filter(|gate| !gate.is_left).flat_map(|gate| &gate.places);
        places.filter_map(|(port, identity)| {
            let service = services.get(port).filter(|service| service.asks_for_pods())?;
            let (entry, is_present) = service.entry(identity)?;
            let is_terminating = !is_present || entry.facts.conditions.terminating;
            is_terminating.then(|| entry.pod()).flatten()
        })
    }
}

/// It is present there, and terminating.
fn is_terminating(
    services: &BTreeMap<ServicePort, Service>,
    (port, identity): &(ServicePort, EndpointIdentity),
) -> bool {
    let entry = services.get(port).and_then(|service| service.present.get(&identity.address));
    entry.is_some_and(|entry| entry.endpoint.identity() == identity && entry.facts.conditions.terminating)
}

impl Table {
    /// A pod waits at a gate, from here on or still. Where it is an endpoint is found by [`Table::find_gated`].
    pub fn ask_gate(&mut self, uid: &Arc<str>) {
        let gate = self.gates.0.entry(Arc::clone(uid)).or_default();
        if mem::take(&mut gate.is_left) {
            self.want_pods();
        }
    }

    /// Finds the pods that nobody asked for before: one look at all endpoints, for however many pods, because a uid is
    /// whatever a caller says. What follows comes out of [`Table::poll_output`].
    pub fn find_gated(&mut self) {
        let mut sought: BTreeMap<&Arc<str>, &mut Gate> =
            self.gates.0.iter_mut().filter(|(_, gate)| !gate.is_looked_for).collect();
        if sought.is_empty() {
            return;
        }
        for (port, service) in &self.services {
            for entry in service.present.values().chain(service.gone.values()) {
                let identity = entry.endpoint.identity();
                let Some(gate) = identity.pod_uid.as_ref().and_then(|uid| sought.get_mut(uid)) else {
                    continue;
                };
                gate.places.insert((port.clone(), identity.clone()));
                self.touched.entry(port.clone()).or_default().choice = true;
            }
        }
        sought.into_values().for_each(|gate| gate.is_looked_for = true);
    }

    /// Nobody waits for these pods any more. What a gate asked for stays until its pod is gone or does not terminate.
    pub fn leave_gates<'a>(&mut self, uids: impl IntoIterator<Item = &'a str>) {
        for uid in uids {
            if let Some(gate) = self.gates.0.get_mut(uid) {
                gate.is_left = true;
            }
        }
        self.gates.forget(&self.services);
        self.want_pods();
    }

    /// What a successor has to know of gates: the pods that are waited for, and those that terminate and get no new flows
    /// because one of them was.
    pub fn gated(&self) -> impl Iterator<Item = &Arc<str>> {
        let is_asked_for =
            |gate: &Gate| !gate.is_left || gate.places.iter().any(|it| is_terminating(&self.services, it));
        self.gates.0.iter().filter(move |(_, gate)| is_asked_for(gate)).map(|(uid, _)| uid)
    }

    /// Pods that waited at a predecessor's gate: what it asked for goes on, and nobody waits here yet. What follows comes
    /// out of [`Table::poll_output`].
    pub fn go_on_with_gates(&mut self, uids: impl IntoIterator<Item = Arc<str>>) {
        for uid in uids {
            self.gates.0.entry(uid).or_insert_with(|| Gate { is_left: true, ..Gate::default() });
        }
        self.find_gated();
    }

    /// A pod that [`Table::ask_gate`] named, as of the last [`Table::poll_output`]; the flows are those of this moment.
    /// `None` where nobody has looked for it.
    pub fn gate(&self, uid: &str) -> Option<GateView> {
        let gate = self.gates.0.get(uid).filter(|gate| gate.is_looked_for)?;
        let mut view = GateView::default();
        for (port, identity) in &gate.places {
            let Some(service) = self.services.get(port) else { continue };
            let Some((entry, is_present)) = service.entry(identity) else { continue };
            let admission = entry.endpoint.admission();
            // The mode first: what enters after it was seen open is no matter.
            let closed = admission.mode() == AdmissionMode::Closed;
            view.endpoints.push(GateEndpoint {
                service: port.clone(),
                address: identity.address,
                terminating: !is_present || entry.facts.conditions.terminating,
                closed,
                flows: admission.flows(),
            });
            let killed = self.pod_deadlines.of(entry);
            let deadline = killed.map(|killed| killed.before(service.settings.drain.margin));
            view.deadline = [view.deadline, deadline].into_iter().flatten().min();
        }
        Some(view)
    }

    /// The pods that have this address, by their uids: those of present endpoints, in order, each once.
    pub fn pods_at(&self, address: IpAddr) -> BTreeSet<Arc<str>> {
        let keys = SocketAddr::new(address, 0)..=SocketAddr::new(address, u16::MAX);
        let entries = self.services.values().flat_map(|service| service.present.range(keys.clone()));
        entries.filter_map(|(_, entry)| entry.endpoint.identity().pod_uid.clone()).collect()
    }

    /// Where the instances are that a Service's slices list, ready or not: each pod once, by its first address.
    pub fn instances_of(&self, service: &ServiceName) -> Vec<Instance> {
        let mut instances: BTreeMap<(Option<Arc<str>>, Option<IpAddr>), Instance> = BTreeMap::new();
        let slices = self.slices.of(service).filter(|arrived| joined(&arrived.slice).is_some());
        for slice in slices.map(|arrived| &arrived.slice) {
            let port = slice.ports.iter().find(|port| &*port.name == GATE_PORT && port.number != 0);
            for endpoint in &slice.endpoints {
                let address = endpoint.pod_uid.is_none().then_some(endpoint.address);
                let instance = Instance {
                    address: endpoint.address,
                    port: port.map(|port| port.number),
                    pod: endpoint.pod_name.clone(),
                    node: endpoint.node.clone(),
                };
                let known = instances.entry((endpoint.pod_uid.clone(), address)).or_insert(instance.clone());
                // Of a pod with addresses of both families always the same one.
                if instance.address < known.address {
                    *known = instance;
                }
            }
        }
        instances.into_values().collect()
    }
}
