//! One service: its source, its endpoints present and gone.
//!
//! Decided here: which endpoint a key has after a change, by identity (S7). An endpoint that leaves with flows stays
//! among the gone until they end, so that the same pod coming back is the same endpoint (A15).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    vec::Vec,
};
use core::net::SocketAddr;

use super::{
    entry::{Entry, Facts},
    join::{Join, Winner, keyed},
};
use crate::{
    admission::AdmissionMode,
    affinity::AffinityTable,
    conditions::Conditions,
    endpoint::{Endpoint, EndpointId, EndpointIdentity},
    event::FixedEndpoint,
    name::{PortName, ServicePort},
    output::Notice,
    settings::ServiceSettings,
    slice::Slice,
    snapshot::{ServiceId, ServiceSnapshot},
    time::Timestamp,
};

/// Where a service's endpoints come from.
#[derive(Debug)]
pub(super) enum Source {
    /// The slices that have this port; `None` while it is not known which port that is.
    Slices { port: Option<PortName>, join: Join },
    /// Configuration.
    Fixed { list: Vec<FixedEndpoint>, weights: BTreeMap<SocketAddr, u16> },
}

/// What has happened to a service since its last publish.
#[derive(Debug, Default)]
pub(super) struct Touch {
    /// Keys that may have another endpoint, or other facts.
    pub(super) keys: BTreeSet<SocketAddr>,
    /// All keys may.
    pub(super) all: bool,
    /// Who may take new flows may differ though no endpoint does.
    pub(super) choice: bool,
    /// Its source has changed or it was given up: endpoints that go with that are merely not chosen any more.
    pub(super) reload: bool,
    /// Present endpoints that were terminating in a slice which has changed since.
    pub(super) terminated: BTreeSet<EndpointIdentity>,
}

/// A service and its endpoints.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) port: ServicePort,
    pub(super) slot: ServiceId,
    pub(super) settings: Arc<ServiceSettings>,
    pub(super) configured: bool,
    /// It leaves the port out and its slices have more than one: nobody is eligible, though known endpoints stay.
    pub(super) ambiguous: bool,
    pub(super) source: Source,
    pub(super) present: BTreeMap<SocketAddr, Entry>,
    pub(super) gone: BTreeMap<EndpointIdentity, Entry>,
    pub(super) affinity: Option<Arc<AffinityTable>>,
    pub(super) published: Option<Arc<ServiceSnapshot>>,
    pub(super) told: Told,
}

/// What operators have been told last.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) ambiguous: bool,
    pub(super) any_eligible: Option<bool>,
}

/// What changing endpoints gave, to be acted on when admissions have changed.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Endpoints that have left.
    pub(super) left: Vec<Left>,
    /// Endpoints that were reported gone and are back.
    pub(super) back: Vec<Arc<Endpoint>>,
    pub(super) notices: Vec<Notice>,
    /// Who may take new flows may differ.
    pub(super) choice: bool,
}

/// An endpoint that has left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) entry: Entry,
    pub(super) was_terminating: bool,
    /// Configuration took it out; its pod may be well.
    pub(super) by_reload: bool,
}

/// Every endpoint that the table knows, by number.
///
/// It does not keep them: an endpoint that the services have let go is forgotten here too.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    endpoints: BTreeMap<EndpointId, Weak<Endpoint>>,
    last: u64,
}

impl Numbers {
    /// A new endpoint, closed until the publish that it is part of.
    fn create(&mut self, service: &ServicePort, identity: EndpointIdentity) -> Arc<Endpoint> {
        self.last += 1;
        let endpoint = Endpoint::new(EndpointId(self.last), service.clone(), identity, AdmissionMode::Closed);
        self.endpoints.insert(endpoint.id(), Arc::downgrade(&endpoint));
        endpoint
    }

    pub(super) fn find(&self, id: EndpointId) -> Option<Arc<Endpoint>> {
        self.endpoints.get(&id)?.upgrade()
    }

    pub(super) fn forget_dropped(&mut self) {
        self.endpoints.retain(|_, endpoint| endpoint.strong_count() > 0);
    }
}

impl Touch {
    /// Every key, and the choice.
    pub(super) fn everything(&mut self) {
        self.all = true;
        self.choice = true;
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.keys.extend(other.keys);
        self.all |= other.all;
        self.choice |= other.choice;
        self.reload |= other.reload;
        self.terminated.extend(other.terminated);
    }

    /// Remembers which endpoints were terminating in a slice that is about to change: terminating and gone may both
    /// happen between two publishes, and what was terminating has not vanished without a word.
    pub(super) fn note_terminating(
        &mut self,
        present: &BTreeMap<SocketAddr, Entry>,
        old: &Slice,
        port: &PortName,
    ) {
        for (endpoint, key) in keyed(old, port).filter(|(endpoint, _)| endpoint.conditions.terminating) {
            if let Some(entry) = present.get(&key)
                && entry.endpoint.identity().pod_uid == endpoint.pod_uid
            {
                self.terminated.insert(entry.endpoint.identity().clone());
            }
        }
    }
}

impl Service {
    pub(super) fn new(
        port: ServicePort,
        slot: ServiceId,
        settings: Arc<ServiceSettings>,
        source: Source,
    ) -> Self {
        Self {
            port,
            slot,
            settings,
            configured: true,
            ambiguous: false,
            source,
            present: BTreeMap::new(),
            gone: BTreeMap::new(),
            affinity: None,
            published: None,
            told: Told::default(),
        }
    }

