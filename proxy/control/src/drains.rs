//! Operators' drains: which endpoints are meant, what that changed, and that it is kept.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tidegate_core::{
    AdminState, EndpointId, EndpointSelector, Event, OperatorRequest, ServiceName, Timestamp,
    table::{EndpointView, ServiceView},
};
use tokio::task::spawn_blocking;

use crate::{
    Clock, ControlError, Controller, DrainChange, DrainOutcome, StateDirectory, Unsaved, request::Reply,
    state::StoredRequest,
};

/// How many operator requests are remembered.
const REQUESTS_LIMIT: usize = 4_096;
/// How much of an operator's words is kept, in characters.
const WORDS_LIMIT: usize = 512;

/// Where the table's operator requests are kept.
pub(crate) struct Keeper {
    pub(crate) directory: Option<Arc<StateDirectory>>,
    /// What was there at the start.
    restored: Vec<StoredRequest>,
    /// How often something was asked for.
    changes: u64,
}

impl Keeper {
    /// Reads what the directory kept.
    pub(crate) fn restore(directory: Option<StateDirectory>) -> Self {
        let restored = directory.as_ref().map(StateDirectory::load).unwrap_or_default();
        match &directory {
            Some(directory) => {
                let path = directory.path().display();
                tracing::info!(directory = %path, requests = restored.len(), "operator requests restored");
            }
            None => {
                tracing::info!("no stateDirectory: operator drains end with the process, and none was kept");
            }
        }
        Self { directory: directory.map(Arc::new), restored, changes: 0 }
    }

    /// What was there at the start, as facts for the table.
    pub(crate) fn events(&self) -> Vec<Event> {
        let event = |request: &StoredRequest| Event::AdminStateRequested {
            endpoints: request.selector.clone(),
            state: request.state,
            by: request.by.clone(),
            reason: request.reason.clone(),
            deadline: request.cut_at.map(|cut| {
                // What is over is due at once.
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Duration::from_millis(cut).saturating_sub(now)
            }),
        };
        self.restored.iter().map(event).collect()
    }

    /// Takes a predecessor's requests as if they had been there at the start. Those that are in force here and not among
    /// them were taken back there.
    pub(crate) fn replace(
        &mut self,
        requests: Vec<StoredRequest>,
        in_force: Vec<(EndpointSelector, OperatorRequest)>,
    ) -> Vec<Event> {
        let is_taken_back =
            |(selector, _): &(EndpointSelector, _)| !requests.iter().any(|it| it.selector == *selector);
        let undo = |(endpoints, request): (EndpointSelector, OperatorRequest)| Event::AdminStateRequested {
            endpoints,
            state: AdminState::InService,
            by: request.by,
            reason: request.reason,
            deadline: None,
        };
        let mut events: Vec<Event> = in_force.into_iter().filter(is_taken_back).map(undo).collect();
        self.restored = requests;
        events.extend(self.events());
        events
    }

    /// A request as it is written. One that is in force since before the restart keeps its time.
    fn stored(
        &self,
        (selector, request): (EndpointSelector, OperatorRequest),
        clock: &Clock,
    ) -> StoredRequest {
        let OperatorRequest { state, by, reason, at, deadline } = request;
        let cut_at = deadline.map(|time| {
            let cut = clock.wall(at.after(time)).duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(cut.as_millis()).unwrap_or(u64::MAX)
        });
        let stored = StoredRequest { selector, state, by, reason, since: String::new(), cut_at };
        let is_same =
            |old: &&StoredRequest| StoredRequest { since: String::new(), cut_at, ..(*old).clone() } == stored;
        let since = match self.restored.iter().find(is_same) {
            Some(old) => old.since.clone(),
            None => clock.rfc3339(at),
        };
        StoredRequest { since, ..stored }
    }
}

impl Controller {
    /// Sets what operators want of endpoints, and says what that came to.
    pub(crate) fn set_admin_state(
        &mut self,
        selector: &EndpointSelector,
        state: AdminState,
        by: String,
        reason: String,
        deadline: Option<Duration>,
    ) -> Result<Vec<DrainChange>, ControlError> {
        let before = self.table.services();
        let meant: Vec<_> = selected(&before, selector).map(|(_, view)| view).collect();
        let in_force = self.table.operator_requests();
        let is_in_force = in_force.iter().any(|(other, _)| other == selector);
        if meant.is_empty() && !(is_in_force && state == AdminState::InService) {
            return Err(unknown(&before, selector));
        }
        if !is_in_force && in_force.len() >= REQUESTS_LIMIT {
            return Err(ControlError::TooManyDrains(REQUESTS_LIMIT));
        }
        let (by, reason) = (cut(by), cut(reason));
        let (service, endpoint) = match selector {
            EndpointSelector::Address { service, address } => (service, address.to_string()),
            EndpointSelector::Pod { service, pod } => (service, pod.to_string()),
        };
        let asked = match state {
            AdminState::Drain => "operator drains an endpoint",
            AdminState::InService => "operator takes a drain back",
        };
        tracing::info!(%service, endpoint, by, reason, ?deadline, "{asked}");
        // The table hears of it a moment later, so its own is no earlier.
        let asked_for = deadline.map(|time| self.clock.now().after(time));
        self.tell_table(Event::AdminStateRequested {
            endpoints: selector.clone(),
            state,
            by,
            reason,
            deadline,
        });
        self.carry_out_all();

        let was = |id: EndpointId| {
            let found = meant.iter().find(|view| view.endpoint.id() == id);
            found.map_or(AdminState::InService, |view| admin_state(view))
        };
        let change = |(of, view): (&ServiceView, &EndpointView)| DrainChange {
            deadline: deadline_of(view),
            // With an equal one the drain does what was asked for.
            earlier_deadline: deadline_of(view).zip(asked_for).is_some_and(|(holds, asked)| holds < asked),
            id: view.endpoint.id(),
            service: of.port.clone(),
            address: view.endpoint.address(),
            pod: view.pod.clone(),
            state: admin_state(view),
            unchanged: was(view.endpoint.id()) == state,
            eligible: view.eligible,
            flows: view.endpoint.admission().flows(),
        };
        Ok(selected(&self.table.services(), selector).map(change).collect())
    }

