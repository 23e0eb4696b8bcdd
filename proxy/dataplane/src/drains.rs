//! A worker's part in drains that have a deadline: which flows are shed at which moment, and the cut at the end.
//!
//! How many are due is planned in `core::shed`; here are the flows. The idlest goes first: when a plan begins, the
//! endpoint's flows are put in line by when they last moved bytes, and whoever comes to the front and has moved since
//! is put back in its place. So a tick costs as much as it sheds, and a flow that moves bytes pays nothing.
//!
//! While no endpoint of the service is ready, nobody is shed and nobody is cut: there would be no place to go to.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
    time::Duration,
};

use tidegate_core::{
    AdmissionMode, Allowance, DrainPlan, Endpoint, FlowId, FlowState, Party, Schedule, ServiceId, Snapshot,
    Tier, Timestamp,
};

use crate::{
    flows::{Flow, Flows},
    worker::Worker,
};

/// How often a worker with plans looks at them.
pub(crate) const SHED_TICK: Duration = Duration::from_millis(50);

/// The plans of one worker.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    draining: RefCell<Vec<Draining>>,
    allowances: RefCell<BTreeMap<ServiceId, Allowance>>,
}

/// An endpoint whose flows have a deadline.
#[derive(Debug)]
struct Draining {
    endpoint: Arc<Endpoint>,
    service: ServiceId,
    schedule: Schedule,
    /// Flows by when they were last seen to move bytes, the idlest first. Ended ones are found out when their turn
    /// comes.
    line: BinaryHeap<Reverse<(Timestamp, FlowId)>>,
    /// This worker's flows that were not told to go.
    left: u64,
    /// No endpoint was ready at the last look.
    waits: bool,
    /// The deadline was over at the last look.
    is_late: bool,
}

impl Drains {
    /// Follows a plan from now on, or no plan any more.
    pub(crate) fn plan(
        &self,
        endpoint: Arc<Endpoint>,
        service: ServiceId,
        plan: Option<DrainPlan>,
        flows: &Flows,
        now: Timestamp,
    ) {
        let mut draining = self.draining.borrow_mut();
        let known = draining.iter().position(|draining| draining.endpoint.id() == endpoint.id());
        match (plan, known) {
            (Some(plan), Some(at)) => draining[at].schedule.restart(plan),
            (Some(plan), None) => {
                let mut new = Draining {
                    endpoint,
                    service,
                    schedule: Schedule::new(plan),
                    line: BinaryHeap::new(),
                    left: 0,
                    waits: false,
                    is_late: false,
                };
                new.line_up(flows);
                draining.push(new);
                self.allowances.borrow_mut().entry(service).or_insert_with(|| Allowance::new(now));
            }
            (None, Some(at)) => {
                draining.swap_remove(at);
            }
            (None, None) => {}
        }
        self.forget_services(&draining);
    }

    /// There is a plan to follow.
    pub(crate) fn is_active(&self) -> bool {
        !self.draining.borrow().is_empty()
    }

    /// A flow has ended, or left this worker.
    pub(crate) fn note_ended(&self, flow: &Flow) {
        // Without plans, which is nearly always, this is all that a flow's end pays.
        if self.is_active() && flow.shed.get() != Some(Party::Shed) {
            self.with(flow, |draining| draining.left = draining.left.saturating_sub(1));
        }
    }

    /// A flow has come from elsewhere to an endpoint that may have a plan.
    pub(crate) fn note_adopted(&self, flow: &Flow) {
        if self.is_active() {
            self.with(flow, |draining| {
                draining.left += 1;
                draining.line.push(Reverse((flow.active.get(), flow.id)));
            });
        }
    }

    /// A flow that was told to go was not quiet after all.
    pub(crate) fn decline(&self, flow: &Flow) {
        self.with(flow, |draining| {
            draining.left += 1;
            draining.line.push(Reverse((flow.active.get(), flow.id)));
        });
    }

