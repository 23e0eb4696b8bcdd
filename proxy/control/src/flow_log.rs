//! The flow log: one line per flow that has ended. Which flows get one is the worker's decision.

use tidegate_core::{FlowRow, FlowState, Timestamp};

/// Writes the line of a flow that ended about `now`.
pub(crate) fn write(flow: &FlowRow, now: Timestamp) {
    let FlowState::Ended(termination) = flow.state else {
        return;
    };
    let endpoint = flow.endpoint.map(|(_, address)| tracing::field::display(address));
    tracing::info!(
        target: "tidegate::flow",
        flow = %flow.id,
        termination = %termination,
        listener = &*flow.listener,
        service = %flow.service,
        client = %flow.client,
        endpoint,
        duration_ms = millis(flow.opened, now),
        idle_ms = millis(flow.active, now),
        bytes_up = flow.bytes_up,
        bytes_down = flow.bytes_down,
        attempts = flow.attempts,
        "flow ended"
    );
}

fn millis(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX)
}
