//! The admin side: its sockets, and the thread that answers on them.
//!
//! It has a runtime of its own, so that a scrape or a slow client never shows in a flow's latency or in the
//! controller's. A successor gets the sockets; from the moment this process stops to answer until the successor does,
//! who connects waits in the kernel's queue.

use std::{
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, bail};
use tidegate_admin::{AdminListener, AdminState, Members, PeerOptions, Peers, TlsFiles};
use tidegate_config::{AdminAddress, Configuration, PeerMembers};
use tidegate_handoff::message::Door;
use tokio::runtime::{Builder, LocalOptions};
use tokio_util::sync::CancellationToken;

use crate::proxy::Shared;

/// Bound sockets of the admin API, of the scrapers' address and of the gate, each as configured.
#[derive(Default)]
pub(crate) struct Doors {
    sockets: Vec<(Door, AdminListener)>,
    peers: Option<Arc<Peers>>,
}

/// The sockets, and who answers on them.
#[derive(Default)]
pub(crate) struct AdminSide {
    doors: Mutex<Doors>,
    answering: Mutex<Option<Answering>>,
}

/// A thread that answers.
struct Answering {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Doors {
    /// Binds what the configuration names.
    pub(crate) fn open(configuration: &Configuration) -> anyhow::Result<Self> {
        Self::take(configuration, Vec::new())
    }

    /// The sockets that the configuration names: those that a predecessor passed on, and new ones for the rest.
    pub(crate) fn take(
        configuration: &Configuration,
        mut passed_on: Vec<(Door, OwnedFd)>,
    ) -> anyhow::Result<Self> {
        let mut find = |door: &Door| {
            let at = passed_on.iter().position(|(passed, _)| passed == door)?;
            Some(passed_on.swap_remove(at).1)
        };
        let mut doors = Vec::new();
        if let Some(admin) = &configuration.admin {
            let token = admin.token_file.as_deref();
            let door = Door::Admin { address: admin.address.to_string() };
            let listener = match (find(&door), &admin.address) {
                (None, AdminAddress::Tcp(address)) => AdminListener::tcp(*address, token),
                (None, AdminAddress::Unix(path)) => AdminListener::unix(path, token),
                (Some(socket), AdminAddress::Tcp(address)) => {
                    AdminListener::passed_on(socket, Some(*address), token, None)
                }
                (Some(socket), AdminAddress::Unix(path)) => {
                    AdminListener::passed_on(socket, None, token, Some(path))
                }
            };
            let listener = listener.context("admin.address")?;
            let address = listener.local_addr().map_or_else(|| admin.address.to_string(), |a| a.to_string());
            tracing::info!(%address, "admin API listening");
            doors.push((door, listener));
        }
        if let Some(address) = configuration.metrics {
            let door = Door::Metrics { address: address.to_string() };
            let listener = match find(&door) {
                None => AdminListener::metrics(address).context("metrics.address")?,
                Some(socket) => AdminListener::metrics_passed_on(socket),
            };
            let address = listener.local_addr().unwrap_or(address);
            tracing::info!(%address, "metrics listening");
            doors.push((door, listener));
        }
        let mut peers = None;
        if let Some(address) = configuration.gate {
            let door = Door::Gate { address: address.to_string() };
            let listener = match find(&door) {
                None => AdminListener::gate(address).context("gate.address")?,
                Some(socket) => AdminListener::gate_passed_on(socket),
            };
            let address = listener.local_addr().unwrap_or(address);
            tracing::info!(%address, "gate listening");
            peers = configuration.peers.as_ref().map(|peers| peers_at(peers, address)).transpose()?;
            doors.push((door, listener));
        }
        Ok(Self { sockets: doors, peers })
    }

    /// What the sockets are, and the sockets.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (Door, BorrowedFd<'_>)> {
        self.sockets.iter().map(|(door, listener)| (door.clone(), listener.socket()))
    }

    /// The sockets' files are a successor's from here on.
    pub(crate) fn leave_files(&mut self) {
        self.sockets.iter_mut().for_each(|(_, listener)| listener.leave_file());
    }
}

impl AdminSide {
    /// Takes the sockets and answers on them.
    pub(crate) fn open(&self, doors: Doors, shared: &Shared) -> anyhow::Result<()> {
        *self.doors() = doors;
        self.answer(shared)
    }

    /// Answers on a thread of its own.
    pub(crate) fn answer(&self, shared: &Shared) -> anyhow::Result<()> {
        let doors = self.doors();
        let shared_doors: Vec<_> =
            doors.sockets.iter().map(|(_, door)| door.share()).collect::<Result<_, _>>()?;
        let stop = CancellationToken::new();
        let (stopped, state) = (stop.clone(), state(shared, doors.peers.clone()));
        drop(doors);
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        tracing::error!(%error, "cannot make the admin side's runtime");
                        return;
                    }
                };
                runtime.block_on(async move {
                    let serving = shared_doors.into_iter().map(|listener| {
                        tokio::task::spawn_local(serve(listener, state.clone(), stopped.clone()))
                    });
                    for serving in serving.collect::<Vec<_>>() {
                        let _ = serving.await;
                    }
                });
            })
            .context("cannot start the admin thread")?;
        *self.answering.lock().unwrap_or_else(PoisonError::into_inner) = Some(Answering { stop, thread });
        Ok(())
    }

    /// Stops to answer, after what was asked already. The sockets stay.
    pub(crate) fn pause(&self) {
        let answering = self.answering.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Answering { stop, thread }) = answering {
            stop.cancel();
            let _ = thread.join();
        }
    }

    /// The sockets.
    pub(crate) fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops to answer, and closes the sockets.
    pub(crate) fn close(&self) {
        if let Some(answering) = self.answering.lock().unwrap_or_else(PoisonError::into_inner).take() {
            answering.stop.cancel();
        }
        self.doors().sockets.clear();
    }
}

async fn serve(listener: AdminListener, state: AdminState, stop: CancellationToken) {
    if let Err(error) = tidegate_admin::serve_until(listener, state, stop.cancelled()).await {
        tracing::error!(%error, "an admin listener ended; the data plane goes on");
    }
}

/// The other instances, for one that answers at this address.
fn peers_at(configured: &tidegate_config::Peers, own: SocketAddr) -> anyhow::Result<Arc<Peers>> {
    let members = match &configured.members {
        PeerMembers::Service(service) => Members::Service(service.clone()),
        PeerMembers::Addresses(addresses) => Members::Addresses(addresses.clone()),
        PeerMembers::Own => {
            bail!(
                "peers: POD_NAMESPACE is not set, so this instance's own Service is not known; give peers.service"
            )
        }
    };
    let tls = configured.tls.as_ref().map(|tls| TlsFiles {
        certificate: tls.certificate_file.clone(),
        key: tls.key_file.clone(),
        authority: tls.authority_file.clone(),
        server_name: tls.server_name.clone(),
    });
    let token_file = configured.token_file.clone();
    Ok(Arc::new(Peers::new(PeerOptions { members, token_file, tls, own })?))
}

fn state(shared: &Shared, peers: Option<Arc<Peers>>) -> AdminState {
    let source = shared.source.clone();
    AdminState {
        control: shared.handle.clone(),
        workers: shared.workers.clone(),
        source: Arc::new(move || source.report()),
        version: env!("CARGO_PKG_VERSION"),
        flow_limit: shared.limit.flows(),
        peers,
    }
}
