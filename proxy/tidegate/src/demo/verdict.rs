//! What the demo found, and whether the promise held.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{clients::Tally, rollout::Outcome};

/// The demo's verdict.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    /// No flow was broken or refused, none reached an endpoint that was closed, and every flow came to its own end.
    pub(super) holds: bool,
    flows_opened: u64,
    flows_closed_by_their_own_ends: u64,
    flows_broken: u64,
    connects_refused: u64,
    new_flows_on_a_non_ready_endpoint: u64,
    messages_echoed: u64,
    endpoints_replaced: usize,
    flows_pinned_when_drains_began: Vec<u64>,
    propagation_ms: Vec<f64>,
    drains_s: Vec<f64>,
}

impl Verdict {
    pub(super) fn new(tally: &Tally, outcome: &Outcome) -> Self {
        let opened = Tally::get(&tally.opened);
        let closed = Tally::get(&tally.closed_by_own_end);
        let broken = Tally::get(&tally.broken);
        let refused = Tally::get(&tally.refused);
        let misplaced = Tally::get(&tally.on_closed_endpoint);
        let replaced = outcome.drains.len();
        Self {
            holds: broken == 0
                && refused == 0
                && misplaced == 0
                && opened > 0
                && opened == closed
                && replaced == usize::from(super::rollout::REPLICAS),
            flows_opened: opened,
            flows_closed_by_their_own_ends: closed,
            flows_broken: broken,
            connects_refused: refused,
            new_flows_on_a_non_ready_endpoint: misplaced,
            messages_echoed: Tally::get(&tally.messages),
            endpoints_replaced: replaced,
            flows_pinned_when_drains_began: outcome.pinned.clone(),
            propagation_ms: outcome.propagation.iter().map(|took| took.as_secs_f64() * 1e3).collect(),
            drains_s: outcome.drains.iter().map(Duration::as_secs_f64).collect(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &[f64], unit: &str| {
            values.iter().map(|value| format!("{value:.1} {unit}")).collect::<Vec<_>>().join(", ")
        };
        let pinned: Vec<_> = self.flows_pinned_when_drains_began.iter().map(u64::to_string).collect();
        writeln!(f)?;
        writeln!(f, "endpoints replaced                    {}", self.endpoints_replaced)?;
        writeln!(f, "flows opened                          {}", self.flows_opened)?;
        writeln!(f, "flows closed by their own ends        {}", self.flows_closed_by_their_own_ends)?;
        writeln!(f, "flows broken                          {}", self.flows_broken)?;
        writeln!(f, "connects refused                      {}", self.connects_refused)?;
        writeln!(f, "new flows on a non-ready endpoint     {}", self.new_flows_on_a_non_ready_endpoint)?;
        writeln!(f, "messages echoed                       {}", self.messages_echoed)?;
        writeln!(f, "flows pinned when the drains began    {}", pinned.join(", "))?;
        writeln!(f, "drained after                         {}", list(&self.drains_s, "s"))?;
        writeln!(f, "slice file renamed to change in force {}", list(&self.propagation_ms, "ms"))?;
        writeln!(f)?;
        match self.holds {
            true => writeln!(f, "The promise held: every endpoint was replaced, and no flow noticed."),
            false => writeln!(f, "THE PROMISE DID NOT HOLD."),
        }
    }
}
