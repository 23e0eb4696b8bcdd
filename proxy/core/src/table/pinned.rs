//! Flows that come from another process, each pinned to its endpoint, whether or not the table knows that one.

use alloc::sync::Arc;

use super::{
    Table,
    entry::{Entry, Facts},
    service::Service,
    source::Source,
};
use crate::{
    admission::Permit, conditions::Conditions, endpoint::EndpointIdentity, name::ServicePort,
    settings::ServiceSettings, snapshot::ServiceId, time::Timestamp,
};

impl Table {
    /// Counts a flow in that is pinned to this endpoint already. An endpoint that is not known is entered as one that
    /// has gone: it takes no new flows, and is let go with its last one. What follows for drains comes out of
    /// [`Table::poll_output`].
    pub fn pin(&mut self, port: &ServicePort, identity: EndpointIdentity, now: Timestamp) -> Permit {
        let next = ServiceId(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        let slot = *self.slots.entry(port.clone()).or_insert(next);
        let slices = &self.slices;
        let service = self.services.entry(port.clone()).or_insert_with(|| {
            let settings = Arc::new(ServiceSettings::default());
            let mut service = Service::new(port.clone(), slot, settings, Source::of(port, None, slices));
            service.configured = false;
            service
        });
        let (numbers, shared) = (&mut self.numbers, Arc::clone(&service.port));
        let present = service.present.get_mut(&identity.address);
        let entry = match present.filter(|entry| *entry.endpoint.identity() == identity) {
            Some(entry) => entry,
            None => service.gone.entry(identity.clone()).or_insert_with(|| {
                let mut entry = Entry::new(numbers.create(&shared, identity), unknown(), now);
                // Its dead peer timeout, where one was armed, is still on its sockets; coming back takes it off.
                entry.reported_gone = true;
                entry
            }),
        };
        let permit = Permit::pinned(&entry.endpoint);
        self.gates.found(&entry.endpoint);
        if let Some(drain) = &mut entry.drain {
            // It was there when the drain began, in the other process, and the drain is not over.
            drain.count_in();
            // Workers forget the plan of an endpoint without flows.
            entry.planned = None;
            self.touched.entry(port.clone()).or_default().choice = true;
        }
        permit
    }
}

/// Nothing is known of it but that flows are on it.
fn unknown() -> Facts {
    Facts {
        conditions: Conditions { ready: false, serving: false, terminating: false },
        weight: 1,
        listed: None,
    }
}
