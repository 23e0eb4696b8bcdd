//! Signals and the service manager.

use anyhow::Context as _;
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
    tokio::spawn(async move {
        let mut asked = 0;
        loop {
            let name = either(&mut term, &mut int).await;
            asked += 1;
            match asked {
                1 => tracing::info!(signal = name, "shutting down; a second signal ends at once"),
                _ => tracing::warn!(signal = name, "ending at once"),
            }
            handle.shutdown();
        }
    });
    let mut lifecycle = shared.handle.subscribe();
    tokio::spawn(async move {
        loop {
            let state = *lifecycle.borrow_and_update();
            tell_service_manager(state);
            if lifecycle.changed().await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

async fn either(term: &mut Signal, int: &mut Signal) -> &'static str {
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}

/// Without a service manager (no NOTIFY_SOCKET) nobody is told, and that is no error.
fn tell_service_manager(lifecycle: Lifecycle) {
    use sd_notify::NotifyState;
    let word = NotifyState::Status(lifecycle.word());
    let outcome = match lifecycle {
        Lifecycle::Ready => sd_notify::notify(&[NotifyState::Ready, word]),
        Lifecycle::Draining => sd_notify::notify(&[NotifyState::Stopping, word]),
        _ => sd_notify::notify(&[word]),
    };
    if let Err(error) = outcome {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}
