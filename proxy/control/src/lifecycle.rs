//! From start to end: a state machine without I/O. The controller tells it facts and the time, and does what it says.
//!
//! Starting -> Ready -> Draining (not ready, still accepting) -> Closing (listeners) -> Waiting (flows) -> Stopping
//! (workers) -> Stopped. The first request to shut down begins the way; a second one goes straight to Stopping.

use std::time::Duration;

use tokio::time::Instant;

/// Where the process is between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lifecycle {
    /// Listeners wait for their source's first complete list.
    Starting,
    /// Every listener accepts.
    Ready,
    /// Readiness is false so that nobody sends new clients; those that come are served.
    Draining,
    /// Accept queues are emptied and listeners closed.
    Closing,
    /// Flows come to their ends.
    Waiting,
    /// Workers end what is left.
    Stopping,
    /// Done.
    Stopped,
}

/// How long a shutdown takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifecycleSettings {
    /// How long new clients are accepted after readiness went false.
    pub delay: Duration,
    /// How long flows may take to end after the listeners closed; `None` for ever.
    pub grace: Option<Duration>,
    /// How long a listener waits for its source's first complete list.
    pub sync_wait: Duration,
}

/// What the machine needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// How often a shutdown was asked for.
    pub(crate) shutdowns: u32,
    /// Listeners that were not given to the workers yet.
    pub(crate) listeners_held: usize,
    /// Listeners that workers are closing.
    pub(crate) listeners_closing: usize,
    /// Flows that have not ended.
    pub(crate) flows: u64,
    /// Workers that have not stopped.
    pub(crate) workers: usize,
}

/// What the controller is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Say that the process is ready.
    BecomeReady,
    /// Say that the process is not ready.
    BeginDraining,
    /// Close every listener.
    CloseListeners,
    /// Say how many flows are waited for.
    AwaitFlows,
    /// Say how many flows are left.
    ReportProgress,
    /// Tell the workers to end all flows and stop.
    StopWorkers(StopCause),
    /// Return.
    Finish,
}

/// Why the workers are told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopCause {
    /// No flow is left.
    NoFlows,
    /// shutdown.grace is over.
    GraceOver,
    /// A second request came.
    SecondRequest,
}

/// The way from start to end.
#[derive(Debug)]
pub(crate) struct Course {
    settings: LifecycleSettings,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Starting,
    Ready,
    Draining { until: Instant },
    Closing { until: Instant },
    Waiting { until: Option<Instant>, look: Instant, progress: Instant },
    Stopping { until: Instant },
    Stopped,
}

/// How long workers may take to empty their accept queues.
const CLOSING_LIMIT: Duration = Duration::from_secs(5);
/// How long workers may take to end what is left.
const STOPPING_LIMIT: Duration = Duration::from_secs(3);
/// How often the flows are counted while they are waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often the log says how many flows are left.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

impl Lifecycle {
    /// The word in the API and in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Waiting => "waiting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

impl Default for LifecycleSettings {
    fn default() -> Self {
        Self { delay: Duration::from_secs(5), grace: None, sync_wait: Duration::from_secs(30) }
    }
}

impl Course {
    pub(crate) const fn new(settings: LifecycleSettings) -> Self {
        Self { settings, state: State::Starting }
    }

    pub(crate) const fn settings(&self) -> &LifecycleSettings {
        &self.settings
    }

    /// Settings from a reload; a wait that has begun keeps its length.
    pub(crate) const fn set_settings(&mut self, settings: LifecycleSettings) {
        self.settings = settings;
    }

    pub(crate) const fn lifecycle(&self) -> Lifecycle {
        match self.state {
            State::Starting => Lifecycle::Starting,
            State::Ready => Lifecycle::Ready,
            State::Draining { .. } => Lifecycle::Draining,
            State::Closing { .. } => Lifecycle::Closing,
            State::Waiting { .. } => Lifecycle::Waiting,
            State::Stopping { .. } => Lifecycle::Stopping,
            State::Stopped => Lifecycle::Stopped,
        }
    }

    /// No listener is opened and no configuration applied any more.
    pub(crate) const fn is_ending(&self) -> bool {
        !matches!(self.state, State::Starting | State::Ready)
    }

    /// The next thing to do; to be called until it gives nothing.
    pub(crate) fn step(&mut self, facts: &Facts, now: Instant) -> Option<Step> {
        let is_stopping = matches!(self.state, State::Stopping { .. } | State::Stopped);
        if facts.shutdowns >= 2 && !is_stopping {
            return Some(self.stop(StopCause::SecondRequest, now));
        }
        match &mut self.state {
            State::Starting | State::Ready if facts.shutdowns >= 1 => {
                self.state = State::Draining { until: now + self.settings.delay };
                Some(Step::BeginDraining)
            }
            State::Starting if facts.listeners_held == 0 => {
                self.state = State::Ready;
                Some(Step::BecomeReady)
            }
            State::Starting | State::Ready => None,
            State::Draining { until } if now >= *until => {
                self.state = State::Closing { until: now + CLOSING_LIMIT };
                Some(Step::CloseListeners)
            }
            State::Closing { until } if facts.listeners_closing == 0 || now >= *until => {
                let until = self.settings.grace.map(|grace| now + grace);
                self.state = State::Waiting { until, look: now + LOOK_EVERY, progress: now + PROGRESS_EVERY };
                Some(Step::AwaitFlows)
            }
            State::Waiting { .. } if facts.flows == 0 => Some(self.stop(StopCause::NoFlows, now)),
            State::Waiting { until: Some(until), .. } if now >= *until => {
                Some(self.stop(StopCause::GraceOver, now))
            }
            State::Waiting { progress, .. } if now >= *progress => {
                *progress = now + PROGRESS_EVERY;
                Some(Step::ReportProgress)
            }
            State::Waiting { look, .. } => {
                *look = now + LOOK_EVERY;
                None
            }
            State::Stopping { until } if facts.workers == 0 || now >= *until => {
                self.state = State::Stopped;
                Some(Step::Finish)
            }
            State::Draining { .. } | State::Closing { .. } | State::Stopping { .. } | State::Stopped => None,
        }
    }

    /// When to call [`Course::step`] again where nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Starting | State::Ready | State::Stopped => None,
            State::Draining { until } | State::Closing { until } | State::Stopping { until } => Some(until),
            State::Waiting { until, look, progress } => {
                Some(until.map_or(look, |until| until.min(look)).min(progress))
            }
        }
    }

    /// Another process has taken over: whatever is left has so long, and nobody new comes.
    pub(crate) fn leave(&mut self, linger: Duration, now: Instant) {
        if !matches!(self.state, State::Stopping { .. } | State::Stopped) {
            let until = Some(now + linger);
            self.state = State::Waiting { until, look: now, progress: now + PROGRESS_EVERY };
        }
    }

    fn stop(&mut self, cause: StopCause, now: Instant) -> Step {
        self.state = State::Stopping { until: now + STOPPING_LIMIT };
        Step::StopWorkers(cause)
    }
}

#[cfg(test)]
mod tests;
