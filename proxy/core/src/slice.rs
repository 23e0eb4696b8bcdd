//! An EndpointSlice, reduced to what the table needs. Adapters translate their objects into this.

use alloc::{sync::Arc, vec::Vec};
use core::net::IpAddr;

use crate::{
    conditions::Conditions,
    name::{PortName, ServiceName, SliceName},
};

/// One slice as a source last saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The object's name: the unit in which state is kept (S2).
    pub name: SliceName,
    /// From the label `kubernetes.io/service-name`; `None` where the label is absent (S1: ignored and counted).
    pub service: Option<ServiceName>,
    /// `metadata.generation`, for people; 0 where absent.
    pub generation: u64,
    /// The TCP ports with a number (S5). Other protocols and portless entries are in `ignored_ports`.
    pub ports: Vec<SlicePort>,
    /// The endpoints whose first address is an IP address.
    pub endpoints: Vec<SliceEndpoint>,
    /// Ports that are not TCP, or have no number or number zero.
    pub ignored_ports: u32,
    /// Endpoints without a usable address: no address, not an IP, or not of the slice's address type (A13).
    pub ignored_endpoints: u32,
    /// The slice as a whole is of a kind that is ignored (`addressType: FQDN`, S6).
    pub is_fqdn: bool,
}

/// A port of a slice: every endpoint of the slice has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The port's name; empty where the slice leaves it out.
    pub name: PortName,
    /// The number, never zero.
    pub number: u16,
}

/// An endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// `addresses[0]` (S6).
    pub address: IpAddr,
    /// The conditions, defaults applied.
    pub conditions: Conditions,
    /// `targetRef.uid`.
    pub pod_uid: Option<Arc<str>>,
    /// `targetRef` as namespace/name, for people.
    pub pod_name: Option<Arc<str>>,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `zone`.
    pub zone: Option<Arc<str>>,
    /// `hints.forZones[].name`; empty where there are none.
    pub zone_hints: Vec<Arc<str>>,
    /// `hints.forNodes[].name`; empty where there are none.
    pub node_hints: Vec<Arc<str>>,
}
