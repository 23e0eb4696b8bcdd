//! When the flows of a draining endpoint are shed: evenly over a window before its deadline.
//!
//! Decided here, from numbers alone: when the window begins, and how many flows are due at a moment. Not decided here:
//! which flows (the idlest), whether one is quiet enough, and what a shed is; that is the data plane's business.
//!
//! Every worker keeps a [`Schedule`] for its own flows of the endpoint, so their sum is even too, and an [`Allowance`]
//! for its share of the service's cap.

use core::time::Duration;

use crate::time::Timestamp;

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
        let configured = self.deadline.before(self.window());
        let needed = u128::from(flows) * 1_000_000_000 / u128::from(self.max_per_second.max(1));
        let needed = Duration::from_nanos(u64::try_from(needed).unwrap_or(u64::MAX));
        configured.min(self.last_shed().before(needed)).max(self.began)
    }
}

/// One worker's shedding of one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    plan: DrainPlan,
    /// When it began, with the flows there were.
    start: Option<(Timestamp, u64)>,
}

impl Schedule {
    /// A schedule that has not begun.
    pub fn new(plan: DrainPlan) -> Self {
        Self { plan, start: None }
    }

    /// What it follows.
    pub fn plan(&self) -> &DrainPlan {
        &self.plan
    }

    /// Another plan, or the time stood still for a while: what is left is spread over the time that is left.
    pub fn restart(&mut self, plan: DrainPlan) {
        *self = Self::new(plan);
    }

    /// How many of `left` flows are due to be shed now; `of_service` counts the flows of all draining endpoints of the
    /// service, over all workers, and decides with the cap when the window begins.
    pub fn due(&mut self, left: u64, of_service: u64, now: Timestamp) -> u64 {
        if now < self.plan.begins(of_service) && self.start.is_none() {
            return 0;
        }
        let (from, flows) = *self.start.get_or_insert((now, left));
        let end = self.plan.last_shed();
        if now >= end {
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

/// What a worker may shed of a service in the time that has gone by.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    at: Timestamp,
    /// Sheds saved up, in billionths.
    saved: u64,
}

/// Sheds are saved up for no longer than this, so that a time without quiet flows is not followed by a burst.
const SAVED_UP: Duration = Duration::from_millis(200);

impl Allowance {
    /// Nothing saved up.
    pub fn new(now: Timestamp) -> Self {
        Self { at: now, saved: 0 }
    }

    /// Counts the time in. The worker has `own` of the service's `all` flows that have to be shed, and so much of the
    /// cap.
    pub fn earn(&mut self, max_per_second: u32, own: u64, all: u64, now: Timestamp) {
        let earned = |time: Duration| {
            let share = u128::from(max_per_second) * u128::from(own.min(all)) / u128::from(all.max(1)).max(1);
            // Less than one a second is still something, or a worker with few of many flows would never shed.
            u64::try_from(u128::from(nanos(time)) * share.max(1)).unwrap_or(u64::MAX)
        };
        let most = earned(SAVED_UP).max(1_000_000_000);
        self.saved = self.saved.saturating_add(earned(now.since(self.at))).min(most);
        self.at = now;
    }

    /// How many sheds are allowed at this moment.
    pub fn allows(&self) -> u64 {
        self.saved / 1_000_000_000
    }

    /// Counts a shed.
    pub fn spend(&mut self) {
        self.saved = self.saved.saturating_sub(1_000_000_000);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
