//! What goes wrong, as a test asks for it.

use std::time::Duration;

use super::call::{Call, Calls};

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answered with this status. A watch that is refused with 410 is answered with 200 and told so in its stream, as
    /// the API server does.
    Refuse(u16),
    /// Answered with this status and `Retry-After` in seconds.
    RefuseFor(u16, u64),
    /// The connection is closed without an answer.
    Disconnect,
    /// The connection is closed when half of the answer has been sent.
    CutBody,
    /// Answered with 200 and something that is no JSON.
    Garbage,
    /// Answered after this time.
    Late(Duration),
    /// Never answered. A watch begins and says nothing.
    Silent,
    /// Answered so many bytes at a time, with a pause between them.
    Trickle(usize, Duration),
    /// A list of the state as it was at this resourceVersion, as from a replica that is behind.
    Older(u64),
}

/// The faults to come.
#[derive(Debug, Default)]
pub(super) struct Plan {
    planned: Vec<Planned>,
}

#[derive(Debug)]
struct Planned {
    calls: Calls,
    fault: Fault,
    /// None for every request until the plan is cleared.
    left: Option<usize>,
}

impl Plan {
    /// Adds a fault, after those that are planned.
    pub(super) fn add(&mut self, calls: Calls, fault: Fault, times: Option<usize>) {
        self.planned.push(Planned { calls, fault, left: times });
    }

    /// Nothing goes wrong from here on.
    pub(super) fn clear(&mut self) {
        self.planned.clear();
    }

    /// What happens to this request.
    pub(super) fn take(&mut self, call: &Call) -> Option<Fault> {
        let planned = self.planned.iter_mut().find(|planned| planned.calls.include(call))?;
        let fault = planned.fault.clone();
        if let Some(left) = &mut planned.left {
            *left -= 1;
        }
        self.planned.retain(|planned| planned.left != Some(0));
        Some(fault)
    }
}

/// Latency and pauses are what a test asks for; here alone time passes.
pub(super) async fn rest(pause: Duration) {
    tokio::time::sleep(pause).await;
}