    /// Whether its endpoints come from configuration.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self.source, Source::Fixed { .. })
    }

    /// Whether the endpoint is present, or gone with flows left.
    pub(super) fn knows(&self, endpoint: &Endpoint) -> bool {
        let present = self.present.get(&endpoint.address());
        present.is_some_and(|entry| entry.endpoint.id() == endpoint.id())
            || self.gone.contains_key(endpoint.identity())
    }

    /// Nothing is left of a service that was given up.
    pub(super) fn is_over(&self) -> bool {
        !self.configured && self.present.is_empty() && self.gone.is_empty()
    }

    /// Brings the touched keys' endpoints to what the source says.
    pub(super) fn settle(&mut self, touch: &Touch, numbers: &mut Numbers, now: Timestamp) -> Settled {
        let mut settled = Settled { choice: touch.choice || touch.reload, ..Settled::default() };
        if touch.all {
            let keys: BTreeSet<SocketAddr> = self.present.keys().copied().chain(self.source.keys()).collect();
            for key in keys {
                self.settle_key(key, touch, numbers, now, &mut settled);
            }
        } else {
            for key in &touch.keys {
                self.settle_key(*key, touch, numbers, now, &mut settled);
            }
        }
        settled
    }

    fn settle_key(
        &mut self,
        key: SocketAddr,
        touch: &Touch,
        numbers: &mut Numbers,
        now: Timestamp,
        settled: &mut Settled,
    ) {
        let winner = self.source.winner(key);
        if let Some(entry) = self.present.get_mut(&key) {
            if let Some(winner) = &winner
                && entry.endpoint.identity().pod_uid == winner.pod_uid
            {
                update(entry, &winner.facts, now, settled);
                return;
            }
            if let Some(entry) = self.present.remove(&key) {
                self.leave(entry, touch, now, settled);
            }
        }
        if let Some(winner) = winner
            && self.configured
        {
            self.arrive(key, winner, numbers, now, settled);
        }
    }

    fn leave(&self, mut entry: Entry, touch: &Touch, now: Timestamp, settled: &mut Settled) {
        let identity = entry.endpoint.identity();
        let was_terminating = entry.facts.conditions.terminating
            || touch.terminated.contains(identity)
            || self.source.is_terminating(identity);
        let by_reload = touch.reload || self.is_fixed();
        entry.mode = AdmissionMode::Closed;
        entry.since = now;
        settled.choice = true;
        settled.left.push(Left { entry, was_terminating, by_reload });
    }

    fn arrive(
        &mut self,
        key: SocketAddr,
        winner: Winner,
        numbers: &mut Numbers,
        now: Timestamp,
        settled: &mut Settled,
    ) {
        let identity = EndpointIdentity { pod_uid: winner.pod_uid, address: key };
        let conditions = winner.facts.conditions;
        let entry = match self.gone.remove(&identity) {
            Some(mut entry) => {
                if core::mem::take(&mut entry.reported_gone) {
                    settled.back.push(Arc::clone(&entry.endpoint));
                }
                entry.facts = winner.facts;
                entry.since = now;
                entry
            }
            None => Entry::new(numbers.create(&self.port, identity), winner.facts, now),
        };
        settled.choice = true;
        settled.notices.push(Notice::EndpointAdded { endpoint: Arc::clone(&entry.endpoint), conditions });
        self.present.insert(key, entry);
    }
}

fn update(entry: &mut Entry, facts: &Facts, now: Timestamp, settled: &mut Settled) {
    if entry.facts == *facts {
        return;
    }
    settled.choice |= !entry.facts.choose_alike(facts);
    let (from, to) = (entry.facts.conditions, facts.conditions);
    if from != to {
        entry.since = now;
        let endpoint = Arc::clone(&entry.endpoint);
        settled.notices.push(Notice::ConditionsChanged { endpoint, from, to });
    }
    entry.facts = facts.clone();
}

impl Source {
    /// A fixed list; of an address that is there twice, the first counts.
    pub(super) fn fixed(list: Vec<FixedEndpoint>) -> Self {
        let mut weights = BTreeMap::new();
        for endpoint in &list {
            weights.entry(endpoint.address).or_insert(endpoint.weight.max(1));
        }
        Self::Fixed { list, weights }
    }

    fn keys(&self) -> Vec<SocketAddr> {
        match self {
            Self::Slices { join, .. } => join.keys().collect(),
            Self::Fixed { weights, .. } => weights.keys().copied().collect(),
        }
    }

    fn winner(&self, key: SocketAddr) -> Option<Winner> {
        match self {
            Self::Slices { join, .. } => join.winner(key),
            Self::Fixed { weights, .. } => weights.get(&key).map(|weight| fixed_winner(*weight)),
        }
    }

    fn is_terminating(&self, identity: &EndpointIdentity) -> bool {
        match self {
            Self::Slices { join, .. } => join.is_terminating(identity),
            Self::Fixed { .. } => false,
        }
    }
}

/// An endpoint from configuration is always ready: that it is listed is all that is known.
fn fixed_winner(weight: u16) -> Winner {
    Winner {
        pod_uid: None,
        facts: Facts {
            conditions: Conditions::default(),
            weight,
            pod: None,
            node: None,
            zone: None,
            zone_hints: Vec::new(),
            node_hints: Vec::new(),
            slice: None,
        },
    }
}
