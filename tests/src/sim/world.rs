//! The world of a simulation: one table, several workers with snapshots of different age, flows that come and go.
//!
//! After each step everything that an operator or a worker can see is compared with the model.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tidegate_core::{
    AdmissionMode, DrainPlan, EndpointId, Event, Notice, Output, PickState, PodRef, Rebalance, ServiceId,
    ServicePort, ServiceSnapshot, Snapshot, Table, Tier, Timestamp, table::ServiceView,
};

use super::{
    flows::Flow,
    gates::Waiting,
    generate::Generator,
    instances::Instance,
    ledger::Ledger,
    model::{Expected, Model},
    seen::Seen,
    sheds::{Hand, Pace},
    tally::Tally,
};

/// Workers of the proxy.
const WORKERS: usize = 3;
/// Other instances.
const INSTANCES: u64 = 2;

/// A worker: the snapshot that it picks from, and its cursors.
#[derive(Default)]
pub(super) struct Worker {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) cursors: BTreeMap<ServicePort, PickState>,
}

/// Everything in a simulation.
pub(super) struct World {
    pub(super) generator: Generator,
    pub(super) model: Model,
    pub(super) table: Table,
    pub(super) now: Timestamp,
    pub(super) published: Arc<Snapshot>,
    pub(super) workers: Vec<Worker>,
    /// The workers' parts in drains.
    pub(super) hands: Vec<Hand>,
    pub(super) flows: Vec<Flow>,
    /// Pods at gates.
    pub(super) gates: BTreeMap<Arc<str>, Waiting>,
    /// Other instances of the proxy.
    pub(super) instances: Vec<Instance>,
    pub(super) slots: BTreeMap<ServicePort, ServiceId>,
    pub(super) ledger: Ledger,
    pub(super) tally: Tally,
    pub(super) pace: Pace,
    /// What workers were told last.
    pub(super) plans: BTreeMap<EndpointId, DrainPlan>,
    /// Flows that entered an endpoint whose drain was on.
    pub(super) came_late: BTreeMap<EndpointId, u64>,
    /// The pods that a source is to follow.
    pub(super) wanted: Arc<[PodRef]>,
    /// The rebalance that is on.
    pub(super) run: Option<Arc<Rebalance>>,
    pub(super) seen: Seen,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self {
            generator: Generator::new(seed),
            model: Model::default(),
            table: Table::new(seed),
            now: Timestamp::from_millis(1),
            published: Arc::default(),
            workers: (0..WORKERS).map(|_| Worker::default()).collect(),
            hands: (0..WORKERS).map(|_| Hand::default()).collect(),
            flows: Vec::new(),
            gates: BTreeMap::new(),
            instances: (1..=INSTANCES).map(|number| Instance::new(seed + number)).collect(),
            slots: BTreeMap::new(),
            ledger: Ledger::default(),
            tally: Tally::default(),
            pace: Pace::default(),
            plans: BTreeMap::new(),
            came_late: BTreeMap::new(),
            wanted: Arc::new([]),
            run: None,
            seen: Seen::default(),
        };
        let configuration = world.generator.configuration();
        world.tell(vec![configuration]);
        if world.generator.chance(80) {
            let list = world.generator.first_list();
            world.tell(vec![list]);
        }
        world
    }

    /// One thing happens, and everything is checked.
    pub(super) fn step(&mut self) {
        match self.generator.rng.below(28) {
            20 => self.ask_gate(),
            21..=22 => self.pass(),
            23..=24 => self.see_a_drain_through(),
            25 => (0..2 + self.generator.rng.below(4)).for_each(|_| self.step_elsewhere()),
            26 => (0..30).for_each(|_| self.open_flow()),
            27 => {
                let gone = self.ledger.gone();
                let fact = self.generator.of_gone(&gone, self.now);
                self.tell(fact.into_iter().collect());
            }
            0..=6 => {
                let facts = self.generator.facts(&self.model, self.now);
                self.tell(facts);
            }
            7 => {
                let repetition = self.generator.repetition(&self.model);
                self.tell(vec![repetition]);
            }
            8 => {
                let millis = [1, 999, 5_000, 60_000, 100_000_000][self.generator.rng.below(5)];
                self.now = self.now.after(Duration::from_millis(millis));
                self.tick();
                self.look_at_plans(20);
            }
            9..=10 => {
                let worker = self.generator.rng.below(self.workers.len());
                self.workers[worker].snapshot = Arc::clone(&self.published);
            }
            11..=15 => {
                if self.generator.chance(70) {
                    let worker = self.generator.rng.below(self.workers.len());
                    self.workers[worker].snapshot = Arc::clone(&self.published);
                }
                for _ in 0..1 + self.generator.rng.below(4) {
                    self.open_flow();
                }
            }
            _ => self.close_flow(),
        }
        self.step_elsewhere();
        self.check();
    }

    /// Ends all flows and checks that nothing is left of them.
    pub(super) fn finish(&mut self) {
        while !self.flows.is_empty() {
            self.close_flow();
        }
        self.tell(vec![Event::ServicesConfigured(Vec::new())]);
        self.tick();
        self.seen.replanned_gone = self.ledger.replanned_gone;
        self.seen.undone_gone = self.ledger.undone_gone;
        assert!(self.table.services().is_empty(), "nothing is configured and no flow is left");
    }

    /// The table looks at all counts, as it does once a second.
    pub(super) fn tick(&mut self) {
        self.table.handle_tick(self.now);
        self.poll();
        self.check_after_tick();
        self.check_wanted();
        self.move_flows();
    }

    /// What the facts so far ask for is worked out for comparison.
    pub(super) fn act(&mut self) {
        let flows = self.counts();
        self.ledger.act(&mut self.model, &flows, self.now);
    }

    fn tell(&mut self, facts: Vec<Event>) {
        let before: BTreeMap<ServicePort, _> = self.expectations();
        let generation = self.table.generation();
        let snapshot = Arc::clone(&self.published);
        let mut is_new = false;
        self.instances.iter_mut().for_each(|instance| instance.tell(&facts));
        for fact in facts {
            if matches!(fact, Event::ServicesConfigured(_)) {
                self.pace.forget();
            }
            is_new |= self.model.tell(&fact, self.now);
            self.table.handle_event(fact, self.now);
        }
        let outputs = self.poll();
        self.act();
        if !is_new {
            assert_eq!(self.table.generation(), generation, "what is known is no change");
            assert_eq!(outputs, 0, "what is known is nothing to tell");
        }
        // A service whose choice is as it was has the very same part of the snapshot.
        for (port, expected) in self.expectations() {
            let same = before.get(&port).is_some_and(|was| same_choice(was, &expected));
            let (was, is) = (self.part(&snapshot, &port), self.part(&self.published, &port));
            if same && let (Some(was), Some(is)) = (was, is) {
                let reloaded = was.settings() != is.settings();
                assert!(reloaded || Arc::ptr_eq(&was, &is), "{port} has not changed, yet it was built anew");
            }
        }
    }

    fn expectations(&self) -> BTreeMap<ServicePort, Expected> {
        let expect = |port: &ServicePort| Some((port.clone(), self.model.expect(port)?));
        self.model.configs.keys().filter_map(expect).collect()
    }

    pub(super) fn part(&self, snapshot: &Snapshot, port: &ServicePort) -> Option<Arc<ServiceSnapshot>> {
        snapshot.service(*self.slots.get(port)?).cloned()
    }

    /// Takes all outputs; returns how many there were.
    pub(super) fn poll(&mut self) -> usize {
        let mut outputs = 0;
        while let Some(output) = self.table.poll_output(self.now) {
            match &output {
                Output::Publish(snapshot) => {
                    assert_eq!(outputs, 0, "a snapshot comes ahead of everything else");
                    assert_eq!(snapshot.generation(), self.published.generation() + 1);
                    self.published = Arc::clone(snapshot);
                }
                Output::EndpointGone { endpoint, .. } => assert!(endpoint.admission().flows() > 0),
                Output::EndpointBack { .. } => self.seen.came_back += 1,
                Output::DrainPlanned { endpoint, service, plan } => {
                    self.planned(endpoint, *plan);
                    self.tell_workers(endpoint, *service, *plan);
                }
                Output::PodsWanted(pods) => {
                    assert_ne!(self.wanted, *pods, "what a source knows is not said again");
                    self.seen.wanted_pods += pods.len() as u64;
                    self.wanted = Arc::clone(pods);
                }
                Output::Rebalance(run) => {
                    assert_ne!(self.run.is_some(), run.is_some(), "one service at a time");
                    self.run.clone_from(run);
                }
                Output::Notice(Notice::Drained { record } | Notice::DrainUndone { record }) => {
                    self.check_record(record);
                }
                Output::Notice(Notice::DrainBegan { endpoint, flows, .. }) => {
                    self.drain_began(endpoint, *flows);
                }
                Output::Notice(_) => {}
            }
            outputs += 1;
        }
        assert_eq!(self.table.generation(), self.published.generation());
        for port in self.model.configs.keys() {
            let slot = self.table.service_id(port).expect("a configured service has a slot");
            let known = *self.slots.entry(port.clone()).or_insert(slot);
            assert_eq!(known, slot, "a slot never changes");
        }
        outputs
    }

    fn check(&mut self) {
        let views = self.table.services();
        for (port, expected) in self.expectations() {
            let view = views.iter().find(|view| view.port == port).expect("a configured service has a view");
            assert!(view.configured);
            check_service(view, &expected);
            let part = self.part(&self.published, &port).expect("a configured service is published");
            let eligible: BTreeSet<_> = part.endpoints().map(|endpoint| endpoint.address()).collect();
            assert_eq!(eligible, expected.eligible.keys().copied().collect(), "{port}");
        }
        self.check_flows(&views);
        self.check_gates();
        self.check_plans(&views);
        self.look(&views);
    }

    fn look(&mut self, views: &[ServiceView]) {
        for view in views {
            for endpoint in &view.endpoints {
                let has_flows = endpoint.endpoint.admission().flows() > 0;
                self.seen.gone_with_flows += u64::from(has_flows && endpoint.conditions.is_none());
                self.seen.drains_with_flows += u64::from(has_flows && endpoint.drain.is_some());
            }
        }
        for expected in self.expectations().values() {
            self.seen.node_drains += expected.present.values().filter(|known| known.leaves).count() as u64;
            let open = expected.present.values().filter(|known| known.mode == AdmissionMode::Open).count();
            let narrowed = expected.tier == Tier::Ready && expected.eligible.len() < open;
            self.seen.narrowed_by_hints += u64::from(narrowed);
            self.seen.ambiguous += u64::from(expected.ambiguous);
        }
    }

    /// A tick finds all that reports did not tell.
    fn check_after_tick(&self) {
        for view in self.table.services() {
            for endpoint in &view.endpoints {
                let flows = endpoint.endpoint.admission().flows();
                assert!(
                    flows > 0 || (endpoint.conditions.is_some() && view.configured),
                    "{endpoint:?} has no reason"
                );
                if let Some(drain) = &endpoint.drain {
                    assert_eq!(drain.drained.is_some(), flows == 0, "{endpoint:?}");
                }
            }
        }
    }
}

