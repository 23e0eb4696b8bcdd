//! Shedding a flow: ending it at a quiet moment, so that neither end loses a byte.
//!
//! Both ends are sent a FIN and may answer it in their own time. A byte that arrives after the FIN was on its way when
//! the flow was ended, and is lost: that flow was cut, and is counted as such.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

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

/// Reads in one poll before other flows get their turn.
const READS_PER_POLL: u32 = 8;

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
    // Both at once: while one end does not answer, the other one's bytes are lost as well.
    let (mut legs, mut lost) = ([Some(client), Some(endpoint)], false);
    let ends = poll_fn(|cx| {
        for open in &mut legs {
            if open.is_some_and(|leg| poll_discard(leg, tools, &mut lost, cx).is_ready()) {
                *open = None;
            }
        }
        if legs.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    });
    // An end that does not answer has sent nothing either; the kernel resets what it sends later.
    let _ = tokio::time::timeout(ANSWER_LIMIT, ends).await;
    // Bytes that have just come in are news to this thread only after its next wait.
    let is_unread = |leg: &Leg| matches!(socket::peek(leg.socket()), Ok(1..));
    lost = lost || legs.into_iter().flatten().any(is_unread);
    relay.close(tools);
    if lost { Party::Cut } else { by }
}

impl Worker {
    /// There is somebody to be told to go, or there may be.
    pub(crate) fn sheds(&self) -> bool {
        self.drains.is_active() || self.rebalances.is_active() || self.lifetimes.is_due(self.now())
    }

    /// A flow that was told to go was not quiet after all.
    pub(crate) fn decline(&self, flow: &Flow, by: Party) {
        flow.shed.set(None);
        let (snapshot, now) = (self.snapshot.load(), self.now());
        match by {
            Party::Lifetime => self.lifetimes.decline(flow, &snapshot, now),
            Party::Rebalance => self.rebalances.decline(flow, now),
            _ => self.drains.decline(flow, &snapshot, now),
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
fn poll_discard(leg: &Leg, tools: &Tools, lost: &mut bool, cx: &mut Context<'_>) -> Poll<()> {
    for _ in 0..READS_PER_POLL {
        match leg.receive(&mut tools.buffer.borrow_mut()) {
            Ok(Moved::Bytes(_)) => *lost = true,
            Ok(Moved::Blocked) => match ready!(leg.poll_readable(cx)) {
                Ok(()) => {}
                Err(_) => return Poll::Ready(()),
            },
            Ok(Moved::End) | Err(_) => return Poll::Ready(()),
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}
