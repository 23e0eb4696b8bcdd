//! A worker's part in a rebalance: its own flows of endpoints that have more than their fair share, the idlest first.
//!
//! Whether one more may go, of which endpoint and how soon, is `core::rebalance`'s word, and all workers ask it. Here are
//! the flows: when a rebalance begins they are put in line, once. While no endpoint of the service is ready, nobody goes.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use tidegate_core::{Claim, EndpointId, FlowId, FlowState, Party, Rebalance, Timestamp};

use crate::{
    drains::has_refuge,
    flows::{Flow, Flows},
    worker::Worker,
};

/// Flows of one endpoint that a look takes up at most.
const LOOKS: usize = 64;

/// The rebalance that is on, if one is.
#[derive(Debug, Default)]
pub(crate) struct Rebalances {
    moving: RefCell<Option<Moving>>,
    is_active: Cell<bool>,
}

#[derive(Debug)]
struct Moving {
    run: Arc<Rebalance>,
    /// For each endpoint its flows by when they were last seen to move bytes, the idlest first.
    lines: BTreeMap<EndpointId, BinaryHeap<Reverse<(Timestamp, FlowId)>>>,
    /// Looks so far: each begins with another endpoint, so that none takes all turns.
    looks: usize,
}

impl Rebalances {
    /// Follows this one from now on, or none.
    pub(crate) fn follow(&self, run: Option<Arc<Rebalance>>, flows: &Flows) {
        self.is_active.set(run.is_some());
        *self.moving.borrow_mut() = run.map(|run| {
            let mut lines: BTreeMap<EndpointId, BinaryHeap<_>> =
                run.endpoints().map(|endpoint| (endpoint.id(), BinaryHeap::new())).collect();
            flows.each(None, |flow| {
                if let Some(line) = endpoint_of(flow).and_then(|endpoint| lines.get_mut(&endpoint)) {
                    line.push(Reverse((flow.active.get(), flow.id)));
                }
            });
            Moving { run, lines, looks: 0 }
        });
    }

    /// There is one.
    pub(crate) fn is_active(&self) -> bool {
        self.is_active.get()
    }

    /// A flow that was told to go has gone, in whichever way: its permit is released.
    pub(crate) fn note_left(&self, flow: &Flow) {
        if let (Some(moving), Some(endpoint)) = (&*self.moving.borrow(), endpoint_of(flow)) {
            moving.run.left(endpoint);
        }
    }

    /// A flow that was told to go was not quiet after all.
    pub(crate) fn decline(&self, flow: &Flow) {
        if let (Some(moving), Some(endpoint)) = (&mut *self.moving.borrow_mut(), endpoint_of(flow)) {
            moving.run.stays(endpoint);
            if let Some(line) = moving.lines.get_mut(&endpoint) {
                line.push(Reverse((flow.active.get(), flow.id)));
            }
        }
    }

    /// Tells those to go that may.
    pub(crate) fn tick(&self, worker: &Worker) {
        let mut moving = self.moving.borrow_mut();
        let Some(Moving { run, lines, looks }) = &mut *moving else { return };
        if !has_refuge(&worker.snapshot.load(), run.service()) {
            return;
        }
        *looks = looks.wrapping_add(1);
        let first = *looks % lines.len().max(1);
        let now = worker.now();
        let endpoints: Vec<EndpointId> = lines.keys().copied().collect();
        for endpoint in endpoints.iter().cycle().skip(first).take(endpoints.len()) {
            let Some(line) = lines.get_mut(endpoint) else { continue };
            if tell(*endpoint, line, run, &worker.flows, now) == Claim::NotNow {
                return;
            }
        }
    }
}

/// Tells an endpoint's idlest flows to go, as long as they may. The answer is the last claim's.
fn tell(
    endpoint: EndpointId,
    line: &mut BinaryHeap<Reverse<(Timestamp, FlowId)>>,
    run: &Rebalance,
    flows: &Flows,
    now: Timestamp,
) -> Claim {
    for _ in 0..LOOKS {
        let Some(Reverse((seen, id))) = line.pop() else { break };
        let Some(flow) = flows.find(id).filter(|flow| flow.is_pinned_to(endpoint)) else { continue };
        let active = flow.active.get();
        if active != seen {
            line.push(Reverse((active, id)));
            continue;
        }
        if now.since(active) < run.quiet() || flow.state.get() == FlowState::Connecting {
            // The idlest is not idle enough, so nobody is.
            line.push(Reverse((seen, id)));
            break;
        }
        if flow.shed.get().is_some() {
            // It goes already.
            continue;
        }
        match run.claim(endpoint, now) {
            Claim::Granted => {
                flow.shed.set(Some(Party::Rebalance));
                flow.order(|_| ());
            }
            refused => {
                line.push(Reverse((seen, id)));
                return refused;
            }
        }
    }
    Claim::NotHere
}

fn endpoint_of(flow: &Flow) -> Option<EndpointId> {
    flow.endpoint.borrow().as_ref().map(|endpoint| endpoint.id())
}
