//! How one endpoint is picked among the eligible ones of an address family.
//!
//! Decided here: what each policy needs, built once when a service's snapshot is built, so that a pick is O(1). Not
//! decided here: who is eligible (`table`), and whether the picked endpoint still takes the flow (`admission`).

mod alias;
mod maglev;
mod position;
mod schedule;
#[cfg(test)]
mod tests;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::net::IpAddr;

use self::{alias::AliasTable, maglev::Maglev, position::Positions, schedule::Schedule};
use crate::{
    endpoint::{Endpoint, EndpointId},
    rng::{Rng, mix},
    settings::Policy,
};

/// What a pick may depend on.
#[derive(Clone, Copy, Debug)]
pub struct FlowKey {
    /// The client's address, canonical.
    pub client: IpAddr,
}

/// What a worker keeps per service between picks (the round-robin cursor).
#[derive(Clone, Debug, Default)]
pub struct PickState {
    /// `None` before the first pick, which starts anywhere so that workers do not march in step.
    cursor: Option<u64>,
}

/// Why no endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The source has not given a complete list yet.
    NotSynced,
    /// The service does not take this client.
    NotAllowed,
    /// No endpoint is eligible.
    NoneReady,
    /// Every eligible endpoint was tried.
    AllTried,
    /// Every endpoint of this snapshot that was not tried has closed since it was published: the next snapshot is on
    /// its way, and asking that is better than refusing the client.
    Moving,
}

/// An eligible endpoint with its share of new flows.
pub(crate) type Weighted = (Arc<Endpoint>, u16);

/// The eligible endpoints of one address family, with what picking among them needs.
#[derive(Debug, Default)]
pub(crate) struct PickSet {
    /// What it was made for.
    policy: Policy,
    endpoints: Arc<[Arc<Endpoint>]>,
    weights: Box<[u16]>,
    draw: Draw,
    /// By the client's address: for the policy of that name, and for clients that affinity does not know.
    maglev: Option<Maglev>,
    /// Where an endpoint stands; only affinity asks.
    positions: Option<Positions>,
}

/// How a draw that does not depend on the client is made.
#[derive(Debug, Default)]
enum Draw {
    /// Every endpoint has the same weight, or none is drawn this way.
    #[default]
    Even,
    /// Weights differ: candidates are drawn by weight.
    Weighted(AliasTable),
    /// Weights differ: endpoints follow one another by weight.
    Scheduled(Schedule),
}

impl PickSet {
    /// What `policy` needs to pick among `eligible`. The order must follow from identities alone, because maglev's
    /// table depends on it and every process must come to the same one.
    pub(crate) fn new(eligible: &[Weighted], policy: Policy, affinity: bool) -> Self {
        let weights: Box<[u16]> = eligible.iter().map(|(_, weight)| (*weight).max(1)).collect();
        let even = weights.windows(2).all(|pair| pair.first() == pair.last());
        let by_client = affinity || policy == Policy::Maglev;
        let draw = match policy {
            // With affinity, too, an endpoint is picked by the client's address, whatever the policy.
            _ if even || by_client => Draw::Even,
            Policy::RoundRobin => Draw::Scheduled(Schedule::new(&weights)),
            Policy::LeastFlows | Policy::Random | Policy::Maglev => Draw::Weighted(AliasTable::new(&weights)),
        };
        let endpoints: Arc<[Arc<Endpoint>]> =
            eligible.iter().map(|(endpoint, _)| Arc::clone(endpoint)).collect();
        Self {
            policy,
            maglev: by_client.then(|| {
                let identities: Vec<_> = endpoints.iter().map(|endpoint| endpoint.identity()).collect();
                Maglev::new(&identities, &weights)
            }),
            positions: affinity.then(|| Positions::new(&endpoints)),
            endpoints,
            weights,
            draw,
        }
    }

    /// The endpoints.
    pub(crate) fn endpoints(&self) -> &Arc<[Arc<Endpoint>]> {
        &self.endpoints
    }

    /// Their weights, in the same order.
    pub(crate) fn weights(&self) -> &[u16] {
        &self.weights
    }

    /// Whether making a set of these endpoints anew would make no difference.
    pub(crate) fn serves(&self, eligible: &[Weighted], policy: Policy, affinity: bool) -> bool {
        self.policy == policy && self.positions.is_some() == affinity && self.holds(eligible)
    }