    /// What is in force, as it is written.
    pub(crate) fn requests_in_force(&self) -> Vec<StoredRequest> {
        let requests = self.table.operator_requests().into_iter();
        requests.map(|request| self.keeper.stored(request, &self.clock)).collect()
    }

    /// Writes what is in force where there is a state directory, and answers when that is done. The disk is waited for
    /// elsewhere: a slow one must not hold back the table.
    pub(crate) fn keep_requests(
        &mut self,
        endpoints: Vec<DrainChange>,
        reply: Reply<Result<DrainOutcome, ControlError>>,
    ) {
        let Some(directory) = self.keeper.directory.clone() else {
            let _ = reply.send(Ok(DrainOutcome { endpoints, kept: Ok(false) }));
            return;
        };
        self.keeper.changes += 1;
        let number = self.keeper.changes;
        let list = self.requests_in_force();
        let counters = Arc::clone(&self.counters);
        spawn_blocking(move || {
            let kept = directory.save(number, &list).map(|()| true).map_err(|error| {
                counters.state_errors.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "operator request was not written");
                Unsaved(error.to_string())
            });
            let _ = reply.send(Ok(DrainOutcome { endpoints, kept }));
        });
    }
}

/// The endpoints of the services that this selector means.
fn selected<'a>(
    services: &'a [ServiceView],
    selector: &EndpointSelector,
) -> impl Iterator<Item = (&'a ServiceView, &'a EndpointView)> {
    services
        .iter()
        .filter(move |of| of.port.service == *service(selector))
        .flat_map(|of| of.endpoints.iter().map(move |view| (of, view)))
        .filter(move |(_, view)| matches(selector, view))
}

fn service(selector: &EndpointSelector) -> &ServiceName {
    match selector {
        EndpointSelector::Address { service, .. } | EndpointSelector::Pod { service, .. } => service,
    }
}

/// Whether this endpoint of the selector's service is meant.
fn matches(selector: &EndpointSelector, view: &EndpointView) -> bool {
    match selector {
        EndpointSelector::Address { address, .. } => view.endpoint.address() == *address,
        EndpointSelector::Pod { pod, .. } => view.pod.as_deref().is_some_and(|name| pod_name(name) == &**pod),
    }
}

/// A pod's name without its namespace.
pub(crate) fn pod_name(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, name)| name)
}

fn admin_state(view: &EndpointView) -> AdminState {
    view.operator.as_ref().map_or(AdminState::InService, |request| request.state)
}

fn deadline_of(view: &EndpointView) -> Option<Timestamp> {
    view.drain.as_ref()?.deadline
}

/// The error for a selector that means nothing.
fn unknown(services: &[ServiceView], selector: &EndpointSelector) -> ControlError {
    let endpoint = match selector {
        EndpointSelector::Address { address, .. } => address.to_string(),
        EndpointSelector::Pod { pod, .. } => pod.to_string(),
    };
    unknown_endpoint(services, service(selector), endpoint)
}

/// The error for a service that is not there, or an endpoint that it does not have.
pub(crate) fn unknown_endpoint(
    services: &[ServiceView],
    service: &ServiceName,
    endpoint: String,
) -> ControlError {
    let service = service.clone();
    let own: Vec<_> = services.iter().filter(|of| of.port.service == service).collect();
    if own.is_empty() {
        let mut known: Vec<_> = services.iter().map(|of| of.port.service.to_string()).collect();
        known.dedup();
        return ControlError::UnknownService { service, known };
    }
    let words = |view: &EndpointView| match &view.pod {
        Some(pod) => format!("{} ({})", view.endpoint.address(), pod_name(pod)),
        None => view.endpoint.address().to_string(),
    };
    let known = own.iter().flat_map(|of| of.endpoints.iter().map(words)).collect();
    ControlError::UnknownEndpoint { service, endpoint, known }
}

/// An operator's words, not longer than what is kept.
fn cut(words: String) -> String {
    match words.char_indices().nth(WORDS_LIMIT) {
        Some((end, _)) => words[..end].to_owned(),
        None => words,
    }
}
