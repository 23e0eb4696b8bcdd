//! Workers that bring drains to their end, as they do in the data plane, and what the simulation asserts of that: nobody is
//! shed before the window, after an undrain, or faster than the cap; nobody is cut before the deadline; both wait while
//! no endpoint is ready.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tidegate_core::{
    AdmissionMode, Demand, DrainPlan, Endpoint, EndpointId, Event, FlowEnd, Schedule, ServiceId, Tier,
    Timestamp,
};

use super::{
    ledger::{self, covers},
    world::World,
};

/// The time from one look to the next where nothing is late.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// What whoever waited for a ready endpoint has left at least, where the wait was as long.
const LEFT_AFTER_WAIT: Duration = Duration::from_secs(1);

/// A worker's part in drains.
#[derive(Default)]
pub(super) struct Hand {
    lines: BTreeMap<EndpointId, Line>,
}

/// What a worker does about an endpoint.
struct Line {
    endpoint: Arc<Endpoint>,
    service: ServiceId,
    schedule: Schedule,
    /// Since when no endpoint is ready.
    waits: Option<Timestamp>,
    is_late: bool,
    /// The window has begun at an earlier look.
    has_begun: bool,
    /// The deadline that was told last.
    told: Timestamp,
    /// The deadline at the last look: that one, or put off.
    deadline: Timestamp,
    /// How long nobody could go, since an earlier deadline was told.
    waited: Duration,
    /// Whoever waited past the deadline is not cut before.
    spared: Option<Timestamp>,
}

impl Line {
    fn new(endpoint: &Arc<Endpoint>, service: ServiceId, plan: DrainPlan) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            service,
            schedule: Schedule::new(plan),
            waits: None,
            is_late: false,
            has_begun: false,
            told: plan.deadline,
            deadline: plan.deadline,
            waited: Duration::ZERO,
            spared: None,
        }
    }

    fn follow(&mut self, plan: DrainPlan) {
        self.schedule.follow(plan);
        self.has_begun = false;
        if plan.deadline < self.told {
            (self.deadline, self.waited, self.spared) = (plan.deadline, Duration::ZERO, None);
        }
        self.told = plan.deadline;
    }

    /// Some endpoint is ready again, or for the first time.
    fn resume(&mut self, since: Timestamp, of_service: u64, now: Timestamp) {
        self.schedule.resume(since, of_service, now);
        self.has_begun = false;
        let waited = now.since(since);
        self.waited += waited;
        self.spared = Some(now.after(waited.min(LEFT_AFTER_WAIT)));
    }

    /// A deadline is put off by no more than the wait, and moves earlier only where it is told so.
    fn check_deadline(&mut self) {
        let deadline = self.schedule.plan().deadline;
        let (told, before) = (self.told, self.deadline);
        assert!(
            deadline >= told.max(before),
            "{told:?} was told and {before:?} followed, and now {deadline:?}"
        );
        assert!(deadline <= told.after(self.waited), "{told:?} was put off to {deadline:?}");
        self.deadline = deadline;
    }
}

/// When flows of a service were shed, by all workers.
#[derive(Default)]
pub(super) struct Pace(BTreeMap<ServiceId, VecDeque<Timestamp>>);

impl Pace {
    /// Other settings may hold.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Counts a shed: over a second and over ten there are no more than the cap of all workers allows, and what it keeps for late looks.
    fn count(&mut self, service: ServiceId, cap: u32, now: Timestamp) {
        let times = self.0.entry(service).or_default();
        times.push_back(now);
        while times.front().is_some_and(|first| now.since(*first) > Duration::from_secs(10)) {
            times.pop_front();
        }
        for seconds in [1, 10] {
            let is_in = |time: &&Timestamp| now.since(**time) <= Duration::from_secs(seconds);
            let shed = times.iter().rev().take_while(is_in).count() as u64;
            let cap = u64::from(cap);
            let most = cap * seconds + cap / 5 + 2;
            assert!(shed <= most, "{shed} were shed in {seconds} s, at {cap} a second");
        }
    }
}

/// When shedding begins at the earliest, by the words of the configuration: the window before the deadline, or earlier
/// where the cap could not empty the service's endpoints in it.
fn window_begins(plan: &DrainPlan, flows: u64) -> Timestamp {
    let time = plan.deadline.since(plan.began);
    let window = plan.window.map_or(time / 2, |window| window.min(time));
    let last = plan.deadline.before((window / 10).min(Duration::from_millis(500)));
    let needed = Duration::from_nanos(flows * 1_000_000_000_u64.div_ceil(u64::from(plan.max_per_second)));
    let begins = plan.deadline.before(window);
    let is_enough = needed <= last.since(begins);
    let earlier = plan.deadline.before(Duration::from_millis(500)).before(needed);
    if is_enough { begins } else { begins.min(earlier).max(plan.began) }
}

