//! One watch: a complete list, then every change, for ever.
//!
//! Decided here: when to list (at the start, after 410, after too long a silence), when to go on from the last version
//! (after everything else that ends a watch), and how long to wait in between. A list is read page by page and told
//! whole; what a page or a line has that cannot be read spoils nothing else. Not decided here: what an object is and who
//! is told of it; that is the follower's business. kube's own watcher is not used: it has no word for versions that
//! go back, gives a page up for one object, and does not know what a server asked for (Retry-After).

mod stop;

use std::{sync::Arc, time::Instant};

use http_body_util::BodyExt as _;
use hyper::Request;
use kube::{
    api::{ListParams, WatchParams},
    client::Body,
};
use tidegate_core::Rng;
use tokio::time::{sleep, timeout};

use self::stop::{Stop, built};
use crate::{
    api::{Api, Deed, Failure, refusal},
    backoff::{Backoff, fraction},
    follow::{Follow, Gone, Listing, Pace, Read, Scope},
    intern::Intern,
    lines::{Line, Lines},
    meta::{Bare, Key, Page, Status, WatchLine, number},
    status::{ErrorCause, SourceStatus, WatchState},
    versions::Versions,
};

/// A larger page is not read: 500 slices of 1000 endpoints have less.
const MAX_PAGE_BYTES: usize = 512 * 1024 * 1024;
/// A larger object is not read: the API server stores none above 1.5 MiB.
const MAX_OBJECT_BYTES: usize = 16 * 1024 * 1024;

/// Watches end by themselves after this many seconds, and a bit, so that they do not end together.
const WATCH_SECONDS: u32 = 200;
const WATCH_SECONDS_MORE: usize = 90;

/// One watch.
pub(crate) struct Watch<F> {
    pub(crate) api: Arc<Api>,
    pub(crate) scope: Scope,
    pub(crate) follow: F,
    pub(crate) pace: Pace,
    pub(crate) status: Arc<SourceStatus>,
    /// Its place in the status.
    pub(crate) place: usize,
    pub(crate) rng: Rng,
    versions: Versions,
    intern: Intern,
    stale_since: Option<tokio::time::Instant>,
    /// Pages of a list have expired while it was read: the next one is asked for in one piece.
    whole: bool,
}

impl<F: Follow> Watch<F> {
    pub(crate) fn new(
        api: Arc<Api>,
        scope: Scope,
        follow: F,
        pace: Pace,
        status: Arc<SourceStatus>,
        rng: Rng,
    ) -> Self {
        let place = status.add(scope.describe(F::RESOURCE.plural));
        Self {
            api,
            scope,
            follow,
            pace,
            status,
            place,
            rng,
            versions: Versions::default(),
            intern: Intern::default(),
            stale_since: None,
            whole: false,
        }
    }

    /// Runs until nobody listens any more.
    pub(crate) async fn run(mut self) {
        // Gone is the only way out, and it is no error.
        let _ = self.run_to_the_end().await;
    }

    async fn run_to_the_end(&mut self) -> Result<(), Gone> {
        let mut backoff = Backoff::new(self.pace.retry, self.pace.retry_limit);
        loop {
            let mut version = match self.list().await {
                Ok(version) => version,
                Err(Stop::Gone) => return Err(Gone),
                Err(Stop::Ended) => continue,
                Err(Stop::Failed(failure) | Stop::Lost(failure)) => {
                    self.pause(&mut backoff, &failure).await?;
                    continue;
                }
            };
            loop {
                let heard = self.heard();
                let stop = self.watch(&mut version).await;
                if self.heard() > heard {
                    backoff.reset();
                }
                match stop {
                    Stop::Gone => return Err(Gone),
                    // A server that ends a watch at once, over and over, is not hurried.
                    Stop::Ended if self.heard() > heard => {}
                    Stop::Ended => sleep(backoff.next(None, &mut self.rng)).await,
                    Stop::Failed(failure) => self.pause(&mut backoff, &failure).await?,
                    Stop::Lost(failure) => {
                        self.pause(&mut backoff, &failure).await?;
                        break;
                    }
                }
            }
        }
    }

