//! Live handoff: a successor takes over from the process that runs.
//!
//! `meeting` is the socket, `predecessor` and `successor` are the two sides, each on a thread of its own that speaks
//! and waits, so that neither the controller nor a worker ever does. `upgrade` is a predecessor that starts its successor
//! itself, `facts` puts what else is told into words. `fault` is for tests. The words are in `tidegate_handoff`; what each step does to listeners and flows is in
//! `tidegate_control`.

pub(crate) mod facts;
mod fault;
mod lend;
pub(crate) mod meeting;
mod pauses;
pub(crate) mod predecessor;
pub(crate) mod successor;
mod upgrade;

use std::{
    hash::{Hash as _, Hasher as _},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use tidegate_config::Configuration;
use tidegate_control::ControlHandle;

/// How long the other side may take for one step that it can do at once.
const STEP: Duration = Duration::from_secs(10);

/// A runtime that only waits for the controller's answers.
fn asker() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().build()
}

/// The pod that this process runs in, where it runs in one.
fn own_pod() -> Option<String> {
    std::env::var("POD_UID").ok().filter(|uid| !uid.is_empty())
}

/// Keeps gates shut until a predecessor has ended: flows that did not move are not counted here.
pub(crate) fn await_end(process: u32, handle: &ControlHandle) -> anyhow::Result<()> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let process = match pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        Some(Ok(process)) => process,
        // It has ended.
        Some(Err(Errno::SRCH)) => return Ok(()),
        _ => {
            tracing::warn!(
                "the predecessor cannot be watched: a gate does not count the flows that stay with it"
            );
            return Ok(());
        }
    };
    asker()?.block_on(handle.await_predecessor(true))?;
    let handle = handle.clone();
    thread::Builder::new().name("predecessor".to_owned()).spawn(move || {
        while poll(&mut [PollFd::new(&process, PollFlags::IN)], None) == Err(Errno::INTR) {}
        if let Ok(ask) = asker() {
            // Where the controller has ended nobody waits any more.
            let _ = ask.block_on(handle.await_predecessor(false));
        }
    })?;
    Ok(())
}

/// Two configurations with the same hash mean the same.
pub(crate) fn hash(configuration: &Configuration) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    configuration.explain().hash(&mut hasher);
    hasher.finish()
}
