//! How fast flows of a service are told to go, over all workers together.
//!
//! A [`Pace`] is one atomic word that every worker takes turns from, so the cap holds whoever has the flows, and a worker
//! that has nobody to tell leaves its turns to the others. Decided here: whether one more may be told at this moment. Who
//! it is, and whether anybody is due, is decided elsewhere (`shed`, `lifetime`, `rebalance`).

use core::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::time::Timestamp;

/// Turns, one every so often. From when on the next one is allowed, in nanoseconds.
#[derive(Debug, Default)]
pub struct Pace(AtomicU64);

/// The paces of one service.
#[derive(Debug, Default)]
pub struct Paces {
    /// Of sheds ahead of deadlines.
    pub drain: Pace,
    /// Of sheds for age. On its own, so that old flows take no turns from those that have a deadline.
    pub lifetime: Pace,
}

/// Turns that nobody took are kept for so long: workers look only now and then. No longer, so that a time without quiet
/// flows is not followed by a burst.
const KEPT: Duration = Duration::from_millis(200);

impl Pace {
    /// A pace whose first turn is at this moment; nothing is kept from before.
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_nanos()))
    }

    /// Takes a turn, if there is one.
    pub fn take(&self, max_per_second: u32, now: Timestamp) -> bool {
        let oldest = now.before(KEPT).as_nanos();
        let step = |next: u64| {
            let turn = next.max(oldest);
            (turn <= now.as_nanos()).then(|| turn.saturating_add(interval(max_per_second)))
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, step).is_ok()
    }

    /// A turn that was taken came to nothing: somebody else may have it.
    pub fn give_back(&self, max_per_second: u32) {
        let step = |next: u64| Some(next.saturating_sub(interval(max_per_second)));
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, step);
    }
}

/// The time between two turns, in nanoseconds. Rounded up: the cap is the most.
pub(crate) fn interval(max_per_second: u32) -> u64 {
    1_000_000_000_u64.div_ceil(u64::from(max_per_second.max(1)))
}

#[cfg(test)]
mod tests;
