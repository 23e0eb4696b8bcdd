//! An endpoint of a service as the table knows it.

use alloc::{boxed::Box, sync::Arc};

use super::listed::Listed;
use crate::{
    admission::AdmissionMode, cause::DrainCauses, conditions::Conditions, endpoint::Endpoint,
    name::SliceName, shed::DrainPlan, slice::SliceEndpoint, tally::Ends, time::Timestamp,
};

/// What a source says of an endpoint.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) conditions: Conditions,
    pub(super) weight: u16,
    /// Where everything else stands; `None` for a fixed endpoint.
    pub(super) listed: Option<Listed>,
}

/// A drain that is on.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) since: Timestamp,
    pub(super) causes: DrainCauses,
    /// Of an endpoint that has gone: why it goes on whatever operators ask.
    pub(super) lasting: Option<DrainCauses>,
    pub(super) flows_at_start: u64,
    /// The flows that the next record is about: those that there were when it began, or none where they are in a
    /// record already.
    pub(super) to_record: u64,
    /// What had been tallied when it began, or was recorded.
    pub(super) tallied: Ends,
    /// When what is left is cut. It only ever moves earlier.
    pub(super) deadline: Option<Timestamp>,
    /// When its last flow ended.
    pub(super) drained: Option<Timestamp>,
    /// What it came to in another process, for the next record.
    pub(super) before: Option<Box<Before>>,
}

/// What a drain came to before its flows came here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// Flows that were there when it began and did not come here.
    pub(super) flows: u64,
    /// How those ended.
    pub(super) ends: Ends,
}

impl Drain {
    /// A drain that began elsewhere, of which nothing was tallied here yet.
    pub(super) fn of_another_process(since: Timestamp, causes: DrainCauses, flows: u64) -> Self {
        Self {
            since,
            causes,
            lasting: None,
            flows_at_start: flows,
            to_record: flows,
            tallied: Ends::default(),
            deadline: None,
            drained: None,
            before: None,
        }
    }

    /// Counts a flow in that was there when the drain began, though nobody here knew of it.
    pub(super) fn count_in(&mut self) {
        self.flows_at_start += 1;
        self.to_record += 1;
        self.drained = None;
    }
}

/// An endpoint, present or gone.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) endpoint: Arc<Endpoint>,
    /// The latest; of an endpoint that is gone, the last ones.
    pub(super) facts: Facts,
    /// The mode that its admission shall have.
    pub(super) mode: AdmissionMode,
    /// Its node is going away, and it takes no new flows because of that.
    pub(super) leaves: bool,
    /// Apart, because most endpoints have none, and there may be many of them.
    pub(super) drain: Option<Box<Drain>>,
    /// What the workers were told to do about the drain.
    pub(super) planned: Option<Box<DrainPlan>>,
    /// Some of them may not know that any more.
    pub(super) is_plan_forgotten: bool,
    pub(super) since: Timestamp,
    /// What was reported when it went, so that coming back can undo it.
    pub(super) reported_gone: bool,
    /// What there was when the admission closed.
    pub(super) at_close: Option<Box<AtClose>>,
    /// The flows that there were when it was opened last.
    pub(super) at_open: u64,
}

/// What there was when an admission closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct AtClose {
    pub(super) flows: u64,
    pub(super) tallied: Ends,
}

impl Facts {
    fn endpoint(&self) -> Option<&SliceEndpoint> {
        self.listed.as_ref()?.endpoint()
    }

    /// Its pod, as namespace/name.
    pub(super) fn pod(&self) -> Option<&Arc<str>> {
        self.endpoint()?.pod_name.as_ref()
    }

    /// The node it runs on.
    pub(super) fn node(&self) -> Option<&Arc<str>> {
        self.endpoint()?.node.as_ref()
    }

    /// Its zone.
    pub(super) fn zone(&self) -> Option<&Arc<str>> {
        self.endpoint()?.zone.as_ref()
    }

    /// The zones that it is meant for.
    pub(super) fn zone_hints(&self) -> &[Arc<str>] {
        self.endpoint().map_or(&[], |endpoint| &endpoint.zone_hints)
    }

    /// The nodes that it is meant for.
    pub(super) fn node_hints(&self) -> &[Arc<str>] {
        self.endpoint().map_or(&[], |endpoint| &endpoint.node_hints)
    }

    /// The slice and its generation; `None` for a fixed endpoint.
    pub(super) fn slice(&self) -> Option<(&SliceName, u64)> {
        self.listed.as_ref().map(|listed| (&listed.slice().name, listed.slice().generation))
    }

    /// Whether who may take new flows can differ between the two.
    pub(super) fn choose_alike(&self, other: &Self) -> bool {
        self.conditions == other.conditions
            && self.weight == other.weight
            && self.zone_hints() == other.zone_hints()
            && self.node_hints() == other.node_hints()
            // It may be this one, or one that is going away.
            && self.node() == other.node()
            // An operator may mean the endpoint by its pod's name.
            && self.pod() == other.pod()
    }
}

impl Entry {
    pub(super) fn new(endpoint: Arc<Endpoint>, facts: Facts, now: Timestamp) -> Self {
        Self {
            endpoint,
            facts,
            mode: AdmissionMode::Closed,
            leaves: false,
            drain: None,
            planned: None,
            is_plan_forgotten: false,
            since: now,
            reported_gone: false,
            at_close: None,
            at_open: 0,
        }
    }
}
