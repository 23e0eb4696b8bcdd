//! What the source can say of itself, for status and metrics.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Whether the directory is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DirectoryState {
    /// It has not been read yet.
    #[default]
    Starting,
    /// It is read and followed.
    Following,
    /// It does not exist; what was known of it stays.
    Missing,
    /// It cannot be followed; what was known of it stays, and it is tried again.
    Failed(String),
}

/// A file whose content is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFile {
    /// Which.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: String,
    /// Since when.
    pub since: Instant,
}

/// The source at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// The directory that is followed.
    pub directory: PathBuf,
    /// Whether it is there.
    pub state: DirectoryState,
    /// Slice files in it, valid or not.
    pub files: usize,
    /// Slices that are known from it.
    pub slices: usize,
    /// When something in it last changed.
    pub last_event: Option<Instant>,
    /// Files whose content is not used, by path; their last good state is.
    pub invalid: Vec<InvalidFile>,
    /// Slices that two files have, by name: the file that was written last counts.
    pub contested: Vec<String>,
    /// Objects of other kinds in the files, ignored.
    pub ignored_objects: u32,
    /// Ports in the slices that no flow can use, ignored.
    pub ignored_ports: u32,
    /// Endpoints in the slices that no flow can use, ignored.
    pub ignored_endpoints: u32,
    /// Slices without the label of a Service, ignored.
    pub unlabelled_slices: u32,
    /// Slices of host names, ignored.
    pub fqdn_slices: u32,
    /// Events sent so far.
    pub events_total: u64,
    /// Invalid contents met so far.
    pub invalid_total: u64,
    /// Complete reads so far.
    pub listings_total: u64,
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
}
