//! What has happened to a service since its last publish: events only mark, publishing acts.

use alloc::collections::{BTreeMap, BTreeSet};
use core::net::SocketAddr;

use super::{entry::Entry, join::keyed};
use crate::{endpoint::EndpointIdentity, name::PortName, slice::Slice};

/// What has happened to a service since its last publish.
#[derive(Debug, Default)]
pub(super) struct Touch {
    /// Keys that may have another endpoint, or other facts.
    pub(super) keys: BTreeSet<SocketAddr>,
    /// All keys may.
    pub(super) all: bool,
    /// Who may take new flows may differ though no endpoint does.
    pub(super) choice: bool,
    /// Its source has changed or it was given up: endpoints that go with that are merely not chosen any more.
    pub(super) reload: bool,
    /// Present endpoints that were terminating in a slice which has changed since.
    pub(super) terminated: BTreeSet<EndpointIdentity>,
}

impl Touch {
    /// Every key, and the choice.
    pub(super) fn everything(&mut self) {
        self.all = true;
        self.choice = true;
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.keys.extend(other.keys);
        self.all |= other.all;
        self.choice |= other.choice;
        self.reload |= other.reload;
        self.terminated.extend(other.terminated);
    }

    /// Remembers which endpoints were terminating in a slice that is about to change: terminating and gone may both
    /// happen between two publishes, and what was terminating has not vanished without a word.
    pub(super) fn note_terminating(
        &mut self,
        present: &BTreeMap<SocketAddr, Entry>,
        old: &Slice,
        port: &PortName,
    ) {
        for (endpoint, key) in keyed(old, port).filter(|(endpoint, _)| endpoint.conditions.terminating) {
            if let Some(entry) = present.get(&key)
                && entry.endpoint.identity().pod_uid == endpoint.pod_uid
            {
                self.terminated.insert(entry.endpoint.identity().clone());
            }
        }
    }
}
