//! From what has changed to what is published.
//!
//! The order matters, and this is the only place that has it:
//!
//! 1. every touched service is settled and its next snapshot is built, which may take a while and changes nothing
//!    that a worker sees;
//! 2. admissions that close are closed;
//! 3. admissions that open are opened;
//! 4. the snapshot goes out.
//!
//! A flow can never be sent to an endpoint that has closed, whatever snapshot its worker holds: every flow has to
//! enter the admission, which is one atomic word, and after step 2 that word refuses. The snapshot only narrows the
//! choice. Closing before opening keeps the promise "never on an endpoint that is not eligible" ahead of the wish
//! "never without one"; because everything is built by then, a worker whose whole choice has just closed waits
//! microseconds for the next one. Opening before the snapshot goes out means that whoever sees the new snapshot is let in.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};

use super::{
    Table,
    eligible::{Eligible, Place, mode},
    entry::{AtClose, Entry},
    gate::Gates,
    operators::Operators,
    service::{Left, Service, Settled},
    touch::Touch,
};
use crate::{
    admission::AdmissionMode,
    affinity::{AffinityTable, CAPACITY},
    endpoint::{AdminState, OperatorRequest},
    name::ServicePort,
    output::{Notice, Output},
    pick::{PickSet, Weighted},
    settings::OnRemoval,
    snapshot::{ServiceSnapshot, Snapshot},
    time::Timestamp,
};

impl Table {
    /// Acts on everything that was touched since the last call.
    pub(super) fn publish(&mut self, now: Timestamp) {
        let touched: BTreeMap<ServicePort, Touch> = core::mem::take(&mut self.touched);
        let mut settled: Vec<(ServicePort, Settled)> = Vec::new();
        let mut next = self.snapshot.services.clone();
        let mut changed = false;
        for (port, touch) in touched {
            let Some(service) = self.services.get_mut(&port) else { continue };
            let outcome = service.settle(&touch, &mut self.numbers, now);
            if outcome.choice {
                service.set_modes(&self.operators, &self.gates, &self.place);
                let published = service.next_snapshot(self.synced, &self.place, self.seed);
                let slot = service.slot.0 as usize;
                if next.len() <= slot {
                    next.resize(slot + 1, None);
                }
                if let (Some(published), Some(slot)) = (published, next.get_mut(slot)) {
                    self.rebalances.note(&port, service.published.as_deref(), published.as_deref(), now);
                    slot.clone_from(&published);
                    service.published = published;
                    changed = true;
                }
            }
            settled.push((port, outcome));
        }
        for close in [true, false] {
            for (port, outcome) in settled.iter_mut().filter(|(_, outcome)| outcome.choice) {
                let Some(service) = self.services.get_mut(port) else { continue };
                let left = outcome.left.iter_mut().map(|left| &mut left.entry);
                service.present.values_mut().chain(left).for_each(|entry| entry.move_admission(close));
            }
        }
        if changed {
            let snapshot =
                Snapshot { generation: self.snapshot.generation.saturating_add(1), services: next };
            self.snapshot = Arc::new(snapshot);
            // Ahead of everything: the call that publishes hands it out, so no two ever wait here.
            self.outputs.push_front(Output::Publish(Arc::clone(&self.snapshot)));
        }
        for (port, outcome) in settled {
            self.follow_up(&port, outcome, now);
        }
        self.gates.forget(&self.services);
        self.want_pods();
    }

