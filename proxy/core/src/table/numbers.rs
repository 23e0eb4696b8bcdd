//! Endpoints by number. A number is given once in the life of a process.

use alloc::{
    collections::BTreeMap,
    sync::{Arc, Weak},
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
    endpoints: BTreeMap<EndpointId, Weak<Endpoint>>,
    last: u64,
}

impl Numbers {
    /// A new endpoint, closed until the publish that it is part of.
    pub(super) fn create(&mut self, service: &ServicePort, identity: EndpointIdentity) -> Arc<Endpoint> {
        self.last += 1;
        let endpoint = Endpoint::new(EndpointId(self.last), service.clone(), identity, AdmissionMode::Closed);
        self.endpoints.insert(endpoint.id(), Arc::downgrade(&endpoint));
        endpoint
    }

    pub(super) fn find(&self, id: EndpointId) -> Option<Arc<Endpoint>> {
        self.endpoints.get(&id)?.upgrade()
    }

    pub(super) fn forget_dropped(&mut self) {
        self.endpoints.retain(|_, endpoint| endpoint.strong_count() > 0);
    }
}
