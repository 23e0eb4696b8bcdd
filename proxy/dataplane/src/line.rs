//! The line in which an endpoint's flows stand to be told to go: the idlest first.
//!
//! A flow that moves bytes pays nothing for its place: it is found out when its turn comes, and put where it belongs. One
//! whose turn comes although it cannot go (it holds bytes for a reader that takes none, it connects, it goes already for
//! another reason) steps aside, so that it holds nobody up; it is asked again after those who can.

use std::{cmp::Reverse, collections::BinaryHeap, rc::Rc, time::Duration};

use tidegate_core::{EndpointId, FlowId, FlowState, Timestamp};

use crate::flows::{Flow, Flows};

/// A flow that could not go is asked again after so long.
const AGAIN: Duration = Duration::from_millis(250);

/// The flows of one endpoint, each at most once. Ended ones are found out when their turn comes.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// By when they were last seen to move bytes.
    idlest: BinaryHeap<Reverse<(Timestamp, FlowId)>>,
    /// By when they are to be asked again.
    aside: BinaryHeap<Reverse<(Timestamp, FlowId)>>,
}

impl Line {
    pub(crate) fn clear(&mut self) {
        self.idlest.clear();
        self.aside.clear();
    }

    /// Puts a flow in its place.
    pub(crate) fn push(&mut self, flow: &Flow) {
        self.idlest.push(Reverse((flow.active.get(), flow.id)));
    }

    /// A flow was told to go and could not.
    pub(crate) fn step_aside(&mut self, flow: &Flow, now: Timestamp) {
        self.aside.push(Reverse((now.after(AGAIN), flow.id)));
    }

    /// Takes the next flow out that is silent for so long and may be told to go. Each flow that is looked at costs one of
    /// `looks`; none is given where they are used up.
    pub(crate) fn next(
        &mut self,
        endpoint: EndpointId,
        quiet: Duration,
        flows: &Flows,
        now: Timestamp,
        looks: &mut usize,
    ) -> Option<Rc<Flow>> {
        let find = |id| {
            let flow = flows.find(id)?;
            // One that is on its way out needs no telling.
            (flow.is_pinned_to(endpoint) && !flow.is_leaving.get()).then_some(flow)
        };
        while let Some(Reverse((seen, id))) = take_a_look(looks, || self.idlest.pop()) {
            let Some(flow) = find(id) else { continue };
            let active = flow.active.get();
            if active != seen {
                self.push(&flow);
            } else if now.since(active) < quiet {
                // The idlest is not idle enough, so nobody is, but for those who stepped aside.
                self.push(&flow);
                break;
            } else if is_held_up(&flow) || flow.cannot_go() {
                self.aside.push(Reverse((now, id)));
            } else {
                return Some(flow);
            }
        }
        let is_time = |Reverse((from, _)): &Reverse<(Timestamp, FlowId)>| *from <= now;
        while let Some(Reverse((_, id))) =
            take_a_look(looks, || self.aside.peek().is_some_and(is_time).then(|| self.aside.pop())?)
        {
            let Some(flow) = find(id) else { continue };
            if now.since(flow.active.get()) < quiet {
                self.push(&flow);
            } else if flow.cannot_go() {
                self.step_aside(&flow, now);
            } else {
                return Some(flow);
            }
        }
        None
    }
}

fn take_a_look<T>(looks: &mut usize, look: impl FnOnce() -> Option<T>) -> Option<T> {
    *looks = looks.checked_sub(1)?;
    look()
}

/// It holds bytes that a reader does not take, or did a moment ago.
fn is_held_up(flow: &Flow) -> bool {
    // A flow with one direction ended is watched too, and may be quiet.
    flow.is_watched.get() && flow.state.get() == FlowState::Open
}

#[cfg(test)]
mod tests;
