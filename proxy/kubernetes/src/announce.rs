//! Events on pods, in a line: what an instance has to say of pods, without anybody waiting for the API server.
//!
//! Decided here: how much waits, at which rate it is written, what is tried again and for how long. What cannot be said is
//! dropped and counted: an Event is a courtesy, and the audit is the record. Not decided here: what is said of which pod.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tidegate_core::Rng;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    api::{Api, Failure},
    backoff::Backoff,
    event::Event,
    follow::Pace,
    status::{ErrorCause, SourceStatus},
};

/// How many Events wait to be written.
const WAITING: usize = 256;
/// How many are written in one go, and how often after that: what a kubelet may write, tenfold less.
const BURST: u32 = 25;
const EVERY: Duration = Duration::from_millis(200);
/// Nobody wants to hear of a drain that late.
const WORTH: Duration = Duration::from_secs(300);
/// How long the end of the process waits for the last Events.
const LAST: Duration = Duration::from_secs(2);

/// What is to be said of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The pod, as namespace/name.
    pub pod: Arc<str>,
    /// Its uid.
    pub uid: Arc<str>,
    /// In one word: `DrainBegan`.
    pub reason: &'static str,
    /// Somebody should look at it.
    pub is_warning: bool,
    /// In a sentence.
    pub note: String,
    /// When it happened.
    pub at: SystemTime,
}

/// Where announcements wait. Cheap to clone; all clones are one line.
#[derive(Clone, Debug)]
pub(crate) struct Announcements {
    line: mpsc::Sender<Waiting>,
    /// How many have not been written yet, the one that is being written included.
    left: watch::Sender<usize>,
    /// That the line is full was said.
    is_full: Arc<AtomicBool>,
    status: Arc<SourceStatus>,
}

/// The other end of the line.
#[derive(Debug)]
pub(crate) struct Line {
    waiting: mpsc::Receiver<Waiting>,
    left: watch::Sender<usize>,
    is_full: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Waiting {
    announcement: Announcement,
    since: Instant,
}

/// A line, and its other end.
pub(crate) fn line(status: Arc<SourceStatus>) -> (Announcements, Line) {
    status.note_announcer(|_| {});
    let (sender, waiting) = mpsc::channel(WAITING);
    let (left, is_full) = (watch::Sender::new(0), Arc::<AtomicBool>::default());
    let announcements =
        Announcements { line: sender, left: left.clone(), is_full: Arc::clone(&is_full), status };
    (announcements, Line { waiting, left, is_full })
}

impl Announcements {
    /// Says it when its turn comes, and never waits: where too much waits already, it is dropped.
    pub(crate) fn announce(&self, announcement: Announcement) {
        self.left.send_modify(|left| *left += 1);
        if self.line.try_send(Waiting { announcement, since: Instant::now() }).is_err() {
            self.left.send_modify(|left| *left -= 1);
            self.dropped(1);
        }
    }

    /// So many were never announced, because there were too many at once.
    pub(crate) fn dropped(&self, count: u64) {
        self.status.note_announcer(|report| report.dropped_total += count);
        if !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                waiting = WAITING,
                "more happens to pods than the API server is told: Events on pods are dropped, and counted, until the \
                 line is empty; `tidegate audit` has all drains"
            );
        }
    }

    /// Waits until everything is written, for a while, unless writing fails. For the end of the process.
    pub(crate) async fn finish(&self) {
        if self.status.lock().announcer.as_ref().is_some_and(|report| report.trouble.is_some()) {
            return;
        }
        // Neither more time nor the end of the other side would change what follows.
        let _ = timeout(LAST, self.left.subscribe().wait_for(|left| *left == 0)).await;
    }
}

/// Writes what waits, in the name of this instance, for as long as the source runs.
pub(crate) async fn write(
    api: Arc<Api>,
    line: Line,
    instance: String,
    pace: Pace,
    status: Arc<SourceStatus>,
    rng: Rng,
) {
    let Line { mut waiting, left, is_full } = line;
    let backoff = Backoff::new(pace.retry, pace.retry_limit);
    let mut writer = Writer { api, instance, status, rate: Rate::new(Instant::now()), backoff, rng };
    while let Some(next) = waiting.recv().await {
        writer.say(&next).await;
        left.send_modify(|left| *left -= 1);
        if waiting.is_empty() {
            is_full.store(false, Ordering::Relaxed);
        }
    }
}

struct Writer {
    api: Arc<Api>,
    instance: String,
    status: Arc<SourceStatus>,
    rate: Rate,
    backoff: Backoff,
    rng: Rng,
}

impl Writer {
    /// Writes one, and tries again while that may help.
    async fn say(&mut self, Waiting { announcement, since }: &Waiting) {
        let Announcement { pod, uid, reason, is_warning, note, at } = announcement;
        let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
        let number = self.rng.next_u64();
        loop {
            if since.elapsed() >= WORTH {
                self.status.note_announcer(|report| report.dropped_total += 1);
                return;
            }
            sleep_until(self.rate.next(Instant::now())).await;
            let event = Event {
                instance: &self.instance,
                regarding: ["Pod", namespace, name, uid],
                action: "Drain",
                reason,
                is_warning: *is_warning,
                note,
                at: *at,
            };
            match event.write(&self.api, number).await {
                Ok(is_written) => {
                    self.backoff.reset();
                    return self.succeeded(is_written);
                }
                Err(failure) => {
                    let passes = failed(&self.status, &failure);
                    let wait = self.backoff.next(failure.retry_after, &mut self.rng);
                    if !passes {
                        self.status.note_announcer(|report| report.dropped_total += 1);
                    }
                    sleep(wait).await;
                    if !passes {
                        return;
                    }
                }
            }
        }
    }

    fn succeeded(&self, is_written: bool) {
        let mut was_failing = false;
        self.status.note_announcer(|report| {
            report.written_total += u64::from(is_written);
            was_failing = report.trouble.take().is_some();
        });
        if was_failing {
            tracing::info!("Events on pods can be written again");
        }
    }
}

/// Says what failed, once, and whether it may pass by itself.
fn failed(status: &SourceStatus, failure: &Failure) -> bool {
    let Failure { cause, message, .. } = failure;
    let message = match cause {
        ErrorCause::Forbidden => {
            format!("{message}; or set `source.kubernetes.podEvents: false` to write none")
        }
        _ => message.clone(),
    };
    let mut is_new = false;
    status.note_announcer(|report| {
        is_new = report.trouble.as_ref() != Some(&message);
        report.trouble = Some(message.clone());
    });
    if is_new {
        tracing::warn!(cause = cause.word(), "an Event on a pod was not written: {message}");
    }
    matches!(
        cause,
        ErrorCause::Unreachable
            | ErrorCause::Unauthorized
            | ErrorCause::Throttled
            | ErrorCause::Server
            | ErrorCause::Cut
    )
}

/// A rate with a burst: what was not used of it is saved up.
#[derive(Debug)]
struct Rate {
    /// When the next one would come if none was saved up.
    paid: Instant,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self { paid: now }
    }

    /// When the next one may come.
    fn next(&mut self, now: Instant) -> Instant {
        self.paid = self.paid.max(now) + EVERY;
        self.paid.checked_sub(EVERY * BURST).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests;
