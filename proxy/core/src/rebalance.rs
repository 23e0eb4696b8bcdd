//! Moving flows to endpoints that were added: which endpoints have more than their fair share, and who may be moved.
//!
//! Decided here, from numbers alone: how many flows each endpoint of a service has above its fair share, and whether one
//! more may be told to go at this moment. Not decided here: when that is begun and for which service (`table`), which
//! flow goes (the idlest, which the data plane knows), and where it goes then; that is for the picks to say.
//!
//! Workers carry a [`Rebalance`] out together, each with its own flows. It is shared, and two atomic words of it keep the
//! promises: an endpoint never has fewer than its fair share through this, and sheds never come faster than the cap.

use alloc::{sync::Arc, vec::Vec};
use core::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    endpoint::{Endpoint, EndpointId},
    pace::Pace,
    snapshot::ServiceId,
    time::Timestamp,
};

/// What one endpoint carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Its flows.
    pub flows: u64,
    /// Its share of new flows, relative to the others'.
    pub weight: u16,
}

/// The fair share of each endpoint: of all flows, as many as its weight says, rounded up.
pub fn fair_shares(loads: &[Load]) -> Vec<u64> {
    let weight = |load: &Load| u128::from(load.weight.max(1));
    let weights: u128 = loads.iter().map(weight).sum();
    let flows: u128 = loads.iter().map(|load| u128::from(load.flows)).sum();
    let share = |load: &Load| (flows * weight(load)).div_ceil(weights.max(1));
    loads.iter().map(|load| u64::try_from(share(load)).unwrap_or(u64::MAX)).collect()
}

/// How many flows each endpoint has above its fair share; none anywhere where no endpoint has more than `tolerance`
/// percent above it.
pub fn surplus(loads: &[Load], tolerance: u8) -> Vec<u64> {
    let shares = fair_shares(loads);
    let is_beyond = |(load, share): (&Load, &u64)| {
        u128::from(load.flows) * 100 > u128::from(*share) * (100 + u128::from(tolerance))
    };
    let is_balanced = !loads.iter().zip(&shares).any(is_beyond);
    let above =
        |(load, share): (&Load, &u64)| if is_balanced { 0 } else { load.flows.saturating_sub(*share) };
    loads.iter().zip(&shares).map(above).collect()
}

/// A service whose flows are being moved.
#[derive(Debug)]
pub struct Rebalance {
    service: ServiceId,
    quiet: Duration,
    parts: Vec<Part>,
    max_per_second: u32,
    pace: Pace,
    moved: AtomicU64,
    stopped: AtomicBool,
}

/// An endpoint that has more than its fair share.
#[derive(Debug)]
struct Part {
    endpoint: Arc<Endpoint>,
    /// It keeps so many.
    keep: AtomicU64,
    /// So many more may be told to go.
    left: AtomicU64,
    /// Told to go, and still counted.
    leaving: AtomicU64,
}

impl Rebalance {
    /// Nobody has been told to go. Each endpoint keeps at least its share, and gives at most its surplus away.
    pub fn new(
        service: ServiceId,
        quiet: Duration,
        max_per_second: u32,
        parts: impl IntoIterator<Item = (Arc<Endpoint>, u64, u64)>,
        now: Timestamp,
    ) -> Self {
        let part = |(endpoint, keep, surplus): (Arc<Endpoint>, u64, u64)| Part {
            endpoint,
            keep: AtomicU64::new(keep),
            left: AtomicU64::new(surplus),
            leaving: AtomicU64::new(0),
        };
        Self {
            service,
            quiet,
            parts: parts.into_iter().map(part).collect(),
            max_per_second,
            pace: Pace::new(now),
            moved: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// The service's slot in every snapshot.
    pub fn service(&self) -> ServiceId {
        self.service
    }

    /// How long a flow must have been silent to be told to go.
    pub fn quiet(&self) -> Duration {
        self.quiet
    }

    /// The endpoints that have too many.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.parts.iter().map(|part| &part.endpoint)
    }

    /// How many flows were told to go.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Flows have come and gone: the endpoint keeps so many from now on.
    pub(crate) fn keep(&self, endpoint: EndpointId, share: u64) {
        if let Some(part) = self.part(endpoint) {
            part.keep.store(share, Ordering::Relaxed);
        }
    }

    /// From here on nobody is told to go.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Of those that were told to go all have gone.
    pub(crate) fn is_settled(&self) -> bool {
        self.parts.iter().all(|part| part.leaving.load(Ordering::Acquire) == 0)
    }

    /// Each endpoint has its fair share, or has given away what it was to.
    pub fn is_done(&self) -> bool {
        self.parts.iter().all(|part| {
            part.left.load(Ordering::Relaxed) == 0
                || part.endpoint.admission().flows() <= part.keep.load(Ordering::Relaxed)
        })
    }

    /// Whether a flow of this endpoint may be told to go now. If so it is counted as leaving until
    /// [`Rebalance::left`], or until [`Rebalance::stays`] says that it was not quiet after all.
    pub fn claim(&self, endpoint: EndpointId, now: Timestamp) -> Claim {
        let Some(part) = self.part(endpoint) else { return Claim::NotHere };
        if self.stopped.load(Ordering::Relaxed) || !take_one(&part.left) {
            return Claim::NotHere;
        }
        let leaving = part.leaving.fetch_add(1, Ordering::AcqRel) + 1;
        // Who is leaving is counted until its permit is gone, and taken off here only after that: the difference is
        // never more than what stays.
        let stay = part.endpoint.admission().flows().saturating_sub(leaving);
        let claim = if stay < part.keep.load(Ordering::Relaxed) {
            Claim::NotHere
        } else if self.pace.take(self.max_per_second, now) {
            self.moved.fetch_add(1, Ordering::Relaxed);
            return Claim::Granted;
        } else {
            Claim::NotNow
        };
        part.give_back();
        claim
    }

    /// A flow that was told to go has gone: its permit is released.
    pub fn left(&self, endpoint: EndpointId) {
        if let Some(part) = self.part(endpoint) {
            part.leaving.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// A flow that was told to go was not quiet, and stays.
    pub fn stays(&self, endpoint: EndpointId) {
        if let Some(part) = self.part(endpoint) {
            part.give_back();
            self.pace.give_back(self.max_per_second);
            self.moved.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn part(&self, endpoint: EndpointId) -> Option<&Part> {
        self.parts.iter().find(|part| part.endpoint.id() == endpoint)
    }
}

impl Part {
    fn give_back(&self) {
        self.leaving.fetch_sub(1, Ordering::AcqRel);
        self.left.fetch_add(1, Ordering::AcqRel);
    }
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Tell the flow to go.
    Granted,
    /// Another one of this endpoint's may go a little later.
    NotNow,
    /// The endpoint has given away what it has to.
    NotHere,
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

#[cfg(test)]
mod tests;
