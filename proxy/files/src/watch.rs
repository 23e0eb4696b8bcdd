//! Telling that a file may have changed: written and closed, renamed in, or reached through a link that was swapped.
//!
//! The reader decides whether it really has. Several changes in a row are told once.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use crate::{directory::Happening, route::Route};

/// A change is told when the file has been left alone for so long,
const QUIET: Duration = Duration::from_millis(50);
/// or after so long at the latest.
const LATEST: Duration = Duration::from_secs(1);

/// Why a file cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The way to the file cannot be looked up.
    #[error("cannot look up {}: {source}", path.display())]
    Path {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The kernel refuses to watch it.
    #[error("cannot watch {}: {source} (is fs.inotify.max_user_instances or max_user_watches too small?)", path.display())]
    Kernel {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: notify::Error,
    },
}

/// A file that is being watched.
#[derive(Debug)]
pub struct FileWatch {
    path: PathBuf,
    news: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    /// A change that has been seen and not been told.
    pending: bool,
}

/// Watches a file, which need not exist.
///
/// # Errors
///
/// [`WatchError`] where the kernel refuses.
pub fn watch_file(path: impl AsRef<Path>) -> Result<FileWatch, WatchError> {
    let path = path.as_ref();
    let path =
        std::path::absolute(path).map_err(|source| WatchError::Path { path: path.to_owned(), source })?;
    let mut watch = FileWatch { path, news: Arc::default(), watcher: None, pending: false };
    watch.arm()?;
    Ok(watch)
}

impl FileWatch {
    /// Waits until the file may have changed. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`WatchError`] where the file changed and cannot be watched any more; the next call tries again.
    pub async fn changed(&mut self) -> Result<(), WatchError> {
        if self.watcher.is_none() {
            self.arm()?;
        }
        if !self.pending {
            self.news.notified().await;
            self.pending = true;
        }
        let latest = Instant::now() + LATEST;
        while let Ok(Ok(())) = timeout_at(latest, timeout(QUIET, self.news.notified())).await {}
        // The way to the file may be another now, and what happened since is seen by the new watch or by the reader.
        self.arm()?;
        self.pending = false;
        Ok(())
    }

    /// Watches the names on the way to the file.
    fn arm(&mut self) -> Result<(), WatchError> {
        self.watcher = None;
        let kernel = |source| WatchError::Kernel { path: self.path.clone(), source };
        let look =
            || Route::of(&self.path).map_err(|source| WatchError::Path { path: self.path.clone(), source });
        let mut route = look()?;
        loop {
            let names = route.names.clone();
            let news = Arc::clone(&self.news);
            let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if is_news(&event, &names) {
                    news.notify_one();
                }
            })
            .map_err(kernel)?;
            let mut failure = None;
            for parent in route.parents() {
                if let Err(error) = watcher.watch(parent, RecursiveMode::NonRecursive) {
                    failure = Some(error);
                }
            }
            // A way that changed meanwhile is walked again; the change itself is news.
            let again = look()?;
            if again != route {
                route = again;
                self.news.notify_one();
                continue;
            }
            return match failure {
                Some(error) => Err(kernel(error)),
                None => {
                    self.watcher = Some(watcher);
                    Ok(())
                }
            };
        }
    }
}

/// An event may have changed what the names lead to; lost ones may, too.
fn is_news(event: &notify::Result<notify::Event>, names: &BTreeSet<PathBuf>) -> bool {
    event.as_ref().map_or(true, |event| {
        event.need_rescan()
            || (Happening::of(event.kind).is_some() && event.paths.iter().any(|path| names.contains(path)))
    })
}

#[cfg(test)]
mod tests;
