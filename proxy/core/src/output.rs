//! What the table asks of its owner.

use alloc::{boxed::Box, string::String, sync::Arc};
use core::time::Duration;

use crate::{
    cause::DrainCauses,
    conditions::Conditions,
    endpoint::Endpoint,
    event::PodRef,
    name::{ServiceName, ServicePort, SliceName},
    rebalance::Rebalance,
    settings::OnRemoval,
    shed::DrainPlan,
    snapshot::{ServiceId, Snapshot},
    tally::DrainRecord,
    time::Timestamp,
};

/// Something the table's owner must do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Let every worker see this snapshot.
    Publish(Arc<Snapshot>),
    /// The endpoint is gone from all slices, and flows are left on it.
    EndpointGone {
        /// Which.
        endpoint: Arc<Endpoint>,
        /// It had been terminating: its flows end by themselves.
        was_terminating: bool,
        /// What the service says about flows whose endpoint vanished without terminating.
        on_removal: OnRemoval,
        /// TCP_USER_TIMEOUT to arm on its flows' endpoint legs.
        dead_peer_timeout: Option<Duration>,
    },
    /// An endpoint that was gone is in a slice again: undo what `EndpointGone` armed.
    EndpointBack {
        /// Which.
        endpoint: Arc<Endpoint>,
        /// The TCP_USER_TIMEOUT that the service configures; `None` for the kernel's own.
        user_timeout: Option<Duration>,
    },
    /// The endpoint's flows are to be brought to their end by this plan from now on.
    DrainPlanned {
        /// Which.
        endpoint: Arc<Endpoint>,
        /// The slot of its service in every snapshot.
        service: ServiceId,
        /// The plan; `None` where there is none any more.
        plan: Option<DrainPlan>,
    },
    /// The pods whose deadlines matter from now on, all of them: they have draining flows, and their service takes its
    /// deadline from the pod. A source that knows pods tells them as [`Event::PodDeadline`](crate::Event::PodDeadline).
    PodsWanted(Arc<[PodRef]>),
    /// Flows are to be moved from the endpoints that have more than their fair share, until further notice.
    Rebalance(Option<Arc<Rebalance>>),
    /// Tell the operator.
    Notice(Notice),
}

/// A change of state that an operator cares about.
#[derive(Clone, Debug)]
pub enum Notice {
    /// An endpoint appeared.
    EndpointAdded {
        /// Which.
        endpoint: Arc<Endpoint>,
        /// With which conditions.
        conditions: Conditions,
    },
    /// An endpoint's conditions changed.
    ConditionsChanged {
        /// Which.
        endpoint: Arc<Endpoint>,
        /// From.
        from: Conditions,
        /// To.
        to: Conditions,
    },
    /// An endpoint takes no new flows any more, and its flows are counted down.
    DrainBegan {
        /// Which.
        endpoint: Arc<Endpoint>,
        /// Its pod, as namespace/name.
        pod: Option<Arc<str>>,
        /// Who wants it.
        causes: DrainCauses,
        /// Flows at that moment.
        flows: u64,
        /// When what is left is cut, where that is known already.
        deadline: Option<Timestamp>,
    },
    /// A drain was taken back: the endpoint takes new flows again or, where it has gone, its flows are let be.
    DrainUndone {
        /// What it came to.
        record: Box<DrainRecord>,
    },
    /// A draining endpoint has no flows any more.
    Drained {
        /// What the drain came to.
        record: Box<DrainRecord>,
    },
    /// An endpoint is gone from all slices.
    EndpointRemoved {
        /// Which.
        endpoint: Arc<Endpoint>,
        /// Flows that stay pinned to it.
        flows: u64,
        /// It had been terminating.
        was_terminating: bool,
    },
    /// A service has no endpoint for new flows, or has one again.
    Eligibility {
        /// Which.
        service: ServicePort,
        /// How many endpoints new flows may go to.
        eligible: usize,
    },
    /// A listener leaves the port out, and the Service has more than one.
    AmbiguousPort {
        /// Which.
        service: ServicePort,
        /// The ports that its slices have, joined with commas.
        ports: String,
    },
    /// A slice, or part of one, is not used.
    SliceIgnored {
        /// Which.
        slice: SliceName,
        /// Why.
        why: &'static str,
        /// How many of its entries.
        count: u32,
    },
    /// Flows of a service begin to be moved from endpoints that have more than their fair share.
    RebalanceBegan {
        /// Which.
        service: ServicePort,
        /// How many are to move at most.
        surplus: u64,
    },
    /// No more flows of a service are moved.
    RebalanceEnded {
        /// Which.
        service: ServicePort,
        /// How many were moved.
        moved: u64,
        /// Why it ended, in words.
        why: &'static str,
    },
    /// A service has a fixed list of endpoints and slices too; the slices are ignored.
    SlicesShadowed {
        /// Which.
        service: ServiceName,
    },
}
