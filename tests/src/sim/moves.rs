//! Rebalances as workers carry them out, and what the simulation asserts of them.

use std::sync::Arc;

use tidegate_core::{Claim, Endpoint, EndpointId, FlowEnd};

use super::{flows::Flow, world::World};

impl World {
    /// Moves whom the rebalance lets go at this moment, in any order, some of whom are not quiet after all.
    pub(super) fn move_flows(&mut self) {
        let Some(run) = self.run.clone() else { return };
        let (service, _) =
            self.published.services().find(|(id, _)| *id == run.service()).expect("it is published");
        let part = Arc::clone(self.published.service(service).expect("it is published"));
        let rate = part.settings().rebalance.expect("it is asked for").max_per_second;
        let eligible: Vec<Arc<Endpoint>> = part.endpoints().cloned().collect();
        let shares: Vec<(EndpointId, u64)> = eligible
            .iter()
            .map(|endpoint| (endpoint.id(), share(endpoint, &eligible, |id| self.weight(id))))
            .collect();
        let mut granted = 0;
        for _ in 0..self.flows.len() {
            let at = self.generator.rng.below(self.flows.len());
            let Flow { endpoint, .. } = &self.flows[at];
            let id = endpoint.id();
            if run.claim(id, self.now) != Claim::Granted {
                continue;
            }
            if self.generator.chance(20) {
                run.stays(id);
                continue;
            }
            granted += 1;
            let Flow { permit, endpoint, .. } = self.flows.swap_remove(at);
            self.tally.count(&endpoint, FlowEnd::Ordered);
            permit.end(FlowEnd::Ordered);
            run.left(id);
            let (_, share) =
                shares.iter().find(|(other, _)| *other == id).expect("only eligible ones give away");
            let left = endpoint.admission().flows();
            assert!(left >= *share, "{left} are left, and {share} would be fair");
        }
        assert!(granted <= u64::from(rate) / 5 + 1, "{granted} at one moment, at {rate} a second");
        self.seen.moved += granted;
    }

    fn weight(&self, id: EndpointId) -> u16 {
        let views = self.table.services();
        let mut endpoints = views.iter().flat_map(|view| &view.endpoints);
        endpoints.find(|view| view.endpoint.id() == id).expect("it is known").weight
    }
}

/// What is fair for an endpoint among those of its family: rounded up.
fn share(endpoint: &Endpoint, all: &[Arc<Endpoint>], weight: impl Fn(EndpointId) -> u16) -> u64 {
    let family = || all.iter().filter(|other| other.address().is_ipv4() == endpoint.address().is_ipv4());
    let flows: u64 = family().map(|other| other.admission().flows()).sum();
    let weights: u64 = family().map(|other| u64::from(weight(other.id()))).sum();
    (flows * u64::from(weight(endpoint.id()))).div_ceil(weights)
}
