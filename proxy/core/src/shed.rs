//! When the flows of a draining endpoint are shed: evenly over a window before its deadline.
//!
//! Decided here, from numbers alone: when the window begins, and how many flows are due at a moment. Not decided here:
//! which flows (the idlest), whether one is quiet enough, and what a shed is; that is the data plane's business.
//!
//! Every worker keeps a [`Schedule`] for its own flows of the endpoint, so their sum is even too. The service's cap holds
//! over all workers, and is a [`crate::Pace`] that they share.

use core::time::Duration;

use crate::{pace::interval, time::Timestamp};

/// How the flows of a draining endpoint are brought to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    /// When the drain began.
    pub began: Timestamp,
    /// When what is left is cut.
    pub deadline: Timestamp,
    /// How long before the deadline shedding begins; `None` for the last half of the time that the drain has.
    pub window: Option<Duration>,
    /// How long a flow must have been silent to be shed.
    pub quiet: Duration,
    /// The most sheds in a second, over all draining endpoints of the service on this instance; at least 1.
    pub max_per_second: u32,
}

/// The most that the last shed comes ahead of the deadline, so that its FINs are answered by then.
const LEAD: Duration = Duration::from_millis(500);

/// What is left after a wait has at least so much time, where the wait was as long.
const AFTER_WAIT: Duration = Duration::from_secs(1);

/// The part of the window that the lead may take at most: one in so many.
const LEAD_SHARE: u32 = 10;

impl DrainPlan {
    /// The window that is configured, within the time that the drain has.
    fn window(&self) -> Duration {
        let time = self.deadline.since(self.began);
        self.window.unwrap_or(time / 2).min(time)
    }

    /// When the last flow is to be shed.
    pub fn last_shed(&self) -> Timestamp {
        self.deadline.before(LEAD.min(self.window() / LEAD_SHARE))
    }

    /// When shedding begins, where `flows` have to be shed in the service: at the window's beginning, or earlier
    /// where the cap could not empty it in that time. Never before the drain.
    pub fn begins(&self, flows: u64) -> Timestamp {
        let (configured, needed) = (self.deadline.before(self.window()), self.needed(flows));
        if needed <= self.last_shed().since(configured) {
            return configured;
        }
        // Ahead of the whole lead, for whom nobody looked in time: a cap that is all used up leaves nothing to catch up.
        configured.min(self.deadline.before(LEAD).before(needed)).max(self.began)
    }

    /// How long the cap makes it take to shed so many flows.
    fn needed(&self, flows: u64) -> Duration {
        Duration::from_nanos(flows.saturating_mul(interval(self.max_per_second)))
    }
}

/// One worker's shedding of one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    plan: DrainPlan,
    /// When it began, with the flows there were.
    start: Option<(Timestamp, u64)>,
    /// The deadline that it was told; the plan's own is later where it was put off.
    told: Timestamp,
}

impl Schedule {
    /// A schedule that has not begun.
    pub fn new(plan: DrainPlan) -> Self {
        Self { plan, start: None, told: plan.deadline }
    }

    /// What it follows.
    pub fn plan(&self) -> &DrainPlan {
        &self.plan
    }

    /// Another plan. A deadline that was put off stays so, unless an earlier one is told.
    pub fn follow(&mut self, plan: DrainPlan) {
        let put_off = if plan.deadline < self.told { plan.deadline } else { self.plan.deadline };
        self.begin_anew(plan, put_off);
    }

    /// Since when nobody could go, where that is seen at this moment for the first time. A deadline that has passed by
    /// then was not kept for that reason, since nobody knows when; at most since the drain began.
    pub fn waits_since(&self, now: Timestamp) -> Timestamp {
        if self.is_over(now) { self.plan.began.min(now) } else { now }
    }

    /// Since that moment nobody could go: what is left is spread over the time that is left. Where that is too little for
    /// `of_service` flows at the cap, the deadline is put off, or all who waited would be cut at once and storm those who
    /// are ready. By no more than the wait took, so that they have at most the time that they would have had.
    pub fn resume(&mut self, since: Timestamp, of_service: u64, now: Timestamp) {
        let enough = now.after(AFTER_WAIT.max(self.plan.needed(of_service) + LEAD));
        let most = self.plan.deadline.after(now.since(since));
        self.begin_anew(
            DrainPlan { deadline: self.told, ..self.plan },
            enough.min(most).max(self.plan.deadline),
        );
    }

    fn begin_anew(&mut self, plan: DrainPlan, put_off: Timestamp) {
        let deadline = plan.deadline.max(put_off);
        *self = Self { plan: DrainPlan { deadline, ..plan }, start: None, told: plan.deadline };
    }

    /// How many of `left` flows are due to be shed now; `of_service` counts those that are to be shed until this deadline
    /// in the whole service, over all workers, and decides with the cap when the window begins.
    pub fn due(&mut self, left: u64, of_service: u64, now: Timestamp) -> u64 {
        if now < self.plan.begins(of_service) && self.start.is_none() {
            return 0;
        }
        let (from, flows) = *self.start.get_or_insert((now, left));
        let end = self.plan.last_shed();
        // With no time to spare at the cap the cap alone says how fast, or a few flows on each of many workers would
        // be due together, at the end.
        if now.after(self.plan.needed(of_service)) >= end {
            return left;
        }
        // `from` is before `end` here: it is not after `now`.
        let (span, rest) = (nanos(end.since(from)), nanos(end.since(now)));
        let may_be_left = (u128::from(flows) * u128::from(rest)).div_ceil(u128::from(span.max(1)));
        left.saturating_sub(u64::try_from(may_be_left).unwrap_or(u64::MAX))
    }

    /// The time for shedding is over: what is left is cut.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.plan.deadline
    }
}

/// How many turns the draining endpoints of a service want, each at its own pace until its own deadline.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand {
    /// Flows whose deadline has had its turn in [`Demand::next`].
    earlier: u64,
    /// Flows in a nanosecond, of the others.
    later: f64,
}

impl Demand {
    /// Counts an endpoint in: so many flows until that deadline.
    pub fn add(&mut self, flows: u64, deadline: Timestamp, now: Timestamp) {
        self.later += rate(flows, deadline, now);
    }

    /// The endpoint with the next deadline, of those that were counted in: how many turns are wanted until then. Of those
    /// with a later one only so many as will be due by then: with all of them the time would look too short, and the
    /// flows of this one would go faster than evenly.
    pub fn next(&mut self, flows: u64, deadline: Timestamp, now: Timestamp) -> u64 {
        self.earlier += flows;
        self.later = (self.later - rate(flows, deadline, now)).max(0.0);
        self.earlier.saturating_add((self.later * nanos(deadline.since(now)) as f64) as u64)
    }
}

fn rate(flows: u64, deadline: Timestamp, now: Timestamp) -> f64 {
    flows as f64 / nanos(deadline.since(now)).max(1) as f64
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
