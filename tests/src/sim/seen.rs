//! What the histories of the simulation came by.

/// What a history came by: a simulation that never gets there shows nothing.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) flows: u64,
    pub(super) last_resort_flows: u64,
    pub(super) retries: u64,
    pub(super) stale_picks: u64,
    pub(super) gone_with_flows: u64,
    pub(super) drains_with_flows: u64,
    pub(super) ambiguous: u64,
    pub(super) came_back: u64,
    pub(super) narrowed_by_hints: u64,
    pub(super) earlier_deadlines: u64,
    pub(super) records_with_flows: u64,
    pub(super) gates_opened: u64,
    pub(super) flows_at_gates: u64,
    pub(super) wanted_pods: u64,
    pub(super) moved: u64,
    pub(super) node_drains: u64,
}

impl Seen {
    fn counts(&mut self) -> [&mut u64; 16] {
        [
            &mut self.flows,
            &mut self.last_resort_flows,
            &mut self.retries,
            &mut self.stale_picks,
            &mut self.gone_with_flows,
            &mut self.drains_with_flows,
            &mut self.ambiguous,
            &mut self.came_back,
            &mut self.narrowed_by_hints,
            &mut self.earlier_deadlines,
            &mut self.records_with_flows,
            &mut self.gates_opened,
            &mut self.flows_at_gates,
            &mut self.wanted_pods,
            &mut self.moved,
            &mut self.node_drains,
        ]
    }

    /// Adds what another history came by.
    pub(super) fn add(&mut self, mut other: Self) {
        for (sum, count) in self.counts().into_iter().zip(other.counts()) {
            *sum += *count;
        }
    }

    /// How often the rarest of the situations came up.
    pub(super) fn least(&mut self) -> u64 {
        self.counts().into_iter().map(|count| *count).min().unwrap_or(0)
    }
}
