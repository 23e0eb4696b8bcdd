//! Reloading the configuration: when its file changes, and on SIGHUP.
//!
//! A reload is validated whole, planned in words, and then applied without touching a live flow. An invalid one, or
//! one that needs a restart, changes nothing and says so.

use std::path::PathBuf;

use tidegate_config::Configuration;
use tidegate_control::{Lifecycle, ReloadError};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::AbortHandle,
};

use crate::{
    demand::Demand,
    overrides::Overrides,
    proxy::{Shared, flow_log_rate},
};

/// Stops following when it is dropped.
pub(crate) struct Reloads(Option<AbortHandle>);

impl Drop for Reloads {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Starts following the configuration's file, where there is one.
pub(crate) fn follow(
    file: Option<PathBuf>,
    overrides: Overrides,
    running: Configuration,
    shared: Shared,
    is_successor: bool,
) -> Reloads {
    let follow =
        |file| tokio::spawn(follow_file(file, overrides, running, shared, is_successor)).abort_handle();
    Reloads(file.map(follow))
}

async fn follow_file(
    file: PathBuf,
    overrides: Overrides,
    mut running: Configuration,
    shared: Shared,
    is_successor: bool,
) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => Some(hangup),
        Err(error) => {
            tracing::warn!(%error, "cannot watch for SIGHUP");
            None
        }
    };
    let mut watch = match tidegate_files::watch_file(&file) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "the configuration's file is not watched; SIGHUP reloads it");
            None
        }
    };
    // A successor changes nothing before it has what its predecessor had.
    let mut lifecycle = shared.handle.subscribe();
    if is_successor && lifecycle.wait_for(|state| *state != Lifecycle::Starting).await.is_err() {
        return;
    }
    let mut demand = Demand::new(&shared.source);
    // The file may have changed between its first read and the watch; then this read finds it.
    reload(&file, &overrides, &mut running, &mut demand, &shared).await;
    loop {
        tokio::select! {
            () = hung_up(&mut hangup) => {
                tracing::info!("SIGHUP: reading the configuration again");
                // Whoever moves the audit's file away says so in this way.
                shared.audit.open(running.audit.file.clone());
            }
            changed = file_changed(&mut watch) => if let Err(error) = changed {
                tracing::warn!(%error, "the configuration's file is not watched any more; SIGHUP reloads it");
                watch = None;
                continue;
            },
            () = demand.changed() => {
                follow_source(&running, &mut demand, &shared).await;
                continue;
            }
        }
        reload(&file, &overrides, &mut running, &mut demand, &shared).await;
    }
}

/// Applies what Services ask for beside the running configuration.
async fn follow_source(running: &Configuration, demand: &mut Demand, shared: &Shared) {
    let (wanted, problems) = demand.desired(running, &shared.source);
    if demand.is_applied(&wanted) {
        return demand.note_problems(problems);
    }
    match shared.handle.follow_source(wanted.clone()).await {
        Ok(outcome) => {
            let (opened, closed) = (&outcome.listeners_opened, &outcome.listeners_closed);
            if !(opened.is_empty() && closed.is_empty()) {
                let (opened, closed) = (opened.join(", "), closed.join(", "));
                tracing::info!(opened, closed, "Services ask for other listeners");
            }
            demand.note(wanted, problems, &outcome);
        }
        Err(ReloadError::HandingOver) => demand.try_again(),
        Err(error) => tracing::warn!(%error, "what Services ask for could not be applied"),
    }
}

async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

async fn file_changed(
    watch: &mut Option<tidegate_files::FileWatch>,
) -> Result<(), tidegate_files::WatchError> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Reads the file and applies what has changed: all of it or nothing.
async fn reload(
    file: &std::path::Path,
    overrides: &Overrides,
    running: &mut Configuration,
    demand: &mut Demand,
    shared: &Shared,
) {
    let mut loaded = match tidegate_config::load(file) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(shared, &error),
    };
    if let Err(error) = overrides.apply(&mut loaded.configuration) {
        return refuse(shared, &error);
    }
    for warning in &loaded.warnings {
        tracing::warn!(file = %file.display(), line = warning.line, "{}", warning.message);
    }
    let plan = tidegate_config::plan(running, &loaded.configuration);
    if plan.is_empty() {
        tracing::debug!("the configuration's file was written, and means the same as before");
        if *running != loaded.configuration {
            // What an entry gives and what it leaves to a Service's annotations may be worth the same.
            *running = loaded.configuration;
            demand.look_again();
        }
        return;
    }
    if !plan.needs_restart.is_empty() {
        let reasons: Vec<_> = plan.needs_restart.iter().map(ToString::to_string).collect();
        return refuse(shared, &anyhow::anyhow!("{}", reasons.join("; ")));
    }
    for change in &plan.changes {
        tracing::info!("reload: {change}");
    }
    let (wanted, problems) = demand.desired(&loaded.configuration, &shared.source);
    match shared.handle.reload(wanted.clone()).await {
        Ok(outcome) => {
            demand.note(wanted, problems, &outcome);
            shared.flow_log.set(flow_log_rate(loaded.configuration.flow_log));
            shared.handle.keep_audit_records(loaded.configuration.audit.keep);
            shared.audit.open(loaded.configuration.audit.file.clone());
            tracing::info!(changes = plan.changes.len(), generation = outcome.generation, "reloaded");
            *running = loaded.configuration;
        }
        // The handle has counted and kept this refusal itself.
        Err(error) => log_refusal(&error),
    }
}

/// Says that the running configuration stays.
fn refuse(shared: &Shared, error: &dyn std::fmt::Display) {
    shared.handle.reload_refused(error.to_string());
    log_refusal(error);
}

fn log_refusal(error: &dyn std::fmt::Display) {
    tracing::error!("the configuration was not reloaded, the running one stays: {error}");
}
