//! What the simulation asserts of drains: that workers and operators are told the deadlines which follow from the facts.

use std::{collections::BTreeSet, sync::Arc};

use tidegate_core::{
    AdmissionMode, DrainDeadline, DrainPlan, Endpoint, PodRef,
    table::{EndpointView, ServiceView},
};

use super::{
    ledger::{self, Counts, covers},
    world::World,
};

impl World {
    /// Workers are told of a plan: a deadline only ever moves earlier while its drain lasts.
    pub(super) fn planned(&mut self, endpoint: &Arc<Endpoint>, plan: Option<DrainPlan>) {
        let before = self.plans.remove(&endpoint.id());
        let may_be_forgotten = endpoint.admission().mode() == AdmissionMode::LastResort;
        assert!(before != plan || may_be_forgotten, "what workers know is not said again");
        let Some(plan) = plan else { return };
        if let Some(before) = before.filter(|before| before.began == plan.began) {
            assert!(plan.deadline <= before.deadline, "{before:?} became {plan:?}");
            self.seen.earlier_deadlines += u64::from(plan.deadline < before.deadline);
        }
        self.plans.insert(endpoint.id(), plan);
    }

    /// A source follows the pods of drains that are on and those that wait at a gate, where their service takes its
    /// deadline from there and they terminate, and no other.
    pub(super) fn check_wanted(&self) {
        let wanted = |view: &ServiceView| {
            let is_asked = view.settings.drain.deadline == DrainDeadline::Pod;
            let pods = view.endpoints.iter().filter(move |endpoint| {
                let is_on = endpoint.drain.as_ref().is_some_and(|drain| drain.drained.is_none());
                let uid = &endpoint.endpoint.identity().pod_uid;
                let is_waiting = uid.as_ref().is_some_and(|uid| self.model.gates.contains(uid));
                is_asked
                    && (is_on || is_waiting)
                    && endpoint.conditions.is_none_or(|conditions| conditions.terminating)
            });
            let of = |endpoint: &EndpointView| {
                let uid = endpoint.endpoint.identity().pod_uid.clone()?;
                Some(PodRef { name: endpoint.pod.clone()?, uid })
            };
            pods.filter_map(of).collect::<Vec<_>>()
        };
        let wanted: BTreeSet<PodRef> = self.table.services().iter().flat_map(wanted).collect();
        assert_eq!(self.wanted.iter().cloned().collect::<Vec<_>>(), wanted.into_iter().collect::<Vec<_>>());
    }

    /// How many flows are on each endpoint.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for flow in &self.flows {
            *counts.entry(ledger::key(&flow.endpoint)).or_default() += 1;
        }
        counts
    }

    /// What operators see and what workers follow is what the facts ask for.
    pub(super) fn check_plans(&mut self, views: &[ServiceView]) {
        self.ledger.compare(views, &self.counts());
        for endpoint in views.iter().flat_map(|view| &view.endpoints) {
            let planned = self.plans.get(&endpoint.endpoint.id()).copied();
            let shown = endpoint.drain.as_ref().and_then(|drain| drain.deadline);
            assert_eq!(shown, planned.map(|plan| plan.deadline), "{endpoint:?}");
            if covers(endpoint.endpoint.service()) {
                assert_eq!(planned, self.ledger.plan(&ledger::key(&endpoint.endpoint)), "{endpoint:?}");
            }
        }
    }
}
