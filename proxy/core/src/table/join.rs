//! The slices of one service joined to a list of endpoints, key by key (S2, S4, S5).
//!
//! For each address and port number there are the candidates of each slice. One slice's change touches its own keys
//! and no others; who wins a key is worked out when it is asked, from the candidates alone, so that the order in which
//! slices came makes no difference beyond rule S4's "the later arrival".

use alloc::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
    vec,
    vec::Vec,
};
use core::{mem, net::SocketAddr, slice};

use super::{entry::Facts, listed::Listed, slices::Arrived};
use crate::{
    conditions::Conditions,
    endpoint::EndpointIdentity,
    name::{PortName, SliceName},
    slice::{Slice, SliceEndpoint},
};

/// An index from key to candidates.
#[derive(Debug, Default)]
pub(super) struct Join {
    keys: BTreeMap<SocketAddr, Candidates>,
}

/// The endpoints that slices have for one key. Nearly always it is one, and there may be very many keys.
#[derive(Debug)]
enum Candidates {
    One(Listed),
    Several(Vec<Listed>),
}

impl Candidates {
    fn all(&self) -> &[Listed] {
        match self {
            Self::One(one) => slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    fn push(&mut self, candidate: Listed) {
        match self {
            Self::One(one) => *self = Self::Several(vec![one.clone(), candidate]),
            Self::Several(several) => several.push(candidate),
        }
    }

    /// Drops what this slice has; whether anything is left.
    fn remove(&mut self, slice: &SliceName) -> bool {
        match self {
            Self::One(one) => one.slice().name != *slice,
            Self::Several(several) => {
                several.retain(|candidate| candidate.slice().name != *slice);
                if let [one] = &**several {
                    *self = Self::One(one.clone());
                    return true;
                }
                !several.is_empty()
            }
        }
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
    pub(super) fn of<'a>(slices: impl Iterator<Item = &'a Arc<Arrived>>, port: &PortName) -> Self {
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
        new: Option<&Arc<Arrived>>,
        port: &PortName,
    ) -> BTreeSet<SocketAddr> {
        let mut touched: BTreeSet<SocketAddr> =
            old.into_iter().flat_map(|old| keyed(old, port)).map(|(_, key)| key).collect();
        if let Some(name) = old.map(|old| &old.name) {
            for key in &touched {
                self.remove(*key, name);
            }
        }
        if let Some(arrived) = new {
            // A slice that has the port has a key for every endpoint, in their order.
            for (index, (_, key)) in keyed(&arrived.slice, port).enumerate() {
                let candidate = Listed::at(arrived, index);
                match self.keys.entry(key) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(Candidates::One(candidate));
                    }
                    Entry::Occupied(mut occupied) => occupied.get_mut().push(candidate),
                }
                touched.insert(key);
            }
        }
        touched
    }

    fn remove(&mut self, key: SocketAddr, slice: &SliceName) {
        if self.keys.get_mut(&key).is_some_and(|candidates| !candidates.remove(slice)) {
            self.keys.remove(&key);
        }
    }

    /// Gives back what many keys left free when they came one by one.
    pub(super) fn pack(&mut self) {
        self.keys = mem::take(&mut self.keys).into_iter().collect();
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = SocketAddr> {
        self.keys.keys().copied()
    }

    fn candidates(&self, key: SocketAddr) -> &[Listed] {
        self.keys.get(&key).map_or(&[], Candidates::all)
    }

    /// Whether some slice has this very endpoint and says it is terminating, though it may not have won its key.
    pub(super) fn is_terminating(&self, identity: &EndpointIdentity) -> bool {
        self.candidates(identity.address)
            .iter()
            .filter_map(Listed::endpoint)
            .any(|endpoint| endpoint.pod_uid == identity.pod_uid && endpoint.conditions.terminating)
    }

    /// Who has the key (S4).
    pub(super) fn winner(&self, key: SocketAddr) -> Option<Winner> {
        let candidates = self.candidates(key);
        if let [only] = candidates {
            return Some(Pod::of(only)?.into());
        }
        let mut pods: BTreeMap<Option<&Arc<str>>, Pod<'_>> = BTreeMap::new();
        for pod in candidates.iter().filter_map(Pod::of) {
            pods.entry(pod.endpoint.pod_uid.as_ref()).and_modify(|known| known.merge(&pod)).or_insert(pod);
        }
        // Keys of the map are in order, so that the last word among equals is the uid's.
        let winner = pods.into_values().reduce(|best, next| if next.beats(&best) { next } else { best })?;
        Some(winner.into())
    }
}

/// One pod's candidates for a key, made one.
struct Pod<'a> {
    candidate: &'a Listed,
    endpoint: &'a SliceEndpoint,
    conditions: Conditions,
}

impl<'a> Pod<'a> {
    fn of(candidate: &'a Listed) -> Option<Self> {
        let endpoint = candidate.endpoint()?;
        Some(Self { candidate, endpoint, conditions: endpoint.conditions })
    }

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
        let by_arrival = mine.arrival().cmp(&theirs.arrival());
        by_arrival.is_gt() || (by_arrival.is_eq() && mine.slice().name < theirs.slice().name)
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
        let Pod { candidate, endpoint, conditions } = pod;
        Self {
            pod_uid: endpoint.pod_uid.clone(),
            facts: Facts { conditions, weight: 1, listed: Some(candidate.clone()) },
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
