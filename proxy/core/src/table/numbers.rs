//! Endpoints by number. A number is given once in the life of a process.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use crate::{
    admission::AdmissionMode,
    endpoint::{Endpoint, EndpointId, EndpointIdentity},
    name::ServicePort,
};

/// Every endpoint that the table knows, by number.
///
/// It does not keep them: an endpoint that the services have let go is forgotten here too.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// In the order of numbers, which is that of their coming.
    endpoints: Vec<(EndpointId, Weak<Endpoint>)>,
    last: u64,
}

impl Numbers {
    /// A new endpoint, closed until the publish that it is part of.
    pub(super) fn create(&mut self, service: &Arc<ServicePort>, identity: EndpointIdentity) -> Arc<Endpoint> {
        self.last += 1;
        let endpoint =
            Endpoint::new(EndpointId(self.last), Arc::clone(service), identity, AdmissionMode::Closed);
        self.endpoints.push((endpoint.id(), Arc::downgrade(&endpoint)));
        endpoint
    }

    pub(super) fn find(&self, id: EndpointId) -> Option<Arc<Endpoint>> {
        let at = self.endpoints.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.endpoints.get(at)?.1.upgrade()
    }

    pub(super) fn forget_dropped(&mut self) {
        self.endpoints.retain(|(_, endpoint)| endpoint.strong_count() > 0);
    }
}
