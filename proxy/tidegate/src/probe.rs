//! Probes: whether this very process lives, and is ready; asked over a Unix socket of its own.
//!
//! Two pods on one node share the admin address, and one of them answers there. A probe has to be answered by the process
//! that it is meant for, also before it has taken over and after it has handed over. Decided here: what is said in those
//! two states. Between them the controller is asked.
//!
//! A successor that has its predecessor's path (`tidegate upgrade`) replaces the file when it has taken over, and not
//! before: whoever asks is answered by one of the two all the time.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tidegate_control::ControlHandle;
use tokio::runtime::{Builder, Runtime};

use crate::cli::{self, Probe};

/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);
/// No question is longer, and no answer either.
const LONGEST: u64 = 4096;

/// Where the process is.
#[derive(Clone, Default)]
pub(crate) enum Stage {
    /// It waits for a predecessor, or starts.
    #[default]
    Starting,
    /// It serves, until another process has taken over.
    Serving(ControlHandle, Arc<AtomicBool>),
    /// Another process has taken over.
    HandedOver,
}

/// Who answers. Dropping it removes the socket's file, where that is still its own.
pub(crate) struct Prober {
    path: PathBuf,
    stage: Arc<Mutex<Stage>>,
    /// Device and number of the file, once there is one of this process's.
    file: Mutex<Option<(u64, u64)>>,
}

impl Prober {
    /// Answers on a thread of its own; where another process answers there, only once this one has taken its place.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let prober = Self { path: path.to_owned(), stage: Arc::default(), file: Mutex::default() };
        if UnixStream::connect(path).is_err() {
            prober.answer_here()?;
        }
        Ok(prober)
    }

    /// From here on the process is there.
    pub(crate) fn enter(&self, stage: Stage) -> anyhow::Result<()> {
        let answers = match stage {
            Stage::Starting => true,
            // Who has taken over from this process may have replaced the file.
            Stage::Serving(..) => self.has_the_file(),
            Stage::HandedOver => lock(&self.file).is_some(),
        };
        *lock(&self.stage) = stage;
        if answers { Ok(()) } else { self.answer_here() }
    }

    fn has_the_file(&self) -> bool {
        lock(&self.file).is_some_and(|own| identity(&self.path).is_ok_and(|found| found == own))
    }

    fn answer_here(&self) -> anyhow::Result<()> {
        let (listener, file) = listen(&self.path).with_context(|| {
            format!(
                "handoff.probeSocket: cannot listen on {}; use a directory of this process's own",
                self.path.display()
            )
        })?;
        *lock(&self.file) = Some(file);
        let seen = Arc::clone(&self.stage);
        let runtime = Builder::new_current_thread().enable_time().build()?;
        thread::Builder::new().name("probe".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                // Who asks and does not listen, or does not ask, is no matter.
                let answered = stream.and_then(|stream| answer(stream, lock(&seen).clone(), &runtime));
                if let Err(error) = answered {
                    tracing::debug!(%error, "a probe was not answered");
                }
            }
        })?;
        Ok(())
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        if self.has_the_file() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens, with the file that is there replaced at once: nobody who asks finds none. What a dead process left there is this
/// pod's own, from before its container was started again.
fn listen(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        _ => {}
    }
    let new = path.with_file_name(format!(".{}", std::process::id()));
    // Left by a process of the same number that did not come to its end.
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    let moved = fs::set_permissions(&new, fs::Permissions::from_mode(0o600))
        .and_then(|()| identity(&new))
        .and_then(|own| fs::rename(&new, path).map(|()| own));
    let own = moved.inspect_err(|_| drop(fs::remove_file(&new)))?;
    Ok((listener, own))
}

/// What file it is.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn answer(mut stream: UnixStream, stage: Stage, runtime: &Runtime) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut question = String::new();
    BufReader::new((&stream).take(LONGEST)).read_line(&mut question)?;
    let stage = match stage {
        Stage::Serving(_, handed_over) if handed_over.load(Ordering::Relaxed) => Stage::HandedOver,
        stage => stage,
    };
    let reasons = match (question.trim(), stage) {
        ("live", Stage::Starting) | ("live" | "ready", Stage::HandedOver) => Vec::new(),
        ("ready", Stage::Starting) => vec!["the process starts, or waits to take over".to_owned()],
        ("live", Stage::Serving(handle, _)) => {
            runtime.block_on(handle.alive()).err().map_or_else(Vec::new, |no| no.0)
        }
        ("ready", Stage::Serving(handle, _)) => {
            runtime.block_on(handle.ready()).err().map_or_else(Vec::new, |no| no.0)
        }
        (other, _) => vec![format!("{other:?} is no probe: expected live or ready")],
    };
    let words = if reasons.is_empty() { "yes".to_owned() } else { format!("no: {}", reasons.join("; ")) };
    stream.write_all(words.as_bytes())
}

/// `tidegate probe`.
pub(crate) fn run(options: &Probe) -> anyhow::Result<ExitCode> {
    let socket = match (&options.socket, &options.config) {
        (Some(socket), _) => socket.clone(),
        (None, Some(config)) => {
            let handoff = tidegate_config::load(config)?.configuration.handoff;
            let socket = handoff.and_then(|handoff| handoff.probe_socket);
            socket.with_context(|| format!("{} has no handoff.probeSocket; add it", config.display()))?
        }
        (None, None) => bail!("--socket or --config says where the process answers"),
    };
    let question = match options.what {
        cli::Probed::Live => "live\n",
        cli::Probed::Ready => "ready\n",
    };
    let answer = ask(&socket, question).with_context(|| {
        format!("{}: no answer; is the proxy running, with this handoff.probeSocket?", socket.display())
    })?;
    println!("{answer}");
    Ok(if answer == "yes" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(socket: &Path, question: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    Ok(answer)
}