    /// Drains, the gone and the back, and what operators are told: all after the fact.
    fn follow_up(&mut self, port: &ServicePort, settled: Settled, now: Timestamp) {
        let Some(service) = self.services.get_mut(port) else { return };
        let user_timeout = service.settings.user_timeout;
        let back = settled.back.into_iter().map(|endpoint| Output::EndpointBack { endpoint, user_timeout });
        self.outputs.extend(back);
        let mut notices = settled.notices;
        for left in settled.left {
            let (gone, told) = service.file_away(left, now);
            self.outputs.extend(gone);
            notices.extend(told);
        }
        if settled.choice {
            let Service { settings, present, gone, slot, .. } = service;
            let (drain, pods) = (&settings.drain, &self.pod_deadlines);
            for entry in present.values_mut() {
                let operator = asked_to_drain(&self.operators, entry);
                notices.extend(entry.judge_drain(operator, self.gates.drains(entry), now));
                self.outputs.extend(entry.plan_drain(drain, operator, pods, *slot, now));
            }
            for entry in gone.values_mut() {
                let operator = asked_to_drain(&self.operators, entry);
                notices.extend(entry.judge_drain_of_gone(operator, now));
                self.outputs.extend(entry.plan_drain(drain, operator, pods, *slot, now));
            }
            service.add_deadlines(&mut notices);
            self.wanted_pods.look(port, service);
        }
        if service.is_given_up() {
            service.present.retain(|_, entry| !entry.is_empty());
        }
        self.gates.look(port, service);
        notices.extend(service.tell(self.synced, || self.slices.ports(&port.service)));
        if service.is_over() {
            self.services.remove(port);
        }
        self.outputs.extend(notices.into_iter().map(Output::Notice));
    }
}

/// The request by which an operator drains an endpoint.
fn asked_to_drain<'a>(operators: &'a Operators, entry: &Entry) -> Option<&'a OperatorRequest> {
    let service = &entry.endpoint.service().service;
    let request = operators.asked(service, entry.endpoint.address(), entry.facts.pod().map(|pod| &**pod))?;
    match request.state {
        AdminState::Drain => Some(request),
        AdminState::InService => None,
    }
}

impl Entry {
    /// Moves the admission to the entry's mode if that is a step in this direction.
    fn move_admission(&mut self, close: bool) {
        let openness = |mode| match mode {
            AdmissionMode::Closed => 0,
            AdmissionMode::LastResort => 1,
            AdmissionMode::Open => 2,
        };
        let admission = self.endpoint.admission();
        let (from, to) = (openness(admission.mode()), openness(self.mode));
        if (close && to < from) || (!close && to > from) {
            // Read first: who leaves from the close on is tallied, and was counted by it.
            let (from, tallied) = (admission.mode(), self.endpoint.tally().read());
            // As a last resort it may get flows: where it was closed and had none, workers have forgotten its plan.
            self.is_plan_forgotten |= (from, self.mode) == (AdmissionMode::Closed, AdmissionMode::LastResort);
            let flows = admission.set_mode(self.mode);
            if from == AdmissionMode::Open {
                self.at_close = Some(Box::new(AtClose { flows, tallied }));
            } else if self.mode == AdmissionMode::Open {
                self.at_open = flows;
            }
        }
    }
}

impl Service {
    fn set_modes(&mut self, operators: &Operators, gates: &Gates, place: &Place) {
        for entry in self.present.values_mut() {
            let drains = asked_to_drain(operators, entry).is_some() || gates.drains(entry);
            entry.leaves = false;
            entry.mode = if self.configured && !self.ambiguous {
                mode(entry, drains, self.settings.when_none_ready)
            } else {
                AdmissionMode::Closed
            };
        }
        let local_only = self.settings.local_only;
        place.close_leaving(local_only, self.present.values_mut());
        let is_open = |entry: &Entry| entry.mode == AdmissionMode::Open && place.admits(entry, local_only);
        let any_is_open = self.present.values().any(is_open);
        gates.close_last_resorts(&mut self.present, any_is_open);
    }

