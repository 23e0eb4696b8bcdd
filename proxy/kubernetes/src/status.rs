//! What the source can say of itself, for status and metrics.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Why a request or a watch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCause {
    /// No connection, no TLS, or no answer in time.
    Unreachable,
    /// The credentials cannot be used: 401, or they cannot be read.
    Unauthorized,
    /// The credentials lack a right: 403.
    Forbidden,
    /// The server asks for patience: 429.
    Throttled,
    /// The server failed: 5xx.
    Server,
    /// The version to go on from is too old: 410.
    Expired,
    /// The server refused in another way: another 4xx.
    Refused,
    /// An answer was cut in its middle.
    Cut,
    /// An answer, or a line of it, is not what it should be.
    Malformed,
    /// A list was older than what is known.
    Stale,
    /// A watch said nothing for too long.
    Silent,
    /// The namespace is being deleted, and nothing new is taken there: a 403 that is no right's.
    Ending,
}

impl ErrorCause {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Unreachable,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Throttled,
        Self::Server,
        Self::Expired,
        Self::Refused,
        Self::Cut,
        Self::Malformed,
        Self::Stale,
        Self::Silent,
        Self::Ending,
    ];

    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Throttled => "throttled",
            Self::Server => "server",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::Malformed => "malformed",
            Self::Stale => "stale",
            Self::Silent => "silent",
            Self::Ending => "ending",
        }
    }
}

/// What a watch is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WatchState {
    /// It has not been told everything yet.
    #[default]
    Starting,
    /// It is told of every change.
    Following,
    /// The server cannot be asked; what was known stays, and it is tried again.
    Failing(String),
}

/// One watch at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchReport {
    /// What is watched: `endpointslices`, `services`, `nodes`; with `in NAMESPACE` where it is one namespace.
    pub resource: String,
    /// What it is doing.
    pub state: WatchState,
    /// Objects that are known.
    pub objects: usize,
    /// Changes that were told so far.
    pub events_total: u64,
    /// Bookmarks so far.
    pub bookmarks_total: u64,
    /// Changes that were no news: told twice, or late.
    pub outdated_total: u64,
    /// Complete lists so far.
    pub lists_total: u64,
    /// Failures by cause, in the order of [`ErrorCause::ALL`].
    pub errors: [u64; ErrorCause::ALL.len()],
    /// Objects that cannot be read, left out so far.
    pub unreadable_total: u64,
    /// The last object that cannot be read, and why.
    pub last_unreadable: Option<String>,
    /// When the server was last heard.
    pub last_contact: Option<Instant>,
}

/// Durations between what the server's clock says and this machine's, by size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TriggerReport {
    /// How many there were.
    pub count: u64,
    /// All together.
    pub sum: Duration,
    /// How many were negative and counted as zero: the two clocks differ.
    pub clamped: u64,
}

/// What writes to the API server, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterReport {
    /// This instance is the one that writes statuses.
    pub leads: bool,
    /// What keeps it from writing, or from finding out whether it may.
    pub trouble: Option<String>,
    /// Statuses of Services written so far.
    pub statuses_total: u64,
    /// Events written so far.
    pub events_total: u64,
    /// Failures by cause, in the order of [`ErrorCause::ALL`].
    pub errors: [u64; ErrorCause::ALL.len()],
}

/// What writes Events on pods, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnouncerReport {
    /// What keeps it from writing.
    pub trouble: Option<String>,
    /// Events written so far.
    pub written_total: u64,
    /// Events that were to be written and were not.
    pub dropped_total: u64,
}

/// The source at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// How the API server was found.
    pub origin: String,
    /// Its watches.
    pub watches: Vec<WatchReport>,
    /// From `endpoints.kubernetes.io/last-change-trigger-time` to the arrival here.
    pub trigger_to_arrival: TriggerReport,
    /// When something last changed.
    pub last_event: Option<Instant>,
    /// Events sent to the table.
    pub events_total: u64,
    /// What writes to the API server; `None` where nothing does.
    pub writer: Option<WriterReport>,
    /// What writes Events on pods; `None` where nothing does.
    pub announcer: Option<AnnouncerReport>,
    /// By how much this machine's clock is ahead of the API server's at least; negative where it is behind. `None` before
    /// an answer has said.
    pub clock_skew_millis: Option<i64>,
}

/// The source's report, shared with whoever answers operators. No flow waits for it.
#[derive(Debug, Default)]
pub struct SourceStatus(Mutex<SourceReport>);

impl SourceStatus {
    /// The source at this moment.
    pub fn report(&self) -> SourceReport {
        self.lock().clone()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, SourceReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something of what writes.
    pub(crate) fn note_writer(&self, note: impl FnOnce(&mut WriterReport)) {
        note(self.lock().writer.get_or_insert_default());
    }

    /// Notes something of what writes Events on pods.
    pub(crate) fn note_announcer(&self, note: impl FnOnce(&mut AnnouncerReport)) {
        note(self.lock().announcer.get_or_insert_default());
    }

    /// Adds a watch; its place is the answer.
    pub(crate) fn add(&self, resource: String) -> usize {
        let mut report = self.lock();
        report.watches.push(WatchReport { resource, ..WatchReport::default() });
        report.watches.len() - 1
    }

    /// Notes something of a watch.
    pub(crate) fn note(&self, watch: usize, note: impl FnOnce(&mut WatchReport)) {
        if let Some(report) = self.lock().watches.get_mut(watch) {
            note(report);
        }
    }
}
