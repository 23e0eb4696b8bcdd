//! The admin side: its sockets, and the thread that answers on them.
//!
//! It has a runtime of its own, so that a scrape or a slow client never shows in a flow's latency or in the
//! controller's.

use std::{sync::Arc, thread};

use anyhow::Context as _;
use tidegate_admin::{AdminListener, AdminState};
use tidegate_config::{AdminAddress, Configuration};
use tokio::runtime::{Builder, LocalOptions};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::proxy::Shared;

/// Bound sockets of the admin API and of the scrapers' address.
pub(crate) struct Doors(Vec<AdminListener>);

/// Stops answering when it is dropped.
pub(crate) struct Answering {
    _stop: DropGuard,
}

impl Doors {
    /// Binds what the configuration names.
    pub(crate) fn open(configuration: &Configuration) -> anyhow::Result<Self> {
        let mut doors = Vec::new();
        if let Some(admin) = &configuration.admin {
            let token = admin.token_file.as_deref();
            let listener = match &admin.address {
                AdminAddress::Tcp(address) => AdminListener::tcp(*address, token),
                AdminAddress::Unix(path) => AdminListener::unix(path, token),
            };
            let listener = listener.context("admin.address")?;
            let address = listener.local_addr().map_or_else(|| admin.address.to_string(), |a| a.to_string());
            tracing::info!(%address, "admin API listening");
            doors.push(listener);
        }
        if let Some(address) = configuration.metrics {
            let listener = AdminListener::metrics(address).context("metrics.address")?;
            let address = listener.local_addr().unwrap_or(address);
            tracing::info!(%address, "metrics listening");
            doors.push(listener);
        }
        Ok(Self(doors))
    }

    /// Answers on a thread of its own until the result is dropped.
    pub(crate) fn serve(self, shared: Shared) -> anyhow::Result<Answering> {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => return tracing::error!(%error, "cannot make the admin runtime"),
                };
                runtime.block_on(async move {
                    for listener in self.0 {
                        drop(tokio::task::spawn_local(serve(listener, state(&shared))));
                    }
                    stopped.cancelled().await;
                });
            })
            .context("cannot start the admin thread")?;
        Ok(Answering { _stop: stop.drop_guard() })
    }
}

async fn serve(listener: AdminListener, state: AdminState) {
    if let Err(error) = tidegate_admin::serve(listener, state).await {
        tracing::error!(%error, "an admin listener ended; the data plane goes on");
    }
}

fn state(shared: &Shared) -> AdminState {
    let source = shared.source.clone();
    AdminState {
        control: shared.handle.clone(),
        workers: shared.workers.clone(),
        source: Arc::new(move || source.report()),
        version: env!("CARGO_PKG_VERSION"),
        flow_limit: shared.limit.flows(),
    }
}
