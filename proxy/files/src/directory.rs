//! Following a directory of slice files.
//!
//! A file is read when its writer closes it or it is renamed in, never while it is being written: a prefix of valid
//! YAML is often valid YAML. What is invalid, unreadable or away leaves the last good state; only a file that is
//! removed takes its slices with it. Slices that appear are told before slices that disappear, also where they move
//! from one file to another.
//!
//! One thread does it all (`source`): it sleeps until the kernel has news, reads, and sends. Which names matter is
//! `signals`' and `route`'s business, what a change changes is `inventory`'s.

mod reading;
mod signals;
mod source;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Instant,
};

use tidegate_core::Event;
use tokio::sync::mpsc;

pub(crate) use self::signals::Happening;
use self::{signals::Signals, source::Source};
use crate::status::SourceStatus;

/// Why a directory cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The path has no absolute form.
    #[error("cannot follow {}: {source}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no thread for it.
    #[error("cannot start the thread that follows {}: {source}", path.display())]
    Thread {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// A directory that is being followed, until this is dropped.
#[derive(Debug)]
pub struct Follower {
    signals: Arc<Signals>,
    status: Arc<SourceStatus>,
}

impl Follower {
    /// What the source can say of itself.
    pub fn status(&self) -> Arc<SourceStatus> {
        Arc::clone(&self.status)
    }

    /// Reads the whole directory again, as after lost news.
    pub fn rescan(&self) {
        self.signals.raise(|news| news.rescan(Instant::now()));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.signals.raise(|news| news.stop = true);
    }
}

/// Follows a directory of slice files: sends one [`Event::SlicesListed`] with all of it, then what changes, each
/// with the moment when the news arrived.
///
/// A directory that does not exist is waited for; nothing is sent before it was read once. The source ends when the
/// [`Follower`] is dropped or nobody receives any more.
///
/// # Errors
///
/// [`FollowError`] where it cannot even begin.
pub fn follow(
    directory: impl AsRef<Path>,
    events: mpsc::Sender<(Event, Instant)>,
) -> Result<Follower, FollowError> {
    let path = directory.as_ref();
    let directory =
        std::path::absolute(path).map_err(|source| FollowError::Path { path: path.to_owned(), source })?;
    let signals = Arc::new(Signals::default());
    let status = Arc::new(SourceStatus::default());
    status.lock().directory.clone_from(&directory);
    let source = Source::new(directory.clone(), events, Arc::clone(&signals), Arc::clone(&status));
    thread::Builder::new()
        .name("slice-files".to_owned())
        .spawn(move || source.run())
        .map_err(|source| FollowError::Thread { path: directory, source })?;
    Ok(Follower { signals, status })
}

#[cfg(test)]
mod tests;
