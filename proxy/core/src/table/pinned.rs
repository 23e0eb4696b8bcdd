//! Flows that come from another process, each pinned to its endpoint, whether or not the table knows that one.

use alloc::{boxed::Box, sync::Arc};

use super::{
    Table,
    drain::cause,
    entry::{Before, Drain, Entry, Facts},
    service::Service,
    source::Source,
};
use crate::{
    admission::Permit,
    cause::DrainCauses,
    conditions::Conditions,
    endpoint::EndpointIdentity,
    name::ServicePort,
    settings::ServiceSettings,
    snapshot::ServiceId,
    tally::{Ends, FlowEnd},
    time::Timestamp,
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
            entry.is_plan_forgotten = true;
            self.touched.entry(port.clone()).or_default().choice = true;
        }
        permit
    }

    /// Goes on with a drain that began in another process: with its beginning, its deadline, and what it had come to
    /// there. To be called when its flows are here. A drain that is over here already has its record, and stays as it is.
    ///
    /// Says whether the drain is undone: its endpoint is present, and nothing drains it here. What it had come to is then
    /// the caller's to keep.
    #[must_use]
    pub fn go_on_with_drain(
        &mut self,
        port: &ServicePort,
        identity: &EndpointIdentity,
        so_far: &DrainSoFar,
    ) -> bool {
        let Some(service) = self.services.get_mut(port) else { return false };
        let present = service.present.get_mut(&identity.address);
        let entry = match present.filter(|entry| entry.endpoint.identity() == identity) {
            Some(entry) if entry.drain.is_none() => return true,
            Some(entry) => entry,
            None => {
                let Some(entry) = service.gone.get_mut(identity) else { return false };
                // Nobody here has seen it go. Its flows are those that came; what has ended since is tallied.
                let drain = entry.drain.get_or_insert_with(|| {
                    let flows = entry.endpoint.admission().flows();
                    let to_record = flows + entry.endpoint.tally().read().total();
                    Box::new(Drain::of_another_process(so_far.began, so_far.causes.clone(), to_record))
                });
                if drain.lasting.is_none() {
                    let asked = self.operators.asked(&port.service, identity.address, None);
                    let asked = asked.map(cause);
                    let others = so_far.causes.iter().filter(|it| Some(*it) != asked.as_ref());
                    drain.lasting = others.cloned().collect::<DrainCauses>().if_any();
                }
                entry
            }
        };
        let Some(drain) = entry.drain.as_mut().filter(|drain| drain.drained.is_none()) else { return false };
        let came = drain.to_record;
        drain.since = drain.since.min(so_far.began);
        drain.flows_at_start = so_far.flows_at_start;
        drain.deadline = [drain.deadline, so_far.deadline].into_iter().flatten().min();
        drain.before = Some(Box::new(Before {
            flows: so_far.flows_at_start.saturating_sub(came),
            // The other process has counted those out that came here.
            ends: Ends::of_each(|end| match end {
                FlowEnd::Elsewhere => so_far.ends.of(end).saturating_sub(came),
                _ => so_far.ends.of(end),
            }),
        }));
        entry.is_plan_forgotten = true;
        self.touched.entry(port.clone()).or_default().choice = true;
        false
    }
}

/// What a drain has come to in another process.
#[derive(Clone, Debug)]
pub struct DrainSoFar {
    /// When it began.
    pub began: Timestamp,
    /// Why.
    pub causes: DrainCauses,
    /// When what is left is cut.
    pub deadline: Option<Timestamp>,
    /// Flows when it began, less those that stay in the other process.
    pub flows_at_start: u64,
    /// How flows ended there.
    pub ends: Ends,
}

/// Nothing is known of it but that flows are on it.
fn unknown() -> Facts {
    Facts {
        conditions: Conditions { ready: false, serving: false, terminating: false },
        weight: 1,
        listed: None,
    }
}
