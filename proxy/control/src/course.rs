//! The lifecycle's facts, gathered, and its steps, carried out.

use std::mem;

use crate::{
    Controller, Ended, Lifecycle,
    lifecycle::{Facts, Step, StopCause},
    request::Purpose,
};

impl Controller {
    pub(crate) fn facts(&self) -> Facts {
        let lifecycle = self.course.lifecycle();
        let counts_flows = matches!(lifecycle, Lifecycle::Closing | Lifecycle::Waiting);
        let is_closing = |purpose: &&Purpose| matches!(purpose, Purpose::Close { .. });
        Facts {
            shutdowns: self.shutdown.asked(),
            listeners_held: self.listeners.iter().filter(|listening| listening.held.is_some()).count()
                + usize::from(self.handoff.awaited)
                + usize::from(self.awaits_wanted),
            listeners_closing: self.questions.purposes().filter(is_closing).count(),
            flows: if counts_flows { (self.open_flows)() } else { 0 },
            workers: self.workers.running(),
        }
    }

    /// Does what the lifecycle asks for.
    pub(crate) fn advance(&mut self, step: Step) {
        let flows = (self.open_flows)();
        let settings = *self.course.settings();
        match step {
            Step::BecomeReady => {
                tracing::info!(listeners = self.listeners.len(), workers = self.workers.count(), "ready");
            }
            Step::BeginDraining => {
                let delay = settings.delay;
                tracing::info!(flows, ?delay, "shutting down: not ready any more, still accepting");
            }
            Step::CloseListeners => {
                tracing::info!(flows, listeners = self.listeners.len(), "shutting down: closing listeners");
                for listening in mem::take(&mut self.listeners) {
                    self.close_listener(listening);
                }
            }
            Step::AwaitFlows => {
                let grace = settings.grace;
                tracing::info!(flows, ?grace, "shutting down: waiting for flows to end");
            }
            Step::ReportProgress => tracing::info!(flows, "shutting down: flows left"),
            Step::StopWorkers(cause) => self.stop_workers(cause, flows),
            Step::Finish => {
                let workers = self.workers.running();
                if workers > 0 {
                    tracing::warn!(workers, "workers did not stop in time");
                }
                tracing::info!(flows_cut = self.ended.flows_cut, "shut down");
            }
        }
        self.lifecycle.send_replace(self.course.lifecycle());
        self.gates.is_stale = true;
    }

    fn stop_workers(&mut self, cause: StopCause, flows: u64) {
        self.ended = Ended { flows_cut: flows, forced: cause == StopCause::SecondRequest };
        match cause {
            StopCause::NoFlows => tracing::info!("shutting down: no flows left"),
            StopCause::GraceOver => tracing::warn!(flows, "shutting down: the grace is over; cutting flows"),
            StopCause::SecondRequest => tracing::warn!(flows, "shutting down at once; cutting flows"),
        }
        self.listeners.clear();
        self.workers.stop();
    }
}
