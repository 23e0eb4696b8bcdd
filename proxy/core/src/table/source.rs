//! Where a service's endpoints come from: slices, or a fixed list in the configuration.

use alloc::{collections::BTreeMap, vec::Vec};
use core::net::SocketAddr;

use super::{
    entry::Facts,
    join::{Join, Winner},
};
use crate::{conditions::Conditions, endpoint::EndpointIdentity, event::FixedEndpoint, name::PortName};

/// Where a service's endpoints come from.
#[derive(Debug)]
pub(super) enum Source {
    /// The slices that have this port; `None` while it is not known which port that is.
    Slices { port: Option<PortName>, join: Join },
    /// Configuration.
    Fixed { list: Vec<FixedEndpoint>, weights: BTreeMap<SocketAddr, u16> },
}

impl Source {
    /// A fixed list; of an address that is there twice, the first counts.
    pub(super) fn fixed(list: Vec<FixedEndpoint>) -> Self {
        let mut weights = BTreeMap::new();
        for endpoint in &list {
            weights.entry(endpoint.address).or_insert(endpoint.weight.max(1));
        }
        Self::Fixed { list, weights }
    }

    pub(super) fn keys(&self) -> Vec<SocketAddr> {
        match self {
            Self::Slices { join, .. } => join.keys().collect(),
            Self::Fixed { weights, .. } => weights.keys().copied().collect(),
        }
    }

    pub(super) fn winner(&self, key: SocketAddr) -> Option<Winner> {
        match self {
            Self::Slices { join, .. } => join.winner(key),
            Self::Fixed { weights, .. } => weights.get(&key).map(|weight| fixed_winner(*weight)),
        }
    }

    /// Gives back what many keys left free when they came one by one.
    pub(super) fn pack(&mut self) {
        if let Self::Slices { join, .. } = self {
            join.pack();
        }
    }

    pub(super) fn is_terminating(&self, identity: &EndpointIdentity) -> bool {
        match self {
            Self::Slices { join, .. } => join.is_terminating(identity),
            Self::Fixed { .. } => false,
        }
    }
}

/// An endpoint from configuration is always ready: that it is listed is all that is known.
fn fixed_winner(weight: u16) -> Winner {
    Winner { pod_uid: None, facts: Facts { conditions: Conditions::default(), weight, listed: None } }
}