fn same_choice(was: &Expected, is: &Expected) -> bool {
    let identities = |expected: &Expected| -> Vec<_> {
        let eligible = expected.eligible.keys();
        eligible.map(|address| (*address, expected.present[address].uid.clone())).collect()
    };
    let families = |expected: &Expected| {
        let addresses = || expected.present.keys();
        (addresses().any(SocketAddr::is_ipv4), addresses().any(SocketAddr::is_ipv6))
    };
    was.eligible == is.eligible
        && was.tier == is.tier
        && was.synced == is.synced
        && was.policy == is.policy
        && identities(was) == identities(is)
        && families(was) == families(is)
        && !was.ambiguous
        && !is.ambiguous
}

fn check_service(view: &ServiceView, expected: &Expected) {
    assert_eq!(view.eligible, expected.eligible.len());
    assert_eq!(view.last_resort, expected.tier == Tier::LastResort);
    let mut present = expected.present.clone();
    for endpoint in &view.endpoints {
        let admission = endpoint.endpoint.admission();
        if let Some(drain) = &endpoint.drain {
            assert!(drain.drained.is_none() || admission.flows() == 0, "drained only at zero");
        }
        let Some(conditions) = endpoint.conditions else {
            assert_eq!(admission.mode(), AdmissionMode::Closed, "{endpoint:?} is gone");
            assert!(!endpoint.eligible);
            continue;
        };
        if expected.ambiguous {
            // Whoever is still known from before takes nothing.
            assert_eq!((admission.mode(), endpoint.eligible), (AdmissionMode::Closed, false));
            continue;
        }
        let address = endpoint.endpoint.address();
        let known =
            present.remove(&address).unwrap_or_else(|| panic!("nobody said that {endpoint:?} is there"));
        assert_eq!(endpoint.endpoint.identity().pod_uid, known.uid);
        assert_eq!(conditions, known.conditions);
        assert_eq!(admission.mode(), known.mode, "{endpoint:?}");
        assert_eq!(endpoint.eligible, expected.eligible.contains_key(&address), "{endpoint:?}");
        assert_eq!(endpoint.drain.is_some(), known.drains, "{endpoint:?}");
        assert_eq!(endpoint.weight, known.weight);
    }
    assert!(present.is_empty(), "{present:?} are not there");
}