    /// Changes and bookmarks so far.
    fn heard(&self) -> u64 {
        let report = self.status.lock();
        report.watches.get(self.place).map_or(0, |watch| watch.events_total + watch.bookmarks_total)
    }

    fn deed(verb: &'static str) -> Deed<'static> {
        Deed { verb, resource: F::RESOURCE.plural, group: F::RESOURCE.group }
    }

    /// Says what failed, and waits.
    async fn pause(&mut self, backoff: &mut Backoff, failure: &Failure) -> Result<(), Gone> {
        let Failure { cause, message, retry_after, .. } = failure;
        let wait = backoff.next(*retry_after, &mut self.rng);
        let mut is_new = false;
        self.status.note(self.place, |report| {
            report.errors[*cause as usize] += 1;
            let failing = WatchState::Failing(message.clone());
            is_new = report.state != failing;
            report.state = failing;
        });
        let resource = F::RESOURCE.plural;
        // An old version and a silence are part of a watch's life; what is known goes on to be true.
        if matches!(cause, ErrorCause::Expired | ErrorCause::Silent) || !is_new {
            tracing::debug!(resource, cause = cause.word(), ?wait, "{message}");
        } else {
            let stays = "what is known stays in force, and it is tried again";
            tracing::warn!(resource, cause = cause.word(), ?wait, "{message}; {stays}");
        }
        self.follow.failed(*cause).await?;
        sleep(wait).await;
        Ok(())
    }

    fn request(&self) -> kube::core::Request {
        kube::core::Request::new(F::RESOURCE.path(self.scope.namespace()))
    }

    /// Lists everything and tells it whole. Answers with the version to watch from.
    async fn list(&mut self) -> Result<String, Stop> {
        let mut objects = Vec::new();
        let mut versions = Vec::new();
        let mut next: Option<String> = None;
        let mut unreadable = Vec::new();
        let mut keeps = false;
        let version = loop {
            let limit = if self.whole { None } else { Some(self.pace.page) };
            // No version is asked for: the server answers with the most recent state, not with what it has at hand.
            let params = ListParams {
                limit,
                continue_token: next.take(),
                label_selector: self.scope.labels(),
                ..ListParams::default()
            };
            let request = built(self.request().list(&params))?;
            let bytes = match self.page(request).await {
                Err(failure) if failure.cause == ErrorCause::Expired => {
                    self.whole = true;
                    return Err(Stop::Failed(failure));
                }
                other => other.map_err(Stop::Failed)?,
            };
            let malformed = |error: serde_json::Error| {
                let message = format!("the list is not what a list should be: {error}");
                Stop::Failed(Failure::new(ErrorCause::Malformed, message))
            };
            let page: Page<'_> = serde_json::from_slice(&bytes).map_err(malformed)?;
            // Where the server's state goes back, a version says nothing: it may have been given twice.
            let goes_back = self
                .versions
                .check(number(page.metadata.resource_version.as_deref().unwrap_or_default()))
                .is_err();
            for item in page.items.into_iter().flatten() {
                if !goes_back && let Some(unchanged) = self.unchanged(item.get()) {
                    versions.push(unchanged);
                    keeps = true;
                    continue;
                }
                match self.follow.read(item.get(), None) {
                    Ok(Read { key, version, object }) => {
                        versions.push((key.clone(), number(&version)));
                        objects.push((key, object));
                    }
                    Err(why) => {
                        let key = self.key_of(item.get());
                        unreadable.push(named(key.as_ref(), &why));
                        // What it was before stays in force, and so does the version of that.
                        if let Some(key) = key
                            && let Some(version) = self.versions.known(&key)
                        {
                            versions.push((key, Some(version)));
                            keeps = true;
                        }
                    }
                }
            }
            next = page.metadata.next.filter(|token| !token.is_empty());
            if next.is_none() {
                break page.metadata.resource_version.unwrap_or_default();
            }
        };
        self.whole = false;
        self.believe(number(&version)).map_err(Stop::Failed)?;
        let arrived = Instant::now();
        let lacking = self.versions.list(versions.into_iter(), number(&version));
        let count = self.versions.len();
        unreadable.iter().for_each(|why| self.unreadable(why));
        let mut was_failing = false;
        self.status.note(self.place, |report| {
            was_failing = matches!(report.state, WatchState::Failing(_));
            report.state = WatchState::Following;
            report.lists_total += 1;
            report.objects = count;
            report.last_contact = Some(arrived);
        });
        let resource = F::RESOURCE.plural;
        if was_failing {
            tracing::info!(resource, objects = count, "listed: the API server answers again");
        } else {
            tracing::debug!(resource, objects = count, "listed");
        }
        self.follow.listed(Listing { objects, lacking, keeps }, arrived).await?;
        Ok(version)
    }

    async fn page(&self, request: Request<Vec<u8>>) -> Result<Vec<u8>, Failure> {
        let response = self.api.send(request, Self::deed("list")).await?;
        self.api.body(response, MAX_PAGE_BYTES).await
    }

    /// Whether a complete list is news. One from a replica that is behind is not, unless it stays that way.
    fn believe(&mut self, version: Option<u64>) -> Result<(), Failure> {
        let Err(stale) = self.versions.check(version) else {
            self.stale_since = None;
            return Ok(());
        };
        let since = *self.stale_since.get_or_insert_with(tokio::time::Instant::now);
        if since.elapsed() >= self.pace.stale_limit {
            tracing::warn!(
                resource = F::RESOURCE.plural,
                known = stale.newest,
                listed = stale.listed,
                "the API server's state went back in time and stays there (restored from a backup?); following it"
            );
            self.stale_since = None;
            return Ok(());
        }
        let message =
            format!("a list of version {} is older than what is known, {}", stale.listed, stale.newest);
        Err(Failure::new(ErrorCause::Stale, message))
    }

    /// Watches from a version on, which moves along.
    async fn watch(&mut self, version: &mut String) -> Stop {
        match self.watch_from(version).await {
            Ok(()) => Stop::Ended,
            Err(stop) => stop,
        }
    }

    async fn watch_from(&mut self, version: &mut String) -> Result<(), Stop> {
        let more = self.rng.below(WATCH_SECONDS_MORE);
        let seconds = WATCH_SECONDS + u32::try_from(more).unwrap_or_default();
        let params = WatchParams {
            bookmarks: true,
            timeout: Some(seconds),
            label_selector: self.scope.labels(),
            ..WatchParams::default()
        };
        let request = built(self.request().watch(&params, version))?;
        let response = self.api.send(request, Self::deed("watch")).await.map_err(Stop::of)?;
        self.contact(Instant::now());
        let mut body: Body = response.into_body();
        let mut lines = Lines::new(MAX_OBJECT_BYTES);
        // Not all alike, so that proxies whose server fell silent do not list together.
        let silence = self.pace.silence.mul_f64(1.0 + fraction(&mut self.rng) / 4.0);
        let mut quiet_since = tokio::time::Instant::now();
        loop {
            let left = silence.saturating_sub(quiet_since.elapsed());
            let frame = match timeout(left, body.frame()).await {
                Err(_) => {
                    let message = format!("no event and no bookmark for {silence:?}; listing again");
                    return Err(Stop::Lost(Failure::new(ErrorCause::Silent, message)));
                }
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => {
                    let message = format!("the watch was cut: {}", crate::access::said(&error));
                    return Err(Stop::Failed(Failure::new(ErrorCause::Cut, message)));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Some(data) = frame.data_ref() else { continue };
            let arrived = Instant::now();
            for line in lines.feed(data) {
                self.contact(arrived);
                match line {
                    Line::Complete(line) => self.line(&line, version, arrived).await?,
                    Line::TooLong => {
                        self.unreadable(&format!("an object is larger than {MAX_OBJECT_BYTES} bytes"));
                    }
                }
                quiet_since = tokio::time::Instant::now();
            }
        }
    }

    fn contact(&self, at: Instant) {
        self.status.note(self.place, |report| {
            report.last_contact = Some(at);
            report.state = WatchState::Following;
        });
    }

    /// Takes in one line of a watch.
    async fn line(&mut self, line: &[u8], version: &mut String, arrived: Instant) -> Result<(), Stop> {
        let malformed = |error: serde_json::Error| {
            let message = format!("a line of the watch is not what it should be: {error}");
            Stop::Failed(Failure::new(ErrorCause::Malformed, message))
        };
        let WatchLine { kind, object } = serde_json::from_slice(line).map_err(malformed)?;
        match &*kind {
            "ADDED" | "MODIFIED" => match self.follow.read(object.get(), Some(arrived)) {
                Ok(read) => {
                    let is_news = self.versions.apply(&read.key, number(&read.version));
                    self.moved_on(&read.version, version, is_news);
                    if is_news {
                        self.follow.applied(read.key, read.object, arrived).await?;
                    }
                }
                Err(why) => {
                    let key = self.key_of(object.get());
                    self.unreadable(&named(key.as_ref(), &why));
                    if let Ok(Bare { metadata }) = serde_json::from_str(object.get()) {
                        advance(version, &metadata.resource_version);
                    }
                }
            },
            "DELETED" => {
                let Bare { metadata } = serde_json::from_str(object.get()).map_err(malformed)?;
                let Some(key) = metadata.key(&mut self.intern) else { return Ok(()) };
                let is_news = self.versions.delete(&key, number(&metadata.resource_version));
                self.moved_on(&metadata.resource_version, version, is_news);
                if is_news {
                    self.follow.deleted(key, arrived).await?;
                }
            }
            "BOOKMARK" => {
                let Bare { metadata } = serde_json::from_str(object.get()).map_err(malformed)?;
                self.versions.bookmark(number(&metadata.resource_version));
                advance(version, &metadata.resource_version);
                self.status.note(self.place, |report| report.bookmarks_total += 1);
            }
            "ERROR" => {
                let status: Status = serde_json::from_str(object.get()).unwrap_or_default();
                return Err(Stop::of(refusal(status.code.unwrap_or(500), &status, Self::deed("watch"))));
            }
            // A type that a newer server may know.
            other => tracing::debug!(kind = other, "a line of a watch whose type is not known is ignored"),
        }
        Ok(())
    }

    /// Notes a change, and from which version a watch would go on.
    fn moved_on(&self, next: &str, version: &mut String, is_news: bool) {
        advance(version, next);
        let objects = self.versions.len();
        self.status.note(self.place, |report| {
            report.events_total += 1;
            report.outdated_total += u64::from(!is_news);
            report.objects = objects;
        });
    }

    /// An object that is known in this very version. Reading it again would take the memory of all objects once more.
    fn unchanged(&mut self, json: &str) -> Option<(Key, Option<u64>)> {
        let Bare { metadata } = serde_json::from_str(json).ok()?;
        let version = number(&metadata.resource_version)?;
        let key = metadata.key(&mut self.intern)?;
        (self.versions.known(&key) == Some(version)).then_some((key, Some(version)))
    }

    fn key_of(&mut self, json: &str) -> Option<Key> {
        serde_json::from_str::<Bare<'_>>(json).ok().and_then(|bare| bare.metadata.key(&mut self.intern))
    }

    /// Says that an object is left out.
    fn unreadable(&self, what: &str) {
        let mut is_new = false;
        self.status.note(self.place, |report| {
            report.unreadable_total += 1;
            is_new = report.last_unreadable.as_deref() != Some(what);
            report.last_unreadable = Some(what.to_owned());
        });
        if is_new {
            tracing::warn!(
                resource = F::RESOURCE.plural,
                "an object cannot be read; what it was before, if anything, stays in force: {what}"
            );
        }
    }
}

fn named(key: Option<&Key>, why: &str) -> String {
    match key {
        Some(key) => format!("{key}: {why}"),
        None => why.to_owned(),
    }
}

/// The version of a line is where a watch goes on, unless it is behind: lines may come twice.
fn advance(version: &mut String, next: &str) {
    let is_behind = matches!((number(version), number(next)), (Some(known), Some(next)) if next < known);
    if !next.is_empty() && !is_behind {
        next.clone_into(version);
    }
}
