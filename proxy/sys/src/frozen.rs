//! A flow that was taken out of its worker: descriptors and plain state, nothing that belongs to a runtime.

use std::{net::SocketAddr, os::fd::OwnedFd, time::Duration};

/// A frozen flow. Whoever holds it owns the flow: its sockets, and the bytes that were read and not yet written.
#[derive(Debug)]
pub struct FrozenFlow {
    /// The listener it was accepted on, by name.
    pub listener: String,
    /// Its service: namespace, name, port name.
    pub service: (String, String, Option<String>),
    /// The client's address.
    pub client_address: SocketAddr,
    /// The endpoint's address; for a flow that was not connected yet, any.
    pub endpoint_address: SocketAddr,
    /// The endpoint's pod, where it has one.
    pub pod_uid: Option<String>,
    /// The client's socket.
    pub client: OwnedFd,
    /// The endpoint's socket; none where the flow was not connected yet. Nothing was read of such a one, and whoever
    /// goes on with it picks an endpoint and connects anew.
    pub endpoint: Option<OwnedFd>,
    /// Client to endpoint.
    pub up: FrozenHalf,
    /// Endpoint to client.
    pub down: FrozenHalf,
    /// How long ago it was accepted.
    pub age: Duration,
    /// How long ago bytes last moved.
    pub idle: Duration,
    /// Connects that were tried.
    pub attempts: u32,
}

/// One direction of a frozen flow.
#[derive(Debug, Default)]
pub struct FrozenHalf {
    /// Bytes that were read and not yet written; they come after what is in the pipe.
    pub pending: Vec<u8>,
    /// A pipe with bytes that were read and not yet written.
    pub pipe: Option<FrozenPipe>,
    /// The source has sent its FIN.
    pub source_ended: bool,
    /// The FIN was passed on.
    pub sink_ended: bool,
    /// Bytes moved so far.
    pub bytes: u64,
}

/// A pipe and how many bytes it holds.
#[derive(Debug)]
pub struct FrozenPipe {
    /// Where bytes come out.
    pub reader: OwnedFd,
    /// Where bytes go in.
    pub writer: OwnedFd,
    /// How many are inside.
    pub length: usize,
}