    /// Whether this set holds exactly these endpoints with these weights.
    pub(crate) fn holds(&self, eligible: &[Weighted]) -> bool {
        self.endpoints.len() == eligible.len()
            && self.endpoints.iter().zip(&self.weights).zip(eligible).all(
                |((endpoint, weight), (wanted, wanted_weight))| {
                    Arc::ptr_eq(endpoint, wanted) && *weight == (*wanted_weight).max(1)
                },
            )
    }

    /// The endpoint with this number, if it is eligible.
    pub(crate) fn find(&self, id: EndpointId) -> Option<&Arc<Endpoint>> {
        let position = self.positions.as_ref()?.find(id, &self.endpoints)?;
        self.endpoints.get(position)
    }

    /// The endpoint for this client, the same in every process; `attempt` gives further ones.
    pub(crate) fn by_client(&self, client: IpAddr, attempt: u64) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(self.maglev.as_ref()?.position(hash_client(client, attempt))?)
    }

    /// One endpoint by `policy`; `None` only where there is none at all.
    pub(crate) fn by_policy(
        &self,
        policy: Policy,
        client: IpAddr,
        attempt: u64,
        state: &mut PickState,
        rng: &mut Rng,
    ) -> Option<&Arc<Endpoint>> {
        if self.endpoints.is_empty() {
            return None;
        }
        match policy {
            Policy::LeastFlows => self.less_loaded(rng),
            Policy::RoundRobin => self.endpoints.get(self.next_in_turn(state, rng)),
            Policy::Random => self.endpoints.get(self.at_random(rng)),
            Policy::Maglev => self.by_client(client, attempt),
        }
    }

    fn at_random(&self, rng: &mut Rng) -> usize {
        match &self.draw {
            Draw::Weighted(alias) => alias.draw(rng),
            Draw::Even | Draw::Scheduled(_) => rng.below(self.endpoints.len()),
        }
    }

    fn next_in_turn(&self, state: &mut PickState, rng: &mut Rng) -> usize {
        let turn = state.cursor.unwrap_or_else(|| rng.next_u64());
        state.cursor = Some(turn.wrapping_add(1));
        match &self.draw {
            Draw::Scheduled(schedule) => schedule.at(turn),
            // The remainder is below the length, so it fits.
            Draw::Even | Draw::Weighted(_) => (turn % (self.endpoints.len() as u64).max(1)) as usize,
        }
    }

    /// Power of two choices: of two candidates by weight, the one with fewer flows per weight. It needs no common
    /// order among workers and no scan, and is close to the best balance all the same (Mitzenmacher, 2001).
    fn less_loaded(&self, rng: &mut Rng) -> Option<&Arc<Endpoint>> {
        let first = self.at_random(rng);
        let second = self.another(first, rng);
        let load = |position: usize| {
            let flows = self.endpoints.get(position)?.admission().flows();
            Some((u128::from(flows) + 1, u128::from(*self.weights.get(position)?)))
        };
        let (first_flows, first_weight) = load(first)?;
        let (second_flows, second_weight) = load(second)?;
        let second_is_less = second_flows * first_weight < first_flows * second_weight;
        self.endpoints.get(if second_is_less { second } else { first })
    }

    /// A candidate other than `first` where there is one.
    fn another(&self, first: usize, rng: &mut Rng) -> usize {
        let others = self.endpoints.len().saturating_sub(1);
        if others == 0 {
            return first;
        }
        if matches!(self.draw, Draw::Weighted(_)) {
            // A heavy endpoint may be drawn over and over; a few draws keep the weights, then any other will do.
            for _ in 0..3 {
                let drawn = self.at_random(rng);
                if drawn != first {
                    return drawn;
                }
            }
        }
        let drawn = rng.below(others);
        if drawn >= first { drawn + 1 } else { drawn }
    }
}

/// A hash of a client that every process computes alike. An IPv4-mapped address is its IPv4 address.
fn hash_client(client: IpAddr, attempt: u64) -> u64 {
    let (low, high) = match client.to_canonical() {
        IpAddr::V4(v4) => (u64::from(v4.to_bits()), 4),
        IpAddr::V6(v6) => (v6.to_bits() as u64, mix((v6.to_bits() >> 64) as u64 ^ 6)),
    };
    mix(mix(low ^ mix(high)).wrapping_add(attempt.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}
