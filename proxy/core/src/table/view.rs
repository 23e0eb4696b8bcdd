//! The table as an operator sees it: plain values, copied out.

use alloc::{sync::Arc, vec::Vec};

use super::{Table, entry::Entry, service::Service};
use crate::{
    admission::{AdmissionMode, Tier},
    cause::DrainCauses,
    conditions::Conditions,
    endpoint::{AdminState, Endpoint, OperatorRequest},
    name::{ServicePort, SliceName},
    settings::ServiceSettings,
    snapshot::ServiceSnapshot,
    tally::Ends,
    time::Timestamp,
};

/// A service as an operator sees it.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Which.
    pub port: ServicePort,
    /// How its flows are treated.
    pub settings: Arc<ServiceSettings>,
    /// It is in the configuration; false where only flows are left of it.
    pub configured: bool,
    /// How many of its endpoints new flows may go to.
    pub eligible: usize,
    /// How many of its endpoints are on this node and take new flows because they are ready.
    pub local: usize,
    /// The eligible ones are serving and terminating, because none is ready.
    pub last_resort: bool,
    /// Its endpoints, by address, the present ones first.
    pub endpoints: Vec<EndpointView>,
}

/// An endpoint as an operator sees it.
#[derive(Clone, Debug)]
pub struct EndpointView {
    /// The endpoint with its flow count.
    pub endpoint: Arc<Endpoint>,
    /// Its conditions; `None` where it is gone from all slices.
    pub conditions: Option<Conditions>,
    /// New flows may go to it now.
    pub eligible: bool,
    /// Its share of new flows, relative to the others'.
    pub weight: u16,
    /// What an operator asked for.
    pub operator: Option<OperatorRequest>,
    /// The drain that is on.
    pub drain: Option<DrainView>,
    /// When its conditions last changed, or when it appeared or went.
    pub since: Timestamp,
    /// The pod's name, as namespace/name.
    pub pod: Option<Arc<str>>,
    /// The node it runs on.
    pub node: Option<Arc<str>>,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// The slice its facts come from, with the slice's generation; `None` for a fixed one.
    pub slice: Option<(SliceName, u64)>,
}

/// A drain that is on.
#[derive(Clone, Debug)]
pub struct DrainView {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub causes: DrainCauses,
    /// Flows when it began.
    pub flows_at_start: u64,
    /// When what is left is cut; `None` for never.
    pub deadline: Option<Timestamp>,
    /// How its flows have ended so far.
    pub ends: Ends,
    /// When the last flow ended; `None` while some are left.
    pub drained: Option<Timestamp>,
}

impl Table {
    /// Every configured service with its endpoints, in the order of names; also services that were given up while
    /// flows are left on their endpoints. As of the last [`Table::poll_output`].
    pub fn services(&self) -> Vec<ServiceView> {
        self.services.values().map(|service| self.view(service)).collect()
    }

    fn view(&self, service: &Service) -> ServiceView {
        let published = service.published.as_deref();
        let mut endpoints: Vec<EndpointView> = service
            .present
            .values()
            .map(|entry| self.endpoint_view(service, entry, Some(entry.facts.conditions)))
            .collect();
        if let Some(published) = published {
            // Both are in the order of addresses, IPv4 before IPv6.
            let mut eligible = published.endpoints().peekable();
            for view in &mut endpoints {
                view.eligible = eligible.next_if(|next| next.id() == view.endpoint.id()).is_some();
            }
        }
        let mut gone: Vec<&Entry> = service.gone.values().collect();
        gone.sort_by_key(|entry| entry.endpoint.address());
        endpoints.extend(gone.into_iter().map(|entry| self.endpoint_view(service, entry, None)));
        ServiceView {
            port: ServicePort::clone(&service.port),
            settings: Arc::clone(&service.settings),
            configured: service.configured,
            eligible: published.map_or(0, ServiceSnapshot::eligible),
            local: service
                .present
                .values()
                .filter(|entry| entry.mode == AdmissionMode::Open && self.place.has(entry))
                .count(),
            last_resort: published.is_some_and(|published| published.tier() == Tier::LastResort),
            endpoints,
        }
    }

    fn endpoint_view(
        &self,
        service: &Service,
        entry: &Entry,
        conditions: Option<Conditions>,
    ) -> EndpointView {
        let endpoint = &entry.endpoint;
        let operator = self.operators.asked(
            &service.port.service,
            endpoint.address(),
            entry.facts.pod().map(|pod| &**pod),
        );
        EndpointView {
            endpoint: Arc::clone(endpoint),
            conditions,
            eligible: false,
            weight: entry.facts.weight,
            operator: operator.filter(|request| request.state != AdminState::InService).cloned(),
            drain: entry.drain.as_ref().map(|drain| DrainView {
                since: drain.since,
                causes: drain.causes.clone(),
                flows_at_start: drain.flows_at_start,
                deadline: drain.deadline,
                ends: endpoint.tally().read().since(&drain.tallied),
                drained: drain.drained.filter(|_| endpoint.admission().flows() == 0),
            }),
            since: entry.since,
            pod: entry.facts.pod().cloned(),
            node: entry.facts.node().cloned(),
            zone: entry.facts.zone().cloned(),
            slice: entry.facts.slice().map(|(slice, generation)| (slice.clone(), generation)),
        }
    }
}
