//! Drains: since when, why, how many flows are left, when the last one ended.
//!
//! A drain begins when an endpoint is terminating and not ready, when an operator or a gate asks, or when its node is going
//! away. Not being ready alone is no drain: it may come back any moment and nobody waits for its flows to end. An endpoint
//! that goes with flows takes its reasons with it; only what operators asked for can still begin and be taken back.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use super::{
    Table,
    entry::{Drain, Entry},
    service::Service,
};
use crate::{
    admission::AdmissionMode,
    cause::{DrainCause, DrainCauses},
    endpoint::{Endpoint, EndpointId, OperatorRequest},
    name::SliceName,
    output::{Notice, Output},
    tally::DrainRecord,
    time::Timestamp,
};

impl Entry {
    /// Judges the drain of an endpoint that is present, its admission being set already.
    pub(super) fn judge_drain(
        &mut self,
        operator: Option<&OperatorRequest>,
        by_gate: bool,
        now: Timestamp,
    ) -> Vec<Notice> {
        let is_draining = self.facts.conditions.is_draining();
        if self.drain.is_none() && !is_draining && !self.leaves && operator.is_none() && !by_gate {
            return Vec::new();
        }
        let by_slice = is_draining.then(|| DrainCause::Slice(self.slice()));
        let by_gate = by_gate.then(|| DrainCause::Gate(self.facts.pod().cloned()));
        let causes = [by_slice, self.leaving_node(), operator.map(cause), by_gate];
        self.follow(causes.into_iter().flatten().collect(), now)
    }

    /// Judges the drain of an endpoint that has gone: what drained it when it went goes on, and operators may begin one
    /// of flows that were kept, or take back what they began.
    pub(super) fn judge_drain_of_gone(
        &mut self,
        operator: Option<&OperatorRequest>,
        now: Timestamp,
    ) -> Vec<Notice> {
        if self.drain.is_none() && (operator.is_none() || self.endpoint.admission().flows() == 0) {
            return Vec::new();
        }
        let lasting = self.drain.as_ref().and_then(|drain| drain.lasting.clone()).unwrap_or_default();
        self.follow(lasting.iter().cloned().chain(operator.map(cause)).collect(), now)
    }

    /// Begins, keeps or undoes the drain, for these causes or for none.
    fn follow(&mut self, causes: DrainCauses, now: Timestamp) -> Vec<Notice> {
        match (causes.if_any(), self.drain.as_mut()) {
            (None, None) => Vec::new(),
            (None, Some(_)) => {
                // Flows that came since it was opened are none of the drain's.
                let is_open = self.mode == AdmissionMode::Open;
                let left = if is_open { self.at_open } else { self.endpoint.admission().flows() };
                let record = self.record(left, true, now);
                self.drain = None;
                record.map(|record| Notice::DrainUndone { record: Box::new(record) }).into_iter().collect()
            }
            (Some(causes), Some(drain)) => {
                drain.causes = causes;
                Vec::new()
            }
            (Some(causes), None) => {
                let mut notices = Vec::from([self.begin_drain(causes, now)]);
                notices.extend(self.check_drained(now));
                notices
            }
        }
    }

    /// Begins the drain of an endpoint that goes, where it has a reason of its own: it was terminating, though perhaps
    /// nobody saw it so until it went; its node is leaving; or its service wants the flows of any endpoint that goes
    /// drained. From here on that reason lasts.
    pub(super) fn drain_at_leaving(
        &mut self,
        was_terminating: bool,
        by_service: bool,
        now: Timestamp,
    ) -> Option<Notice> {
        if self.endpoint.admission().flows() == 0 {
            return None;
        }
        let slice = self.slice();
        let by_slice = match (was_terminating, by_service) {
            (true, _) => Some(DrainCause::Slice(slice)),
            (false, true) => Some(DrainCause::Removal(slice)),
            (false, false) => None,
        };
        // In the order in which causes are told: a removal comes after the node.
        let (before, after) = if was_terminating { (by_slice, None) } else { (None, by_slice) };
        let lasting: DrainCauses = [before, self.leaving_node(), after].into_iter().flatten().collect();
        let lasting = lasting.if_any();
        let begun = lasting.clone().filter(|_| self.drain.is_none());
        let notice = begun.map(|causes| self.begin_drain(causes, now));
        if let Some(drain) = &mut self.drain {
            drain.lasting = lasting;
        }
        notice
    }

    /// Looks whether the drain is over. The count is exact: nobody can enter a closed admission.
    pub(super) fn check_drained(&mut self, now: Timestamp) -> Option<Notice> {
        let drain = self.drain.as_mut()?;
        if self.endpoint.admission().flows() > 0 {
            // The last resort may be drained and yet be needed again.
            drain.drained = None;
            return None;
        }
        if drain.drained.is_some() {
            return None;
        }
        if self.endpoint.tally().read().since(&drain.tallied).total() < drain.to_record {
            // A worker has counted its flow out and not yet said how it ended. The next look will see it.
            return None;
        }
        drain.drained = Some(now);
        let record = self.record(0, false, now)?;
        if let Some(drain) = &mut self.drain {
            // As a last resort it may get flows again, which are then another record's.
            drain.to_record = 0;
            drain.before = None;
            drain.tallied = self.endpoint.tally().read();
        }
        Some(Notice::Drained { record: Box::new(record) })
    }

