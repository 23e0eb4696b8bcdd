//! Flows that come and go, and what the simulation asserts of whom they get.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tidegate_core::{
    AdmissionMode, Endpoint, EndpointId, FlowEnd, FlowKey, Permit, Refusal, Tier, table::ServiceView,
};

use super::{gates, world::World};

/// A flow: its permit, the endpoint it had from the start, and the worker that has it.
pub(super) struct Flow {
    pub(super) permit: Permit,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) worker: usize,
}

impl World {
    /// A client comes.
    pub(super) fn open_flow(&mut self) {
        let at = self.generator.rng.below(self.slots.len());
        let Some((port, slot)) = self.slots.iter().nth(at).map(|(port, slot)| (port.clone(), *slot)) else {
            return;
        };
        let client = self.generator.client();
        let worker = self.generator.rng.below(self.workers.len());
        let is_current = self.workers[worker].snapshot.generation() == self.published.generation();
        let Some(service) = self.workers[worker].snapshot.service(slot).cloned() else { return };
        let state = self.workers[worker].cursors.entry(port.clone()).or_default();
        let key = FlowKey { client };
        let mut tried: Vec<Arc<Endpoint>> = Vec::new();
        let expected = self.model.expect(&port);
        loop {
            match service.admit(&key, &tried, state, &mut self.generator.rng, self.now) {
                Ok(permit) => {
                    let endpoint = Arc::clone(permit.endpoint());
                    gates::check_entered(&self.gates, &mut self.seen, &endpoint);
                    if endpoint.admission().mode() != AdmissionMode::Open {
                        *self.came_late.entry(endpoint.id()).or_default() += 1;
                    }
                    let expected = expected.as_ref().expect("a service that was given up takes no flow");
                    let known =
                        expected.present.get(&endpoint.address()).expect("a flow went to one that is gone");
                    assert_eq!(
                        known.uid,
                        endpoint.identity().pod_uid,
                        "a flow went to the address's old pod"
                    );
                    let may = known.mode == AdmissionMode::Open
                        || (known.mode == AdmissionMode::LastResort && service.tier() == Tier::LastResort);
                    assert!(may && !expected.ambiguous, "a flow went to {endpoint:?}, which is {known:?}");
                    assert!(!tried.iter().any(|other| Arc::ptr_eq(other, &endpoint)), "never the same twice");
                    if is_current {
                        let allowed = if client.is_ipv4() { &expected.for_v4 } else { &expected.for_v6 };
                        assert!(allowed.contains(&endpoint.address()), "{} for {client}", endpoint.address());
                    }
                    if self.generator.rng.below(5) == 0 {
                        // The connect failed: this one's permit goes, and another endpoint is asked.
                        self.seen.retries += 1;
                        self.tally.count(&endpoint, FlowEnd::Elsewhere);
                        tried.push(endpoint);
                        drop(permit);
                        continue;
                    }
                    self.seen.flows += 1;
                    self.seen.stale_picks += u64::from(!is_current);
                    self.seen.last_resort_flows += u64::from(known.mode == AdmissionMode::LastResort);
                    self.flows.push(Flow { permit, endpoint, worker });
                }
                Err(refusal) if is_current => {
                    let expected = expected.as_ref().expect("it is in the current snapshot");
                    let allowed = if client.is_ipv4() { &expected.for_v4 } else { &expected.for_v6 };
                    let reason = match (expected.synced, tried.is_empty()) {
                        (false, _) => Refusal::NotSynced,
                        (true, true) => Refusal::NoneReady,
                        (true, false) => Refusal::AllTried,
                    };
                    assert_eq!(refusal, reason);
                    let left = expected.synced && allowed.len() > tried.len();
                    assert!(
                        !left,
                        "refused, though {allowed:?} may take flows and {} were tried",
                        tried.len()
                    );
                }
                Err(_) => {}
            }
            return;
        }
    }

    /// Some flow is ended by one of its ends, or by an operator.
    pub(super) fn close_flow(&mut self) {
        if !self.flows.is_empty() {
            let at = self.generator.rng.below(self.flows.len());
            let ends = [FlowEnd::Client, FlowEnd::Endpoint, FlowEnd::Broken, FlowEnd::Ordered];
            let end = ends[self.generator.rng.below(ends.len())];
            self.end_flow(at, end);
        }
    }

    /// Every flow is counted, once, on the endpoint it has, and that endpoint can be seen.
    pub(super) fn check_flows(&self, views: &[ServiceView]) {
        let mut counted: BTreeMap<EndpointId, u64> = BTreeMap::new();
        for flow in &self.flows {
            assert!(Arc::ptr_eq(flow.permit.endpoint(), &flow.endpoint), "a flow never changes its endpoint");
            *counted.entry(flow.endpoint.id()).or_default() += 1;
        }
        let mut identities = BTreeSet::new();
        for view in views {
            for endpoint in view.endpoints.iter().map(|view| &view.endpoint) {
                let flows = counted.remove(&endpoint.id()).unwrap_or(0);
                assert_eq!(endpoint.admission().flows(), flows, "{endpoint:?}");
                let is_new = identities.insert((view.port.clone(), endpoint.identity().clone()));
                assert!(is_new, "two endpoints with one identity");
                assert_eq!(
                    self.table.endpoint(endpoint.id()).map(|endpoint| endpoint.id()),
                    Some(endpoint.id())
                );
            }
        }
        assert!(counted.is_empty(), "flows on endpoints that cannot be seen: {counted:?}");
    }
}
