//! The shadow model: everything worked out from scratch, in the plainest way, from the facts that were told.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tidegate_core::{
    AdminState, AdmissionMode, Conditions, EndpointSelector, Event, Policy, PortName, ServiceConfig,
    ServiceName, ServicePort, Slice, SliceName, Tier, Timestamp, WhenNoneReady,
};

/// A pod's uid, or none.
pub(super) type Uid = Option<Arc<str>>;

/// The facts as they stand.
#[derive(Default)]
pub(super) struct Model {
    pub(super) configs: BTreeMap<ServicePort, ServiceConfig>,
    pub(super) slices: BTreeMap<SliceName, Slice>,
    pub(super) synced: bool,
    /// Pods that wait at a gate.
    pub(super) gates: BTreeSet<Arc<str>>,
    zone: Option<Arc<str>>,
    node: Option<Arc<str>>,
    /// The nodes that are going away.
    leaving: BTreeSet<Arc<str>>,
    requests: Vec<Request>,
    /// When pods are killed.
    pods: BTreeMap<Arc<str>, Timestamp>,
    /// What slices said to be terminating that have changed since [`Model::forget_terminated`].
    terminated: BTreeSet<(ServiceName, PortName, SocketAddr, Uid)>,
    /// At which change a slice first had a pod at an address.
    arrivals: BTreeMap<(SliceName, IpAddr, Uid), u64>,
    changes: u64,
}

/// What an operator asked for.
struct Request {
    endpoints: EndpointSelector,
    state: AdminState,
    at: Timestamp,
    deadline: Option<Duration>,
}

/// What the model says of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) uid: Uid,
    pub(super) conditions: Conditions,
    pub(super) mode: AdmissionMode,
    pub(super) drains: bool,
    /// It drains because its node is going away.
    pub(super) leaves: bool,
    /// Its pod, as namespace/name.
    pub(super) pod: Option<Arc<str>>,
    pub(super) weight: u16,
    node: Option<Arc<str>>,
    node_hints: Vec<Arc<str>>,
    zone_hints: Vec<Arc<str>>,
}

/// What the model says of a service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expected {
    pub(super) present: BTreeMap<SocketAddr, Known>,
    pub(super) eligible: BTreeMap<SocketAddr, u16>,
    pub(super) tier: Tier,
    pub(super) synced: bool,
    pub(super) policy: Policy,
    /// Whom a client of each family may get.
    pub(super) for_v4: BTreeSet<SocketAddr>,
    pub(super) for_v6: BTreeSet<SocketAddr>,
    pub(super) ambiguous: bool,
}

impl Expected {
    /// Whether an endpoint of this pod takes flows.
    pub(super) fn takes_flows(&self, uid: &str) -> bool {
        let is_it = |known: &Known| known.uid.as_deref() == Some(uid) && known.mode != AdmissionMode::Closed;
        self.present.values().any(is_it)
    }
}

impl Model {
    /// Takes a fact in; false where it is known already.
    pub(super) fn tell(&mut self, event: &Event, now: Timestamp) -> bool {
        match event {
            Event::ServicesConfigured(configs) => {
                let configs = configs.iter().map(|config| (config.port.clone(), config.clone())).collect();
                let is_new = self.configs != configs;
                self.configs = configs;
                is_new
            }
            Event::NodeIs { name, zone } => {
                let is_new = (&self.node, &self.zone) != (name, zone);
                (self.node, self.zone) = (name.clone(), zone.clone());
                is_new
            }
            Event::NodesLeaving(nodes) => {
                let is_new = self.leaving != *nodes;
                self.leaving.clone_from(nodes);
                is_new
            }
            Event::SlicesListed(slices) => {
                let mut is_new = !self.synced;
                self.synced = true;
                for slice in slices {
                    is_new |= self.apply(slice);
                }
                let lacking = |name: &SliceName| !slices.iter().any(|slice| slice.name == *name);
                let lacking: Vec<SliceName> =
                    self.slices.keys().filter(|name| lacking(name)).cloned().collect();
                for name in lacking {
                    is_new |= self.delete(&name);
                }
                is_new
            }
            Event::SlicesChanged { applied, deleted } => {
                let mut is_new = false;
                for slice in applied {
                    is_new |= self.apply(slice);
                }
                for name in deleted {
                    is_new |= self.delete(name);
                }
                is_new
            }
            Event::SliceApplied(slice) => self.apply(slice),
            Event::SliceDeleted(name) => self.delete(name),
            Event::AdminStateRequested { endpoints, state, deadline, .. } => {
                let (endpoints, state, deadline) = (endpoints.clone(), *state, *deadline);
                self.requests.push(Request { endpoints, state, at: now, deadline });
                true
            }
            // Whose flows have a deadline says nothing about who gets new ones.
            Event::PodDeadline { uid, killed, .. } => {
                let known = self.pods.entry(Arc::clone(uid)).or_insert(*killed);
                *known = (*known).min(*killed);
                true
            }
            Event::PodGone { uid } => {
                self.pods.remove(uid);
                true
            }
            Event::EndpointEmptied(_) => true,
        }
    }

