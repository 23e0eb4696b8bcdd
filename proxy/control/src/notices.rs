//! The table's notices as log lines: INFO for a change of state, WARN for what someone should look at.

use tidegate_core::{Conditions, FlowEnd, Notice};

/// Writes the line of a notice.
pub(crate) fn write(notice: &Notice) {
    match notice {
        Notice::EndpointAdded { endpoint, conditions } => tracing::info!(
            service = %endpoint.service(),
            endpoint = %endpoint.address(),
            id = %endpoint.id(),
            conditions = words(*conditions),
            "endpoint added"
        ),
        Notice::ConditionsChanged { endpoint, from, to } => tracing::info!(
            service = %endpoint.service(),
            endpoint = %endpoint.address(),
            id = %endpoint.id(),
            from = words(*from),
            to = words(*to),
            "conditions changed"
        ),
        Notice::DrainBegan { endpoint, causes, flows, .. } => tracing::info!(
            service = %endpoint.service(),
            endpoint = %endpoint.address(),
            id = %endpoint.id(),
            flows,
            why = %causes,
            "drain began: no new flows, existing ones go on to their end"
        ),
        Notice::DrainUndone { record } => tracing::info!(
            service = %record.endpoint.service(),
            endpoint = %record.endpoint.address(),
            id = %record.endpoint.id(),
            flows = record.flows_left,
            "drain undone"
        ),
        Notice::Drained { record } => tracing::info!(
            service = %record.endpoint.service(),
            endpoint = %record.endpoint.address(),
            id = %record.endpoint.id(),
            took_ms = u64::try_from(record.ended.since(record.began).as_millis()).unwrap_or(u64::MAX),
            flows = record.flows_at_start,
            client = record.ends.of(FlowEnd::Client),
            by_endpoint = record.ends.of(FlowEnd::Endpoint),
            shed = record.ends.of(FlowEnd::Shed),
            cut = record.ends.of(FlowEnd::Cut),
            broken = record.ends.of(FlowEnd::Broken),
            "drained: no flows left"
        ),
        Notice::EndpointRemoved { endpoint, flows, was_terminating } => tracing::info!(
            service = %endpoint.service(),
            endpoint = %endpoint.address(),
            id = %endpoint.id(),
            flows,
            was_terminating,
            "endpoint removed; its flows stay pinned to it"
        ),
        Notice::Eligibility { service, eligible: 0 } => {
            tracing::warn!(service = %service, eligible = 0, "service has no endpoint for new flows");
        }
        Notice::Eligibility { service, eligible } => {
            tracing::info!(service = %service, eligible, "service has endpoints for new flows");
        }
        Notice::AmbiguousPort { service, ports } => tracing::warn!(
            service = %service,
            ports = ports.as_str(),
            "service has several ports and its listener names none; set the listener's `port`"
        ),
        Notice::SliceIgnored { slice, why, count } => {
            tracing::warn!(slice = %slice, why, count, "slice, or part of it, is not used");
        }
        Notice::RebalanceBegan { service, surplus } => tracing::info!(
            service = %service,
            surplus,
            "rebalance began: endpoints that were added get flows of the others"
        ),
        Notice::RebalanceEnded { service, moved, why } => {
            tracing::info!(service = %service, moved, why, "rebalance ended");
        }
        Notice::SlicesShadowed { service } => tracing::warn!(
            service = %service,
            "service has a fixed list of endpoints; its slices are not used"
        ),
    }
}

/// The conditions that hold, in words.
fn words(conditions: Conditions) -> &'static str {
    match (conditions.ready, conditions.serving, conditions.terminating) {
        (true, true, false) => "ready, serving",
        (true, false, false) => "ready",
        (false, true, false) => "serving",
        (false, false, false) => "none",
        (true, true, true) => "ready, serving, terminating",
        (true, false, true) => "ready, terminating",
        (false, true, true) => "serving, terminating",
        (false, false, true) => "terminating",
    }
}
