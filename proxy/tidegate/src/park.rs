//! Parking: a process that has handed everything over stays, without a socket that anybody could ask, until it is told to
//! end, or the process that serves ends.
//!
//! A container whose process ends is started again, in the old pod, and would meet the new one. So where the
//! configuration says `handoff.afterwards: park`, the process waits instead; and so does one whose pod was superseded
//! before it started.

use std::{sync::Arc, thread, time::Duration};

use anyhow::Context as _;
use tidegate_handoff::{Channel, ChannelError};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};

/// How long a silence is listened to at a time.
const SILENCE: Duration = Duration::from_secs(3600);

/// Why a process does not take over: its pod has handed over already, to another one.
#[derive(Debug, thiserror::Error)]
#[error(
    "this pod ({pod}) has handed over to another one ({by}), which serves; with handoff.afterwards: park this process \
     waits for its end instead of failing"
)]
pub(crate) struct Superseded {
    /// This process's pod.
    pub(crate) pod: String,
    /// The pod that serves.
    pub(crate) by: String,
    /// Ends when the process that serves begins to end.
    pub(crate) owner: Channel,
}

/// What a parked process has waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// It is told to end.
    Told,
    /// The process that serves ends, or has died.
    OwnerEnds,
}

/// Signals to end, from the moment this is made.
pub(crate) struct Parking {
    runtime: Runtime,
    term: Signal,
    int: Signal,
}

impl Parking {
    /// To be made before anything else watches for signals, so that none is missed.
    pub(crate) fn prepare() -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let watch = |kind| {
            let _inside = runtime.enter();
            signal(kind).context("cannot watch for signals")
        };
        let (term, int) = (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
        Ok(Self { runtime, term, int })
    }

    /// Waits behind the process that serves. Returns at once where the end was asked for already.
    pub(crate) fn wait(&mut self, behind: Superseded) -> anyhow::Result<Over> {
        let Superseded { pod, by, owner } = behind;
        tracing::info!(
            pod,
            by,
            "parked: nothing is served here any more; waiting for SIGTERM, or for the end of the process that serves"
        );
        let ends = Arc::new(Notify::new());
        let end = Arc::clone(&ends);
        // It listens for as long as this process is there.
        thread::Builder::new().name("owner".to_owned()).spawn(move || {
            while matches!(owner.hear(SILENCE), Err(ChannelError::Silent(_))) {}
            end.notify_one();
        })?;
        Ok(self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = self.term.recv() => Over::Told,
                _ = self.int.recv() => Over::Told,
                () = ends.notified() => Over::OwnerEnds,
            }
        }))
    }

    /// Waits to be told to end, and for nothing else.
    pub(crate) fn wait_for_end(&mut self) {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.term.recv() => {}
                _ = self.int.recv() => {}
            }
        });
    }

    /// It was told to end.
    pub(crate) fn is_over(&mut self) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = self.term.recv() => true,
                _ = self.int.recv() => true,
                () = async {} => false,
            }
        })
    }
}