    fn apply(&mut self, slice: &Slice) -> bool {
        if self.slices.get(&slice.name) == Some(slice) {
            return false;
        }
        self.changes += 1;
        self.note_terminated(&slice.name);
        let has = |address: IpAddr, uid: &Uid| {
            slice.endpoints.iter().any(|endpoint| endpoint.address == address && endpoint.pod_uid == *uid)
        };
        self.arrivals.retain(|(name, address, uid), _| *name != slice.name || has(*address, uid));
        for endpoint in &slice.endpoints {
            let key = (slice.name.clone(), endpoint.address, endpoint.pod_uid.clone());
            self.arrivals.entry(key).or_insert(self.changes);
        }
        self.slices.insert(slice.name.clone(), slice.clone());
        true
    }

    fn delete(&mut self, name: &SliceName) -> bool {
        self.note_terminated(name);
        self.arrivals.retain(|(slice, _, _), _| slice != name);
        self.slices.remove(name).is_some()
    }

    /// Keeps what a slice that is about to change says to be terminating.
    fn note_terminated(&mut self, name: &SliceName) {
        let Some(slice) = self.slices.get(name).filter(|slice| !slice.is_fqdn) else { return };
        let Some(service) = &slice.service else { return };
        for port in &slice.ports {
            let terminating = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.terminating);
            let key = |address| SocketAddr::new(address, port.number);
            self.terminated.extend(terminating.map(|endpoint| {
                (service.clone(), port.name.clone(), key(endpoint.address), endpoint.pod_uid.clone())
            }));
        }
    }

    /// All that was said so far has been acted upon.
    pub(super) fn forget_terminated(&mut self) {
        self.terminated.clear();
    }

    /// Whether a slice says that this endpoint of a named port is terminating, or one did that has changed since.
    pub(super) fn says_terminating(&self, port: &ServicePort, address: SocketAddr, uid: &Uid) -> bool {
        let Some(name) = &port.port else { return false };
        let said = (port.service.clone(), name.clone(), address, uid.clone());
        let is_it = |slice: &Slice| {
            let is_port = |number: u16| address.port() == number;
            let is_listed = slice.ports.iter().any(|port| port.name == *name && is_port(port.number));
            let mut endpoints = slice.endpoints.iter();
            is_listed
                && endpoints.any(|endpoint| {
                    endpoint.address == address.ip()
                        && endpoint.pod_uid == *uid
                        && endpoint.conditions.terminating
                })
        };
        self.terminated.contains(&said) || self.slices_of(port).any(is_it)
    }

    /// When a pod is killed, where that is known.
    pub(super) fn killed(&self, uid: &Uid) -> Option<Timestamp> {
        self.pods.get(uid.as_ref()?).copied()
    }

    /// What follows for a configured service.
    pub(super) fn expect(&self, port: &ServicePort) -> Option<Expected> {
        Some(self.expect_under(port, self.configs.get(port)?))
    }

    /// What follows for a service if this is its configuration.
    pub(super) fn expect_under(&self, port: &ServicePort, config: &ServiceConfig) -> Expected {
        let ports: BTreeSet<_> =
            self.slices_of(port).flat_map(|slice| &slice.ports).map(|port| &port.name).collect();
        let ambiguous = config.fixed.is_none() && port.port.is_none() && ports.len() > 1;
        let mut present = match &config.fixed {
            Some(list) => fixed(list),
            None => match port.port.as_ref().or_else(|| ports.first().copied()) {
                Some(name) if !ambiguous => self.joined(port, name),
                _ => BTreeMap::new(),
            },
        };
        let last_resort = config.settings.when_none_ready == WhenNoneReady::ServingTerminating;
        for (address, known) in &mut present {
            let operator = self.drain_asked(port, *address, known.pod.as_deref()).is_some();
            let Conditions { ready, serving, terminating } = known.conditions;
            let is_waiting = known.uid.as_ref().is_some_and(|uid| self.gates.contains(uid));
            let gate = is_waiting && terminating && ready;
            known.drains = operator || gate || (terminating && !ready);
            known.mode = match () {
                () if operator || gate => AdmissionMode::Closed,
                () if ready => AdmissionMode::Open,
                () if serving && terminating && last_resort => AdmissionMode::LastResort,
                () => AdmissionMode::Closed,
            };
        }
        if present.values().any(|known| known.mode == AdmissionMode::Open) {
            let is_waiting = |known: &Known| known.uid.as_ref().is_some_and(|uid| self.gates.contains(uid));
            for known in present.values_mut() {
                if known.mode == AdmissionMode::LastResort && is_waiting(known) {
                    known.mode = AdmissionMode::Closed;
                }
            }
        }
        self.close_leaving(&mut present);
        self.choose(config, present, ambiguous)
    }

    /// A25: what is on a node that goes is closed, where another endpoint of its family stays open.
    fn close_leaving(&self, present: &mut BTreeMap<SocketAddr, Known>) {
        let goes = |known: &Known| known.node.as_ref().is_some_and(|node| self.leaving.contains(node));
        for is_v4 in [true, false] {
            let is_open = |address: &SocketAddr, known: &Known| {
                address.is_ipv4() == is_v4 && known.mode == AdmissionMode::Open
            };
            if present.iter().any(|(address, known)| is_open(address, known) && !goes(known)) {
                for (address, known) in present.iter_mut() {
                    if is_open(address, known) && goes(known) {
                        known.mode = AdmissionMode::Closed;
                        known.leaves = true;
                        known.drains = true;
                    }
                }
            }
        }
    }

    fn choose(
        &self,
        config: &ServiceConfig,
        present: BTreeMap<SocketAddr, Known>,
        ambiguous: bool,
    ) -> Expected {
        let with = |mode| present.iter().filter(move |(_, known)| known.mode == mode);
        let any_open = with(AdmissionMode::Open).next().is_some();
        let chosen: Vec<_> =
            if any_open { with(AdmissionMode::Open) } else { with(AdmissionMode::LastResort) }
                .map(|(address, known)| (*address, known.clone()))
                .collect();
        let (v4, v6): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|(address, _)| address.is_ipv4());
        let [v4, v6] = [v4, v6].map(|family| if any_open { self.near(family) } else { family });
        let addresses = |family: &[(SocketAddr, Known)]| family.iter().map(|(address, _)| *address).collect();
        let has_v4 = present.keys().any(SocketAddr::is_ipv4);
        let has_v6 = present.keys().any(SocketAddr::is_ipv6);
        let last_resort = !any_open && (!v4.is_empty() || !v6.is_empty());
        Expected {
            for_v4: addresses(if has_v6 && !has_v4 { &v6 } else { &v4 }),
            for_v6: addresses(if has_v4 && !has_v6 { &v4 } else { &v6 }),
            eligible: v4.iter().chain(&v6).map(|(address, known)| (*address, known.weight)).collect(),
            tier: if last_resort { Tier::LastResort } else { Tier::Ready },
            synced: self.synced || config.fixed.is_some(),
            policy: config.settings.policy,
            present,
            ambiguous,
        }
    }

    fn near(&self, all: Vec<(SocketAddr, Known)>) -> Vec<(SocketAddr, Known)> {
        for (here, by_node) in [(&self.node, true), (&self.zone, false)] {
            let hints =
                |known: &Known| if by_node { known.node_hints.clone() } else { known.zone_hints.clone() };
            let Some(here) = here else { continue };
            let named: Vec<_> =
                all.iter().filter(|(_, known)| hints(known).contains(here)).cloned().collect();
            if all.iter().all(|(_, known)| !hints(known).is_empty()) && !named.is_empty() {
                return named;
            }
        }
        all
    }

    fn slices_of<'a>(&'a self, port: &'a ServicePort) -> impl Iterator<Item = &'a Slice> {
        self.slices.values().filter(|slice| !slice.is_fqdn && slice.service.as_ref() == Some(&port.service))
    }

    /// S4: everything any slice says, sorted so that the best is last; one uid is as bad as its worst slice.
    fn joined(&self, port: &ServicePort, name: &str) -> BTreeMap<SocketAddr, Known> {
        let mut said: BTreeMap<SocketAddr, Vec<_>> = BTreeMap::new();
        for slice in self.slices_of(port) {
            let Some(number) = slice.ports.iter().find(|port| &*port.name == name) else { continue };
            for endpoint in &slice.endpoints {
                let arrival =
                    self.arrivals[&(slice.name.clone(), endpoint.address, endpoint.pod_uid.clone())];
                let key = SocketAddr::new(endpoint.address, number.number);
                said.entry(key).or_default().push((endpoint, arrival, slice.name.clone()));
            }
        }
        let winner = |all: Vec<(&tidegate_core::SliceEndpoint, u64, SliceName)>| {
            let conditions_of = |uid: &Uid| {
                let of_uid = || all.iter().filter(|(endpoint, ..)| endpoint.pod_uid == *uid);
                Conditions {
                    ready: of_uid().all(|(endpoint, ..)| endpoint.conditions.ready),
                    serving: of_uid().all(|(endpoint, ..)| endpoint.conditions.serving),
                    terminating: of_uid().any(|(endpoint, ..)| endpoint.conditions.terminating),
                }
            };
            // Of equals the first: a slice may even have one pod twice.
            let best = all.iter().rev().max_by_key(|(endpoint, arrival, slice)| {
                let conditions = conditions_of(&endpoint.pod_uid);
                let uid = Reverse(endpoint.pod_uid.clone());
                (!conditions.terminating, conditions.ready, *arrival, Reverse(slice.clone()), uid)
            });
            let (endpoint, ..) = best.expect("a key has at least one");
            Known {
                uid: endpoint.pod_uid.clone(),
                conditions: conditions_of(&endpoint.pod_uid),
                mode: AdmissionMode::Closed,
                drains: false,
                leaves: false,
                pod: endpoint.pod_name.clone(),
                weight: 1,
                node: endpoint.node.clone(),
                node_hints: endpoint.node_hints.clone(),
                zone_hints: endpoint.zone_hints.clone(),
            }
        };
        said.into_iter().map(|(key, all)| (key, winner(all))).collect()
    }

    /// When an operator asked for the drain of this endpoint, where one does, and the deadline of that.
    pub(super) fn drain_asked(
        &self,
        port: &ServicePort,
        address: SocketAddr,
        pod: Option<&str>,
    ) -> Option<(Timestamp, Option<Duration>)> {
        let means = |selector: &EndpointSelector| match selector {
            EndpointSelector::Address { service, address: asked } => {
                *service == port.service && *asked == address
            }
            EndpointSelector::Pod { service, pod: asked } => {
                *service == port.service && pod.is_some_and(|pod| pod.ends_with(&format!("/{asked}")))
            }
        };
        let last = self.requests.iter().rev().find(|request| means(&request.endpoints));
        last.filter(|request| request.state == AdminState::Drain)
            .map(|request| (request.at, request.deadline))
    }
}

fn fixed(list: &[tidegate_core::FixedEndpoint]) -> BTreeMap<SocketAddr, Known> {
    let known = |weight| Known {
        uid: None,
        conditions: Conditions::default(),
        mode: AdmissionMode::Closed,
        drains: false,
        leaves: false,
        pod: None,
        weight,
        node: None,
        node_hints: Vec::new(),
        zone_hints: Vec::new(),
    };
    list.iter().rev().map(|endpoint| (endpoint.address, known(endpoint.weight))).collect()
}
