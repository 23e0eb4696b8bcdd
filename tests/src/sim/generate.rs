//! Random facts: slices that overlap, move, flap and reuse each other's names and addresses.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tidegate_core::{
    AdminState, Conditions, DrainDeadline, EndpointSelector, Event, FixedEndpoint, OnRemoval, Policy,
    RebalanceSettings, Rng, ServiceConfig, ServiceName, ServicePort, ServiceSettings, Slice, SliceEndpoint,
    SliceName, SlicePort, Timestamp, WhenNoneReady,
};

use super::{ledger::Key, model::Model};

const SERVICES: [&str; 2] = ["one", "two"];
const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
const POLICIES: [Policy; 4] = [Policy::LeastFlows, Policy::RoundRobin, Policy::Random, Policy::Maglev];

/// Random facts that follow from a seed.
pub(super) struct Generator {
    pub(super) rng: Rng,
    /// Whether slices carry hints.
    hinted: bool,
    /// Whether some slices are IPv6.
    dual: bool,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (hinted, dual) = (rng.below(3) == 0, rng.below(3) == 0);
        Self { rng, hinted, dual }
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.rng.below(100) < percent
    }

    fn service(&mut self) -> ServiceName {
        ServiceName::new("default", SERVICES[self.rng.below(SERVICES.len())])
    }

    /// A configuration: each service may be missing, have one listener with a port name and one without.
    pub(super) fn configuration(&mut self) -> Event {
        let mut configs = Vec::new();
        for service in SERVICES {
            let service = ServiceName::new("default", service);
            for (port, percent) in [(Some("http"), 90), (None, 30)] {
                if self.chance(percent) {
                    let port = ServicePort { service: service.clone(), port: port.map(Into::into) };
                    configs.push(self.config(port));
                }
            }
        }
        Event::ServicesConfigured(configs)
    }

    fn config(&mut self, port: ServicePort) -> ServiceConfig {
        // Maglev is the last one; it is slow to build without optimisation, so it comes less often.
        let policies = if self.chance(20) { 4 } else { 3 };
        let policy = POLICIES[self.rng.below(policies)];
        let mut settings = ServiceSettings { policy, ..ServiceSettings::default() };
        if self.chance(40) {
            settings.when_none_ready = WhenNoneReady::ServingTerminating;
        }
        if self.chance(50) {
            let time = self.time();
            settings.drain.deadline =
                if self.chance(50) { DrainDeadline::Pod } else { DrainDeadline::After(time) };
            settings.drain.margin = Duration::from_secs(self.rng.below(4) as u64);
            settings.drain.max_per_second = [1, 5, 50, 500][self.rng.below(4)];
            settings.drain.window = self.chance(60).then(|| self.time() / 2);
        }
        settings.on_removal = [OnRemoval::Keep, OnRemoval::Deadline, OnRemoval::Close][self.rng.below(3)];
        if self.chance(60) {
            settings.rebalance = Some(RebalanceSettings {
                max_per_second: 1 + self.rng.below(50) as u32,
                tolerance: self.rng.below(30) as u8,
                delay: Duration::from_millis([0, 0, 500, 60_000][self.rng.below(4)]),
            });
        }
        if self.chance(10) {
            settings.affinity_timeout = Some(Duration::from_secs(1 + self.rng.below(100) as u64));
        }
        let fixed = self.chance(10).then(|| {
            let count = self.rng.below(4);
            let endpoint = |generator: &mut Self| FixedEndpoint {
                address: (generator.address(false), 80).into(),
                weight: 1 + generator.rng.below(3) as u16,
            };
            (0..count).map(|_| endpoint(self)).collect()
        });
        ServiceConfig { port, settings, fixed }
    }

    /// Some seconds, or some minutes.
    fn time(&mut self) -> Duration {
        let most = if self.chance(60) { 20_000 } else { 600_000 };
        Duration::from_millis(1_000 + self.rng.below(most) as u64)
    }

    fn address(&mut self, v6: bool) -> IpAddr {
        let number = self.rng.below(9) as u16;
        if v6 { [0x2001, 0xdb8, 0, 0, 0, 0, 0, number].into() } else { [10, 0, 0, number as u8].into() }
    }

    fn conditions(&mut self) -> Conditions {
        let say = |rng: &mut Rng| [None, Some(true), Some(false)][rng.below(3)];
        match self.rng.below(10) {
            0..=5 => Conditions::default(),
            6..=7 => Conditions::from_api(Some(false), Some(true), Some(true)),
            8 => Conditions::from_api(Some(false), Some(false), Some(true)),
            _ => Conditions::from_api(say(&mut self.rng), say(&mut self.rng), say(&mut self.rng)),
        }
    }

    fn endpoint(&mut self, v6: bool) -> SliceEndpoint {
        let address = self.address(v6);
        // Mostly a pod keeps to its address; now and then a uid turns up elsewhere, or an address has a new pod.
        let pod =
            if self.chance(80) { format!("pod-{address}") } else { format!("pod-{}", self.rng.below(6)) };
        let anonymous = self.chance(5);
        let hints = |generator: &mut Self, names: [&str; 2]| -> Vec<Arc<str>> {
            if !generator.hinted || generator.chance(10) {
                return Vec::new();
            }
            vec![names[generator.rng.below(2)].into()]
        };
        SliceEndpoint {
            address,
            conditions: self.conditions(),
            pod_uid: (!anonymous).then(|| pod.as_str().into()),
            pod_name: (!anonymous).then(|| format!("default/{pod}").into()),
            node: self.chance(60).then(|| NODES[self.rng.below(NODES.len())].into()),
            zone: None,
            zone_hints: hints(self, ["zone-a", "zone-b"]),
            node_hints: if self.chance(50) { hints(self, ["node-a", "node-b"]) } else { Vec::new() },
        }
    }

    fn slice_name(&mut self) -> SliceName {
        SliceName { namespace: "default".into(), name: format!("slice-{}", self.rng.below(7)).into() }
    }

    /// A slice made from nothing: its name may have been another one's before.
    fn new_slice(&mut self) -> Slice {
        let name = self.slice_name();
        let v6 = self.dual && self.chance(40);
        let ports: &[(&str, u16)] = match self.rng.below(24) {
            0..=18 => &[("http", 80)],
            19 => &[("http", 8080)],
            20 => &[("http", 80), ("admin", 9)],
            21 => &[("", 80)],
            _ => &[],
        };
        let count = 1 + self.rng.below(5);
        // Mostly a slice's name belongs to one Service.
        let own = usize::from(name.name.ends_with(['0', '2', '4']));
        let own = ServiceName::new("default", SERVICES[own]);
        let service = if self.chance(90) { own } else { self.service() };
        Slice {
            name,
            service: (!self.chance(3)).then_some(service),
            generation: self.rng.next_u64() % 100,
            ports: ports
                .iter()
                .map(|(name, number)| SlicePort { name: (*name).into(), number: *number })
                .collect(),
            endpoints: (0..count).map(|_| self.endpoint(v6)).collect(),
            ignored_ports: self.rng.below(2) as u32,
            ignored_endpoints: 0,
            is_fqdn: self.chance(3),
        }
    }

    /// A slice that is known, changed a little; or a new one.
    fn changed_slice(&mut self, model: &Model) -> Slice {
        let Some(mut slice) = self.known_slice(model).filter(|_| !self.chance(25)) else {
            return self.new_slice();
        };
        let v6 = slice.endpoints.iter().any(|endpoint| endpoint.address.is_ipv6());
        let at = self.rng.below(slice.endpoints.len().max(1));
        slice.generation += 1;
        match self.rng.below(6) {
            0 if at < slice.endpoints.len() => drop(slice.endpoints.remove(at)),
            1 => slice.endpoints.push(self.endpoint(v6)),
            2 => self.shuffle(&mut slice.endpoints),
            3 if self.chance(30) => {
                slice.ports.iter_mut().for_each(|port| port.number = 80 + self.rng.below(2) as u16);
            }
            _ => {
                let conditions = self.conditions();
                if let Some(endpoint) = slice.endpoints.get_mut(at) {
                    endpoint.conditions = conditions;
                }
            }
        }
        slice
    }

    pub(super) fn known_slice(&mut self, model: &Model) -> Option<Slice> {
        let at = self.rng.below(model.slices.len());
        model.slices.values().nth(at).cloned()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.rng.below(last + 1));
        }
    }

    /// The pod of a known endpoint.
    pub(super) fn pod_uid(&mut self, model: &Model) -> Option<Arc<str>> {
        let slice = self.known_slice(model)?;
        slice.endpoints.get(self.rng.below(slice.endpoints.len().max(1)))?.pod_uid.clone()
    }

    /// When the pod of a known endpoint is killed, or that it is gone.
    fn pod(&mut self, model: &Model, now: Timestamp) -> Option<Event> {
        let slice = self.known_slice(model)?;
        let endpoint = slice.endpoints.get(self.rng.below(slice.endpoints.len().max(1)))?;
        let uid = endpoint.pod_uid.clone()?;
        if self.chance(10) {
            return Some(Event::PodGone { uid });
        }
        let killed = if self.chance(5) { Timestamp::default() } else { now.after(self.time()) };
        Some(Event::PodDeadline { namespace: slice.name.namespace.clone(), uid, killed })
    }

    /// One to a few facts that may be handled together.
    pub(super) fn facts(&mut self, model: &Model, now: Timestamp) -> Vec<Event> {
        match self.rng.below(24) {
            22..=23 => {
                let leaving = NODES.into_iter().filter(|_| self.chance(30)).map(Into::into).collect();
                vec![Event::NodesLeaving(leaving)]
            }
            20..=21 => (0..12).filter_map(|_| self.pod(model, now)).collect(),
            0 if self.chance(50) => vec![self.configuration()],
            0..=1 => vec![self.relist(model)],
            2 if self.chance(50) => {
                // What a list of one namespace among several comes to.
                let applied: Vec<Slice> = (0..3).map(|_| self.changed_slice(model)).collect();
                let mut deleted: Vec<SliceName> = (0..2).map(|_| self.slice_name()).collect();
                deleted.retain(|name| applied.iter().all(|slice| slice.name != *name));
                vec![Event::SlicesChanged { applied, deleted }]
            }
            2 => vec![Event::SliceDeleted(self.slice_name())],
            3..=4 => vec![self.operator()],
            5 => {
                let [node, zone] = [["node-a", "node-b"], ["zone-a", "zone-b"]]
                    .map(|names| self.chance(60).then(|| names[self.rng.below(2)].into()));
                vec![Event::NodeIs { name: node, zone }]
            }
            6..=8 => self.moved(model),
            9..=10 => {
                // A rollout's burst.
                let mut burst: Vec<Event> =
                    (0..4).map(|_| Event::SliceApplied(self.changed_slice(model))).collect();
                burst.extend(burst.first().cloned());
                self.shuffle(&mut burst);
                burst
            }
            _ => vec![Event::SliceApplied(self.changed_slice(model))],
        }
    }

    /// The first complete list.
    pub(super) fn first_list(&mut self) -> Event {
        let mut slices: Vec<Slice> = Vec::new();
        for _ in 0..2 + self.rng.below(5) {
            let slice = self.new_slice();
            slices.retain(|other| other.name != slice.name);
            slices.push(slice);
        }
        Event::SlicesListed(slices)
    }

    /// What is known already, told once more.
    pub(super) fn repetition(&mut self, model: &Model) -> Event {
        match self.known_slice(model) {
            Some(slice) if self.chance(60) => Event::SliceApplied(slice),
            _ if model.synced && self.chance(50) => {
                Event::SlicesListed(model.slices.values().cloned().collect())
            }
            _ => Event::ServicesConfigured(model.configs.values().cloned().collect()),
        }
    }

    /// A list, complete by definition: most of what is known, some of it changed, in any order.
    fn relist(&mut self, model: &Model) -> Event {
        let mut slices: Vec<Slice> = model.slices.values().filter(|_| !self.chance(20)).cloned().collect();
        if self.chance(50) {
            let changed = self.changed_slice(model);
            slices.retain(|slice| slice.name != changed.name);
            slices.push(changed);
        }
        self.shuffle(&mut slices);
        Event::SlicesListed(slices)
    }

    /// An endpoint moves from one slice to another, in either order of the two updates.
    fn moved(&mut self, model: &Model) -> Vec<Event> {
        let (Some(mut from), Some(mut to)) = (self.known_slice(model), self.known_slice(model)) else {
            return vec![Event::SliceApplied(self.new_slice())];
        };
        if from.name != to.name
            && let Some(endpoint) = from.endpoints.pop()
        {
            to.endpoints.push(endpoint);
        }
        let mut updates = vec![Event::SliceApplied(from), Event::SliceApplied(to)];
        self.shuffle(&mut updates);
        updates
    }

    fn operator(&mut self) -> Event {
        let service = self.service();
        let address = self.address(false);
        let endpoints = if self.chance(50) {
            EndpointSelector::Address { service, address: (address, 80).into() }
        } else {
            EndpointSelector::Pod { service, pod: format!("pod-{address}").into() }
        };
        let state = if self.chance(40) { AdminState::Drain } else { AdminState::InService };
        let time = if self.chance(20) { Duration::ZERO } else { self.time() };
        let deadline = (state == AdminState::Drain && self.chance(60)).then_some(time);
        Event::AdminStateRequested { endpoints, state, by: "ann".into(), reason: String::new(), deadline }
    }

    /// Something is said of an endpoint that has gone: when its pod is killed, or what operators want of it.
    pub(super) fn of_gone(&mut self, gone: &[(Key, bool)], now: Timestamp) -> Option<Event> {
        let ((port, identity), drains) = gone.get(self.rng.below(gone.len().max(1)))?;
        let service = port.service.clone();
        if let Some(uid) = identity.pod_uid.clone().filter(|_| self.chance(40)) {
            let namespace = service.namespace().into();
            return Some(Event::PodDeadline { namespace, uid, killed: now.after(self.time()) });
        }
        let state = if *drains { AdminState::InService } else { AdminState::Drain };
        Some(Event::AdminStateRequested {
            endpoints: EndpointSelector::Address { service, address: identity.address },
            state,
            by: "ann".into(),
            reason: String::new(),
            deadline: (state == AdminState::Drain).then(|| self.time()),
        })
    }

    pub(super) fn client(&mut self) -> IpAddr {
        let number = self.rng.below(200) as u16;
        if self.chance(30) {
            [0x2001, 0xdb8, 1, 0, 0, 0, 0, number].into()
        } else {
            [192, 0, 2, number as u8].into()
        }
    }
}
