//! Passing a reset on, but never ahead of the bytes that were received before it.
//!
//! A close with SO_LINGER zero throws the send queue away. So what is held is written first, then the leg is watched
//! until every byte has left this host, and then it is reset. A receiver that takes nothing for [`PATIENCE`] gets the
//! reset all the same: the other end is gone, and memory has to come back.

use std::{future::poll_fn, time::Duration};

use tidegate_sys::socket;

use crate::{
    counters::{Direction, ServiceCounters},
    leg::{Leg, Moved},
    relay::{Half, Outlet, Tools},
};

/// How long a slow receiver may hold up a reset.
const PATIENCE: Duration = Duration::from_secs(5);

/// Delivers what `half` holds to `sink`, then resets it.
pub(crate) async fn deliver_then_reset(
    sink: Leg,
    mut half: Half,
    tools: &Tools,
    counters: &ServiceCounters,
    direction: Direction,
) {
    let outlet = Outlet { sink: &sink, tools, counters, direction };
    let delivered = async {
        poll_fn(|cx| half.poll_flush(cx, &outlet)).await;
        if half.is_fin_passed() {
            return has_closed(&sink, tools).await;
        }
        while let Ok(false) = sink.watch_for_all_sent() {
            if poll_fn(|cx| sink.poll_writable(cx)).await.is_err() {
                break;
            }
        }
        false
    };
    // The limit is on the whole delivery: there is no way to ask the kernel for progress.
    let closed = tokio::time::timeout(PATIENCE, delivered).await;
    half.discard(tools);
    match closed {
        // It has said its last byte and has our FIN behind the data: nobody is left to be told of a reset.
        Ok(true) => drop(sink),
        _ => reset(sink),
    }
}

/// Waits until a leg that has our FIN closes too, and drops what it says until then: the other end is gone. True for
/// its FIN, false for a failure.
///
/// After a FIN the kernel calls a socket writable whatever it still holds, so nothing tells when all of it has left;
/// and bytes that nobody reads would make the close a reset, ahead of them.
async fn has_closed(leg: &Leg, tools: &Tools) -> bool {
    loop {
        let read = leg.receive(&mut tools.buffer.borrow_mut());
        match read {
            Ok(Moved::Bytes(_)) => tokio::task::yield_now().await,
            Ok(Moved::Blocked) => {
                if poll_fn(|cx| leg.poll_readable(cx)).await.is_err() {
                    return false;
                }
            }
            Ok(Moved::End) => return true,
            Err(_) => return false,
        }
    }
}

/// Resets a leg at once.
pub(crate) fn reset(leg: Leg) {
    // Where the option is refused the close sends a FIN instead, which is all that is left to do.
    let _ = socket::reset_on_close(leg.socket());
    drop(leg);
}
