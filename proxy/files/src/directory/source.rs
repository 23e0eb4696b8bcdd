//! The thread that reads: news in, events out.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_core::{Event, SliceName};
use tokio::sync::mpsc;

use super::{
    reading::{self, Reading, read_file},
    signals::{self, News, Signals},
};
use crate::{
    inventory::{Changes, Inventory},
    status::{DirectoryState, InvalidFile, SourceReport, SourceStatus},
};

/// A slice that moves from one file to another is missing between two writes. A slice that is gone is told only
/// after so long, unless it is back.
const LINGER: Duration = Duration::from_millis(10);

/// How soon following is tried again after the kernel refused it.
const RETRY: Duration = Duration::from_secs(1);

/// Nobody receives any more.
struct Closed;

/// The thread's state.
pub(super) struct Source {
    directory: PathBuf,
    events: mpsc::Sender<(Event, Instant)>,
    signals: Arc<Signals>,
    status: Arc<SourceStatus>,
    inventory: Inventory,
    /// Slice files that are there, valid or not.
    files: BTreeSet<OsString>,
    /// Files whose content is not used.
    faults: BTreeMap<OsString, Fault>,
    /// Slices that no file has any more and that have not been told yet.
    leaving: BTreeMap<SliceName, Instant>,
    /// When following is tried again after it failed.
    retry: Option<Instant>,
    invalid_total: u64,
}

/// What is wrong with a file.
struct Fault {
    error: String,
    /// Tells whether a fault has been reported: a content is, once.
    fingerprint: u64,
    since: Instant,
}

impl Source {
    pub(super) fn new(
        directory: PathBuf,
        events: mpsc::Sender<(Event, Instant)>,
        signals: Arc<Signals>,
        status: Arc<SourceStatus>,
    ) -> Self {
        Self {
            directory,
            events,
            signals,
            status,
            inventory: Inventory::default(),
            files: BTreeSet::new(),
            faults: BTreeMap::new(),
            leaving: BTreeMap::new(),
            retry: None,
            invalid_total: 0,
        }
    }

    /// Follows the directory until nobody wants to know any more.
    pub(super) fn run(mut self) {
        let mut watching = None;
        self.signals.raise(|news| news.rewatch(Instant::now()));
        loop {
            let linger = self.leaving.values().min().map(|since| *since + LINGER);
            let news = self.signals.wait(linger.into_iter().chain(self.retry).min());
            if news.stop {
                return;
            }
            let now = Instant::now();
            let is_due = self.retry.is_some_and(|at| at <= now);
            let outcome = if let Some(arrived) = news.rewatch.or(is_due.then_some(now)) {
                // The old watch goes first: two of them would tell everything twice.
                drop(watching.take());
                self.retry = None;
                match signals::watch(&self.directory, &self.signals) {
                    Ok(watch) => {
                        let is_there = watch.end.is_some();
                        watching = Some(watch);
                        if is_there { self.list(arrived) } else { self.missing() }
                    }
                    Err(error) => {
                        self.failed(&error);
                        Ok(())
                    }
                }
            } else if let Some(arrived) = news.rescan {
                self.list(arrived)
            } else {
                self.read_changed(news)
            };
            if outcome.and_then(|()| self.tell_gone(Instant::now())).is_err() {
                return;
            }
            self.report();
        }
    }

