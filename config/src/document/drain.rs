//! What ends flows that could go on: drains with a deadline, and rebalancing.

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_core::DrainDeadline;

use crate::{
    deadline::Window,
    leaf::Field,
    percent::Percent,
    timespan::{Delay, Timeout},
    values::Whole,
};

/// What brings the flows of a draining endpoint to their end.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map such as `{deadline: 10m}`")]
#[schemars(rename = "Drain")]
pub(crate) struct DrainBlock {
    /// When what is left is cut: `none`, `pod` (when the pod is killed, less the margin; needs `source.kubernetes`), or so
    /// long after the drain began. Default: none.
    pub(crate) deadline: Option<Field<DrainDeadline>>,
    /// How long before its pod is killed an endpoint's flows have to be gone. Default: 2s.
    pub(crate) margin: Option<Field<Delay>>,
    /// How long before the deadline flows begin to be shed, the idlest first: `auto` for the last half of the time that
    /// the drain has. Default: auto.
    pub(crate) window: Option<Field<Window>>,
    /// How long a flow must have been silent to be shed. Default: 250ms.
    pub(crate) quiet: Option<Field<Timeout>>,
    /// The most sheds in a second, of one service on this instance: 1 to 1000000. Where they could not empty the
    /// endpoint in the window, the window begins earlier. Default: 500.
    pub(crate) max_per_second: Option<Field<Whole<1, 1_000_000>>>,
}

/// Whether flows are moved to endpoints that were added.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a map such as `{maxPerSecond: 10}`")]
#[schemars(rename = "Rebalance")]
pub(crate) struct RebalanceBlock {
    /// Whether they are. Default where the block is given: true.
    pub(crate) enabled: Option<Field<bool>>,
    /// The most flows that are told to go in a second, on this instance: 1 to 1000000. Default: 10.
    pub(crate) max_per_second: Option<Field<Whole<1, 1_000_000>>>,
    /// Nothing is done where no endpoint has more than its fair share and so much: `0%` to `100%`. Default: 10%.
    pub(crate) tolerance: Option<Field<Percent<100>>>,
    /// How long a service's endpoints have to stay as they are first. Default: 30s.
    pub(crate) delay: Option<Field<Delay>>,
}
