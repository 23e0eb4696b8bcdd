//! What the workers pick from: one immutable value, published whole, with one generation.

#[cfg(test)]
mod tests;

use alloc::{sync::Arc, vec::Vec};
use core::net::IpAddr;

use crate::{
    admission::{Permit, Tier},
    affinity::AffinityTable,
    endpoint::Endpoint,
    name::ServicePort,
    pace::Paces,
    pick::{FlowKey, PickSet, PickState, Refusal},
    rng::Rng,
    settings::ServiceSettings,
    time::Timestamp,
};

/// A service's slot in every snapshot; it does not change while the service is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

/// The state of all services at one generation.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) services: Vec<Option<Arc<ServiceSnapshot>>>,
}

/// The state of one service: who takes new flows, and how one is picked.
#[derive(Debug)]
pub struct ServiceSnapshot {
    pub(crate) port: Arc<ServicePort>,
    pub(crate) settings: Arc<ServiceSettings>,
    /// Whether its source has given a complete list.
    pub(crate) synced: bool,
    /// Which set the endpoints are from.
    pub(crate) tier: Tier,
    pub(crate) families: Families,
    pub(crate) v4: Arc<PickSet>,
    pub(crate) v6: Arc<PickSet>,
    pub(crate) affinity: Option<Arc<AffinityTable>>,
    pub(crate) paces: Arc<Paces>,
}

/// The address families that a service has endpoints of, eligible or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Families {
    /// IPv4 alone, or none.
    V4,
    /// IPv6 alone.
    V6,
    /// Both: a client is served by its own.
    Both,
}

impl Snapshot {
    /// Which publish this is; grows by one with each.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Every service with its slot.
    pub fn services(&self) -> impl Iterator<Item = (ServiceId, &Arc<ServiceSnapshot>)> {
        let id = |slot| ServiceId(u32::try_from(slot).unwrap_or(u32::MAX));
        self.services
            .iter()
            .enumerate()
            .filter_map(move |(slot, service)| Some((id(slot), service.as_ref()?)))
    }

    /// The service in a slot.
    pub fn service(&self, id: ServiceId) -> Option<&Arc<ServiceSnapshot>> {
        self.services.get(id.0 as usize)?.as_ref()
    }
}

impl ServiceSnapshot {
    /// The service.
    pub fn port(&self) -> &ServicePort {
        &self.port
    }

    /// How its flows are treated.
    pub fn settings(&self) -> &Arc<ServiceSettings> {
        &self.settings
    }

    /// How many endpoints new flows may go to.
    pub fn eligible(&self) -> usize {
        self.v4.endpoints().len() + self.v6.endpoints().len()
    }

    /// The endpoints that new flows may go to, IPv4 first.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.v4.endpoints().iter().chain(self.v6.endpoints().iter())
    }

    /// Whether the eligible ones are ready, or the last resort.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Which client went where, if the service has affinity.
    pub fn affinity(&self) -> Option<&Arc<AffinityTable>> {
        self.affinity.as_ref()
    }

    /// How fast its flows are told to go, over all workers; the same through all snapshots.
    pub fn paces(&self) -> &Paces {
        &self.paces
    }

    /// Picks an endpoint for a new flow and counts the flow in. Never one of `tried`.
    ///
    /// O(1), except where a few draws meet only endpoints that were tried or have closed since: then every endpoint is
    /// looked at, once. The admission has the last word: an endpoint that was closed after this snapshot was published
    /// refuses, and another one is picked.
    pub fn admit(
        &self,
        key: &FlowKey,
        tried: &[Arc<Endpoint>],
        state: &mut PickState,
        rng: &mut Rng,
        now: Timestamp,
    ) -> Result<Permit, Refusal> {
        if self.settings.source_ranges.as_ref().is_some_and(|ranges| !ranges.allows(key.client)) {
            return Err(Refusal::NotAllowed);
        }
        if !self.synced {
            return Err(Refusal::NotSynced);
        }
        let set = self.set_for(key.client);
        let enter = |endpoint: &Arc<Endpoint>| {
            let was_tried = tried.iter().any(|other| other.id() == endpoint.id());
            if was_tried { None } else { Permit::enter(endpoint, self.tier) }
        };
        let permit = match self.settings.affinity_timeout.zip(self.affinity.as_deref()) {
            Some((timeout, affinity)) => {
                let known = affinity.find(key.client, timeout, now);
                let permit = known
                    .and_then(|id| set.find(id))
                    .and_then(enter)
                    .or_else(|| draw(|attempt| set.by_client(key.client, attempt), enter))
                    .or_else(|| scan(set.endpoints(), rng, enter));
                match &permit {
                    Some(permit) => affinity.record(key.client, permit.endpoint().id(), now),
                    None => affinity.forget(key.client),
                }
                permit
            }
            None => {
                let policy = self.settings.policy;
                draw(|attempt| set.by_policy(policy, key.client, attempt, state, rng), enter)
                    .or_else(|| scan(set.endpoints(), rng, enter))
            }
        };
        permit.ok_or_else(|| {
            let was_tried = |endpoint: &Arc<Endpoint>| tried.iter().any(|other| other.id() == endpoint.id());
            match (set.endpoints().iter().all(was_tried), tried.is_empty()) {
                (false, _) => Refusal::Moving,
                (true, true) => Refusal::NoneReady,
                (true, false) => Refusal::AllTried,
            }
        })
    }

    /// The endpoints of the client's address family; where the service has one family only, that (S6).
    fn set_for(&self, client: IpAddr) -> &PickSet {
        match self.families {
            Families::V4 => &self.v4,
            Families::V6 => &self.v6,
            Families::Both => match client.to_canonical() {
                IpAddr::V4(_) => &self.v4,
                IpAddr::V6(_) => &self.v6,
            },
        }
    }
}

/// Draws before a scan takes over. Draws fail only at endpoints that were tried or have just closed.
const DRAWS: u64 = 4;

fn draw<'a>(
    mut pick: impl FnMut(u64) -> Option<&'a Arc<Endpoint>>,
    enter: impl Fn(&Arc<Endpoint>) -> Option<Permit>,
) -> Option<Permit> {
    (0..DRAWS).find_map(|attempt| enter(pick(attempt)?))
}

/// Every endpoint once, from a random one on, so that those after a closed one do not get all its flows.
fn scan(
    endpoints: &[Arc<Endpoint>],
    rng: &mut Rng,
    enter: impl Fn(&Arc<Endpoint>) -> Option<Permit>,
) -> Option<Permit> {
    let (before, after) = endpoints.split_at_checked(rng.below(endpoints.len()))?;
    after.iter().chain(before).find_map(enter)
}
