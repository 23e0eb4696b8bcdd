//! Signals and the service manager.

use std::sync::{Arc, atomic::Ordering};

use anyhow::Context as _;
use sd_notify::NotifyState;
use tidegate_control::Lifecycle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::proxy::Shared;

/// Turns SIGTERM and SIGINT into a shutdown, and tells the service manager (sd_notify(3)) where the process is.
/// SIGHUP is the reload's business; where nothing can be reloaded it is ignored instead of ending the process.
pub(crate) fn follow(shared: &Shared, reloads: bool) -> anyhow::Result<()> {
    let watch = |kind| signal(kind).context("cannot watch for signals");
    let (mut term, mut int) = (watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?);
    if !reloads {
        drop(watch(SignalKind::hangup())?);
    }
    let handle = shared.handle.clone();
    let source = shared.source.clone();
    let is_main = Arc::clone(&shared.is_main);
    tokio::spawn(async move {
        let mut asked = 0;
        loop {
            let name = either(&mut term, &mut int).await;
            asked += 1;
            match asked {
                1 => {
                    tracing::info!(signal = name, "shutting down; a second signal ends at once");
                    // Said here and not when the lifecycle changes: a shutdown without delay is over too soon.
                    if is_main.load(Ordering::Relaxed) {
                        tell_service_manager(&[NotifyState::Stopping]);
                    }
                }
                _ => tracing::warn!(signal = name, "ending at once"),
            }
            source.resign();
            handle.shutdown();
        }
    });
    let mut lifecycle = shared.handle.subscribe();
    let is_main = Arc::clone(&shared.is_main);
    tokio::spawn(async move {
        loop {
            let state = *lifecycle.borrow_and_update();
            let status = NotifyState::Status(state.word());
            if is_main.load(Ordering::Relaxed) {
                match state {
                    Lifecycle::Ready => tell_service_manager(&[NotifyState::Ready, status]),
                    _ => tell_service_manager(&[status]),
                }
            }
            if lifecycle.changed().await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// This process has taken over: the service manager is to follow it from here on, and no longer the one that it started.
pub(crate) fn take_the_place(shared: &Shared) {
    shared.is_main.store(true, Ordering::Relaxed);
    let status = NotifyState::Status(shared.handle.lifecycle().word());
    tell_service_manager(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready, status]);
}

/// Another process has taken over, and speaks with the service manager.
pub(crate) fn resign(shared: &Shared) {
    shared.is_main.store(false, Ordering::Relaxed);
}

async fn either(term: &mut Signal, int: &mut Signal) -> &'static str {
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}

/// Without a service manager (no NOTIFY_SOCKET) nobody is told, and that is no error.
fn tell_service_manager(news: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(news) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}
