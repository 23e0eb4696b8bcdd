//! What the simulation asserts of drains: their deadlines, and what their records add up to.

use std::{collections::BTreeSet, sync::Arc};

use tidegate_core::{
    DrainDeadline, DrainPlan, DrainRecord, Endpoint, PodRef,
    table::{EndpointView, ServiceView},
};

use super::world::World;

impl World {
    /// Workers are told of a plan: a deadline only ever moves earlier while its drain lasts.
    pub(super) fn planned(&mut self, endpoint: &Arc<Endpoint>, plan: Option<DrainPlan>) {
        let before = self.plans.remove(&endpoint.id());
        assert_ne!(before, plan, "what workers know is not said again");
        let Some(plan) = plan else { return };
        if let Some(before) = before.filter(|before| before.began == plan.began) {
            assert!(plan.deadline <= before.deadline, "{before:?} became {plan:?}");
            self.seen.earlier_deadlines += u64::from(plan.deadline < before.deadline);
        }
        self.plans.insert(endpoint.id(), plan);
    }

    /// A source follows the pods of drains that are on, where their service takes its deadline from there, and no other.
    pub(super) fn check_wanted(&self) {
        let wanted = |view: &ServiceView| {
            let is_asked = view.settings.drain.deadline == DrainDeadline::Pod;
            let pods = view.endpoints.iter().filter(move |endpoint| {
                let is_on = endpoint.drain.as_ref().is_some_and(|drain| drain.drained.is_none());
                is_asked && is_on && endpoint.conditions.is_none_or(|conditions| conditions.terminating)
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

    /// Every flow that was there is accounted for, and others came only as a last resort.
    pub(super) fn check_record(&mut self, record: &DrainRecord) {
        assert!(record.undone || record.flows_left == 0, "{record:?}");
        assert!(record.flows_left + record.ends.total() >= record.flows_at_start, "{record:?}");
        let after = record.flows_after_start();
        let came = self.came_late.remove(&record.endpoint.id()).unwrap_or(0);
        assert_eq!(after, came, "{record:?}");
        self.seen.records_with_flows += u64::from(record.flows_at_start > 0);
    }

    /// The deadlines that operators see are those that workers follow.
    pub(super) fn check_plans(&self, views: &[ServiceView]) {
        for endpoint in views.iter().flat_map(|view| &view.endpoints) {
            let shown = endpoint.drain.as_ref().and_then(|drain| drain.deadline);
            let planned = self.plans.get(&endpoint.endpoint.id()).map(|plan| plan.deadline);
            assert_eq!(shown, planned, "{endpoint:?}");
        }
    }
}
