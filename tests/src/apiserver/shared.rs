//! What the server's tasks and the test share.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{call::Call, fault::Plan, store::Store, stream::Running, tls::Identity};

/// Everything behind one lock, and the news that the store has changed.
pub(super) struct Shared {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
}

/// What is behind the lock.
pub(super) struct State {
    pub(super) store: Store,
    pub(super) plan: Plan,
    pub(super) calls: Vec<Call>,
    /// The tokens that are accepted; none where everybody is let in.
    pub(super) tokens: Option<BTreeSet<String>>,
    pub(super) streams: Vec<Running>,
    /// Watches may begin with the state (`sendInitialEvents`).
    pub(super) has_watch_list: bool,
    pub(super) bookmarks_every: Duration,
    /// By how many seconds its clock is behind this machine's, as its answers have it.
    pub(super) clock_behind: u64,
    /// None where it speaks plain HTTP.
    pub(super) identity: Option<Identity>,
}

impl Shared {
    /// An empty server's.
    pub(super) fn new() -> Self {
        let store = Store::default();
        let (revision, _) = watch::channel(store.revision());
        let state = State {
            store,
            plan: Plan::default(),
            calls: Vec::new(),
            tokens: None,
            streams: Vec::new(),
            has_watch_list: true,
            bookmarks_every: Duration::from_secs(60),
            clock_behind: 0,
            identity: None,
        };
        Self { state: Mutex::new(state), revision }
    }

    /// The state. A test that failed while it held it must not hide why behind a second failure.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the state and tells the watches of it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, revision) = {
            let mut state = self.state();
            let result = change(&mut state);
            (result, state.store.revision())
        };
        self.revision.send_replace(revision);
        result
    }

    /// Told whenever the store may have changed.
    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// The time between two bookmarks of a stream.
    pub(super) fn bookmarks_every(&self) -> Duration {
        self.state().bookmarks_every
    }
}
