//! ClientIP affinity: which endpoint a client's last flow went to.
//!
//! A bounded table of atomics that all workers share and that lives across snapshots. Nothing in it is a promise: a
//! lost race, an eviction or two clients with one hash cost stickiness, never a flow, because the endpoint found here
//! is used only if it is eligible and its admission takes the flow. What an entry is worth is decided in
//! `ServiceSnapshot::admit`.

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use core::{
    fmt,
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{endpoint::EndpointId, rng::mix, time::Timestamp};

/// Entries that a client's hash may be in.
const WAYS: usize = 4;

/// Entries of a service's table: 1.5 MiB.
pub(crate) const CAPACITY: usize = 1 << 16;

/// Clients and the endpoint each went to last. Fixed in size; the entry seen longest ago makes room.
pub struct AffinityTable {
    seed: u64,
    ways: Box<[Way]>,
}

/// One entry. The three words are not read or written as one; see the module's word on races.
#[derive(Default)]
struct Way {
    /// The client's hash; zero where the entry is free.
    client: AtomicU64,
    /// The endpoint's number.
    endpoint: AtomicU64,
    /// When the last flow began, in milliseconds.
    seen: AtomicU64,
}

/// An entry as plain data, for a successor process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AffinityEntry {
    /// The client's hash; it means something only to a table with the same seed.
    pub client: u64,
    /// The endpoint that its last flow went to.
    pub endpoint: EndpointId,
    /// When that flow began, to the millisecond.
    pub seen: Timestamp,
}

impl AffinityTable {
    /// A table of `capacity` entries (rounded up to a power of two). The seed keeps clients from choosing addresses
    /// that meet in one set.
    pub(crate) fn new(seed: u64, capacity: usize) -> Self {
        let capacity = capacity.next_power_of_two().max(WAYS);
        Self { seed, ways: (0..capacity).map(|_| Way::default()).collect() }
    }

    /// The endpoint of the client's last flow, if that began less than `timeout` ago.
    pub(crate) fn find(&self, client: IpAddr, timeout: Duration, now: Timestamp) -> Option<EndpointId> {
        let hash = self.hash(client);
        let way = self.set(hash).iter().find(|way| way.client.load(Ordering::Acquire) == hash)?;
        let seen = Timestamp::from_millis(way.seen.load(Ordering::Relaxed));
        (now.since(seen) < timeout).then(|| EndpointId(way.endpoint.load(Ordering::Relaxed)))
    }

    /// A flow of this client went to `endpoint`.
    pub(crate) fn record(&self, client: IpAddr, endpoint: EndpointId, now: Timestamp) {
        self.put(self.hash(client), endpoint, now);
    }

    /// The client has no endpoint any more.
    pub(crate) fn forget(&self, client: IpAddr) {
        let hash = self.hash(client);
        for way in self.set(hash) {
            // Only if it is still this client's: another one may have taken the entry meanwhile.
            let _ = way.client.compare_exchange(hash, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Everything that is remembered.
    pub fn entries(&self) -> impl Iterator<Item = AffinityEntry> + '_ {
        self.ways.iter().filter_map(|way| {
            let client = way.client.load(Ordering::Acquire);
            (client != 0).then(|| AffinityEntry {
                client,
                endpoint: EndpointId(way.endpoint.load(Ordering::Relaxed)),
                seen: Timestamp::from_millis(way.seen.load(Ordering::Relaxed)),
            })
        })
    }

    /// Takes over what a table with the same seed remembered, the endpoint's number translated by the caller.
    pub fn restore(&self, entry: AffinityEntry) {
        if entry.client != 0 {
            self.put(entry.client, entry.endpoint, entry.seen);
        }
    }

    fn put(&self, hash: u64, endpoint: EndpointId, now: Timestamp) {
        let set = self.set(hash);
        let is_its_own = |way: &&Way| way.client.load(Ordering::Relaxed) == hash;
        // A free entry counts as seen before everything else.
        let age = |way: &&Way| match way.client.load(Ordering::Relaxed) {
            0 => 0,
            _ => way.seen.load(Ordering::Relaxed).saturating_add(1),
        };
        let Some(way) = set.iter().find(is_its_own).or_else(|| set.iter().min_by_key(age)) else { return };
        way.endpoint.store(endpoint.0, Ordering::Relaxed);
        way.seen.store(now.as_nanos() / 1_000_000, Ordering::Relaxed);
        way.client.store(hash, Ordering::Release);
    }

    fn set(&self, hash: u64) -> &[Way] {
        // A power of two, at least `WAYS`: the set lies within.
        let start = (hash as usize).wrapping_mul(WAYS) & self.ways.len().wrapping_sub(1);
        self.ways.get(start..start + WAYS).unwrap_or_default()
    }

    /// Never zero, which marks a free entry.
    fn hash(&self, client: IpAddr) -> u64 {
        let (high, low) = match client.to_canonical() {
            IpAddr::V4(v4) => (4, u64::from(v4.to_bits())),
            IpAddr::V6(v6) => (mix((v6.to_bits() >> 64) as u64 ^ 6), v6.to_bits() as u64),
        };
        mix(mix(self.seed ^ high) ^ low).max(1)
    }
}

impl fmt::Debug for AffinityTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AffinityTable").field("capacity", &self.ways.len()).finish_non_exhaustive()
    }
}
