//! How the flows of an endpoint that takes no new ones came to their end: what a drain's record is made from.
//!
//! A flow is tallied when it leaves an admission that is not open, and the admission's word tells that in the same
//! atomic step in which the flow is counted out. So every flow that was there when the admission closed is tallied
//! exactly once, and none that left before.

use alloc::sync::Arc;
use core::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{cause::DrainCauses, endpoint::Endpoint, time::Timestamp};

/// How a flow left its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowEnd {
    /// The client closed first, or it reset or vanished.
    Client,
    /// The endpoint closed first.
    Endpoint,
    /// It was shed ahead of the deadline; no byte was lost.
    Shed,
    /// It was cut at the deadline, or a byte came in after it was shed.
    Cut,
    /// The endpoint reset it or vanished, or this host ran out of something.
    Broken,
    /// Configuration, an operator or the end of the process ended it.
    Ordered,
    /// It went on elsewhere: connecting to this endpoint failed and another one took it, or another process did.
    Elsewhere,
}

impl FlowEnd {
    /// All of them, in the order of their counts.
    pub const ALL: [Self; 7] =
        [Self::Client, Self::Endpoint, Self::Shed, Self::Cut, Self::Broken, Self::Ordered, Self::Elsewhere];

    /// The word in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Endpoint => "endpoint",
            Self::Shed => "shed",
            Self::Cut => "cut",
            Self::Broken => "broken",
            Self::Ordered => "ordered",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// Counts by [`FlowEnd`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends([u64; FlowEnd::ALL.len()]);

impl Ends {
    /// How many ended so.
    pub const fn of(&self, end: FlowEnd) -> u64 {
        self.0[end as usize]
    }

    /// So many of each.
    pub fn of_each(count: impl FnMut(FlowEnd) -> u64) -> Self {
        Self(FlowEnd::ALL.map(count))
    }

    /// Both together.
    pub fn plus(&self, other: &Self) -> Self {
        Self::of_each(|end| self.of(end).saturating_add(other.of(end)))
    }

    /// How many ended.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Those that are in here and were not in `before`.
    pub fn since(&self, before: &Self) -> Self {
        let mut since = *self;
        since.0.iter_mut().zip(before.0).for_each(|(now, before)| *now = now.saturating_sub(before));
        since
    }
}

/// The running counts of one endpoint.
#[derive(Default)]
pub struct Tally([AtomicU64; FlowEnd::ALL.len()]);

impl Tally {
    /// Counts an end.
    pub(crate) fn add(&self, end: FlowEnd) {
        self.0[end as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// What was counted so far.
    pub fn read(&self) -> Ends {
        let mut ends = Ends::default();
        ends.0.iter_mut().zip(&self.0).for_each(|(end, count)| *end = count.load(Ordering::Acquire));
        ends
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

/// What a drain came to.
#[derive(Clone, Debug)]
pub struct DrainRecord {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its pod, as namespace/name.
    pub pod: Option<Arc<str>>,
    /// Why it was drained.
    pub causes: DrainCauses,
    /// When the drain began.
    pub began: Timestamp,
    /// When it was over.
    pub ended: Timestamp,
    /// It was taken back; otherwise its last flow has ended.
    pub undone: bool,
    /// When what is left is cut, where there was a deadline.
    pub deadline: Option<Timestamp>,
    /// Flows when it began.
    pub flows_at_start: u64,
    /// Flows when it was over; 0 unless it was undone.
    pub flows_left: u64,
    /// How its flows ended.
    pub ends: Ends,
}

impl DrainRecord {
    /// Flows that came after the drain began: more than none only where the service lets flows go to terminating
    /// endpoints while none is ready.
    pub fn flows_after_start(&self) -> u64 {
        (self.flows_left + self.ends.total()).saturating_sub(self.flows_at_start)
    }
}
