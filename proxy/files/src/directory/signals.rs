//! From the kernel's news of files to what must be read again.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};

use super::reading::is_slice_file;
use crate::route::Route;

/// What must be read again, each with the moment when its first news arrived. It holds each file once, however
/// often it changes meanwhile.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The watch itself must be made anew.
    pub(super) rewatch: Option<Instant>,
    /// Everything must be read.
    pub(super) rescan: Option<Instant>,
    /// These files must be read.
    pub(super) changed: BTreeMap<OsString, Instant>,
    /// The source ends.
    pub(super) stop: bool,
}

impl News {
    pub(super) fn rescan(&mut self, arrived: Instant) {
        self.rescan.get_or_insert(arrived);
    }

    pub(super) fn rewatch(&mut self, arrived: Instant) {
        self.rewatch.get_or_insert(arrived);
    }

    fn is_empty(&self) -> bool {
        self.rewatch.is_none() && self.rescan.is_none() && self.changed.is_empty() && !self.stop
    }
}

/// Where news wait for the thread that reads.
#[derive(Debug, Default)]
pub(super) struct Signals {
    news: Mutex<News>,
    wake: Condvar,
}

impl Signals {
    pub(super) fn raise(&self, note: impl FnOnce(&mut News)) {
        note(&mut self.lock());
        self.wake.notify_one();
    }

    /// Waits for news, at most until `deadline`.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> News {
        let mut news = self.lock();
        while news.is_empty() {
            news = match deadline {
                None => self.wake.wait(news).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.wake.wait_timeout(news, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        std::mem::take(&mut news)
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch on a directory and on the way to it.
pub(super) struct Watch {
    /// Where the directory really is, if it exists.
    pub(super) end: Option<PathBuf>,
    _watcher: RecommendedWatcher,
}

/// Watches a directory and the way to it. What happens to it between two looks is seen: the way is looked up again
/// once it is watched.
pub(super) fn watch(directory: &Path, signals: &Arc<Signals>) -> notify::Result<Watch> {
    const ATTEMPTS: usize = 8;
    for _ in 0..ATTEMPTS {
        let route = Route::of(directory).map_err(notify::Error::io)?;
        let sorter = Sorter { route: route.clone(), signals: Arc::clone(signals) };
        let mut watcher = notify::recommended_watcher(move |event| sorter.sort(event))?;
        let watched = route
            .parents()
            .into_iter()
            .chain(route.end.as_deref())
            .try_for_each(|path| watcher.watch(path, RecursiveMode::NonRecursive));
        match watched {
            Ok(()) if Route::of(directory).map_err(notify::Error::io)? == route => {
                return Ok(Watch { end: route.end, _watcher: watcher });
            }
            Ok(()) => {}
            Err(error) if is_not_found(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(notify::Error::generic("it is replaced faster than it can be watched"))
}

fn is_not_found(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

/// What a single event means.
struct Sorter {
    route: Route,
    signals: Arc<Signals>,
}

impl Sorter {
    fn sort(&self, event: notify::Result<notify::Event>) {
        let arrived = Instant::now();
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::debug!(error = %error, "the watch on slice files reported an error");
                return self.signals.raise(|news| news.rewatch(arrived));
            }
        };
        // The kernel's queue overflowed: some news are lost, nobody knows which.
        if event.need_rescan() {
            return self.signals.raise(|news| news.rescan(arrived));
        }
        let Some(happening) = Happening::of(event.kind) else { return };
        for path in &event.paths {
            let is_end = self.route.end.as_ref() == Some(path);
            if is_end || self.route.names.contains(path) {
                if happening != Happening::Written {
                    self.signals.raise(|news| news.rewatch(arrived));
                }
            } else if path.parent() == self.route.end.as_deref()
                && let Some(name) = path.file_name()
            {
                self.sort_entry(path, name, happening, arrived);
            }
        }
    }

    fn sort_entry(&self, path: &Path, name: &OsStr, happening: Happening, arrived: Instant) {
        if is_slice_file(name) {
            let is_complete = match happening {
                Happening::Written | Happening::RenamedIn | Happening::Removed => true,
                // A new file is being written and will be closed, but a new link is complete.
                Happening::Created => {
                    fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink() || it.nlink() > 1)
                }
            };
            if is_complete {
                self.signals.raise(|news| {
                    news.changed.entry(name.to_owned()).or_insert(arrived);
                });
            }
        } else if matches!(happening, Happening::RenamedIn | Happening::Created) && is_link_target(path, name)
        {
            self.signals.raise(|news| news.rescan(arrived));
        }
    }
}

/// A link beside the files through which they may lead, as `..data` in a mounted ConfigMap (`..data_tmp` becomes it
/// by a rename).
fn is_link_target(path: &Path, name: &OsStr) -> bool {
    let is_hidden = name.as_encoded_bytes().starts_with(b"..");
    (name == "..data" || !is_hidden) && fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink())
}

/// What happened to a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// Its writer closed it.
    Written,
    /// It was renamed in.
    RenamedIn,
    /// It is new.
    Created,
    /// It was removed or renamed away.
    Removed,
}

impl Happening {
    /// What an event means, if it means anything: opening, reading and writing do not.
    pub(crate) fn of(kind: EventKind) -> Option<Self> {
        use notify::event::RenameMode;

        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Self::Written),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Self::RenamedIn),
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => {
                Some(Self::Removed)
            }
            EventKind::Create(_) => Some(Self::Created),
            _ => None,
        }
    }
}

/// Feeds an event that no test can make the kernel send.
#[cfg(test)]
pub(super) fn sort_for_test(directory: &Path, signals: &Arc<Signals>, event: notify::Event) {
    let route = Route::of(directory).unwrap_or_default();
    Sorter { route, signals: Arc::clone(signals) }.sort(Ok(event));
}