    /// Reads everything and tells it as one.
    fn list(&mut self, arrived: Instant) -> Result<(), Closed> {
        let names = match reading::list(&self.directory) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.missing(),
            Err(error) => {
                self.failed(&error);
                return Ok(());
            }
        };
        let known: Vec<_> = self.inventory.files().chain(self.faults.keys()).cloned().collect();
        for name in known.iter().filter(|name| !names.contains(*name)).chain(&names) {
            let changes = self.read(name, arrived);
            self.warn_contested(&changes);
        }
        self.leaving.clear();
        self.status.lock().state = DirectoryState::Following;
        self.status.lock().listings_total += 1;
        self.report();
        let slices: Vec<_> = self.inventory.slices().cloned().collect();
        tracing::debug!(directory = %self.directory.display(), slices = slices.len(), "slice files were listed");
        self.send(Event::SlicesListed(slices), arrived)
    }

    /// Reads the files that have changed and tells what that changes.
    fn read_changed(&mut self, news: News) -> Result<(), Closed> {
        for (name, arrived) in news.changed {
            let changes = self.read(&name, arrived);
            self.warn_contested(&changes);
            self.report();
            for slice in changes.applied {
                self.leaving.remove(&slice.name);
                self.send(Event::SliceApplied(slice), arrived)?;
            }
            for name in changes.gone {
                self.leaving.insert(name, arrived);
            }
        }
        Ok(())
    }

    /// Tells which slices have been gone for long enough.
    fn tell_gone(&mut self, now: Instant) -> Result<(), Closed> {
        let due: Vec<_> = self.leaving.extract_if(.., |_, since| *since + LINGER <= now).collect();
        for (name, since) in due {
            if !self.inventory.has(&name) {
                self.send(Event::SliceDeleted(name), since)?;
            }
        }
        Ok(())
    }

    /// Takes in what one file says.
    fn read(&mut self, name: &OsStr, arrived: Instant) -> Changes {
        match read_file(&self.directory.join(name)) {
            Reading::Valid(content) => {
                self.files.insert(name.to_owned());
                if self.faults.remove(name).is_some() {
                    tracing::info!(file = ?name, "the slice file is valid again");
                }
                self.inventory.replace(name.to_owned(), Some(content))
            }
            Reading::Gone => {
                self.files.remove(name);
                self.faults.remove(name);
                self.inventory.replace(name.to_owned(), None)
            }
            // Whoever is writing it will close it.
            Reading::Unsettled => Changes::default(),
            Reading::Invalid { error, fingerprint } => {
                self.files.insert(name.to_owned());
                if self.faults.get(name).is_none_or(|fault| fault.fingerprint != fingerprint) {
                    tracing::warn!(file = ?name, error, "the slice file is invalid; its last good state stays");
                    self.invalid_total += 1;
                    self.faults.insert(name.to_owned(), Fault { error, fingerprint, since: arrived });
                }
                Changes::default()
            }
        }
    }

    fn send(&mut self, event: Event, arrived: Instant) -> Result<(), Closed> {
        {
            let mut status = self.status.lock();
            status.events_total += 1;
            status.last_event = Some(arrived);
        }
        self.events.blocking_send((event, arrived)).map_err(|_| Closed)
    }

    fn missing(&mut self) -> Result<(), Closed> {
        if self.status.lock().state != DirectoryState::Missing {
            tracing::warn!(
                directory = %self.directory.display(),
                "the directory of slice files does not exist; what is known stays, and it is read when it appears"
            );
        }
        self.status.lock().state = DirectoryState::Missing;
        Ok(())
    }

    fn failed(&mut self, error: &dyn std::error::Error) {
        let state = DirectoryState::Failed(error.to_string());
        if self.status.lock().state != state {
            tracing::warn!(
                directory = %self.directory.display(),
                error = %error,
                "the directory of slice files cannot be followed; what is known stays, and it is tried again"
            );
        }
        self.status.lock().state = state;
        self.retry = Some(Instant::now() + RETRY);
    }

    fn warn_contested(&self, changes: &Changes) {
        for name in &changes.contested {
            tracing::warn!(slice = %name, "the slice is in the files more than once; the last written counts");
        }
    }

    /// Writes down what status shows.
    fn report(&self) {
        let slices = || self.inventory.slices();
        let report = &mut *self.status.lock();
        *report = SourceReport {
            files: self.files.len(),
            slices: slices().len(),
            invalid_total: self.invalid_total,
            invalid: self
                .faults
                .iter()
                .map(|(name, fault)| InvalidFile {
                    path: self.directory.join(name),
                    error: fault.error.clone(),
                    since: fault.since,
                })
                .collect(),
            contested: self.inventory.contested().map(ToString::to_string).collect(),
            ignored_objects: self.inventory.ignored_objects(),
            ignored_ports: slices().map(|slice| slice.ignored_ports).sum(),
            ignored_endpoints: slices().map(|slice| slice.ignored_endpoints).sum(),
            unlabelled_slices: slices().map(|slice| u32::from(slice.service.is_none())).sum(),
            fqdn_slices: slices().map(|slice| u32::from(slice.is_fqdn)).sum(),
            ..std::mem::take(report)
        };
    }
}

#[cfg(test)]
mod tests;