    /// The service's part of the next snapshot; `None` where it is as it was. The inner `None` is a service that was
    /// given up.
    fn next_snapshot(
        &mut self,
        synced: bool,
        place: &Place,
        seed: u64,
    ) -> Option<Option<Arc<ServiceSnapshot>>> {
        if !self.configured {
            self.affinity = None;
            return self.published.is_some().then_some(None);
        }
        let synced = synced || self.is_fixed();
        let local_only = self.settings.local_only;
        let eligible =
            Eligible::among(self.present.values().filter(|entry| place.admits(entry, local_only)), place);
        let as_before = self.published.as_deref().is_some_and(|published| {
            published.synced == synced
                && Arc::ptr_eq(&published.settings, &self.settings)
                && published.tier == eligible.tier
                && published.families == eligible.families
                && published.v4.holds(&eligible.v4)
                && published.v6.holds(&eligible.v6)
        });
        if as_before {
            return None;
        }
        let has_affinity = self.settings.affinity_timeout.is_some();
        self.affinity = match self.affinity.take() {
            Some(kept) if has_affinity => Some(kept),
            _ => has_affinity.then(|| Arc::new(AffinityTable::new(seed, CAPACITY))),
        };
        let policy = self.settings.policy;
        // A maglev table takes a millisecond or more to build: one family's change leaves the other's alone.
        let set = |known: Option<&Arc<PickSet>>, eligible: &[Weighted]| {
            let kept = known.filter(|set| set.serves(eligible, policy, has_affinity)).map(Arc::clone);
            kept.unwrap_or_else(|| Arc::new(PickSet::new(eligible, policy, has_affinity)))
        };
        let known = self.published.as_deref();
        Some(Some(Arc::new(ServiceSnapshot {
            port: Arc::clone(&self.port),
            settings: Arc::clone(&self.settings),
            synced,
            tier: eligible.tier,
            families: eligible.families,
            v4: set(known.map(|known| &known.v4), &eligible.v4),
            v6: set(known.map(|known| &known.v6), &eligible.v6),
            affinity: self.affinity.clone(),
            paces: Arc::clone(&self.paces),
        })))
    }

    /// Keeps an endpoint that has left, if flows are left on it.
    fn file_away(&mut self, left: Left, now: Timestamp) -> (Option<Output>, Vec<Notice>) {
        let Left { mut entry, was_terminating, by_reload } = left;
        let endpoint = Arc::clone(&entry.endpoint);
        // Closed already, so this can only fall, and zero is final.
        let flows = endpoint.admission().flows();
        let mut notices = Vec::new();
        let by_service = !by_reload && self.settings.on_removal == OnRemoval::Deadline;
        notices.extend(entry.drain_at_leaving(was_terminating, by_service, now));
        notices.extend(entry.check_drained(now));
        notices.push(Notice::EndpointRemoved { endpoint: Arc::clone(&endpoint), flows, was_terminating });
        if flows == 0 {
            return (None, notices);
        }
        entry.reported_gone = !by_reload;
        entry.facts.listed = entry.facts.listed.take().map(|listed| listed.alone());
        self.gone.insert(endpoint.identity().clone(), entry);
        let gone = (!by_reload).then(|| Output::EndpointGone {
            endpoint,
            was_terminating,
            on_removal: self.settings.on_removal,
            dead_peer_timeout: self.settings.dead_peer_timeout,
        });
        (gone, notices)
    }

    /// What operators have not been told of the service as a whole.
    fn tell(&mut self, synced: bool, ports: impl FnOnce() -> alloc::string::String) -> Vec<Notice> {
        let mut notices = Vec::new();
        if self.ambiguous && !self.told.ambiguous {
            notices.push(Notice::AmbiguousPort { service: ServicePort::clone(&self.port), ports: ports() });
        }
        self.told.ambiguous = self.ambiguous;
        let eligible = self.published.as_deref().map(ServiceSnapshot::eligible);
        if let Some(eligible) = eligible.filter(|_| synced || self.is_fixed()) {
            // That a service has endpoints from the start is nothing to tell.
            if self.told.any_eligible.unwrap_or(true) != (eligible > 0) {
                notices.push(Notice::Eligibility { service: ServicePort::clone(&self.port), eligible });
            }
            self.told.any_eligible = Some(eligible > 0);
        }
        notices
    }
}