impl World {
    /// Every worker hears of a plan.
    pub(super) fn tell_workers(
        &mut self,
        endpoint: &Arc<Endpoint>,
        service: ServiceId,
        plan: Option<DrainPlan>,
    ) {
        for hand in &mut self.hands {
            let Some(plan) = plan else {
                hand.lines.remove(&endpoint.id());
                continue;
            };
            match hand.lines.get_mut(&endpoint.id()) {
                Some(line) => line.follow(plan),
                None => drop(hand.lines.insert(endpoint.id(), Line::new(endpoint, service, plan))),
            }
        }
    }

    /// Time goes by, and every worker looks at its plans; some flows are never quiet.
    pub(super) fn look_at_plans(&mut self, busy: usize) {
        for worker in 0..self.hands.len() {
            self.hands[worker].lines.retain(|_, line| needs_a_plan(&line.endpoint));
        }
        for flow in &self.flows {
            let id = flow.endpoint.id();
            let is_known = self.hands[flow.worker].lines.contains_key(&id);
            assert_eq!(
                is_known,
                self.plans.contains_key(&id),
                "worker {} of {:?}",
                flow.worker,
                flow.endpoint
            );
        }
        for worker in 0..self.hands.len() {
            let wanted = |line: &Line| (line.schedule.plan().deadline, line.endpoint.admission().flows());
            let mut lines: Vec<_> =
                self.hands[worker].lines.iter().map(|(id, line)| (wanted(line), *id, line.service)).collect();
            lines.sort();
            let mut demands: BTreeMap<ServiceId, (Demand, u64)> = BTreeMap::new();
            for ((deadline, flows), _, service) in &lines {
                let (demand, all) = demands.entry(*service).or_default();
                demand.add(*flows, *deadline, self.now);
                *all += flows;
            }
            for ((deadline, flows), id, service) in lines {
                let (demand, all) = demands.get_mut(&service).expect("it was counted in");
                let (of_service, all) = (demand.next(flows, deadline, self.now), *all);
                assert!(of_service >= flows && of_service <= all + 1, "{of_service} of {all}");
                self.follow(worker, id, of_service, all, busy);
            }
        }
    }

    /// The places of a worker's flows of an endpoint.
    fn of_worker(&self, worker: usize, id: EndpointId) -> Vec<usize> {
        let flows = self.flows.iter().enumerate();
        flows
            .filter(|(_, flow)| flow.worker == worker && flow.endpoint.id() == id)
            .map(|(at, _)| at)
            .collect()
    }

    /// A worker looks at one endpoint; in the service `of_service` flows have to go by its deadline, and `all` by any.
    fn follow(&mut self, worker: usize, id: EndpointId, of_service: u64, all: u64, busy: usize) {
        let now = self.now;
        let left = self.of_worker(worker, id);
        let Some(line) = self.hands[worker].lines.get_mut(&id) else { return };
        let part = self.published.service(line.service);
        let Some(part) = part.filter(|part| part.tier() == Tier::Ready && part.eligible() > 0) else {
            line.waits.get_or_insert_with(|| line.schedule.waits_since(now));
            self.seen.waits += u64::from(!left.is_empty() && line.schedule.is_over(now));
            return;
        };
        let part = Arc::clone(part);
        if let Some(since) = line.waits.take() {
            line.resume(since, of_service, now);
        }
        line.check_deadline();
        let plan = *line.schedule.plan();
        let is_over = line.schedule.is_over(now);
        assert_eq!(is_over, now >= plan.deadline, "at {now:?} by {plan:?}");
        if is_over && std::mem::replace(&mut line.is_late, true) {
            let spared = line.spared;
            assert!(spared.is_none_or(|until| now >= until), "cut at {now:?}, and had until {spared:?}");
            if line.endpoint.admission().mode() != AdmissionMode::LastResort {
                self.hands[worker].lines.remove(&id);
            }
            self.cut(worker, id);
            return;
        }
        line.is_late &= is_over;
        line.has_begun |= now >= window_begins(&plan, all);
        let due = line.schedule.due(left.len() as u64, of_service, now);
        assert!(due <= left.len() as u64);
        assert!(due == 0 || line.has_begun, "{due} are due at {now:?}, ahead of the window of {plan:?}");
        let service = line.service;
        for _ in 0..due {
            if self.generator.chance(busy) {
                continue;
            }
            if !part.paces().drain.take(plan.max_per_second, now) {
                return;
            }
            self.shed(worker, id);
            self.pace.count(service, plan.max_per_second, now);
        }
    }

    fn shed(&mut self, worker: usize, id: EndpointId) {
        let at = self.of_worker(worker, id)[0];
        self.check_ended(at, self.plans[&id].deadline);
        self.seen.sheds += 1;
        self.seen.sheds_of_gone += u64::from(!self.is_present(id));
        self.end_flow(at, FlowEnd::Shed);
    }

    fn cut(&mut self, worker: usize, id: EndpointId) {
        while let Some(at) = self.of_worker(worker, id).first() {
            let deadline = self.plans[&id].deadline;
            assert!(self.now >= deadline, "cut ahead of the deadline");
            self.check_ended(*at, deadline);
            self.seen.cuts += 1;
            self.end_flow(*at, FlowEnd::Cut);
        }
    }

