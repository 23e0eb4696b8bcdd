//! When the pods of draining endpoints are killed, for services that take their deadlines from there.
//!
//! The table says which pods matter ([`Interest`]): those that terminate with flows on them, of services that ask for it.
//! Each is watched by its name, and read once beside that, because a watch says nothing of what is not there. Both are
//! asked for metadata alone. A watch of the whole namespace would be one request instead of two for each pod, and bring
//! every change of every pod to every node; terminating pods with flows are few, and for as long as one terminates its
//! name selects a handful of changes. Where nobody asks, no pod is read, and no right to do so is needed.
//!
//! Decided here: how many are watched at a time (a pod beyond that is read again and again), whose word ends a pod (its
//! own deletion, or that a read finds none or another of that name), and by which clock a time is counted (`clock`). Not
//! decided here: what follows for flows; that a deadline only moves earlier is the table's rule too.

pub(crate) mod clock;
mod shared;

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime},
};

use http_body_util::BodyExt as _;
use kube::{
    api::{GetParams, WatchParams},
    client::Body,
};
use serde::Deserialize;
use tidegate_core::{Event, PodRef, Rng, Timestamp};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use self::shared::Shared;
use crate::{
    api::{Api, Deed, Failure, Resource, refusal},
    follow::{Gone, Pace},
    lines::{Line, Lines},
    meta::{Status, WatchLine},
    status::{ErrorCause, SourceStatus},
};

const PODS: Resource = Resource { group: "", version: "v1", plural: "pods" };

/// So many requests are under way at a time, watches that have begun not counted.
const REQUESTS: usize = 8;
/// Watches end by themselves after so long. Most pods have gone by then.
const WATCH_SECONDS: u32 = 290;
/// Metadata alone is not larger: the API server stores no object above 1.5 MiB.
const MAX_OBJECT_BYTES: usize = 2 * 1024 * 1024;

/// Which pods' deadlines matter, and from which moment on timestamps are counted.
#[derive(Clone, Debug)]
pub struct Interest {
    /// The pods, all of them at each moment.
    pub pods: watch::Receiver<Arc<[PodRef]>>,
    /// The origin of every [`Timestamp`].
    pub origin: Instant,
}

/// The metadata of a pod, as far as it matters.
#[derive(Deserialize)]
struct Pod<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    deletion_timestamp: Option<Cow<'a, str>>,
}

/// Follows the pods that matter, until nobody listens any more.
pub(crate) async fn follow(
    api: Arc<Api>,
    interest: Interest,
    events: mpsc::Sender<(Event, Instant)>,
    pace: Pace,
    status: Arc<SourceStatus>,
    rng: Rng,
) {
    let Interest { mut pods, origin } = interest;
    let mut followed: BTreeMap<PodRef, AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut shared: Option<Rc<Shared>> = None;
    let mut rng = Some(rng);
    loop {
        let wanted = Arc::clone(&pods.borrow_and_update());
        let left: Vec<PodRef> = followed.keys().filter(|pod| !wanted.contains(pod)).cloned().collect();
        for pod in left {
            if let Some(task) = followed.remove(&pod) {
                task.abort();
            }
            if events.send((Event::PodGone { uid: pod.uid }, Instant::now())).await.is_err() {
                return;
            }
        }
        if !wanted.is_empty() {
            // Nothing is said of pods before somebody asks.
            let shared = shared.get_or_insert_with(|| {
                let rng = RefCell::new(rng.take().unwrap_or_else(|| Rng::new(0)));
                Rc::new(Shared::new(&api, &events, &status, pace, origin, rng))
            });
            for pod in wanted.iter().filter(|pod| !followed.contains_key(*pod)).cloned().collect::<Vec<_>>() {
                let task = tasks.spawn_local(Follower::new(Rc::clone(shared), pod.clone()).run());
                followed.insert(pod, task);
            }
        }
        if let Some(shared) = &shared {
            shared.note_count(followed.len());
        }
        loop {
            tokio::select! {
                changed = pods.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(ended) = tasks.join_next() => match ended {
                    Ok(Err(Gone)) => return,
                    Ok(Ok(())) => {}
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => tracing::error!(%error, "following a pod ended without having been told to"),
                },
            }
        }
    }
}

