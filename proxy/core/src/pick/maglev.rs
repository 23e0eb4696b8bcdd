//! Maglev hashing (Eisenbud et al., NSDI 2016): a client's endpoint follows from the client's address and the
//! endpoints' identities alone, and changes for few clients when endpoints come and go.
//!
//! Endpoints are hashed by identity, never by their number in this process: workers, nodes and a restarted process
//! agree without speaking to each other.

use alloc::{boxed::Box, collections::BinaryHeap, vec, vec::Vec};
use core::{cmp::Reverse, net::IpAddr};

use crate::{endpoint::EndpointIdentity, rng::mix};

/// The lookup table: for each slot the place of its endpoint in the pick set.
#[derive(Debug)]
pub(super) enum Maglev {
    /// Places fit 16 bits: every service but a huge one.
    Narrow(Box<[u16]>),
    /// They do not.
    Wide(Box<[u32]>),
}

/// Table sizes, all prime. They are few and far apart because a change of size moves nearly every client. The first
/// two are those of the paper; nearly every service lives and dies with the first, which is 128 KiB.
const SIZES: [u32; 3] = [65_537, 655_373, 16_777_213];

/// So many endpoints have a hundred slots each in the first table. A hundred make shares even to about one per cent.
const FIRST: u64 = 655;

/// Slots that an endpoint has at least where there are more.
const FEWEST: u64 = 20;

const EMPTY: u32 = u32::MAX;

/// Where in the table an endpoint wants to be: `offset`, then on by `skip`, which visits every slot of a prime size.
struct Wish {
    at: u32,
    skip: u32,
}

impl Maglev {
    /// A table for these endpoints, which must come in an order that follows from their identities.
    pub(super) fn new(identities: &[&EndpointIdentity], weights: &[u16]) -> Self {
        if identities.is_empty() {
            return Self::Narrow(Box::default());
        }
        let size = size_for(weights);
        let mut slots = vec![EMPTY; size as usize];
        let mut wishes: Vec<Wish> = identities.iter().map(|identity| Wish::of(identity, size)).collect();
        let mut turns = Turns::new(weights);
        for _ in 0..size {
            let index = turns.next();
            let Some(wish) = wishes.get_mut(index as usize) else { break };
            wish.take(&mut slots, index);
        }
        Self::packed(slots, identities.len())
    }

    /// A table of these slots in the smallest form that holds the places of so many endpoints.
    pub(super) fn packed(slots: Vec<u32>, endpoints: usize) -> Self {
        if endpoints <= usize::from(u16::MAX) {
            Self::Narrow(slots.into_iter().map(|place| place as u16).collect())
        } else {
            Self::Wide(slots.into_boxed_slice())
        }
    }

    /// The place of the endpoint for a client's hash.
    pub(super) fn position(&self, hash: u64) -> Option<usize> {
        let slot = |size: usize| ((u128::from(hash) * size as u128) >> 64) as usize;
        match self {
            Self::Narrow(slots) => slots.get(slot(slots.len())).map(|place| usize::from(*place)),
            Self::Wide(slots) => slots.get(slot(slots.len())).map(|place| *place as usize),
        }
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> Vec<usize> {
        match self {
            Self::Narrow(slots) => slots.iter().map(|place| usize::from(*place)).collect(),
            Self::Wide(slots) => slots.iter().map(|place| *place as usize).collect(),
        }
    }
}

/// The size that gives the lightest endpoint its slots. A heavy endpoint counts for as many of the lightest as it
/// weighs, but all together for no more than eight each: two endpoints of 1000 and 1 need no large table.
pub(super) fn size_for(weights: &[u16]) -> u32 {
    let lightest = u64::from(weights.iter().copied().min().unwrap_or(1).max(1));
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let endpoints = (sum / lightest).min(8 * weights.len() as u64);
    let [first, second, third] = SIZES;
    if endpoints <= FIRST {
        first
    } else if endpoints <= u64::from(second) / FEWEST {
        second
    } else {
        third
    }
}

impl Wish {
    fn of(identity: &EndpointIdentity, size: u32) -> Self {
        let hash = hash_identity(identity);
        let at = (hash % u64::from(size)) as u32;
        let skip = (mix(hash ^ 0x6d61_676c_6576) % u64::from(size - 1)) as u32 + 1;
        Self { at, skip }
    }

    /// Takes the next free slot of this endpoint's order.
    fn take(&mut self, slots: &mut [u32], index: u32) {
        let size = slots.len() as u32;
        for _ in 0..size {
            let at = self.at;
            // Both are below the size, and twice the largest size fits.
            let next = at + self.skip;
            self.at = if next >= size { next - size } else { next };
            if let Some(slot) = slots.get_mut(at as usize)
                && *slot == EMPTY
            {
                *slot = index;
                return;
            }
        }
    }
}

/// Who takes a slot next: everybody in turn, the heavier ones more often.
enum Turns {
    Even { next: u32, count: u32 },
    Weighted(BinaryHeap<Reverse<(u64, u32, u64)>>),
}

impl Turns {
    fn new(weights: &[u16]) -> Self {
        let even = weights.windows(2).all(|pair| pair.first() == pair.last());
        if even {
            return Self::Even { next: 0, count: weights.len() as u32 };
        }
        // Each entry: when its next turn is, who, and the time between its turns.
        Self::Weighted(
            weights
                .iter()
                .enumerate()
                .map(|(index, weight)| {
                    let step = (1 << 36) / u64::from((*weight).max(1));
                    Reverse((step / 2, index as u32, step))
                })
                .collect(),
        )
    }

    fn next(&mut self) -> u32 {
        match self {
            Self::Even { next, count } => {
                let turn = *next;
                *next = if turn + 1 >= *count { 0 } else { turn + 1 };
                turn
            }
            Self::Weighted(heap) => {
                let Some(mut top) = heap.peek_mut() else { return EMPTY };
                let Reverse((at, index, step)) = *top;
                *top = Reverse((at.saturating_add(step), index, step));
                index
            }
        }
    }
}

/// FNV-1a over the identity, finished by a strong mix.
fn hash_identity(identity: &EndpointIdentity) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    match identity.address.ip() {
        IpAddr::V4(address) => eat(&address.octets()),
        IpAddr::V6(address) => eat(&address.octets()),
    }
    eat(&identity.address.port().to_be_bytes());
    eat(identity.pod_uid.as_deref().unwrap_or_default().as_bytes());
    mix(hash)
}
