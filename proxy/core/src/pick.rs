//! Placeholder: written next.

use core::net::IpAddr;

/// What a pick may depend on.
#[derive(Clone, Copy, Debug)]
pub struct FlowKey {
    /// The client's address, canonical.
    pub client: IpAddr,
}

/// What a worker keeps per service between picks (the round-robin cursor).
#[derive(Clone, Debug, Default)]
pub struct PickState {
    pub(crate) cursor: u64,
}

/// Why no endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The source has not given a complete list yet.
    NotSynced,
    /// No endpoint is eligible.
    NoneReady,
    /// Every eligible endpoint was tried.
    AllTried,
}

/// The eligible endpoints of one address family.
#[derive(Debug, Default)]
pub(crate) struct PickSet;
