//! One service: its source, its endpoints present and gone.
//!
//! Decided here: which endpoint a key has after a change, by identity (S7). An endpoint that leaves with flows stays
//! among the gone until they end, so that the same pod coming back is the same endpoint (A15).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::{mem, net::SocketAddr};

use super::{
    entry::{Entry, Facts},
    join::Winner,
    numbers::Numbers,
    source::Source,
    touch::Touch,
};
use crate::{
    admission::AdmissionMode,
    affinity::AffinityTable,
    endpoint::{Endpoint, EndpointIdentity},
    name::ServicePort,
    output::Notice,
    pace::Paces,
    settings::ServiceSettings,
    snapshot::{ServiceId, ServiceSnapshot},
    time::Timestamp,
};

/// A service and its endpoints.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) port: Arc<ServicePort>,
    pub(super) slot: ServiceId,
    pub(super) settings: Arc<ServiceSettings>,
    pub(super) configured: bool,
    /// It leaves the port out and its slices have more than one: nobody is eligible, though known endpoints stay.
    pub(super) ambiguous: bool,
    pub(super) source: Source,
    pub(super) present: BTreeMap<SocketAddr, Entry>,
    pub(super) gone: BTreeMap<EndpointIdentity, Entry>,
    pub(super) affinity: Option<Arc<AffinityTable>>,
    pub(super) paces: Arc<Paces>,
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
    /// How many endpoints have come.
    arrived: usize,
}

/// An endpoint that has left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) entry: Entry,
    pub(super) was_terminating: bool,
    /// Configuration took it out; its pod may be well.
    pub(super) by_reload: bool,
}

impl Service {
    pub(super) fn new(
        port: ServicePort,
        slot: ServiceId,
        settings: Arc<ServiceSettings>,
        source: Source,
    ) -> Self {
        Self {
            port: Arc::new(port),
            slot,
            settings,
            configured: true,
            ambiguous: false,
            source,
            present: BTreeMap::new(),
            gone: BTreeMap::new(),
            affinity: None,
            paces: Arc::default(),
            published: None,
            told: Told::default(),
        }
    }

    /// Whether its endpoints come from configuration.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self.source, Source::Fixed { .. })
    }

    /// The entry with this identity, and whether its endpoint is present.
    pub(super) fn entry(&self, identity: &EndpointIdentity) -> Option<(&Entry, bool)> {
        let present = self.present.get(&identity.address);
        match present.filter(|entry| entry.endpoint.identity() == identity) {
            Some(entry) => Some((entry, true)),
            None => Some((self.gone.get(identity)?, false)),
        }
    }

    /// Whether the endpoint is present, or gone with flows left.
    pub(super) fn knows(&self, endpoint: &Endpoint) -> bool {
        let present = self.present.get(&endpoint.address());
        present.is_some_and(|entry| entry.endpoint.id() == endpoint.id())
            || self.gone.get(endpoint.identity()).is_some_and(|entry| entry.endpoint.id() == endpoint.id())
    }

    /// It was given up, and that is published: no admission is open. Before the publish nothing may be let go, or
    /// nobody would be left to close it.
    pub(super) fn is_given_up(&self) -> bool {
        !self.configured && self.published.is_none()
    }

    /// Nothing is left of a service that was given up.
    pub(super) fn is_over(&self) -> bool {
        self.is_given_up() && self.present.is_empty() && self.gone.is_empty()
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
        // Maps that were filled key by key are little more than half full.
        if settled.arrived > self.present.len() / 2 {
            self.present = mem::take(&mut self.present).into_iter().collect();
            self.source.pack();
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
        let mut winner = self.source.winner(key);
        if let Some(entry) = self.present.get_mut(&key) {
            let uid = &entry.endpoint.identity().pod_uid;
            if let Some(winner) = winner.take_if(|winner| winner.pod_uid == *uid) {
                update(entry, winner.facts, now, settled);
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
                if mem::take(&mut entry.reported_gone) {
                    settled.back.push(Arc::clone(&entry.endpoint));
                }
                entry.facts = winner.facts;
                entry.since = now;
                entry
            }
            None => Entry::new(numbers.create(&self.port, identity), winner.facts, now),
        };
        settled.choice = true;
        settled.arrived += 1;
        settled.notices.push(Notice::EndpointAdded { endpoint: Arc::clone(&entry.endpoint), conditions });
        self.present.insert(key, entry);
    }
}

/// Takes in what is said of an endpoint. Also where nothing of it has changed the slice that says it is another one,
/// which the old one must not outlive.
fn update(entry: &mut Entry, facts: Facts, now: Timestamp, settled: &mut Settled) {
    settled.choice |= !entry.facts.choose_alike(&facts);
    let (from, to) = (entry.facts.conditions, facts.conditions);
    if from != to {
        entry.since = now;
        let endpoint = Arc::clone(&entry.endpoint);
        settled.notices.push(Notice::ConditionsChanged { endpoint, from, to });
    }
    entry.facts = facts;
}
