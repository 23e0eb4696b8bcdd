//! What all pods that are followed have in common: how many requests there are at a time, and that all wait where one
//! fails. A failure is the server's, and no pod's own.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Instant,
};

use tidegate_core::{Event, Rng};
use tokio::{
    sync::{Semaphore, mpsc},
    time::sleep_until,
};

use super::{PODS, REQUESTS};
use crate::{
    api::{Api, Failure},
    backoff::Backoff,
    follow::Pace,
    status::{ErrorCause, SourceStatus, WatchState},
};

/// What all pods have in common.
pub(super) struct Shared {
    pub(super) api: Arc<Api>,
    pub(super) events: mpsc::Sender<(Event, Instant)>,
    pub(super) status: Arc<SourceStatus>,
    pub(super) place: usize,
    pub(super) pace: Pace,
    pub(super) origin: Instant,
    pub(super) watches: Semaphore,
    pub(super) requests: Semaphore,
    backoff: RefCell<Backoff>,
    rng: RefCell<Rng>,
    /// A request failed, and nobody asks before then.
    pause: Cell<Option<tokio::time::Instant>>,
}

impl Shared {
    pub(super) fn new(
        api: &Arc<Api>,
        events: &mpsc::Sender<(Event, Instant)>,
        status: &Arc<SourceStatus>,
        pace: Pace,
        origin: Instant,
        rng: RefCell<Rng>,
    ) -> Self {
        let place = status.add(PODS.plural.to_owned());
        status.note(place, |report| report.state = WatchState::Following);
        Self {
            api: Arc::clone(api),
            events: events.clone(),
            status: Arc::clone(status),
            place,
            pace,
            origin,
            watches: Semaphore::new(pace.pod_watches),
            requests: Semaphore::new(REQUESTS),
            backoff: RefCell::new(Backoff::new(pace.retry, pace.retry_limit)),
            rng,
            pause: Cell::new(None),
        }
    }

    pub(super) fn note_count(&self, count: usize) {
        self.status.note(self.place, |report| report.objects = count);
    }

    /// Waits out what the last failure asks for.
    pub(super) async fn rest(&self) {
        while let Some(until) = self.pause.get().filter(|until| *until > tokio::time::Instant::now()) {
            sleep_until(until).await;
        }
    }

    /// How long nobody asks.
    #[cfg(test)]
    pub(super) fn waits(&self) -> std::time::Duration {
        let until = self.pause.get().unwrap_or_else(tokio::time::Instant::now);
        until.saturating_duration_since(tokio::time::Instant::now())
    }

    pub(super) fn succeeded(&self) {
        self.backoff.borrow_mut().reset();
        self.pause.set(None);
        let mut was_failing = false;
        self.status.note(self.place, |report| {
            was_failing = matches!(report.state, WatchState::Failing(_));
            report.state = WatchState::Following;
            report.last_contact = Some(Instant::now());
        });
        if was_failing {
            tracing::info!("pods can be read again");
        }
    }

    /// Says what failed, once, and makes everybody wait.
    pub(super) fn failed(&self, failure: &Failure) {
        let now = tokio::time::Instant::now();
        if self.pause.get().is_none_or(|until| until <= now) {
            let wait = self.backoff.borrow_mut().next(failure.retry_after, &mut self.rng.borrow_mut());
            self.pause.set(Some(now + wait));
        }
        let message = match failure.cause {
            ErrorCause::Forbidden => format!(
                "{}; `drain.deadline: pod` needs `get` and `watch` on pods (deploy/README.md has the rule), and without \
                 them has no effect",
                failure.message
            ),
            _ => failure.message.clone(),
        };
        let mut is_new = false;
        self.status.note(self.place, |report| {
            report.errors[failure.cause as usize] += 1;
            let failing = WatchState::Failing(message.clone());
            is_new = report.state != failing;
            report.state = failing;
        });
        if is_new {
            let cause = failure.cause.word();
            tracing::warn!(cause, "pods' deadlines: {message}; what is known stays, and it is tried again");
        }
    }

    pub(super) fn unreadable(&self, what: String) {
        tracing::warn!(resource = PODS.plural, "an object cannot be read and is left out: {what}");
        self.status.note(self.place, |report| {
            report.unreadable_total += 1;
            report.last_unreadable = Some(what);
        });
    }
}
