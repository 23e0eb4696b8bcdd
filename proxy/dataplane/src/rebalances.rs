//! A worker's part in a rebalance: its own flows of endpoints that have more than their fair share, the idlest first.
//!
//! Whether one more may go, of which endpoint and how soon, is `core::rebalance`'s word, and all workers ask it. Here are
//! the flows: when a rebalance begins they are put in line (`line`), once. While no endpoint of the service is ready, nobody goes.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::Arc,
};

use tidegate_core::{Claim, EndpointId, Party, Rebalance, Timestamp};

use crate::{
    drains::refuge,
    flows::{Flow, Flows},
    line::Line,
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
    lines: BTreeMap<EndpointId, Line>,
    /// Looks so far: each begins with another endpoint, so that none takes all turns.
    looks: usize,
}

impl Rebalances {
    /// Follows this one from now on, or none.
    pub(crate) fn follow(&self, run: Option<Arc<Rebalance>>, flows: &Flows) {
        self.is_active.set(run.is_some());
        *self.moving.borrow_mut() = run.map(|run| {
            let mut lines: BTreeMap<EndpointId, Line> =
                run.endpoints().map(|endpoint| (endpoint.id(), Line::default())).collect();
            flows.each(None, |flow| {
                if let Some(line) = endpoint_of(flow).and_then(|endpoint| lines.get_mut(&endpoint)) {
                    line.push(flow);
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
    pub(crate) fn decline(&self, flow: &Flow, now: Timestamp) {
        if let (Some(moving), Some(endpoint)) = (&mut *self.moving.borrow_mut(), endpoint_of(flow)) {
            moving.run.stays(endpoint);
            if let Some(line) = moving.lines.get_mut(&endpoint) {
                line.step_aside(flow, now);
            }
        }
    }

    /// Tells those to go that may.
    pub(crate) fn tick(&self, worker: &Worker) {
        let mut moving = self.moving.borrow_mut();
        let Some(Moving { run, lines, looks }) = &mut *moving else { return };
        if refuge(&worker.snapshot.load(), run.service()).is_none() {
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
fn tell(endpoint: EndpointId, line: &mut Line, run: &Rebalance, flows: &Flows, now: Timestamp) -> Claim {
    let mut looks = LOOKS;
    while let Some(flow) = line.next(endpoint, run.quiet(), flows, now, &mut looks) {
        match run.claim(endpoint, now) {
            Claim::Granted => {
                flow.tell_to_go(Party::Rebalance);
            }
            refused => {
                line.push(&flow);
                return refused;
            }
        }
    }
    Claim::NotHere
}

fn endpoint_of(flow: &Flow) -> Option<EndpointId> {
    flow.endpoint.borrow().as_ref().map(|endpoint| endpoint.id())
}
