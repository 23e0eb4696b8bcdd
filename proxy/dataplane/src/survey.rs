//! Looking how the flows of some endpoints are doing, for operators who watch them drain.
//!
//! Flows are looked at twice, and the bytes that they moved in between are counted. Each look goes over the register
//! in slices, so that a worker with many flows moves bytes in between; a flow pays nothing for being looked at.

use std::{collections::BTreeMap, time::Duration};

use tidegate_core::{EndpointId, FlowId, Survey, SurveyOf};

use crate::{flows::Flow, worker::Worker};

/// How many slots are looked at in one go: some ten microseconds.
const SLOTS: usize = 1024;

/// Looks at the flows of these endpoints, now and after `over`.
pub(crate) async fn survey(worker: &Worker, of: &[SurveyOf], over: Duration) -> Vec<(EndpointId, Survey)> {
    let quiet: BTreeMap<EndpointId, Duration> = of.iter().map(|of| (of.endpoint, of.quiet)).collect();
    let endpoint = |flow: &Flow| flow.endpoint.borrow().as_ref().map(|endpoint| endpoint.id());
    let mut before: Vec<(FlowId, u64)> = Vec::new();
    each(worker, |flow| {
        if endpoint(flow).is_some_and(|id| quiet.contains_key(&id)) {
            before.push((flow.id, moved(flow)));
        }
    })
    .await;
    if before.is_empty() {
        return Vec::new();
    }
    tokio::time::sleep(over).await;
    let mut surveys: BTreeMap<EndpointId, Survey> = BTreeMap::new();
    for slice in before.chunks(SLOTS) {
        for (id, bytes) in slice {
            let Some(flow) = worker.flows.find(*id) else { continue };
            let Some(id) = endpoint(&flow) else { continue };
            surveys.entry(id).or_default().bytes += moved(&flow).saturating_sub(*bytes);
        }
        tokio::task::yield_now().await;
    }
    let now = worker.now();
    each(worker, |flow| {
        let of = endpoint(flow).and_then(|id| Some((id, *quiet.get(&id)?)));
        if let Some((id, quiet)) = of {
            surveys.entry(id).or_default().count(flow.opened, now.since(flow.active.get()), quiet);
        }
    })
    .await;
    surveys.into_iter().collect()
}

/// Calls `visit` with each live flow, in slices.
async fn each(worker: &Worker, mut visit: impl FnMut(&Flow)) {
    let mut next = Some(0);
    while let Some(first) = next {
        next = worker.flows.some(first, SLOTS, |flow| visit(flow));
        tokio::task::yield_now().await;
    }
}

fn moved(flow: &Flow) -> u64 {
    flow.bytes_up.get() + flow.bytes_down.get()
}
