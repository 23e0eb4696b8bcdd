//! What the histories of the simulation came by.

macro_rules! situations {
    ($($name:ident),* $(,)?) => {
        /// What a history came by: a simulation that never gets there shows nothing.
        #[derive(Debug, Default)]
        pub(super) struct Seen {
            $(pub(super) $name: u64,)*
        }

        impl Seen {
            fn counts(&mut self) -> Vec<&mut u64> {
                vec![$(&mut self.$name,)*]
            }
        }
    };
}

situations! {
    // Flows and whom they got.
    flows,
    last_resort_flows,
    retries,
    stale_picks,
    gone_with_flows,
    came_back,
    narrowed_by_hints,
    ambiguous,
    moved,
    // Drains and their deadlines.
    drains_with_flows,
    node_drains,
    earlier_deadlines,
    replanned_gone,
    undone_gone,
    wanted_pods,
    records_with_flows,
    undone_with_flows,
    // What workers did about them.
    sheds,
    sheds_of_gone,
    records_of_sheds,
    cuts,
    waits,
    seen_through,
    // Gates, and other instances.
    flows_at_gates,
    flows_elsewhere,
    gates_that_wait,
    gates_drained,
    gates_given_up,
    gates_done_before_silence,
    gates_not_terminating,
    gates_reverted,
}

impl Seen {
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
