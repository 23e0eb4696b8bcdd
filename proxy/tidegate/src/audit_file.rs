//! The audit's file: each drain's record as a line of JSON, when the drain is over.
//!
//! A thread of its own writes, so that a slow disk holds nobody up: what does not fit into the line before it is lost,
//! counted and said. The file is opened again when it was renamed or removed, and on SIGHUP.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tidegate_config::audit::AuditFile;
use tidegate_control::{AuditRecord, ControlCounters, ControlHandle, DrainNews};
use tokio::{sync::broadcast::error::RecvError, task::JoinHandle, time::timeout};

/// How many records wait for the disk.
const WAITING: usize = 1_024;
/// How often it is said that records are lost.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the last records.
const LAST_RECORDS: Duration = Duration::from_secs(2);

/// Writes the records of one process.
#[derive(Clone)]
pub(crate) struct AuditWriter {
    /// Closed at the process's end.
    work: Arc<Mutex<Option<SyncSender<Work>>>>,
    ending: Arc<Mutex<Option<Ending>>>,
}

/// What the process's end waits for.
struct Ending {
    /// Passes records on to the thread, until the controller has ended.
    passing_on: JoinHandle<()>,
    /// Closed when the thread has ended.
    done: Receiver<()>,
}

/// What the thread is told.
enum Work {
    Record(Arc<AuditRecord>),
    /// Write to this from now on, and open it anew.
    Open(Option<AuditFile>),
}

impl AuditWriter {
    /// Starts to write. To be called on the control runtime.
    pub(crate) fn start(handle: &ControlHandle, file: Option<AuditFile>) -> anyhow::Result<Self> {
        let (work, waiting) = sync_channel(WAITING);
        let clock = handle.clock();
        let counters = Arc::clone(handle.counters());
        let mut writer = Writer { target: Target::None, failed: None, counters };
        let (ended, done) = sync_channel(0);
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                writer.open(file);
                run(&waiting, &mut writer, |record| {
                    serde_json::to_vec(&tidegate_admin::audit_record(record, clock))
                });
                drop::<SyncSender<()>>(ended);
            })
            .context("cannot start the audit's thread")?;
        let this = Self { work: Arc::new(Mutex::new(Some(work))), ending: Arc::default() };
        if let Some(mut news) = handle.drain_news() {
            let (writer, counters) = (this.clone(), Arc::clone(handle.counters()));
            let passing_on = tokio::spawn(async move {
                loop {
                    match news.recv().await {
                        Ok(DrainNews::Over(record)) => writer.take(record, &counters),
                        Ok(DrainNews::Began(_)) => {}
                        // What was missed may have been news of another kind: more than was lost, never less.
                        Err(RecvError::Lagged(missed)) => {
                            counters.audit_lost.fetch_add(missed, Ordering::Relaxed);
                        }
                        Err(RecvError::Closed) => break,
                    }
                }
            });
            *this.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ending { passing_on, done });
        }
        Ok(this)
    }

    /// Writes to this from now on. Without a change, the file is opened again.
    pub(crate) fn open(&self, file: Option<AuditFile>) {
        if let Some(work) = &*self.work.lock().unwrap_or_else(PoisonError::into_inner) {
            // A full line means that the disk is stuck: it is opened anew once it is not, where it was renamed.
            let _ = work.try_send(Work::Open(file));
        }
    }

    /// Waits until the last records are written, for a while. For the end of the process, when the controller has
    /// ended.
    pub(crate) async fn finish(&self) {
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Ending { passing_on, done }) = ending else { return };
        let _ = timeout(LAST_RECORDS, passing_on).await;
        drop(self.work.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ = done.recv_timeout(LAST_RECORDS);
    }

    fn take(&self, record: Arc<AuditRecord>, counters: &ControlCounters) {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = &*work
            && let Err(TrySendError::Full(_)) = work.try_send(Work::Record(record))
        {
            counters.audit_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn run(
    waiting: &Receiver<Work>,
    writer: &mut Writer,
    text: impl Fn(&AuditRecord) -> serde_json::Result<Vec<u8>>,
) {
    while let Ok(work) = waiting.recv() {
        match work {
            Work::Open(file) => writer.open(file),
            Work::Record(record) => match text(&record) {
                Ok(mut line) => {
                    line.push(b'\n');
                    writer.write(&line);
                }
                Err(error) => writer.lost(&error.into()),
            },
        }
    }
}

/// Where lines go.
struct Writer {
    target: Target,
    /// When it was last said that it fails.
    failed: Option<Instant>,
    counters: Arc<ControlCounters>,
}

enum Target {
    None,
    StandardOutput,
    /// A file; `None` where it could not be opened.
    File(PathBuf, Option<File>),
}

impl Writer {
    fn open(&mut self, file: Option<AuditFile>) {
        self.failed = None;
        self.target = match file {
            None => Target::None,
            Some(AuditFile::StandardOutput) => Target::StandardOutput,
            Some(AuditFile::Path(path)) => match append_to(&path) {
                Ok(file) => Target::File(path, Some(file)),
                Err(error) => {
                    self.failed = Some(Instant::now());
                    tracing::warn!(
                        file = %path.display(), %error,
                        "the audit's file cannot be opened; it is tried again with each record"
                    );
                    Target::File(path, None)
                }
            },
        };
    }

    fn write(&mut self, line: &[u8]) {
        let written = match &mut self.target {
            Target::None => return,
            Target::StandardOutput => {
                let mut out = io::stdout().lock();
                out.write_all(line).and_then(|()| out.flush())
            }
            Target::File(path, open) => {
                if open.as_ref().is_none_or(|file| !is_still(path, file)) {
                    *open = None;
                }
                let file = match open.take() {
                    Some(file) => Ok(file),
                    None => append_to(path),
                };
                // One write for a line: two processes may append to one file.
                file.and_then(|mut file| {
                    file.write_all(line)?;
                    *open = Some(file);
                    Ok(())
                })
            }
        };
        match written {
            Ok(()) => self.failed = None,
            Err(error) => self.lost(&error),
        }
    }

    fn lost(&mut self, error: &io::Error) {
        self.counters.audit_lost.fetch_add(1, Ordering::Relaxed);
        if self.failed.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.failed = Some(Instant::now());
            tracing::warn!(%error, "an audit record was not written; it is in `tidegate audit` all the same");
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The file at this path is the one that is open.
fn is_still(path: &Path, file: &File) -> bool {
    let (Ok(there), Ok(open)) = (fs::metadata(path), file.metadata()) else { return false };
    (there.dev(), there.ino()) == (open.dev(), open.ino())
}

#[cfg(test)]
mod tests;
