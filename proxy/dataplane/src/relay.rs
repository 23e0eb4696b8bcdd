//! The relay: two halves between two legs, until both have ended or one end is broken.
//!
//! Its whole state is plain data in [`Relay`], and [`Relay::poll`] keeps nothing elsewhere: between two polls a relay
//! can be taken apart, which is how a flow is frozen.

mod half;

use std::task::{Context, Poll};

use tidegate_core::Party;
use tidegate_sys::socket;

use crate::{
    counters::{Direction, ServiceCounters},
    leg::Leg,
    pipes::Pipes,
};
use half::HalfState;
pub(crate) use half::{Half, Outlet};

/// What both halves of every relay of a worker share.
#[derive(Debug)]
pub(crate) struct Tools {
    /// The one buffer through which this worker copies.
    pub(crate) buffer: std::cell::RefCell<Box<[u8]>>,
    /// The pipes through which it splices.
    pub(crate) pipes: Pipes,
}

/// A connected flow.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) client: Leg,
    pub(crate) endpoint: Leg,
    pub(crate) up: Half,
    pub(crate) down: Half,
}

/// How a relay came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Both ends have sent their FIN, and all bytes before them are written.
    Finished,
    /// This end is broken: it reset, or the kernel found it dead.
    Broken(Party),
}

impl Relay {
    pub(crate) fn new(client: Leg, endpoint: Leg) -> Self {
        // The client's leg has TCP_NODELAY from its listener; the endpoint's gets it when it first matters.
        Self { client, endpoint, up: Half::new(true), down: Half::new(false) }
    }

    /// Moves what can be moved. Ready when the relay is over.
    ///
    /// A FIN goes out only after the bytes ahead of it, and not at all on a leg that is about to be closed.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        tools: &Tools,
        counters: &ServiceCounters,
    ) -> Poll<Ending> {
        let Self { client, endpoint, up, down } = self;
        up.drive(cx, client, &Outlet { sink: endpoint, tools, counters, direction: Direction::Up });
        down.drive(cx, endpoint, &Outlet { sink: client, tools, counters, direction: Direction::Down });
        let ending = match (up.state, down.state) {
            (HalfState::SourceBroken, _) | (HalfState::Ended, HalfState::SinkBroken) => {
                Some(Ending::Broken(Party::Client))
            }
            (_, HalfState::SourceBroken) | (HalfState::SinkBroken, HalfState::Ended) => {
                Some(Ending::Broken(Party::Endpoint))
            }
            (HalfState::SinkBroken, HalfState::SinkBroken) => Some(Ending::Broken(Party::Endpoint)),
            (HalfState::Ended, HalfState::Ended) => Some(Ending::Finished),
            (HalfState::Starved, _) | (_, HalfState::Starved) => Some(Ending::Broken(Party::Resource)),
            // A sink that takes no more may still have bytes to say, which the other half delivers first.
            (HalfState::Open, _) | (_, HalfState::Open) => None,
        };
        if let Some(ending) = ending {
            return Poll::Ready(ending);
        }
        up.pass_fin(endpoint);
        down.pass_fin(client);
        Poll::Pending
    }

    /// Closes both legs; what is held is dropped.
    pub(crate) fn close(mut self, tools: &Tools) {
        self.up.discard(tools);
        self.down.discard(tools);
    }

    /// Resets both legs.
    pub(crate) fn reset(self, tools: &Tools) {
        for leg in [&self.client, &self.endpoint] {
            // Where the option is refused the close sends a FIN instead, which is all that is left to do.
            let _ = socket::reset_on_close(leg.socket());
        }
        self.close(tools);
    }

    /// Nothing is on its way through here: nothing is held, and nothing waits to be read.
    pub(crate) fn is_quiet(&self) -> bool {
        let quiet = |half: &Half, source: &Leg| {
            !half.is_holding() && (half.state == HalfState::Ended || source.is_silent())
        };
        quiet(&self.up, &self.client) && quiet(&self.down, &self.endpoint)
    }

    /// A direction does not look at its source, so a failure there has to be looked for.
    pub(crate) fn is_deaf(&self) -> bool {
        self.up.is_deaf() || self.down.is_deaf()
    }

    /// The end that has failed while its half did not look. One whose bytes the other end has not taken counts only
    /// where that end is `stalled`: taking them, it will come to the failure by itself.
    pub(crate) fn failed_unheard(&self, stalled: bool) -> Option<Party> {
        let unheard = |half: &Half, source: &Leg| {
            half.is_deaf() && (stalled || !half.is_holding()) && source.has_failed()
        };
        if unheard(&self.up, &self.client) {
            Some(Party::Client)
        } else if unheard(&self.down, &self.endpoint) {
            Some(Party::Endpoint)
        } else {
            None
        }
    }

    /// Whoever goes on with it can know all that is known here. A failure that was read from a socket cannot be read
    /// again, and then the flow is about to end anyway.
    pub(crate) fn is_movable(&self) -> bool {
        !self.up.has_failed() && !self.down.has_failed()
    }

    /// One direction has ended by its source's FIN.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.client_closed() || self.down.state == HalfState::Ended
    }

    /// The client has sent its FIN.
    pub(crate) fn client_closed(&self) -> bool {
        self.up.state == HalfState::Ended
    }
}
