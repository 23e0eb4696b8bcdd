//! A new configuration in the same process: all of it or nothing, and no live flow notices.
//!
//! The order matters. New addresses are bound first, because that can fail. Then services are configured, the old ones
//! still among them. Then listeners are opened, pointed elsewhere or closed. Old services go last, once no listener
//! can send them a flow.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tidegate_core::{Event, ServiceConfig, ServicePort};
use tokio::time::Instant;

use crate::{
    BoundListener, Command, Controller, DesiredListener, LifecycleSettings, ReloadError,
    listeners::{self, ListenerPlan},
    listening::Listening,
    request::Purpose,
};

/// How long workers may take to follow before services that were given up are dropped all the same.
const RETIRE_LIMIT: Duration = Duration::from_secs(5);

/// A configuration, as far as it concerns the controller. At the start its listeners are bound already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired<Listener = DesiredListener> {
    /// Every service that a listener names.
    pub services: Vec<ServiceConfig>,
    /// Every listener that has to be there.
    pub listeners: Vec<Listener>,
    /// Listeners that the source asks for. One that cannot be bound keeps nothing else from being applied.
    pub wanted: Vec<DesiredListener>,
    /// The source has not said yet which listeners it asks for; until it has, the process is not ready.
    pub awaits_wanted: bool,
    /// The node's name.
    pub node: Option<Arc<str>>,
    /// The node's zone.
    pub zone: Option<Arc<str>>,
    /// How start and shutdown go.
    pub lifecycle: LifecycleSettings,
}

impl<Listener> Default for Desired<Listener> {
    fn default() -> Self {
        Self {
            services: Vec::new(),
            listeners: Vec::new(),
            wanted: Vec::new(),
            awaits_wanted: false,
            node: None,
            zone: None,
            lifecycle: LifecycleSettings::default(),
        }
    }
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadOutcome {
    /// The generation with the new services.
    pub generation: u64,
    /// Listeners that were opened.
    pub listeners_opened: Vec<Arc<str>>,
    /// Listeners with another service or another name on the same sockets.
    pub listeners_changed: Vec<Arc<str>>,
    /// Listeners that were closed.
    pub listeners_closed: Vec<Arc<str>>,
    /// Services that are new.
    pub services_added: Vec<ServicePort>,
    /// Services with other settings or other fixed endpoints.
    pub services_changed: Vec<ServicePort>,
    /// Services that were given up; their flows go on.
    pub services_removed: Vec<ServicePort>,
    /// Listeners that the source asks for and that cannot be bound.
    pub unbound: Vec<Unbound>,
}

/// A listener that cannot be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbound {
    /// Its name.
    pub listener: Arc<str>,
    /// Its address.
    pub address: SocketAddr,
    /// Why, in words.
    pub why: String,
}

impl Controller {
    pub(crate) fn reload(&mut self, desired: Desired) -> Result<ReloadOutcome, ReloadError> {
        if self.course.is_ending() {
            return Err(ReloadError::ShuttingDown);
        }
        if self.handoff.awaited || self.handoff.lent {
            return Err(ReloadError::HandingOver);
        }
        check(&desired)?;
        let current: Vec<_> =
            self.listeners.iter().map(|listening| (listening.spec.id, listening.desired.clone())).collect();
        let all = [desired.listeners.as_slice(), &desired.wanted].concat();
        let plan = listeners::plan(&current, &all);
        let (bound, unbound) = self.bind_all(&plan, &desired.wanted)?;

        let mut outcome = compare(&self.services, &desired.services);
        self.configure(desired);

        outcome.listeners_opened = bound.iter().map(|bound| Arc::clone(&bound.desired.name)).collect();
        outcome.listeners_changed = plan.retarget.iter().map(|(_, new)| Arc::clone(&new.name)).collect();
        outcome.listeners_closed = self.close_unwanted(&plan);
        self.retarget(&plan);
        for bound in bound {
            self.add_listener(bound);
        }
        if !self.retiring.is_empty() {
            self.await_retirement();
        }
        outcome.generation = self.table.generation();
        outcome.unbound = unbound;
        Ok(outcome)
    }

    /// Everything but listeners. Services that are not among the desired ones stay until no worker can send them a flow.
    pub(crate) fn configure(&mut self, desired: Desired) {
        let gone: Vec<_> =
            self.services.extract_if(.., |service| !names(&desired.services, service)).collect();
        self.retiring.extend(gone);
        self.retiring.retain(|service| !names(&desired.services, service));
        self.services = desired.services;
        self.course.set_settings(desired.lifecycle);
        self.awaits_wanted = desired.awaits_wanted;
        self.tell_table(Event::NodeIs { name: desired.node, zone: desired.zone });
        self.configure_services();
    }

