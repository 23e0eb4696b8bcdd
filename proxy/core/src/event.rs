//! What the table is told.

use alloc::{collections::BTreeSet, string::String, sync::Arc, vec::Vec};
use core::{net::SocketAddr, time::Duration};

use crate::{
    endpoint::{AdminState, EndpointId},
    name::{ServiceName, ServicePort, SliceName},
    settings::ServiceSettings,
    slice::Slice,
    time::Timestamp,
};

/// A fact from a source, an operator or a worker.
#[derive(Clone, Debug)]
pub enum Event {
    /// The services that are wanted, all of them: one that is missing here is given up (its flows stay pinned and
    /// counted).
    ServicesConfigured(Vec<ServiceConfig>),
    /// Where this process runs, for topology hints and traffic policy.
    NodeIs {
        /// The node's name.
        name: Option<Arc<str>>,
        /// The node's zone.
        zone: Option<Arc<str>>,
    },
    /// The nodes that are going away, all of them: their endpoints take no new flows although their slices may still
    /// say ready, unless that would leave none.
    NodesLeaving(BTreeSet<Arc<str>>),
    /// A complete list: slices that it lacks are gone. The first one ends the time before the first sync (B5).
    SlicesListed(Vec<Slice>),
    /// Several slices are new, have changed or are gone, to be acted upon together.
    SlicesChanged {
        /// New or changed.
        applied: Vec<Slice>,
        /// Gone.
        deleted: Vec<SliceName>,
    },
    /// One slice is new or has changed.
    SliceApplied(Slice),
    /// One slice is gone.
    SliceDeleted(SliceName),
    /// An operator asks for an admin state.
    AdminStateRequested {
        /// Of which endpoints.
        endpoints: EndpointSelector,
        /// Which state.
        state: AdminState,
        /// Who asks.
        by: String,
        /// Why; may be empty.
        reason: String,
        /// A drain: how long its flows may go on, whatever the service's settings say.
        deadline: Option<Duration>,
    },
    /// A pod's `metadata.deletionTimestamp` has become known, or has moved: when its processes are killed.
    PodDeadline {
        /// The pod's namespace.
        namespace: Arc<str>,
        /// Its uid.
        uid: Arc<str>,
        /// When. It only ever moves earlier; a later one is ignored.
        killed: Timestamp,
    },
    /// The pod is gone, and its deadline may be forgotten.
    PodGone {
        /// Its uid.
        uid: Arc<str>,
    },
    /// A worker saw the last flow of an endpoint that takes no new flows end.
    EndpointEmptied(EndpointId),
}

/// A service that is wanted: a Service's port with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Which.
    pub port: ServicePort,
    /// How its flows are treated.
    pub settings: ServiceSettings,
    /// A fixed list of endpoints; where it is given, slices of this service are ignored.
    pub fixed: Option<Vec<FixedEndpoint>>,
}

/// A pod, and which of those that have its name one after the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodRef {
    /// Its name, as namespace/name.
    pub name: Arc<str>,
    /// Its uid.
    pub uid: Arc<str>,
}

/// An endpoint from configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedEndpoint {
    /// Address and port number.
    pub address: SocketAddr,
    /// Its share of new flows, relative to the others'; at least 1.
    pub weight: u16,
}

/// Which endpoints an operator means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointSelector {
    /// The endpoints of a Service (every port of it) with this address. Meant for endpoints that exist now or come
    /// later, so that a drain survives a restart.
    Address {
        /// The Service.
        service: ServiceName,
        /// Address and port number.
        address: SocketAddr,
    },
    /// The endpoints of a Service (every port of it) that belong to this pod, by its name without the namespace.
    Pod {
        /// The Service.
        service: ServiceName,
        /// The pod's name.
        pod: Arc<str>,
    },
}
