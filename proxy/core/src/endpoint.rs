//! An endpoint as the table and the workers share it.

use alloc::{string::String, sync::Arc};
use core::{fmt, net::SocketAddr, time::Duration};

use crate::{
    admission::{Admission, AdmissionMode},
    name::ServicePort,
    tally::Tally,
    time::Timestamp,
};

/// A number that no other endpoint of this process ever had or will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What makes an endpoint this one and no other (S7): an address that another pod takes over is another endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointIdentity {
    /// `targetRef.uid`; `None` where the slice names no object, then the address alone is the identity.
    pub pod_uid: Option<Arc<str>>,
    /// Address and port number.
    pub address: SocketAddr,
}

/// One endpoint of one service: its identity and its admission. Everything else about it (conditions, zone, admin
/// state) is in the table, because only the table's owner needs it.
#[derive(Debug)]
pub struct Endpoint {
    id: EndpointId,
    /// Shared by all endpoints of the service.
    service: Arc<ServicePort>,
    identity: EndpointIdentity,
    admission: Admission,
    tally: Tally,
}

impl Endpoint {
    /// An endpoint without flows.
    pub fn new(
        id: EndpointId,
        service: Arc<ServicePort>,
        identity: EndpointIdentity,
        mode: AdmissionMode,
    ) -> Arc<Self> {
        Arc::new(Self { id, service, identity, admission: Admission::new(mode), tally: Tally::default() })
    }

    /// Its number in this process.
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// The service it belongs to.
    pub fn service(&self) -> &ServicePort {
        &self.service
    }

    /// Its identity.
    pub fn identity(&self) -> &EndpointIdentity {
        &self.identity
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.identity.address
    }

    /// How its flows left while it took no new ones.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Its flow counter.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }
}

/// What operators want of an endpoint, whatever Kubernetes says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AdminState {
    /// Follow the slices.
    #[default]
    InService,
    /// No new flows; existing ones go on to their end.
    Drain,
}

/// Who asked for an admin state, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorRequest {
    /// The state asked for.
    pub state: AdminState,
    /// Who asked, as the admin API knows it (a name the caller gave, or its address).
    pub by: String,
    /// Why, in the operator's words; may be empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// How long after that the flows may go on; `None` leaves it to the service's settings.
    pub deadline: Option<Duration>,
}
