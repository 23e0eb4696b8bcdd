//! How much of what, and how often.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::milliseconds;
use crate::peers::Proxy;

/// The shape of one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    /// Flows that are open and talk all the time.
    pub(super) flows: usize,
    /// From a flow's message to its next.
    #[serde(rename = "periodMs", with = "milliseconds")]
    pub(super) period: Duration,
    /// New connections in a second.
    pub(super) rate: u32,
    /// Handoffs of Tidegate.
    pub(super) handoffs: usize,
    /// Handoffs of each other proxy: some keep a process for each.
    pub(super) peers_handoffs: usize,
    /// From the begin of a handoff to that of the next, at least.
    #[serde(rename = "paceMs", with = "milliseconds")]
    pub(super) pace: Duration,
}

impl Plan {
    /// Many handoffs, and some with as many flows as the limit on open files lets clients have beside the rest.
    pub(crate) const FULL: [Self; 2] = {
        let one = Self {
            flows: 2_000,
            period: Duration::from_millis(500),
            rate: 2_000,
            handoffs: 100,
            peers_handoffs: 10,
            pace: Duration::from_secs(1),
        };
        [one, Self { flows: 4_000, handoffs: 10, peers_handoffs: 3, ..one }]
    };

    /// Some seconds; it shows that all of it works, and little else.
    pub(crate) const QUICK: [Self; 1] = [Self {
        flows: 200,
        period: Duration::from_millis(100),
        rate: 200,
        handoffs: 5,
        peers_handoffs: 3,
        pace: Duration::from_millis(250),
    }];

    pub(super) fn handoffs_of(self, proxy: Proxy) -> usize {
        if proxy == Proxy::Tidegate { self.handoffs } else { self.peers_handoffs }
    }
}
