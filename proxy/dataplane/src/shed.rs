//! Shedding a flow: ending it at a quiet moment, so that neither end loses a byte.
//!
//! Both ends are sent a FIN and may answer it in their own time. A byte that arrives after the FIN was on its way when
//! the flow was ended, and is lost: that flow was cut, and is counted as such.

use std::{cell::Cell, future::poll_fn, task::Poll, time::Duration};

use tidegate_core::Party;
use tidegate_sys::socket;

use crate::{
    flows::Flow,
    leg::{Leg, Moved},
    relay::{Relay, Tools},
    worker::Worker,
};

/// How long both ends may take to answer the FIN.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Ends a quiet flow in this party's name. Says in whose name it ended: that one's, or [`Party::Cut`] where a byte was
/// lost.
pub(crate) async fn shed(relay: Relay, by: Party, tools: &Tools) -> Party {
    let Relay { client, endpoint, up, down } = &relay;
    for (half, sink) in [(up, endpoint), (down, client)] {
        if !half.is_fin_passed() {
            // A leg that takes no FIN has ended already, which its reader finds out.
            let _ = socket::send_fin(sink.socket());
        }
    }
    let lost = Cell::new(false);
    let ends = async {
        discard(client, tools, &lost).await;
        discard(endpoint, tools, &lost).await;
    };
    // An end that does not answer has sent nothing either; the kernel resets what it sends later.
    let _ = tokio::time::timeout(ANSWER_LIMIT, ends).await;
    let party = if lost.get() { Party::Cut } else { by };
    relay.close(tools);
    party
}

impl Worker {
    /// There is somebody to be told to go, or there may be.
    pub(crate) fn sheds(&self) -> bool {
        self.drains.is_active() || self.rebalances.is_active() || self.lifetimes.is_due(self.now())
    }

    /// A flow that was told to go was not quiet after all.
    pub(crate) fn decline(&self, flow: &Flow, by: Party) {
        flow.shed.set(None);
        match by {
            Party::Lifetime => self.lifetimes.decline(flow, self.now()),
            Party::Rebalance => self.rebalances.decline(flow),
            _ => self.drains.decline(flow),
        }
    }

    /// A flow's permit is released, in whichever way it went.
    pub(crate) fn note_left(&self, flow: &Flow) {
        if flow.shed.get() == Some(Party::Rebalance) {
            self.rebalances.note_left(flow);
        }
    }
}

/// Reads to the end, and notes whether there was anything.
async fn discard(leg: &Leg, tools: &Tools, lost: &Cell<bool>) {
    poll_fn(|cx| {
        loop {
            let received = leg.receive(&mut tools.buffer.borrow_mut());
            match received {
                Ok(Moved::Bytes(_)) => lost.set(true),
                Ok(Moved::Blocked) => match leg.poll_readable(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                },
                Ok(Moved::End) | Err(_) => return Poll::Ready(()),
            }
        }
    })
    .await;
}
