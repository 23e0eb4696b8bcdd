//! The counter in which the control plane and the workers meet.
//!
//! A worker picks from a snapshot that may be a moment old. Before the flow counts, the endpoint's admission has
//! the last word: one atomic word holds both the mode and the number of flows, so "closed with N flows left" is
//! exact, and no flow enters after a close has been seen.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::{endpoint::Endpoint, tally::FlowEnd};

/// Who may enter an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionMode {
    /// Every new flow.
    Open,
    /// Only flows for which no endpoint was ready, where the service allows that.
    LastResort,
    /// Nobody.
    Closed,
}

/// Which set a flow was picked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The ready endpoints.
    Ready,
    /// The serving and terminating ones, because none was ready.
    LastResort,
}

const MODE_SHIFT: u32 = 62;
const COUNT: u64 = (1 << MODE_SHIFT) - 1;

/// An endpoint's flow count and mode in one word.
#[derive(Debug)]
pub struct Admission(AtomicU64);

impl AdmissionMode {
    const fn bits(self) -> u64 {
        match self {
            Self::Open => 0,
            Self::LastResort => 1 << MODE_SHIFT,
            Self::Closed => 2 << MODE_SHIFT,
        }
    }

    const fn of(word: u64) -> Self {
        match word >> MODE_SHIFT {
            0 => Self::Open,
            1 => Self::LastResort,
            _ => Self::Closed,
        }
    }

    const fn admits(self, tier: Tier) -> bool {
        matches!((self, tier), (Self::Open, _) | (Self::LastResort, Tier::LastResort))
    }
}

impl Admission {
    /// An admission without flows.
    pub const fn new(mode: AdmissionMode) -> Self {
        Self(AtomicU64::new(mode.bits()))
    }

    /// The number of flows that hold a permit.
    pub fn flows(&self) -> u64 {
        self.0.load(Ordering::Relaxed) & COUNT
    }

    /// The mode.
    pub fn mode(&self) -> AdmissionMode {
        AdmissionMode::of(self.0.load(Ordering::Relaxed))
    }

    /// Changes the mode and returns the number of flows at that very moment.
    pub fn set_mode(&self, mode: AdmissionMode) -> u64 {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let next = (word & COUNT) | mode.bits();
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return word & COUNT,
                Err(seen) => word = seen,
            }
        }
    }

    /// Counts one flow in, if the mode admits it.
    fn enter(&self, tier: Tier) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while AdmissionMode::of(word).admits(tier) {
            match self.0.compare_exchange_weak(word, word + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
        false
    }

    /// Counts one flow in whatever the mode: a flow that already exists, taken over from elsewhere.
    fn enter_pinned(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts one flow out; the number of flows that there were where the endpoint is not open.
    pub(crate) fn leave(&self) -> Option<u64> {
        let before = self.0.fetch_sub(1, Ordering::AcqRel);
        (AdmissionMode::of(before) != AdmissionMode::Open).then_some(before & COUNT)
    }
}

/// The right to be counted as one flow of an endpoint. Dropping it counts the flow out.
#[derive(Debug)]
pub struct Permit {
    /// `None` only after `release`.
    endpoint: Option<Arc<Endpoint>>,
}

impl Permit {
    /// Enters `endpoint` if its admission allows a flow of this tier.
    pub fn enter(endpoint: &Arc<Endpoint>, tier: Tier) -> Option<Self> {
        endpoint.admission().enter(tier).then(|| Self { endpoint: Some(Arc::clone(endpoint)) })
    }

    /// Enters `endpoint` for a flow that is already pinned to it (a flow that came from a predecessor).
    pub fn pinned(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.admission().enter_pinned();
        Self { endpoint: Some(Arc::clone(endpoint)) }
    }

    /// The endpoint this flow is counted at.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        match &self.endpoint {
            Some(endpoint) => endpoint,
            // `release` consumes the permit, so nobody can ask afterwards.
            None => unreachable!("a released permit cannot be reached"),
        }
    }

    /// Counts the flow out: it goes on elsewhere. As [`Permit::end`].
    pub fn release(self) -> bool {
        self.end(FlowEnd::Elsewhere)
    }

    /// Counts the flow out, which ended so. True where it was the last one of an endpoint that takes no new flows,
    /// which is what the controller wants to hear about.
    pub fn end(mut self, end: FlowEnd) -> bool {
        self.endpoint.take().and_then(|endpoint| leave(&endpoint, end)) == Some(1)
    }
}

/// Counts a flow out, and tallies it where the endpoint is not open.
fn leave(endpoint: &Endpoint, end: FlowEnd) -> Option<u64> {
    let flows = endpoint.admission().leave()?;
    endpoint.tally().add(end);
    Some(flows)
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(endpoint) = self.endpoint.take() {
            leave(&endpoint, FlowEnd::Elsewhere);
        }
    }
}
