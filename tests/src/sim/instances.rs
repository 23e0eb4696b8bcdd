//! Another instance of the proxy: it hears the same facts, some time later, sends flows of its own to the same pods, and
//! now and then cannot be reached.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use tidegate_core::{
    AdmissionMode, Event, FlowKey, GateFacts, Output, PeerState, Permit, PickState, Table, Timestamp,
};

use super::world::World;

/// Another instance.
pub(super) struct Instance {
    table: Table,
    /// Facts that it has not heard yet.
    facts: VecDeque<Event>,
    pub(super) flows: Vec<Permit>,
    /// Since when it cannot be reached; `None` where it can.
    pub(super) away_since: Option<Timestamp>,
    /// Pods of which it was told that they wait at a gate.
    asked: BTreeSet<Arc<str>>,
    /// What it said last of each.
    said: BTreeMap<Arc<str>, GateFacts>,
}

impl Instance {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            table: Table::new(seed),
            facts: VecDeque::new(),
            flows: Vec::new(),
            away_since: None,
            asked: BTreeSet::new(),
            said: BTreeMap::new(),
        }
    }

    pub(super) fn tell(&mut self, facts: &[Event]) {
        self.facts.extend(facts.iter().cloned());
    }

    /// Hears so many facts.
    fn hear(&mut self, count: usize, now: Timestamp) {
        for _ in 0..count.min(self.facts.len()) {
            let fact = self.facts.pop_front().expect("there is one");
            self.table.handle_event(fact, now);
            self.poll(now);
        }
    }

    fn poll(&mut self, now: Timestamp) {
        while let Some(output) = self.table.poll_output(now) {
            if let Output::EndpointGone { endpoint, .. } = &output {
                assert!(endpoint.admission().flows() > 0);
            }
        }
    }

    /// What it knows of a pod.
    pub(super) fn facts(&self, uid: &str) -> GateFacts {
        self.table.gate(uid).unwrap_or_default().facts(self.table.is_synced())
    }

    /// The flows on a pod.
    pub(super) fn flows_of(&self, uid: &str) -> usize {
        let is_of = |permit: &&Permit| permit.endpoint().identity().pod_uid.as_deref() == Some(uid);
        self.flows.iter().filter(is_of).count()
    }

    /// Whether some admission of the pod's takes flows.
    pub(super) fn is_open(&self, uid: &str) -> bool {
        let views = self.table.services();
        let endpoints = views.iter().flat_map(|view| &view.endpoints).map(|view| &view.endpoint);
        let mut own = endpoints.filter(|endpoint| endpoint.identity().pod_uid.as_deref() == Some(uid));
        own.any(|endpoint| endpoint.admission().mode() != AdmissionMode::Closed)
    }

    /// It says that it is done with a pod just where it is.
    fn check_done(&self, uid: &Arc<str>, facts: &GateFacts) {
        let is_done = facts.is_done();
        assert!(
            !is_done || (self.flows_of(uid) == 0 && !self.is_open(uid)),
            "not done with {uid}: {facts:?}"
        );
        let is_over = !facts.known || (facts.terminating && facts.programmed);
        assert_eq!(is_done, facts.synced && is_over && facts.flows == 0, "{facts:?}");
    }

    /// A pod's gate asks it, where it can be reached; what is known of it there.
    pub(super) fn ask(&mut self, uid: &Arc<str>, began: Timestamp, now: Timestamp) -> PeerState {
        match self.away_since {
            None => {
                if self.asked.insert(Arc::clone(uid)) {
                    self.table.ask_gate(uid);
                    self.table.find_gated();
                    self.poll(now);
                }
                let facts = self.facts(uid);
                self.check_done(uid, &facts);
                self.said.insert(Arc::clone(uid), facts);
                PeerState::Facts(facts)
            }
            Some(since) => {
                let was_done = self.said.get(uid).is_some_and(|facts| facts.is_done() && facts.known);
                let since = if self.said.contains_key(uid) { since } else { since.max(began) };
                PeerState::Silent { since, was_done }
            }
        }
    }
}

impl World {
    /// Something happens at another instance.
    pub(super) fn step_elsewhere(&mut self) {
        let at = self.generator.rng.below(self.instances.len());
        let (instance, generator, now) = (&mut self.instances[at], &mut self.generator, self.now);
        match generator.rng.below(10) {
            0..=4 => instance.hear(1 + generator.rng.below(8), now),
            5 => instance.table.handle_tick(now),
            6 if instance.away_since.is_some() => instance.away_since = None,
            6 if generator.chance(40) => instance.away_since = Some(now),
            _ => {}
        }
        for _ in 0..generator.rng.below(4) {
            let snapshot = Arc::clone(instance.table.snapshot());
            let services: Vec<_> = snapshot.services().map(|(id, _)| id).collect();
            let Some(id) = services.get(generator.rng.below(services.len())) else { break };
            let key = FlowKey { client: generator.client() };
            let service = snapshot.service(*id).expect("it is listed");
            let admitted = service.admit(&key, &[], &mut PickState::default(), &mut generator.rng, now);
            let Ok(permit) = admitted else { continue };
            if let Some(uid) = &permit.endpoint().identity().pod_uid {
                self.seen.flows_elsewhere += 1;
                let facts = instance.facts(uid);
                let is_done = instance.asked.contains(uid) && facts.terminating;
                assert!(
                    !is_done || !facts.programmed,
                    "a flow came to {uid} after it was said that none would"
                );
            }
            instance.flows.push(permit);
        }
        for _ in 0..generator.rng.below(4) {
            if !instance.flows.is_empty() {
                let permit = instance.flows.swap_remove(generator.rng.below(instance.flows.len()));
                let id = permit.endpoint().id();
                if permit.release() {
                    instance.table.handle_event(Event::EndpointEmptied(id), now);
                }
            }
        }
        instance.poll(now);
    }
}
