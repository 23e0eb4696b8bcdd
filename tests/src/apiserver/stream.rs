//! Watches: what a stream says, when it ends, and what a test makes of it while it runs.

use std::{sync::Arc, time::Duration};

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, interval_at, timeout_at},
};

use super::{
    Resource,
    body::Cut,
    fault::rest,
    form::Form,
    selector::Selector,
    shared::Shared,
    store::{Change, Store},
};

/// A watch that has been accepted.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) resource: Resource,
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
    pub(super) form: Form,
    /// Changes after this revision are told.
    pub(super) cursor: u64,
    /// What is told first: the state, its end, an error.
    pub(super) first: Vec<Bytes>,
    /// Nothing is told after that, and the stream ends.
    pub(super) is_over: bool,
    pub(super) has_bookmarks: bool,
    pub(super) timeout: Duration,
    pub(super) tells: mpsc::UnboundedReceiver<(u64, Tell)>,
}

/// What a test tells a stream to do.
#[derive(Clone, Debug)]
pub(super) enum Tell {
    /// Say this, whatever it is.
    Bytes(Bytes),
    /// Send a bookmark.
    Bookmark,
    /// Say nothing until resumed.
    Hold,
    /// Go on.
    Resume,
    /// From here on so many bytes at a time, with a pause between them.
    Trickle(usize, Duration),
    /// End as after the timeout.
    End,
    /// End by closing the connection in the middle of the body.
    Cut,
}

/// A running stream, as its server keeps it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) resource: Resource,
    /// What it is to do, once it has said everything up to a revision.
    pub(super) tells: mpsc::UnboundedSender<(u64, Tell)>,
}

/// One line of a stream.
pub(super) fn line(kind: &str, object: &Value) -> Bytes {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into()
}

/// A bookmark of a kind of object.
pub(super) fn bookmark(resource: Resource, revision: u64, form: Form, ends_initial: bool) -> Bytes {
    let mut object = form.present(resource.bookmark(revision));
    if ends_initial {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    line("BOOKMARK", &object)
}

struct Outlet {
    sender: mpsc::Sender<Result<Bytes, Cut>>,
    trickle: Option<(usize, Duration)>,
}

/// The other end has gone.
struct Gone;

impl Outlet {
    async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        let Some((size, pause)) = self.trickle else {
            return self.sender.send(Ok(bytes)).await.map_err(|_| Gone);
        };
        for start in (0..bytes.len()).step_by(size.max(1)) {
            let end = bytes.len().min(start + size.max(1));
            self.sender.send(Ok(bytes.slice(start..end))).await.map_err(|_| Gone)?;
            rest(pause).await;
        }
        Ok(())
    }
}

impl Watch {
    /// Serves the stream to its end.
    pub(super) async fn run(self, shared: Arc<Shared>, sender: mpsc::Sender<Result<Bytes, Cut>>) {
        let revisions = shared.revisions();
        // Whoever is gone needs no end.
        let _ = self.serve(&shared, revisions, Outlet { sender, trickle: None }).await;
    }

    async fn serve(
        mut self,
        shared: &Shared,
        mut revisions: watch::Receiver<u64>,
        mut outlet: Outlet,
    ) -> Result<(), Gone> {
        for bytes in std::mem::take(&mut self.first) {
            outlet.send(bytes).await?;
        }
        if self.is_over {
            return Ok(());
        }
        let end = Instant::now() + self.timeout;
        let every = shared.bookmarks_every();
        let mut minutes = interval_at(Instant::now() + every, every);
        let mut is_held = false;
        revisions.mark_changed();
        loop {
            let told = tokio::select! {
                biased;
                told = self.tells.recv() => {
                    let Some((revision, told)) = told else { return Err(Gone) };
                    // In the order in which the test did it all.
                    self.say_news(shared, &outlet, is_held, revision).await?;
                    Some(told)
                }
                changed = revisions.changed() => {
                    changed.map_err(|_| Gone)?;
                    self.say_news(shared, &outlet, is_held, u64::MAX).await?;
                    None
                }
                _ = minutes.tick() => Some(Tell::Bookmark),
                () = outlet.sender.closed() => return Err(Gone),
                _ = timeout_at(end, std::future::pending::<()>()) => {
                    self.say_bookmark(&outlet, is_held).await?;
                    Some(Tell::End)
                }
            };
            match told {
                None => {}
                Some(Tell::Bytes(bytes)) => outlet.send(bytes).await?,
                Some(Tell::Bookmark) => self.say_bookmark(&outlet, is_held).await?,
                Some(Tell::Hold) => is_held = true,
                Some(Tell::Resume) => {
                    is_held = false;
                    revisions.mark_changed();
                }
                Some(Tell::Trickle(size, pause)) => outlet.trickle = Some((size, pause)),
                Some(Tell::End) => return Ok(()),
                Some(Tell::Cut) => return outlet.sender.send(Err(Cut)).await.map_err(|_| Gone),
            }
        }
    }

    async fn say_bookmark(&self, outlet: &Outlet, is_held: bool) -> Result<(), Gone> {
        if is_held || !self.has_bookmarks {
            return Ok(());
        }
        outlet.send(bookmark(self.resource, self.cursor, self.form, false)).await
    }

    async fn say_news(
        &mut self,
        shared: &Shared,
        outlet: &Outlet,
        is_held: bool,
        to: u64,
    ) -> Result<(), Gone> {
        let news = if is_held { Vec::new() } else { self.news(shared, to) };
        for bytes in news {
            outlet.send(bytes).await?;
        }
        Ok(())
    }

    /// What has changed since the last look, up to a revision.
    fn news(&mut self, shared: &Shared, to: u64) -> Vec<Bytes> {
        let state = shared.state();
        let store: &Store = &state.store;
        if self.cursor > store.revision() {
            // From a state that was not reached: accepted, and then silent.
            return Vec::new();
        }
        let is_wanted = |change: &&Change| {
            change.key.resource == self.resource
                && self.namespace.as_ref().is_none_or(|wanted| change.key.namespace == *wanted)
        };
        let changes = store.since(self.cursor).iter().take_while(|change| change.revision <= to);
        let told = changes.filter(is_wanted).filter_map(|change| self.tell(change));
        let news = told.collect();
        self.cursor = self.cursor.max(store.revision().min(to));
        news
    }

    /// A change as one who sees only what is selected sees it.
    fn tell(&self, change: &Change) -> Option<Bytes> {
        let was_seen = change.previous.as_ref().is_some_and(|object| self.selector.matches(object));
        let is_seen = !change.deleted && self.selector.matches(&change.object);
        let kind = match (was_seen, is_seen) {
            (false, false) => return None,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        let object = match &change.previous {
            // It left the selection: what was selected last, under the resourceVersion at which it left.
            Some(previous) if kind == "DELETED" && !change.deleted => {
                let mut object = (**previous).clone();
                object["metadata"]["resourceVersion"] = change.object["metadata"]["resourceVersion"].clone();
                object
            }
            _ => (*change.object).clone(),
        };
        Some(line(kind, &self.form.present(object)))
    }
}
