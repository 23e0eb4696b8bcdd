//! A worker's part in drains that have a deadline: which flows are shed at which moment, and the cut at the end.
//!
//! How many are due is planned in `core::shed`, and how fast the service's flows may go, over all workers, is `core::pace`'s
//! word; here are the flows. When a plan begins, the endpoint's flows are put in line (`line`), once, the idlest first. So a
//! tick costs as much as it sheds, and a flow that moves bytes pays nothing.
//!
//! While no endpoint of the service is ready, nobody is shed and nobody is cut: there would be no place to go to. After
//! that, who waited has time to be shed before the rest is cut.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use tidegate_core::{
    AdmissionMode, Demand, DrainPlan, Endpoint, Pace, Party, Schedule, ServiceId, ServiceSnapshot, Snapshot,
    Tier, Timestamp,
};

use crate::{
    flows::{Flow, Flows},
    line::Line,
    worker::Worker,
};

/// How often a worker with plans looks at them.
pub(crate) const SHED_TICK: std::time::Duration = std::time::Duration::from_millis(50);

/// Flows of one endpoint that a tick looks at in vain at most; the rest waits for the next one.
const LOOKS: usize = 256;

/// The plans of one worker.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    draining: RefCell<Vec<Draining>>,
}

/// An endpoint whose flows have a deadline.
#[derive(Debug)]
struct Draining {
    endpoint: Arc<Endpoint>,
    service: ServiceId,
    schedule: Schedule,
    line: Line,
    /// This worker's flows that were not told to go.
    left: u64,
    /// Those that were, and have not gone yet.
    going: u64,
    /// Since when no endpoint was ready, where none was at the last look.
    waits: Option<Timestamp>,
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
    ) {
        let mut draining = self.draining.borrow_mut();
        let known = draining.iter().position(|draining| draining.endpoint.id() == endpoint.id());
        match (plan, known) {
            (Some(plan), Some(at)) => draining[at].schedule.follow(plan),
            (Some(plan), None) => {
                let mut new = Draining {
                    endpoint,
                    service,
                    schedule: Schedule::new(plan),
                    line: Line::default(),
                    left: 0,
                    going: 0,
                    waits: None,
                    is_late: false,
                };
                new.line_up(flows);
                draining.push(new);
            }
            (None, Some(at)) => {
                draining.swap_remove(at);
            }
            (None, None) => {}
        }
    }

    /// There is a plan to follow.
    pub(crate) fn is_active(&self) -> bool {
        !self.draining.borrow().is_empty()
    }

    /// A flow has ended, or left this worker.
    pub(crate) fn note_ended(&self, flow: &Flow) {
        // Without plans, which is nearly always, this is all that a flow's end pays.
        if self.is_active() {
            self.with(flow, |draining| {
                let count = if is_going(flow) { &mut draining.going } else { &mut draining.left };
                *count = count.saturating_sub(1);
            });
        }
    }

    /// A flow has come from elsewhere to an endpoint that may have a plan.
    pub(crate) fn note_adopted(&self, flow: &Flow) {
        if self.is_active() {
            self.with(flow, |draining| {
                draining.left += 1;
                draining.line.push(flow);
            });
        }
    }

    /// A flow that was told to go was not quiet after all: its turn is another one's.
    pub(crate) fn decline(&self, flow: &Flow, snapshot: &Snapshot, now: Timestamp) {
        self.with(flow, |draining| {
            draining.going = draining.going.saturating_sub(1);
            draining.left += 1;
            draining.line.step_aside(flow, now);
            if let Some(service) = snapshot.service(draining.service) {
                service.paces().drain.give_back(draining.schedule.plan().max_per_second);
            }
        });
    }

    /// Sheds what is due and cuts what is late.
    pub(crate) fn tick(&self, worker: &Worker) {
        let now = worker.now();
        let snapshot = worker.snapshot.load();
        let mut draining = self.draining.borrow_mut();
        draining.retain(Draining::needs_a_plan);
        // Where there are fewer turns than flows that are due, who has least time comes first.
        draining.sort_by_key(|draining| draining.schedule.plan().deadline);
        let mut demands: BTreeMap<ServiceId, Demand> = BTreeMap::new();
        for draining in &*draining {
            let (flows, deadline) = draining.wanted();
            demands.entry(draining.service).or_default().add(flows, deadline, now);
        }
        let mut late = Vec::new();
        for draining in &mut *draining {
            let (flows, deadline) = draining.wanted();
            let of_service = demands.entry(draining.service).or_default().next(flows, deadline, now);
            let Some(service) = refuge(&snapshot, draining.service) else {
                draining.waits.get_or_insert_with(|| draining.schedule.waits_since(now));
                continue;
            };
            if let Some(since) = draining.waits.take() {
                draining.schedule.resume(since, of_service, now);
                draining.line_up(&worker.flows);
            }
            if draining.schedule.is_over(now) {
                // Where looks came late, whoever is quiet still gets a FIN, within the cap; the next look cuts.
                if std::mem::replace(&mut draining.is_late, true) {
                    if draining.endpoint.admission().flows() > 0 {
                        late.push(draining.endpoint.id());
                    }
                    continue;
                }
            } else {
                draining.is_late = false;
            }
            draining.shed(of_service, &service.paces().drain, &worker.flows, now);
        }
        // A last resort may get flows again, which have the same plan.
        draining.retain(|draining| draining.is_last_resort() || !late.contains(&draining.endpoint.id()));
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
}

