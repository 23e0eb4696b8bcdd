//! Who may take new flows: tier, address family, topology (semantics, "who gets a new flow").
//!
//! Decided here, from facts alone. What follows for admissions and snapshots is `publish`'s business.

use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};

use super::entry::Entry;
use crate::{
    admission::{AdmissionMode, Tier},
    pick::Weighted,
    settings::WhenNoneReady,
    snapshot::Families,
};

/// Where this process runs, and what is known of other nodes.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) node: Option<Arc<str>>,
    pub(super) zone: Option<Arc<str>>,
    /// Nodes that are going away.
    pub(super) leaving: BTreeSet<Arc<str>>,
}

impl Place {
    /// Whether the service may use the endpoint at all: traffic policy Local means this node's.
    pub(super) fn admits(&self, entry: &Entry, local_only: bool) -> bool {
        !local_only || self.has(entry)
    }

    /// Whether the endpoint is on this node.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        self.node.is_some() && entry.facts.node() == self.node.as_ref()
    }

    /// Closes what is on a node that is going away, where there is another endpoint of its family to go to (A25).
    pub(super) fn close_leaving<'a>(&self, local_only: bool, present: impl Iterator<Item = &'a mut Entry>) {
        if self.leaving.is_empty() {
            return;
        }
        let is_leaving = |entry: &Entry| entry.facts.node().is_some_and(|node| self.leaving.contains(node));
        let open: Vec<&mut Entry> = present
            .filter(|entry| entry.mode == AdmissionMode::Open && self.admits(entry, local_only))
            .collect();
        let stays = [true, false].map(|v4| {
            open.iter().any(|entry| entry.endpoint.address().is_ipv4() == v4 && !is_leaving(entry))
        });
        for entry in open.into_iter().filter(|entry| is_leaving(entry)) {
            let another_stays = if entry.endpoint.address().is_ipv4() { stays[0] } else { stays[1] };
            if another_stays {
                entry.mode = AdmissionMode::Closed;
                entry.leaves = true;
            }
        }
    }
}

/// The endpoints of a service that new flows may go to.
pub(super) struct Eligible {
    pub(super) tier: Tier,
    pub(super) families: Families,
    pub(super) v4: Vec<Weighted>,
    pub(super) v6: Vec<Weighted>,
}

/// The mode of an endpoint that Kubernetes and operators say this of, whatever its neighbours are.
pub(super) fn mode(entry: &Entry, operator_drains: bool, when_none_ready: WhenNoneReady) -> AdmissionMode {
    let conditions = entry.facts.conditions;
    if operator_drains {
        AdmissionMode::Closed
    } else if conditions.ready {
        AdmissionMode::Open
    } else if conditions.is_last_resort() && when_none_ready == WhenNoneReady::ServingTerminating {
        AdmissionMode::LastResort
    } else {
        AdmissionMode::Closed
    }
}

impl Eligible {
    /// Chooses among a service's present endpoints, in the order of addresses, whose modes are set.
    pub(super) fn among<'a>(present: impl Iterator<Item = &'a Entry> + Clone, place: &Place) -> Self {
        let is_v4 = |entry: &&Entry| entry.endpoint.address().is_ipv4();
        let families =
            match (present.clone().any(|entry| is_v4(&entry)), present.clone().any(|entry| !is_v4(&entry))) {
                (true, true) => Families::Both,
                (false, true) => Families::V6,
                (_, false) => Families::V4,
            };
        let (tier, mode) = if present.clone().any(|entry| entry.mode == AdmissionMode::Open) {
            (Tier::Ready, AdmissionMode::Open)
        } else {
            (Tier::LastResort, AdmissionMode::LastResort)
        };
        let (v4, v6): (Vec<&Entry>, Vec<&Entry>) =
            present.filter(|entry| entry.mode == mode).partition(is_v4);
        // Topology is judged on ready endpoints and for them: terminating ones carry stale hints or none.
        let choose = |family: Vec<&'a Entry>| match tier {
            Tier::Ready => near(family, place),
            Tier::LastResort => family,
        };
        let weighted = |entry: &Entry| (Arc::clone(&entry.endpoint), entry.facts.weight);
        let tier = if v4.is_empty() && v6.is_empty() { Tier::Ready } else { tier };
        Self {
            tier,
            families,
            v4: choose(v4).into_iter().map(weighted).collect(),
            v6: choose(v6).into_iter().map(weighted).collect(),
        }
    }
}

/// Node hints, else zone hints, else all. Hints count only where every endpoint has one and one names this place:
/// part of the hints would send all flows to the few endpoints that have them (A19).
fn near<'a>(all: Vec<&'a Entry>, place: &Place) -> Vec<&'a Entry> {
    let hinted = |hints: fn(&Entry) -> &[Arc<str>], here: Option<&Arc<str>>| {
        let here = here?;
        let complete = all.iter().all(|entry| !hints(entry).is_empty());
        let chosen: Vec<&Entry> = all.iter().copied().filter(|entry| hints(entry).contains(here)).collect();
        (complete && !chosen.is_empty()).then_some(chosen)
    };
    hinted(|entry| entry.facts.node_hints(), place.node.as_ref())
        .or_else(|| hinted(|entry| entry.facts.zone_hints(), place.zone.as_ref()))
        .unwrap_or(all)
}
