//! Parking: a process that has handed everything over stays, without a socket of its own, until it is told to end.
//!
//! A container whose process ends is started again, in the old pod, and would meet the new one. So where the
//! configuration says `handoff.afterwards: park`, the process waits for SIGTERM instead; and so does one whose pod was
//! superseded before it started.

use anyhow::Context as _;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

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

    /// Waits for the end. Returns at once where it was asked for already.
    pub(crate) fn wait(mut self, why: &str) {
        tracing::info!(why, "parked: nothing is served here any more; waiting for SIGTERM");
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.term.recv() => {}
                _ = self.int.recv() => {}
            }
        });
        tracing::info!("ended");
    }
}