    /// Binds what is new. What has to be there and cannot be bound is an error; what the source merely asks for is
    /// left out.
    fn bind_all(
        &self,
        plan: &ListenerPlan,
        wanted: &[DesiredListener],
    ) -> Result<(Vec<BoundListener>, Vec<Unbound>), ReloadError> {
        let (mut bound, mut unbound) = (Vec::new(), Vec::new());
        for desired in &plan.bind {
            let (listener, address) = (Arc::clone(&desired.name), desired.address);
            match BoundListener::bind(desired.clone(), self.workers.count(), &self.bind) {
                Ok(it) => bound.push(it),
                Err(cause) if wanted.contains(desired) => {
                    unbound.push(Unbound { listener, address, why: cause.to_string() });
                }
                Err(cause) => {
                    return Err(ReloadError::Bind { listener, address, cause: Arc::new(cause) });
                }
            }
        }
        Ok((bound, unbound))
    }

    /// Publishes the services in force together with those that are on their way out.
    fn configure_services(&mut self) {
        let services = self.services.iter().chain(&self.retiring).cloned().collect();
        self.tell_table(Event::ServicesConfigured(services));
        self.carry_out_all();
    }

    fn close_unwanted(&mut self, plan: &ListenerPlan) -> Vec<Arc<str>> {
        let unwanted = |listening: &mut Listening| plan.close.contains(&listening.spec.id);
        let closing: Vec<_> = self.listeners.extract_if(.., unwanted).collect();
        let names = closing.iter().map(|listening| Arc::clone(&listening.spec.name)).collect();
        for listening in closing {
            self.close_listener(listening);
        }
        names
    }

    /// Points listeners elsewhere. Also those that the configuration left alone, where a service's slot is another.
    fn retarget(&mut self, plan: &ListenerPlan) {
        let mut listeners = std::mem::take(&mut self.listeners);
        for listening in &mut listeners {
            if let Some((_, new)) = plan.retarget.iter().find(|(id, _)| *id == listening.spec.id) {
                listening.desired = new.clone();
            }
            let spec = self.spec(listening.spec.id, &listening.desired, listening.spec.address);
            if listening.held.is_none() && spec != listening.spec {
                self.workers.tell_all(|_| Command::Retarget(spec.clone()));
            }
            listening.spec = spec;
        }
        self.listeners = listeners;
    }

    /// Asks the workers for a sign that they have followed.
    fn await_retirement(&mut self) {
        let deadline = Instant::now() + RETIRE_LIMIT;
        let closed = self
            .questions
            .ask(&mut self.workers, 1, deadline, Purpose::Retire, |request, _| Command::Ping { request });
        if let Some(closed) = closed {
            self.close_question(closed);
        }
    }

    /// Drops services that were given up, if no worker can send them a flow any more.
    pub(crate) fn retire_services(&mut self) {
        let is_reload = |purpose: &Purpose| matches!(purpose, Purpose::Close { .. } | Purpose::Retire);
        if !self.retiring.is_empty() && !self.questions.purposes().any(is_reload) {
            self.retiring.clear();
            self.configure_services();
        }
    }
}

/// Every listener has a service.
fn check(desired: &Desired) -> Result<(), ReloadError> {
    for listener in desired.listeners.iter().chain(&desired.wanted) {
        if !desired.services.iter().any(|service| service.port == listener.port) {
            return Err(ReloadError::ServiceMissing {
                listener: Arc::clone(&listener.name),
                service: listener.port.clone(),
            });
        }
    }
    Ok(())
}

fn names(services: &[ServiceConfig], wanted: &ServiceConfig) -> bool {
    services.iter().any(|service| service.port == wanted.port)
}

/// What is different between two lists of services.
fn compare(old: &[ServiceConfig], new: &[ServiceConfig]) -> ReloadOutcome {
    let port = |service: &&ServiceConfig| service.port.clone();
    let ports = |services: Vec<&ServiceConfig>| services.iter().map(port).collect();
    let is_changed = |service: &&ServiceConfig| names(old, service) && !old.contains(service);
    ReloadOutcome {
        services_added: ports(new.iter().filter(|service| !names(old, service)).collect()),
        services_changed: ports(new.iter().filter(is_changed).collect()),
        services_removed: ports(old.iter().filter(|service| !names(new, service)).collect()),
        ..ReloadOutcome::default()
    }
}

#[cfg(test)]
mod tests;
