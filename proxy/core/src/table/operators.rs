//! What operators asked for, apart from what slices say: undoing one leaves the other.
//!
//! Requests are kept by what they name, not by endpoint, so that they also hold for endpoints that come later. Where
//! an address and a pod name the same endpoint, the later request wins.
//!
//! A request that names nobody is kept like any other, so whoever takes requests in bounds how many there are, as the
//! controller does. What has no effect is dropped here.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use core::net::SocketAddr;

use crate::{
    endpoint::{AdminState, OperatorRequest},
    event::EndpointSelector,
    name::ServiceName,
};

/// All requests that matter.
#[derive(Debug, Default)]
pub(super) struct Operators {
    services: BTreeMap<ServiceName, Requests>,
    requests: u64,
}

/// The requests of one Service, each with its place in the order of all.
#[derive(Debug, Default)]
struct Requests {
    addresses: BTreeMap<SocketAddr, (u64, OperatorRequest)>,
    pods: BTreeMap<Arc<str>, (u64, OperatorRequest)>,
}

impl Operators {
    /// Keeps a request; returns the Service it is about.
    pub(super) fn request(&mut self, endpoints: EndpointSelector, request: OperatorRequest) -> ServiceName {
        self.requests += 1;
        let order = self.requests;
        let service = match endpoints {
            EndpointSelector::Address { service, address } => {
                self.services.entry(service.clone()).or_default().addresses.insert(address, (order, request));
                service
            }
            EndpointSelector::Pod { service, pod } => {
                self.services.entry(service.clone()).or_default().pods.insert(pod, (order, request));
                service
            }
        };
        if self.services.get_mut(&service).is_some_and(|requests| !requests.prune()) {
            self.services.remove(&service);
        }
        service
    }

    /// The request that holds for an endpoint; `pod` is namespace/name.
    pub(super) fn asked(
        &self,
        service: &ServiceName,
        address: SocketAddr,
        pod: Option<&str>,
    ) -> Option<&OperatorRequest> {
        let requests = self.services.get(service)?;
        let by_address = requests.addresses.get(&address);
        let by_pod = pod.and_then(|pod| requests.pods.get(pod.rsplit('/').next().unwrap_or(pod)));
        let latest = by_address.into_iter().chain(by_pod).max_by_key(|(order, _)| *order);
        latest.map(|(_, request)| request)
    }

    /// Everything, in the order in which it was asked: asked again in this order, it has the same effect.
    pub(super) fn all(&self) -> Vec<(EndpointSelector, OperatorRequest)> {
        let mut all = Vec::new();
        for (service, requests) in &self.services {
            for (address, (order, request)) in &requests.addresses {
                let selector = EndpointSelector::Address { service: service.clone(), address: *address };
                all.push((*order, selector, request.clone()));
            }
            for (pod, (order, request)) in &requests.pods {
                let selector = EndpointSelector::Pod { service: service.clone(), pod: Arc::clone(pod) };
                all.push((*order, selector, request.clone()));
            }
        }
        all.sort_by_key(|(order, _, _)| *order);
        all.into_iter().map(|(_, selector, request)| (selector, request)).collect()
    }
}

impl Requests {
    /// Drops what has no effect: asking for service matters only where it overrules an earlier drain by the other kind
    /// of selector. False where nothing is left.
    fn prune(&mut self) -> bool {
        let drains = |(order, request): &(u64, OperatorRequest)| {
            (request.state != AdminState::InService).then_some(*order)
        };
        let matters = |request: &(u64, OperatorRequest), first_drain: Option<u64>| {
            drains(request).is_some() || first_drain.is_some_and(|drain| drain < request.0)
        };
        let by_pod = self.pods.values().filter_map(drains).min();
        self.addresses.retain(|_, request| matters(request, by_pod));
        let by_address = self.addresses.values().filter_map(drains).min();
        self.pods.retain(|_, request| matters(request, by_address));
        !(self.addresses.is_empty() && self.pods.is_empty())
    }
}
