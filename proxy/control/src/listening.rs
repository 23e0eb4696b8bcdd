//! The listeners that are open or about to be: when workers are given them, and how they are closed.

use std::{
    mem,
    net::{SocketAddr, TcpListener},
    slice,
    sync::Arc,
    time::Duration,
};

use tidegate_core::{ListenerId, ListenerSpec, ServiceConfig, ServiceId};
use tokio::time::Instant;

use crate::{BoundListener, Command, Controller, DesiredListener, request::Purpose};

/// How long workers may take to close a listener before it is said that they did not.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A listener that is open or about to be.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) desired: DesiredListener,
    pub(crate) spec: ListenerSpec,
    /// Its sockets, while workers have not been given them.
    pub(crate) held: Option<Vec<TcpListener>>,
    /// Copies of what workers have, each with its worker, for a successor; none where there can be none.
    pub(crate) copies: Vec<(usize, TcpListener)>,
    /// Workers accept there no more, because a successor does or nobody is to.
    pub(crate) gave_up: bool,
}

impl Controller {
    /// A listener that workers will be given as soon as its service may be asked for endpoints.
    pub(crate) fn add_listener(&mut self, bound: BoundListener) {
        let id = ListenerId(self.next_listener);
        self.next_listener += 1;
        let spec = self.spec(id, &bound.desired, bound.address());
        self.listeners.push(Listening {
            desired: bound.desired,
            spec,
            held: Some(bound.sockets),
            copies: Vec::new(),
            gave_up: false,
        });
    }

    /// A listener as workers are to know it.
    pub(crate) fn spec(
        &self,
        id: ListenerId,
        desired: &DesiredListener,
        address: SocketAddr,
    ) -> ListenerSpec {
        // Listeners are checked against the services before they come here; a slot that no snapshot has refuses flows.
        let service = self.table.service_id(&desired.port).unwrap_or(ServiceId(u32::MAX));
        ListenerSpec { id, name: Arc::clone(&desired.name), address, service, port: desired.port.clone() }
    }

    pub(crate) fn holds_listeners(&self) -> bool {
        self.listeners.iter().any(|listening| listening.held.is_some())
    }

    /// Whether this service's endpoints come from a source that has to be waited for.
    pub(crate) fn awaits_source(&self, services: &[ServiceConfig]) -> bool {
        !self.table.is_synced() && services.iter().any(|service| service.fixed.is_none())
    }

    /// Gives workers the listeners whose services are known: at once where endpoints are fixed, else once the source
    /// has given a complete list, so that nobody is refused for want of endpoints that were not read yet (B5).
    pub(crate) fn open_listeners(&mut self) {
        let waited = Instant::now() >= self.sync_deadline;
        let mut listeners = mem::take(&mut self.listeners);
        for listening in listeners.iter_mut().filter(|listening| listening.held.is_some()) {
            let port = &listening.desired.port;
            let own = self.services.iter().find(|service| service.port == *port);
            let is_waiting = own.is_some_and(|service| self.awaits_source(slice::from_ref(service)));
            if is_waiting && !waited {
                continue;
            }
            listening.spec = self.spec(listening.spec.id, &listening.desired, listening.spec.address);
            let ListenerSpec { name, address, port, .. } = &listening.spec;
            if is_waiting {
                tracing::warn!(
                    listener = &**name,
                    "the source has given no complete list yet; accepting anyway"
                );
            }
            tracing::info!(listener = &**name, address = %address, service = %port, "accepting");
            let sockets = listening.held.take().unwrap_or_default();
            let (has_copies, workers) = (!listening.copies.is_empty(), self.workers.count().max(1));
            // More sockets than workers come from a predecessor that had more of those.
            for (at, socket) in sockets.into_iter().enumerate() {
                let worker = at % workers;
                if self.handoff.is_possible && !has_copies {
                    match socket.try_clone() {
                        Ok(copy) => listening.copies.push((worker, copy)),
                        Err(error) => tracing::warn!(%error, "a successor cannot be given this socket"),
                    }
                }
                self.workers.tell(worker, Command::Listen { listener: listening.spec.clone(), socket });
            }
        }
        self.listeners = listeners;
    }

    /// Takes what is in the accept queues of a listener, and closes it.
    pub(crate) fn close_listener(&mut self, listening: Listening) {
        if listening.held.is_some() {
            return;
        }
        let listener = listening.spec.id;
        let purpose = Purpose::Close { listener: listening.spec.name };
        let deadline = Instant::now() + CLOSE_LIMIT;
        let closed = self.questions.ask(&mut self.workers, 1, deadline, purpose, |request, _| {
            Command::StopAccepting { listener, request }
        });
        if let Some(closed) = closed {
            self.close_question(closed);
        }
    }
}
