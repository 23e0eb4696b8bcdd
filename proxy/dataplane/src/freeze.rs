//! Freezing: flows are taken out of a worker, so that another worker or another process goes on with them.
//!
//! A flow that relays moves with both its sockets. One that connects moves as its client's socket: nothing was read, and
//! whoever goes on with it connects anew. One that is on its way out ends here.

use std::{collections::BTreeSet, rc::Rc};

use tidegate_core::FlowId;
use tidegate_sys::FrozenFlow;

use crate::{Report, flows::Flow, worker::Worker};

/// A request to freeze flows, under way.
#[derive(Debug)]
pub(crate) struct Freeze {
    request: u64,
    awaited: BTreeSet<FlowId>,
    frozen: Vec<FrozenFlow>,
}

impl Worker {
    /// Asks up to `limit` flows to come out at their next poll.
    pub(crate) async fn freeze(&self, request: u64, limit: usize) {
        let mut awaited = BTreeSet::new();
        self.flows.each(None, |flow: &Rc<Flow>| {
            if awaited.len() < limit && !flow.is_leaving.get() {
                flow.order(|orders| orders.freeze = true);
                awaited.insert(flow.id);
            }
        });
        if awaited.is_empty() {
            return self.report(Report::Frozen { request, flows: Vec::new() }).await;
        }
        self.freezes.borrow_mut().push(Freeze { request, awaited, frozen: Vec::new() });
    }

    /// A flow that was to be frozen is, or cannot be.
    pub(crate) fn settle_freeze(&self, id: FlowId, frozen: Option<FrozenFlow>) {
        let mut freezes = self.freezes.borrow_mut();
        let Some(at) = freezes.iter().position(|freeze| freeze.awaited.contains(&id)) else {
            return;
        };
        let freeze = &mut freezes[at];
        freeze.awaited.remove(&id);
        freeze.frozen.extend(frozen);
        if freeze.awaited.is_empty() {
            let Freeze { request, frozen: flows, .. } = freezes.swap_remove(at);
            let reports = self.reports.clone();
            tokio::task::spawn_local(async move {
                let _ = reports.send(Report::Frozen { request, flows }).await;
            });
        }
    }

    /// A flow is on its way out: nobody waits for it to freeze any more.
    pub(crate) fn note_leaving(&self, flow: &Flow) {
        flow.is_leaving.set(true);
        if !self.freezes.borrow().is_empty() {
            self.settle_freeze(flow.id, None);
        }
    }
}
