//! Two processes with flows at a time: the one that waits for its last flows tells the other what it counts.
//!
//! That is a predecessor some of whose flows did not move, or a successor that was given some of the flows and not the
//! rest. The other one counts its numbers in, and keeps gates shut: it does not know which pods those flows are on.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tidegate_admin::metrics::Totals;
use tidegate_handoff::{Channel, ChannelError, Message};

use super::{STEP, asker, facts};
use crate::{admin, proxy::Shared};

/// How often it is told what is counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How long it may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// Tells the other process what this one counts, until `ended` is disconnected.
pub(crate) fn count_for(other: &Channel, shared: &Shared, ended: &Receiver<()>) {
    loop {
        let is_over = !matches!(ended.recv_timeout(COUNT_EVERY), Err(RecvTimeoutError::Timeout));
        let counts = facts::counts(&admin::totals(shared));
        if other.say(&Message::Counts { counts }, STEP).is_err() || is_over {
            return;
        }
    }
}

/// A process that has flows of a predecessor's which took the rest back, and tells that one what it counts.
pub(crate) struct Counting {
    thread: JoinHandle<()>,
    ended: Sender<()>,
}

impl Counting {
    /// Begins, on a thread of its own.
    pub(crate) fn begin(predecessor: Channel, shared: Shared) -> io::Result<Self> {
        let (ended, hears) = mpsc::channel();
        let count = move || count_for(&predecessor, &shared, &hears);
        Ok(Self { thread: thread::Builder::new().name("handoff".to_owned()).spawn(count)?, ended })
    }

    /// The last flow has ended: tells the last counts.
    pub(crate) fn finish(self) {
        drop(self.ended);
        let _ = self.thread.join();
    }
}

/// Another process that has flows which are not here.
#[derive(Debug)]
pub(crate) struct Lingering {
    process: Option<u32>,
    is_gone: Arc<AtomicBool>,
}

impl Lingering {
    /// Hears what it counts, on a thread of its own, until it has ended, and adds that to `before`. Gates are shut by the
    /// time this returns. What it is still to be told is said when it listens.
    pub(crate) fn follow(
        other: Channel,
        shared: &Shared,
        before: Totals,
        untold: Option<Message>,
    ) -> anyhow::Result<Self> {
        let is_gone = Arc::new(AtomicBool::new(false));
        let process = other.process();
        let (gone, carried, handle) =
            (Arc::clone(&is_gone), shared.counted.carried.clone(), shared.handle.clone());
        let ask = asker()?;
        ask.block_on(handle.await_others(true))?;
        let opens = shared.handle.clone();
        let spawned = thread::Builder::new().name("lingering".to_owned()).spawn(move || {
            while let Some(word) = &untold
                && matches!(other.say(word, SILENCE), Err(ChannelError::Silent(_)))
            {}
            loop {
                match other.hear(SILENCE).map(|heard| heard.message) {
                    Ok(Message::Counts { counts }) => carried.set(before.plus(&facts::totals(counts))),
                    // It says the rest of what it was about to say; or it is stopped, perhaps by a debugger, and still has
                    // its flows.
                    Ok(_) | Err(ChannelError::Silent(_)) => {}
                    Err(_) => break,
                }
            }
            // It may have been killed, and could not say that nothing is left.
            carried.set(Totals::clone(&carried.get()).of_the_past());
            gone.store(true, Ordering::Relaxed);
            // Where the controller has ended nobody waits any more.
            let _ = ask.block_on(handle.await_others(false));
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "what the other process still counts is not heard, and gates do not count its flows");
            is_gone.store(true, Ordering::Relaxed);
            asker()?.block_on(opens.await_others(false))?;
        }
        Ok(Self { process, is_gone })
    }

    /// What it is, while it is there.
    pub(crate) fn named(&self) -> Option<String> {
        let words = || match self.process {
            Some(process) => format!("process {process}"),
            None => "a process of another container".to_owned(),
        };
        (!self.is_gone.load(Ordering::Relaxed)).then(words)
    }
}