    /// Sheds what is due and cuts what is late.
    pub(crate) fn tick(&self, worker: &Worker) {
        let now = worker.now();
        let snapshot = worker.snapshot.load();
        let mut draining = self.draining.borrow_mut();
        draining.retain(Draining::needs_a_plan);
        let mut flows: BTreeMap<ServiceId, (u64, u64)> = BTreeMap::new();
        for draining in &*draining {
            let (own, all) = flows.entry(draining.service).or_default();
            *own += draining.left;
            *all += draining.endpoint.admission().flows();
        }
        let mut allowances = self.allowances.borrow_mut();
        let mut late = Vec::new();
        for draining in &mut *draining {
            if !has_refuge(&snapshot, draining.service) {
                draining.waits = true;
                continue;
            }
            if std::mem::take(&mut draining.waits) {
                let plan = *draining.schedule.plan();
                draining.schedule.restart(plan);
                draining.line_up(&worker.flows);
            }
            if draining.schedule.is_over(now) {
                // Where looks came late, whoever is quiet still gets a FIN, within the cap; the next look cuts.
                if std::mem::replace(&mut draining.is_late, true) {
                    late.push(draining.endpoint.id());
                    continue;
                }
            } else {
                draining.is_late = false;
            }
            let (own, all) = flows.get(&draining.service).copied().unwrap_or_default();
            let allowance = allowances.entry(draining.service).or_insert_with(|| Allowance::new(now));
            allowance.earn(draining.schedule.plan().max_per_second, own, all, now);
            draining.shed(all, allowance, &worker.flows, now);
        }
        drop(allowances);
        draining.retain(|draining| !late.contains(&draining.endpoint.id()));
        self.forget_services(&draining);
        drop(draining);
        for endpoint in late {
            worker.flows.each(Some(endpoint), |flow| flow.order(|orders| orders.close = Some(Party::Cut)));
        }
    }

    fn with(&self, flow: &Flow, change: impl FnOnce(&mut Draining)) {
        let endpoint = flow.endpoint.borrow().as_ref().map(|endpoint| endpoint.id());
        let mut draining = self.draining.borrow_mut();
        if let Some(draining) = draining.iter_mut().find(|draining| Some(draining.endpoint.id()) == endpoint)
        {
            change(draining);
        }
    }

    fn forget_services(&self, draining: &[Draining]) {
        let is_draining = |service| draining.iter().any(|draining| draining.service == service);
        self.allowances.borrow_mut().retain(|service, _| is_draining(*service));
    }
}

/// Whoever reconnects finds a ready endpoint of the service.
pub(crate) fn has_refuge(snapshot: &Snapshot, service: ServiceId) -> bool {
    let service = snapshot.service(service);
    service.is_some_and(|service| service.tier() == Tier::Ready && service.eligible() > 0)
}

impl Draining {
    /// It has flows, or may get some as a last resort. Where it is open, the end of the plan is on its way.
    fn needs_a_plan(&self) -> bool {
        let admission = self.endpoint.admission();
        match admission.mode() {
            AdmissionMode::Open => false,
            AdmissionMode::LastResort => true,
            AdmissionMode::Closed => admission.flows() > 0,
        }
    }

    /// Puts this worker's flows in line.
    fn line_up(&mut self, flows: &Flows) {
        self.line.clear();
        self.left = 0;
        flows.each(Some(self.endpoint.id()), |flow| {
            if flow.shed.get() != Some(Party::Shed) {
                self.line.push(Reverse((flow.active.get(), flow.id)));
                self.left += 1;
            }
        });
    }

    fn shed(&mut self, of_service: u64, allowance: &mut Allowance, flows: &Flows, now: Timestamp) {
        let due = self.schedule.due(self.left, of_service, now).min(allowance.allows());
        let quiet = self.schedule.plan().quiet;
        // Flows that have moved bytes since they were lined up, or ended, take a look each; the rest waits for the
        // next tick.
        let mut looks = due.saturating_mul(4).saturating_add(64);
        let mut shed = 0;
        while shed < due && looks > 0 {
            looks -= 1;
            let Some(Reverse((seen, id))) = self.line.pop() else { return };
            let Some(flow) = flows.find(id).filter(|flow| flow.is_pinned_to(self.endpoint.id())) else {
                continue;
            };
            let active = flow.active.get();
            if active != seen {
                self.line.push(Reverse((active, id)));
                continue;
            }
            if now.since(active) < quiet || flow.state.get() == FlowState::Connecting {
                // The idlest is not idle enough, so nobody is.
                self.line.push(Reverse((seen, id)));
                return;
            }
            if flow.shed.get().is_some() {
                // It goes already, for another reason; or it stays, and is seen again.
                self.line.push(Reverse((seen, id)));
                return;
            }
            flow.shed.set(Some(Party::Shed));
            flow.order(|_| ());
            self.left = self.left.saturating_sub(1);
            allowance.spend();
            shed += 1;
        }
    }
}
