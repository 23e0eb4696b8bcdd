//! Live handoff: a successor takes over from the process that runs.
//!
//! `meeting` is the socket, `predecessor` (with `handover`) and `successor` are the two sides, each on a thread of its own
//! that speaks and waits, so that neither the controller nor a worker ever does. `upgrade` is a predecessor that starts its
//! successor itself, `parked` is who waits until this process ends, `lingering` is for as long as both have flows, `facts`
//! puts what else is told into words. `fault` is for tests. The words are in `tidegate_handoff`; what each step does to listeners and flows is in
//! `tidegate_control`.

pub(crate) mod facts;
mod fault;
mod handover;
mod lend;
pub(crate) mod lingering;
pub(crate) mod meeting;
pub(crate) mod parked;
mod pauses;
pub(crate) mod predecessor;
pub(crate) mod successor;
mod upgrade;

use std::{
    hash::{Hash as _, Hasher as _},
    thread,
    time::{Duration, Instant},
};

use tidegate_config::{Configuration, Handoff};
use tidegate_handoff::ChannelError;

use self::successor::Takeover;

/// How long the other side may take for one step that it can do at once.
const STEP: Duration = Duration::from_secs(10);
/// How long the kernel may take to close the sockets of a process that was killed.
const GOING: Duration = Duration::from_secs(2);
/// How soon it is looked again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A runtime that only waits for the controller's answers.
fn asker() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().build()
}

/// Greets the predecessor, if there is one. Where that is known to end, one that is gone before it answers has died, and
/// nobody is there a moment later.
pub(crate) fn greet(
    handoff: &Handoff,
    configuration: &Configuration,
    flow_limit: u64,
    workers: usize,
    ends: bool,
) -> anyhow::Result<Option<Takeover>> {
    let until = Instant::now() + GOING;
    loop {
        match Takeover::begin(handoff, configuration, flow_limit, workers) {
            Err(error) if ends && is_gone(&error) && Instant::now() < until => thread::sleep(LOOK_AGAIN),
            greeted => return greeted,
        }
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ChannelError::Ended))
}

/// The pod that this process runs in, where it runs in one.
fn own_pod() -> Option<String> {
    std::env::var("POD_UID").ok().filter(|uid| !uid.is_empty())
}

/// Two configurations with the same hash mean the same.
pub(crate) fn hash(configuration: &Configuration) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    configuration.explain().hash(&mut hasher);
    hasher.finish()
}
