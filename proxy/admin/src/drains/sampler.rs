//! The one who asks how drains come along, for all who want to know.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidegate_control::{ControlError, ControlHandle};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::answer;
use crate::{api, refusal::Refusal};

/// How many follow at once.
pub(super) const FOLLOWERS: usize = 16;
/// How often followers are told.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// A sample, shared by all who wait for it.
pub(super) type Sample = Arc<api::Drains>;

/// Asks the controller how drains come along: for each who asks, and once a second while somebody follows. Cheap to
/// clone; all clones are one sampler.
#[derive(Clone, Debug)]
pub struct Sampler(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    control: ControlHandle,
    state: Mutex<State>,
    /// `None` when there is no more to come.
    samples: watch::Sender<Option<Sample>>,
    followers: Arc<Semaphore>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    waiting: Vec<oneshot::Sender<Result<Sample, ControlError>>>,
}

/// A follower's place, until it is dropped.
pub(super) struct Following {
    pub(super) samples: watch::Receiver<Option<Sample>>,
    _place: OwnedSemaphorePermit,
}

impl Sampler {
    /// A sampler that asks this controller.
    pub fn new(control: ControlHandle) -> Self {
        let inner = Inner {
            control,
            state: Mutex::default(),
            samples: watch::Sender::new(None),
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            bell: Notify::new(),
        };
        Self(Arc::new(inner))
    }

    /// A sample that begins after this call.
    pub(super) async fn ask(&self) -> Result<Sample, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.0.lock().waiting.push(reply);
        self.start();
        answer.await.unwrap_or(Err(ControlError::Gone)).map_err(Refusal::from)
    }

    /// A place among the followers, where one is free.
    pub(super) fn follow(&self) -> Option<Following> {
        let place = Arc::clone(&self.0.followers).try_acquire_owned().ok()?;
        let following = Following { samples: self.0.samples.subscribe(), _place: place };
        self.start();
        Some(following)
    }

    /// Sees to it that somebody asks.
    fn start(&self) {
        if std::mem::replace(&mut self.0.lock().running, true) {
            self.0.bell.notify_one();
        } else {
            drop(tokio::spawn(Arc::clone(&self.0).run()));
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for as long as somebody wants to know.
    async fn run(self: Arc<Self>) {
        loop {
            let waiting = {
                let mut state = self.lock();
                if state.waiting.is_empty() && self.samples.receiver_count() == 0 {
                    state.running = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let began = Instant::now();
            let sample = match self.control.progress().await {
                Ok(progress) => Ok(Arc::new(answer(&progress, self.control.clock()))),
                Err(error) => Err(error),
            };
            self.samples.send_replace(sample.as_ref().ok().cloned());
            for reply in waiting {
                let _ = reply.send(sample.clone());
            }
            if self.samples.receiver_count() > 0 {
                tokio::select! {
                    () = sleep_until(began + EVERY) => {}
                    () = self.bell.notified() => {}
                }
            }
        }
    }
}
