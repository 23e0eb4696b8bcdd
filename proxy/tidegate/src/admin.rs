//! The admin side: its sockets, and the thread that answers on them.
//!
//! It has a runtime of its own, so that a scrape or a slow client never shows in a flow's latency or in the
//! controller's. A successor gets the sockets; from the moment this process stops to answer until the successor does,
//! who connects waits in the kernel's queue.

use std::{
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, bail};
use tidegate_admin::{
    AdminListener, AdminState, Members, PeerOptions, Peers, Sampler, TlsFiles,
    gate::GateCounters,
    metrics::{Carried, Totals},
};
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

/// What metrics show that neither workers nor the controller count.
#[derive(Clone, Default)]
pub(crate) struct Counted {
    /// At the gate.
    pub(crate) gate: Arc<GateCounters>,
    /// By this process's predecessors.
    pub(crate) carried: Carried,
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
        Self::default().with(configuration, Vec::new())
    }

    /// Binds what the configuration names and a predecessor does not have: an address that cannot be bound is found before
    /// anything moves.
    pub(crate) fn beside(configuration: &Configuration, predecessors: &[Door]) -> anyhow::Result<Self> {
        let doors = wanted(configuration).into_iter().filter(|(door, _)| !predecessors.contains(door));
        let open = |(door, place): (Door, Place<'_>)| Ok((door, place.open(None)?));
        Ok(Self { sockets: doors.map(open).collect::<anyhow::Result<_>>()?, peers: None })
    }

    /// The sockets that the configuration names: those that are here, and those that a predecessor passed on. New ones
    /// for the rest.
    pub(crate) fn with(
        mut self,
        configuration: &Configuration,
        mut passed_on: Vec<(Door, OwnedFd)>,
    ) -> anyhow::Result<Self> {
        for (door, place) in wanted(configuration) {
            if self.sockets.iter().any(|(own, _)| *own == door) {
                continue;
            }
            let at = passed_on.iter().position(|(passed, _)| *passed == door);
            let socket = at.map(|at| passed_on.swap_remove(at).1);
            self.sockets.push((door, place.open(socket)?));
        }
        let gate = self.sockets.iter().find(|(door, _)| matches!(door, Door::Gate { .. }));
        let answers_at = configuration
            .gate
            .map(|address| gate.and_then(|(_, listener)| listener.local_addr()).unwrap_or(address));
        if let Some((peers, own)) = configuration.peers.as_ref().zip(answers_at) {
            self.peers = Some(peers_at(peers, own)?);
        }
        Ok(self)
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

/// What a door leads to.
enum Place<'a> {
    Admin { address: &'a AdminAddress, token: Option<&'a Path> },
    Metrics(SocketAddr),
    Gate(SocketAddr),
}

impl Place<'_> {
    /// Answers on this socket, or binds one.
    fn open(self, socket: Option<OwnedFd>) -> anyhow::Result<AdminListener> {
        match self {
            Self::Admin { address, token } => {
                let listener = match (socket, address) {
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
                let address = listener.local_addr().map_or_else(|| address.to_string(), |it| it.to_string());
                tracing::info!(%address, "admin API listening");
                Ok(listener)
            }
            Self::Metrics(address) => {
                let listener = match socket {
                    None => AdminListener::metrics(address).context("metrics.address")?,
                    Some(socket) => AdminListener::metrics_passed_on(socket),
                };
                let address = listener.local_addr().unwrap_or(address);
                tracing::info!(%address, "metrics listening");
                Ok(listener)
            }
            Self::Gate(address) => {
                let listener = match socket {
                    None => AdminListener::gate(address).context("gate.address")?,
                    Some(socket) => AdminListener::gate_passed_on(socket),
                };
                let address = listener.local_addr().unwrap_or(address);
                tracing::info!(%address, "gate listening");
                Ok(listener)
            }
        }
    }
}

/// The doors that a configuration names. A Unix socket is known by its real directory: two configurations may name the same
/// one by different ways.
fn wanted(configuration: &Configuration) -> Vec<(Door, Place<'_>)> {
    let admin = configuration.admin.as_ref().map(|admin| {
        let address = match &admin.address {
            AdminAddress::Tcp(address) => address.to_string(),
            AdminAddress::Unix(path) => {
                let directory = path.parent().and_then(|directory| directory.canonicalize().ok());
                let real = directory.zip(path.file_name()).map(|(directory, name)| directory.join(name));
                format!("unix:{}", real.as_ref().unwrap_or(path).display())
            }
        };
        (
            Door::Admin { address },
            Place::Admin { address: &admin.address, token: admin.token_file.as_deref() },
        )
    });
    let metrics = configuration
        .metrics
        .map(|address| (Door::Metrics { address: address.to_string() }, Place::Metrics(address)));
    let gate =
        configuration.gate.map(|address| (Door::Gate { address: address.to_string() }, Place::Gate(address)));
    admin.into_iter().chain(metrics).chain(gate).collect()
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

/// Everything that this process and its predecessors counted.
pub(crate) fn totals(shared: &Shared) -> Totals {
    tidegate_admin::metrics::totals(&state(shared, None))
}

fn state(shared: &Shared, peers: Option<Arc<Peers>>) -> AdminState {
    let source = shared.source.clone();
    AdminState {
        control: shared.handle.clone(),
        sampler: Sampler::new(shared.handle.clone()),
        workers: shared.workers.clone(),
        source: Arc::new(move || source.report()),
        version: env!("CARGO_PKG_VERSION"),
        flow_limit: shared.limit.flows(),
        peers,
        gate: Arc::clone(&shared.counted.gate),
        carried: shared.counted.carried.clone(),
    }
}
