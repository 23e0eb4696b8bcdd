//! Probes: whether this very process lives, and is ready; asked over a Unix socket of its own.
//!
//! Two pods on one node share the admin address, and one of them answers there. A probe has to be answered by the process
//! that it is meant for, also before it has taken over and after it has handed over. Decided here: what is said in those
//! two states. Between them the controller is asked.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
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

/// Who answers. Dropping it removes the socket.
pub(crate) struct Prober {
    path: PathBuf,
    stage: Arc<Mutex<Stage>>,
}

impl Prober {
    /// Answers on a thread of its own.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let listener = listen(path).with_context(|| {
            format!(
                "handoff.probeSocket: cannot listen on {}; use a directory of this process's own",
                path.display()
            )
        })?;
        let stage = Arc::<Mutex<Stage>>::default();
        let seen = Arc::clone(&stage);
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
        Ok(Self { path: path.to_owned(), stage })
    }

    /// From here on the process is there.
    pub(crate) fn enter(&self, stage: Stage) {
        *lock(&self.stage) = stage;
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        // It may have been removed by hand.
        let _ = fs::remove_file(&self.path);
    }
}

fn lock(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket that was left there is this pod's own, from before its container was started again.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
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