    /// Begins a drain, and says so.
    fn begin_drain(&mut self, causes: DrainCauses, now: Timestamp) -> Notice {
        // Whoever was there at the close and is not tallied yet is still to come. Flows may also have come since: as
        // a last resort, or from another process.
        let tallied = self.endpoint.tally().read();
        let of_close = self
            .at_close
            .as_ref()
            .map_or(0, |close| close.flows.saturating_sub(tallied.since(&close.tallied).total()));
        let flows_at_start = of_close.max(self.endpoint.admission().flows());
        self.drain = Some(Box::new(Drain {
            since: now,
            causes: causes.clone(),
            lasting: None,
            flows_at_start,
            to_record: flows_at_start,
            tallied,
            deadline: None,
            drained: None,
            before: None,
        }));
        let (endpoint, pod) = (Arc::clone(&self.endpoint), self.facts.pod().cloned());
        Notice::DrainBegan { endpoint, pod, causes, flows: flows_at_start, deadline: None }
    }

    /// What the drain that is on has come to.
    fn record(&self, flows_left: u64, undone: bool, now: Timestamp) -> Option<DrainRecord> {
        let drain = self.drain.as_ref()?;
        let ends = self.endpoint.tally().read().since(&drain.tallied);
        let (before, ends) = match &drain.before {
            Some(before) => (before.flows, before.ends.plus(&ends)),
            None => (0, ends),
        };
        Some(DrainRecord {
            endpoint: Arc::clone(&self.endpoint),
            pod: self.facts.pod().cloned(),
            causes: drain.causes.clone(),
            began: drain.since,
            ended: now,
            undone,
            deadline: drain.deadline,
            flows_at_start: drain.to_record + before,
            flows_left,
            ends,
        })
    }

    /// Nobody is counted, and its drain, where there is one, is recorded. Final where the admission is closed.
    pub(super) fn is_empty(&self) -> bool {
        self.endpoint.admission().flows() == 0
            && self.drain.as_ref().is_none_or(|drain| drain.drained.is_some())
    }

    fn leaving_node(&self) -> Option<DrainCause> {
        self.facts.node().filter(|_| self.leaves).cloned().map(DrainCause::Node)
    }

    fn slice(&self) -> Option<SliceName> {
        self.facts.slice().map(|(slice, _)| slice.clone())
    }
}

/// An operator's request as a cause.
pub(super) fn cause(request: &OperatorRequest) -> DrainCause {
    DrainCause::Operator(request.by.clone())
}

impl Service {
    /// Adds to what is told of drains that begin the deadlines that were planned since.
    pub(super) fn add_deadlines(&self, notices: &mut [Notice]) {
        for notice in notices {
            let Notice::DrainBegan { endpoint, deadline, .. } = notice else { continue };
            let drain = self.entry(endpoint.identity()).and_then(|(entry, _)| entry.drain.as_ref());
            *deadline = drain.and_then(|drain| drain.deadline);
        }
    }

    /// Looks at one endpoint's count, and lets the endpoint go if nothing holds it any more.
    pub(super) fn check_endpoint(&mut self, endpoint: &Endpoint, now: Timestamp) -> Vec<Notice> {
        let is_given_up = self.is_given_up();
        let mut notices = Vec::new();
        let key = endpoint.address();
        if let Some(entry) = self.present.get_mut(&key)
            && entry.endpoint.id() == endpoint.id()
        {
            notices.extend(entry.check_drained(now));
            if is_given_up && entry.is_empty() {
                self.present.remove(&key);
            }
        } else if let Some(entry) = self.gone.get_mut(endpoint.identity()) {
            notices.extend(entry.check_drained(now));
            if entry.is_empty() {
                self.gone.remove(endpoint.identity());
            }
        }
        notices
    }

    /// Looks at every count.
    pub(super) fn check_all(&mut self, now: Timestamp) -> Vec<Notice> {
        let entries = self.present.values_mut().chain(self.gone.values_mut());
        let notices = entries.filter_map(|entry| entry.check_drained(now)).collect();
        self.gone.retain(|_, entry| !entry.is_empty());
        if self.is_given_up() {
            self.present.retain(|_, entry| !entry.is_empty());
        }
        notices
    }
}

impl Table {
    /// Every drain that is on and has flows left, with what it has come to so far.
    pub fn drains(&self, now: Timestamp) -> Vec<DrainRecord> {
        let entries =
            self.services.values().flat_map(|service| service.present.values().chain(service.gone.values()));
        let is_on = |entry: &&Entry| entry.drain.as_ref().is_some_and(|drain| drain.drained.is_none());
        entries
            .filter(is_on)
            .filter_map(|entry| entry.record(entry.endpoint.admission().flows(), false, now))
            .collect()
    }

    /// Looks at every endpoint's count, so that a lost [`EndpointEmptied`](crate::Event::EndpointEmptied) costs at
    /// most the time between two calls. What follows comes out of [`Table::poll_output`].
    pub fn handle_tick(&mut self, now: Timestamp) {
        for (port, service) in &mut self.services {
            self.outputs.extend(service.check_all(now).into_iter().map(Output::Notice));
            self.wanted_pods.look(port, service);
        }
        self.services.retain(|_, service| !service.is_over());
        self.wanted_pods.forget(&self.services);
        self.numbers.forget_dropped();
        self.want_pods();
        self.rebalance(now);
    }

    pub(super) fn endpoint_emptied(&mut self, id: EndpointId, now: Timestamp) {
        let Some(endpoint) = self.numbers.find(id) else { return };
        let Some(service) = self.services.get_mut(endpoint.service()) else { return };
        self.outputs.extend(service.check_endpoint(&endpoint, now).into_iter().map(Output::Notice));
        if service.is_over() {
            self.services.remove(endpoint.service());
        }
    }
}