/// One pod that is being followed.
struct Follower {
    shared: Rc<Shared>,
    pod: PodRef,
    namespace: Arc<str>,
    name: String,
    /// Its `deletionTimestamp`, as it was last told.
    told: Option<SystemTime>,
}

/// Why it is not followed any further.
enum Stop {
    /// Nobody listens.
    Gone,
    /// The pod is gone, or its name is another one's.
    Over,
    /// A request failed.
    Failed(Failure),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Follower {
    fn new(shared: Rc<Shared>, pod: PodRef) -> Self {
        let (namespace, name) = pod.name.split_once('/').unwrap_or(("default", &pod.name));
        Self { namespace: namespace.into(), name: name.to_owned(), pod, shared, told: None }
    }

    async fn run(mut self) -> Result<(), Gone> {
        let shared = Rc::clone(&self.shared);
        let mut is_read = false;
        loop {
            // Without a place it is read all the same, at once and then now and again.
            let place = match shared.watches.try_acquire() {
                Ok(place) => Some(place),
                Err(_) if !is_read => None,
                Err(_) => {
                    timeout(shared.pace.read_again, shared.watches.acquire()).await.ok().and_then(Result::ok)
                }
            };
            is_read = true;
            match self.round(place.is_some()).await {
                Ok(()) => sleep(shared.pace.retry).await,
                Err(Stop::Gone) => return Err(Gone),
                Err(Stop::Over) => {
                    let event = Event::PodGone { uid: Arc::clone(&self.pod.uid) };
                    return shared.events.send((event, Instant::now())).await.map_err(|_| Gone);
                }
                Err(Stop::Failed(failure)) => shared.failed(&failure),
            }
        }
    }

    /// Begins a watch, reads what there is, and listens for as long as the watch lasts.
    async fn round(&mut self, watches: bool) -> Result<(), Stop> {
        let shared = Rc::clone(&self.shared);
        let turn = shared.requests.acquire().await;
        shared.rest().await;
        let stream = if watches { self.watch().await.map(Some) } else { Ok(None) };
        let forbidden = match &stream {
            // What may be read is read.
            Err(failure) if failure.cause == ErrorCause::Forbidden => Some(failure.clone()),
            Err(failure) => return Err(failure.clone().into()),
            Ok(_) => None,
        };
        // After the watch has begun: what happens from here on, it tells.
        self.read().await?;
        drop(turn);
        match (stream, forbidden) {
            (_, Some(failure)) => Err(failure.into()),
            (Ok(Some(body)), None) => {
                shared.succeeded();
                self.listen(body).await
            }
            (_, None) => {
                shared.succeeded();
                Ok(())
            }
        }
    }

    async fn watch(&self) -> Result<Body, Failure> {
        let fields = format!("metadata.name={}", self.name);
        let params = WatchParams { timeout: Some(WATCH_SECONDS), ..WatchParams::default().fields(&fields) };
        // From what the server has at hand on: that costs it nothing, and what it is behind with it tells.
        let request = self.requests().watch_metadata(&params, "0").map_err(|error| unaskable(&error))?;
        let response = self.shared.api.send(request, deed("watch")).await?;
        Ok(response.into_body())
    }

    /// Reads the pod as it is, whatever a cache may have.
    async fn read(&mut self) -> Result<(), Stop> {
        let request = self
            .requests()
            .get_metadata(&self.name, &GetParams::default())
            .map_err(|error| unaskable(&error))?;
        let api = Arc::clone(&self.shared.api);
        let response = match api.send(request, deed("get")).await {
            Err(failure) if failure.code == Some(404) => return Err(Stop::Over),
            other => other?,
        };
        let bytes = api.body(response, MAX_OBJECT_BYTES).await?;
        let text = String::from_utf8_lossy(&bytes);
        if self.take(&text).await? { Ok(()) } else { Err(Stop::Over) }
    }

    fn requests(&self) -> kube::core::Request {
        kube::core::Request::new(PODS.path(Some(&self.namespace)))
    }

    /// Takes what is said of the pod. False where it is said of another one of its name.
    async fn take(&mut self, json: &str) -> Result<bool, Stop> {
        let Pod { metadata } = serde_json::from_str(json).map_err(|error| {
            Failure::new(
                ErrorCause::Malformed,
                format!("{}: what is said of it is not a pod: {error}", self.pod.name),
            )
        })?;
        if metadata.uid != *self.pod.uid {
            return Ok(false);
        }
        let Some(text) = metadata.deletion_timestamp else { return Ok(true) };
        let Some(killed) = clock::read(&text) else {
            self.shared
                .unreadable(format!("{}: deletionTimestamp is {text:?}, which is no time", self.pod.name));
            return Ok(true);
        };
        if self.told.is_none_or(|told| killed < told) {
            self.told = Some(killed);
            let arrived = Instant::now();
            let event = Event::PodDeadline {
                namespace: Arc::clone(&self.namespace),
                uid: Arc::clone(&self.pod.uid),
                killed: self.timestamp(killed, arrived),
            };
            self.shared.status.note(self.shared.place, |report| report.events_total += 1);
            self.shared.events.send((event, arrived)).await.map_err(|_| Gone)?;
        }
        Ok(true)
    }

    /// A time of the API server's on the clock that the table goes by.
    fn timestamp(&self, time: SystemTime, at: Instant) -> Timestamp {
        let now = Timestamp::default().after(at.saturating_duration_since(self.shared.origin));
        let there = self.shared.api.clock().there(SystemTime::now(), at);
        match time.duration_since(there) {
            Ok(left) => now.after(left),
            Err(past) => now.before(past.duration()),
        }
    }

    /// Hears what becomes of the pod, until the watch ends.
    async fn listen(&mut self, mut body: Body) -> Result<(), Stop> {
        let mut lines = Lines::new(MAX_OBJECT_BYTES);
        loop {
            let frame = match timeout(self.shared.pace.silence, body.frame()).await {
                // No bookmark either: it is begun anew.
                Err(_) | Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => {
                    let message = format!("the watch was cut: {}", crate::access::said(&error));
                    return Err(Failure::new(ErrorCause::Cut, message).into());
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Some(data) = frame.data_ref() else { continue };
            for line in lines.feed(data) {
                self.shared
                    .status
                    .note(self.shared.place, |report| report.last_contact = Some(Instant::now()));
                match line {
                    Line::Complete(line) if self.line(&line).await? => {}
                    Line::Complete(_) => return Ok(()),
                    Line::TooLong => self.shared.unreadable(format!("{}: it is too large", self.pod.name)),
                }
            }
        }
    }

    /// Takes in a line of the watch. False where the pod has to be read again.
    async fn line(&mut self, line: &[u8]) -> Result<bool, Stop> {
        let malformed = |error: serde_json::Error| {
            let message = format!("a line of the watch is not what it should be: {error}");
            Failure::new(ErrorCause::Malformed, message)
        };
        let WatchLine { kind, object } = serde_json::from_slice(line).map_err(malformed)?;
        match &*kind {
            "ADDED" | "MODIFIED" => self.take(object.get()).await,
            "DELETED" => {
                let Pod { metadata } = serde_json::from_str(object.get()).map_err(malformed)?;
                if metadata.uid == *self.pod.uid { Err(Stop::Over) } else { Ok(true) }
            }
            "BOOKMARK" => {
                self.shared.status.note(self.shared.place, |report| report.bookmarks_total += 1);
                Ok(true)
            }
            "ERROR" => {
                let status: Status = serde_json::from_str(object.get()).unwrap_or_default();
                Err(refusal(status.code.unwrap_or(500), &status, deed("watch")).into())
            }
            _ => Ok(true),
        }
    }
}

fn deed(verb: &'static str) -> Deed<'static> {
    Deed { verb, resource: PODS.plural, group: PODS.group }
}

fn unaskable(error: &kube::core::request::Error) -> Failure {
    Failure::new(ErrorCause::Malformed, format!("no request can be made: {error}"))
}

#[cfg(test)]
mod tests;
