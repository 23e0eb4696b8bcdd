//! The slices of one service joined to a list of endpoints, key by key (S2, S4, S5).
//!
//! For each address and port number there are the candidates of each slice. One slice's change touches its own keys
//! and no others; who wins a key is worked out when it is asked, from the candidates alone, so that the order in which
//! slices came makes no difference beyond rule S4's "the later arrival".

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::net::SocketAddr;

use super::{entry::Facts, slices::Arrived};
use crate::{
    conditions::Conditions,
    endpoint::EndpointIdentity,
    name::{PortName, SliceName},
    slice::{Slice, SliceEndpoint},
};

/// An index from key to candidates.
#[derive(Debug, Default)]
pub(super) struct Join {
    keys: BTreeMap<SocketAddr, Vec<Candidate>>,
}

/// An endpoint as one slice has it.
#[derive(Debug)]
struct Candidate {
    slice: Arc<Slice>,
    index: usize,
    /// When this slice first had this pod at this address.
    arrival: u64,
}

impl Candidate {
    fn endpoint(&self) -> Option<&SliceEndpoint> {
        self.slice.endpoints.get(self.index)
    }
}

/// Who has a key.
#[derive(Debug)]
pub(super) struct Winner {
    pub(super) pod_uid: Option<Arc<str>>,
    pub(super) facts: Facts,
}

impl Join {
    /// A join of these slices.
    pub(super) fn of<'a>(slices: impl Iterator<Item = &'a Arrived>, port: &PortName) -> Self {
        let mut join = Self::default();
        for arrived in slices {
            join.replace(None, Some(arrived), port);
        }
        join
    }

    /// Puts a slice in another's place and returns the keys that either has.
    pub(super) fn replace(
        &mut self,
        old: Option<&Slice>,
        new: Option<&Arrived>,
        port: &PortName,
    ) -> BTreeSet<SocketAddr> {
        let mut touched: BTreeSet<SocketAddr> =
            old.into_iter().flat_map(|old| keyed(old, port)).map(|(_, key)| key).collect();
        if let Some(name) = old.map(|old| &old.name) {
            for key in &touched {
                self.remove(*key, name);
            }
        }
        if let Some(Arrived { slice, arrivals }) = new {
            // A slice that has the port has a key for every endpoint, in their order.
            for (index, ((_, key), arrival)) in keyed(slice, port).zip(&**arrivals).enumerate() {
                let candidate = Candidate { slice: Arc::clone(slice), index, arrival: *arrival };
                // Most keys have one candidate, and the default would make room for four.
                self.keys.entry(key).or_insert_with(|| Vec::with_capacity(1)).push(candidate);
                touched.insert(key);
            }
        }
        touched
    }

    fn remove(&mut self, key: SocketAddr, slice: &SliceName) {
        let Some(candidates) = self.keys.get_mut(&key) else { return };
        candidates.retain(|candidate| candidate.slice.name != *slice);
        if candidates.is_empty() {
            self.keys.remove(&key);
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = SocketAddr> {
        self.keys.keys().copied()
    }

    /// Whether some slice has this very endpoint and says it is terminating, though it may not have won its key.
    pub(super) fn is_terminating(&self, identity: &EndpointIdentity) -> bool {
        let candidates = self.keys.get(&identity.address).into_iter().flatten();
        candidates
            .filter_map(Candidate::endpoint)
            .any(|endpoint| endpoint.pod_uid == identity.pod_uid && endpoint.conditions.terminating)
    }

    /// Who has the key (S4).
    pub(super) fn winner(&self, key: SocketAddr) -> Option<Winner> {
        let mut pods: BTreeMap<Option<&Arc<str>>, Pod<'_>> = BTreeMap::new();
        for candidate in self.keys.get(&key)? {
            let Some(endpoint) = candidate.endpoint() else { continue };
            let pod = Pod { candidate, endpoint, conditions: endpoint.conditions };
            pods.entry(endpoint.pod_uid.as_ref()).and_modify(|known| known.merge(&pod)).or_insert(pod);
        }
        // Keys of the map are in order, so that the last word among equals is the uid's.
        let winner = pods.into_values().reduce(|best, next| if next.beats(&best) { next } else { best })?;
        Some(winner.into())
    }
}

/// One pod's candidates for a key, made one.
struct Pod<'a> {
    candidate: &'a Candidate,
    endpoint: &'a SliceEndpoint,
    conditions: Conditions,
}

impl Pod<'_> {
    /// One uid in two slices: what is worse is true, because a deletionTimestamp is never taken back and the other
    /// slice is merely behind.
    fn merge(&mut self, other: &Self) {
        let conditions = Conditions {
            ready: self.conditions.ready && other.conditions.ready,
            serving: self.conditions.serving && other.conditions.serving,
            terminating: self.conditions.terminating || other.conditions.terminating,
        };
        if other.is_newer(self) {
            self.candidate = other.candidate;
            self.endpoint = other.endpoint;
        }
        self.conditions = conditions;
    }

    fn is_newer(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.candidate, other.candidate);
        mine.arrival > theirs.arrival
            || (mine.arrival == theirs.arrival && mine.slice.name < theirs.slice.name)
    }

    /// Two uids at one key: not terminating, then ready, then the later arrival, then the slice's name.
    fn beats(&self, other: &Self) -> bool {
        let rank = |pod: &Self| (!pod.conditions.terminating, pod.conditions.ready);
        let (mine, theirs) = (rank(self), rank(other));
        mine > theirs || (mine == theirs && self.is_newer(other))
    }
}

impl From<Pod<'_>> for Winner {
    fn from(pod: Pod<'_>) -> Self {
        let endpoint = pod.endpoint;
        let slice = &pod.candidate.slice;
        Self {
            pod_uid: endpoint.pod_uid.clone(),
            facts: Facts {
                conditions: pod.conditions,
                weight: 1,
                pod: endpoint.pod_name.clone(),
                node: endpoint.node.clone(),
                zone: endpoint.zone.clone(),
                zone_hints: endpoint.zone_hints.clone(),
                node_hints: endpoint.node_hints.clone(),
                slice: Some((slice.name.clone(), slice.generation)),
            },
        }
    }
}

/// A slice's endpoints with their keys, if it has the port (S5).
pub(super) fn keyed<'a>(
    slice: &'a Slice,
    port: &PortName,
) -> impl Iterator<Item = (&'a SliceEndpoint, SocketAddr)> + use<'a> {
    let number =
        slice.ports.iter().find(|known| known.name == *port && known.number != 0).map(|known| known.number);
    let endpoints = slice.endpoints.iter();
    number.into_iter().flat_map(move |number| {
        endpoints.clone().map(move |endpoint| (endpoint, SocketAddr::new(endpoint.address, number)))
    })
}