/// The service, where whoever reconnects finds a ready endpoint of it.
pub(crate) fn refuge(snapshot: &Snapshot, service: ServiceId) -> Option<&Arc<ServiceSnapshot>> {
    snapshot.service(service).filter(|service| service.tier() == Tier::Ready && service.eligible() > 0)
}

/// It was told to go because of its endpoint's deadline.
fn is_going(flow: &Flow) -> bool {
    flow.shed.get() == Some(Party::Shed)
}

impl Draining {
    fn is_last_resort(&self) -> bool {
        self.endpoint.admission().mode() == AdmissionMode::LastResort
    }

    /// It has flows, or may get some as a last resort. Where it is open, the end of the plan is on its way.
    fn needs_a_plan(&self) -> bool {
        let admission = self.endpoint.admission();
        match admission.mode() {
            AdmissionMode::Open => false,
            AdmissionMode::LastResort => true,
            AdmissionMode::Closed => admission.flows() > 0,
        }
    }

    /// How many flows are to be shed, over all workers, and until when. Of those who were told to go only this worker's
    /// are known; the others count, which makes the time look shorter and never longer than it is.
    fn wanted(&self) -> (u64, Timestamp) {
        let flows = self.endpoint.admission().flows().saturating_sub(self.going);
        (flows, self.schedule.plan().deadline)
    }

    /// Puts this worker's flows in line.
    fn line_up(&mut self, flows: &Flows) {
        self.line.clear();
        (self.left, self.going) = (0, 0);
        flows.each(Some(self.endpoint.id()), |flow| {
            if is_going(flow) {
                self.going += 1;
            } else {
                self.line.push(flow);
                self.left += 1;
            }
        });
    }

    fn shed(&mut self, of_service: u64, pace: &Pace, flows: &Flows, now: Timestamp) {
        let plan = *self.schedule.plan();
        let mut looks = LOOKS;
        for _ in 0..self.schedule.due(self.left, of_service, now) {
            let Some(flow) = self.line.next(self.endpoint.id(), plan.quiet, flows, now, &mut looks) else {
                return;
            };
            if !pace.take(plan.max_per_second, now) {
                return self.line.push(&flow);
            }
            flow.tell_to_go(Party::Shed);
            self.left = self.left.saturating_sub(1);
            self.going += 1;
            // Only looks in vain are counted.
            looks += 1;
        }
    }
}
