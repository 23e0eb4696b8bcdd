//! What a worker decides for one new flow: it loads the snapshot, picks an endpoint and enters its admission.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tidegate_core::{
    Endpoint, Event, FixedEndpoint, FlowKey, Permit, PickState, Policy, Rng, ServiceConfig, ServiceId,
    ServiceName, ServicePort, ServiceSettings, Snapshot, Table, Tier, Timestamp,
};

use crate::updates::publish;

/// Clients that take turns: enough for their endpoints not to stay in the cache, and few enough for the affinity
/// table to remember all of them.
const CLIENTS: u32 = 4096;

/// How endpoints are picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PickBy {
    /// By a policy, all endpoints of one weight.
    Even(Policy),
    /// By a policy, endpoints of different weights.
    Weighted(Policy),
    /// The endpoint that the client had before.
    Affinity,
}

impl PickBy {
    /// All that there are.
    pub const ALL: [Self; 8] = [
        Self::Even(Policy::LeastFlows),
        Self::Weighted(Policy::LeastFlows),
        Self::Even(Policy::RoundRobin),
        Self::Weighted(Policy::RoundRobin),
        Self::Even(Policy::Random),
        Self::Weighted(Policy::Random),
        Self::Even(Policy::Maglev),
        Self::Affinity,
    ];

    /// Its name: the policy's word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Even(Policy::LeastFlows) => "leastFlows",
            Self::Weighted(Policy::LeastFlows) => "leastFlows-weighted",
            Self::Even(Policy::RoundRobin) => "roundRobin",
            Self::Weighted(Policy::RoundRobin) => "roundRobin-weighted",
            Self::Even(Policy::Random) => "random",
            Self::Weighted(Policy::Random) => "random-weighted",
            Self::Even(Policy::Maglev) => "maglev",
            Self::Weighted(Policy::Maglev) => "maglev-weighted",
            Self::Affinity => "affinity",
        }
    }

    fn settings(self) -> ServiceSettings {
        let (policy, affinity_timeout) = match self {
            Self::Even(policy) | Self::Weighted(policy) => (policy, None),
            Self::Affinity => (Policy::default(), Some(Duration::from_secs(3600))),
        };
        ServiceSettings { policy, affinity_timeout, ..ServiceSettings::default() }
    }
}

/// A service, and a worker's part in picking among its endpoints.
#[derive(Debug)]
pub struct Picks {
    published: ArcSwap<Snapshot>,
    service: ServiceId,
    state: PickState,
    rng: Rng,
    next_client: u32,
    now: Timestamp,
}

impl Picks {
    /// A service with so many endpoints. Where they are picked by affinity, every client has one.
    pub fn new(by: PickBy, endpoints: u32) -> Self {
        let port = ServicePort { service: ServiceName::new("default", "web"), port: None };
        let weight = |index| if matches!(by, PickBy::Weighted(_)) { 1 + (index % 3) as u16 } else { 1 };
        let fixed =
            (0..endpoints).map(|index| FixedEndpoint { address: address(index), weight: weight(index) });
        let config =
            ServiceConfig { port: port.clone(), settings: by.settings(), fixed: Some(fixed.collect()) };
        let now = Timestamp::from_millis(1);
        let mut table = Table::new(7);
        table.handle_event(Event::ServicesConfigured(vec![config]), now);
        let (snapshot, _) = publish(&mut table, now);
        let service = table.service_id(&port).expect("the service is configured");
        let published = ArcSwap::new(snapshot.expect("a new service is published"));
        let mut picks =
            Self { published, service, state: PickState::default(), rng: Rng::new(11), next_client: 0, now };
        if by == PickBy::Affinity {
            (0..CLIENTS).for_each(|_| picks.decide());
        }
        picks
    }

    /// What is published.
    pub fn published(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// The service's slot.
    pub fn service(&self) -> ServiceId {
        self.service
    }

    /// The snapshot's part alone: loads it and finds the service.
    pub fn load(&self) -> bool {
        self.published.load().service(self.service).is_some()
    }

    /// One new flow's decision, and the end of the flow: load, pick, enter, leave.
    ///
    /// # Panics
    ///
    /// If there is no endpoint for it.
    pub fn decide(&mut self) {
        let client = IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + self.next_client));
        self.next_client = (self.next_client + 1) % CLIENTS;
        let snapshot = self.published.load();
        let service = snapshot.service(self.service).expect("the service is published");
        let permit = service.admit(&FlowKey { client }, &[], &mut self.state, &mut self.rng, self.now);
        permit.expect("an endpoint takes the flow").release();
    }
}

/// One endpoint's admission.
#[derive(Debug)]
pub struct Entrance {
    endpoint: Arc<Endpoint>,
}

impl Default for Entrance {
    fn default() -> Self {
        let picks = Picks::new(PickBy::Even(Policy::Random), 1);
        let snapshot = picks.published();
        let service = snapshot.service(picks.service()).expect("the service is published");
        let endpoint = service.endpoints().next().map(Arc::clone).expect("the service has an endpoint");
        Self { endpoint }
    }
}

impl Entrance {
    /// One flow enters and leaves.
    ///
    /// # Panics
    ///
    /// If it is not let in.
    pub fn pass(&self) -> bool {
        Permit::enter(&self.endpoint, Tier::Ready).expect("the admission is open").release()
    }
}

/// The address of an endpoint by its number.
pub(crate) fn address(index: u32) -> SocketAddr {
    (Ipv4Addr::from_bits(0x0a00_0000 + index), 80).into()
}