    /// A flow is about to be brought to its end: the facts ask for it, and its client finds a ready endpoint.
    fn check_ended(&self, at: usize, deadline: Timestamp) {
        let endpoint = &self.flows[at].endpoint;
        assert_ne!(endpoint.admission().mode(), AdmissionMode::Open, "{endpoint:?} is open");
        let port = endpoint.service();
        let expected = self.model.expect(port).expect("a service that was given up has no refuge");
        assert!(
            expected.tier == Tier::Ready && !expected.eligible.is_empty(),
            "no endpoint of {port} is ready"
        );
        if covers(port) {
            let drain = self.ledger.drain(&ledger::key(endpoint));
            let drain = drain.unwrap_or_else(|| panic!("{endpoint:?} does not drain"));
            assert_eq!(drain.deadline, Some(deadline), "{endpoint:?}");
        }
    }

    fn is_present(&self, id: EndpointId) -> bool {
        let views = self.table.services();
        let mut endpoints = views.iter().flat_map(|view| &view.endpoints);
        endpoints.any(|view| view.endpoint.id() == id && view.conditions.is_some())
    }

    /// Ends a flow; its worker says so where it was an endpoint's last one, unless that is lost.
    pub(super) fn end_flow(&mut self, at: usize, end: FlowEnd) {
        let flow = self.flows.swap_remove(at);
        assert!(Arc::ptr_eq(flow.permit.endpoint(), &flow.endpoint), "a flow never changes its endpoint");
        self.tally.count(&flow.endpoint, end);
        let was_last = flow.permit.end(end);
        // Now and then a report is lost, or comes for nothing.
        if (was_last && !self.generator.chance(20)) || self.generator.chance(5) {
            self.table.handle_event(Event::EndpointEmptied(flow.endpoint.id()), self.now);
            self.poll();
        }
    }

    /// A while goes by in which workers look often enough, and the table once a second.
    pub(super) fn pass(&mut self) {
        for _ in 0..1 + self.generator.rng.below(20) {
            let times = [1, 1, 2, 4, 10, 20];
            let time = LOOK * times[self.generator.rng.below(times.len())];
            self.advance(time, 30);
        }
    }

    /// Goes on by this time, with so many percent of flows that are not quiet.
    pub(super) fn advance(&mut self, time: Duration, busy: usize) {
        let before = self.now.as_secs();
        self.now = self.now.after(time);
        if self.now.as_secs() > before {
            self.tick();
        }
        self.look_at_plans(busy);
    }

    /// Follows one drain to its deadline, where that is near and nothing is in its way: everybody is shed ahead of it.
    pub(super) fn see_a_drain_through(&mut self) {
        let is_calm = |(id, plan): &(&EndpointId, &DrainPlan)| {
            let lines: Vec<&Line> = self.hands.iter().filter_map(|hand| hand.lines.get(id)).collect();
            let Some(line) = lines.first() else { return false };
            let of_service =
                |hand: &Hand| hand.lines.values().filter(|other| other.service == line.service).count();
            let flows = line.endpoint.admission().flows();
            let (begins, last) = (window_begins(plan, flows), plan.last_shed());
            let needed = Duration::from_secs(flows) / plan.max_per_second;
            let time = last.since(begins);
            let part = self.published.service(line.service);
            lines.len() == self.hands.len()
                && lines.iter().all(|line| !line.is_late && line.waits.is_none())
                && lines.iter().all(|line| line.schedule.plan() == *plan)
                && self.hands.iter().all(|hand| of_service(hand) == 1)
                && flows > 0
                && line.endpoint.admission().mode() == AdmissionMode::Closed
                && part.is_some_and(|part| part.tier() == Tier::Ready && part.eligible() > 0)
                && begins > self.now
                && time < Duration::from_secs(40)
                && time > needed * 2 + Duration::from_secs(2)
        };
        let Some((id, plan)) = self.plans.iter().find(is_calm).map(|(id, plan)| (*id, *plan)) else { return };
        // Ahead of the window nothing happens.
        let flows = self.flows.iter().filter(|flow| flow.endpoint.id() == id).count();
        let ahead = window_begins(&plan, flows as u64).since(self.now).saturating_sub(LOOK);
        self.advance(ahead, 0);
        while self.now < plan.deadline {
            self.advance(LOOK * 2, 0);
        }
        let left = self.flows.iter().filter(|flow| flow.endpoint.id() == id).count();
        assert_eq!(left, 0, "left at the deadline of {plan:?}, though all were quiet");
        self.seen.seen_through += 1;
    }
}

/// It has flows, or may get some as a last resort. Plans end ahead of an admission's opening being acted upon.
fn needs_a_plan(endpoint: &Endpoint) -> bool {
    let admission = endpoint.admission();
    assert_ne!(admission.mode(), AdmissionMode::Open, "{endpoint:?} is open and has a plan");
    admission.mode() == AdmissionMode::LastResort || admission.flows() > 0
}
