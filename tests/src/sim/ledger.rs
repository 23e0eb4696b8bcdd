//! Which drains are on, why, since when and until when: worked out from the facts alone, and not read back from the table.
//!
//! Kept for services that name their port: without a name it depends on what slices said when, which is the join's
//! business. An endpoint that has gone stays here while flows are left on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tidegate_core::{
    Conditions, DrainDeadline, DrainPlan, Endpoint, EndpointIdentity, OnRemoval, ServiceConfig, ServicePort,
    Timestamp, table::ServiceView,
};

use super::model::{Known, Model};

/// An endpoint of a service.
pub(super) type Key = (ServicePort, EndpointIdentity);

/// How many flows are on each endpoint.
pub(super) type Counts = BTreeMap<Key, u64>;

/// What a deadline leaves that is over, or is this moment, when it becomes known.
const HASTE: Duration = Duration::from_secs(1);

/// All endpoints, with their drains.
#[derive(Default)]
pub(super) struct Ledger {
    /// The services that are or were configured, each with its last configuration and whether it is configured.
    services: BTreeMap<ServicePort, (ServiceConfig, bool)>,
    entries: BTreeMap<Key, Entry>,
    /// Plans of endpoints that have gone which have changed.
    pub(super) replanned_gone: u64,
    /// Drains of endpoints that have gone which were taken back.
    pub(super) undone_gone: u64,
}

struct Entry {
    is_present: bool,
    conditions: Conditions,
    leaves: bool,
    pod: Option<Arc<str>>,
    /// It has gone, and what drained it then lasts.
    lasts: bool,
    drain: Option<Drain>,
}

/// A drain that is on.
#[derive(Clone, Copy)]
pub(super) struct Drain {
    pub(super) since: Timestamp,
    pub(super) deadline: Option<Timestamp>,
}

pub(super) fn key(endpoint: &Endpoint) -> Key {
    (endpoint.service().clone(), endpoint.identity().clone())
}

/// Whether this service's endpoints are in the ledger.
pub(super) fn covers(port: &ServicePort) -> bool {
    port.port.is_some()
}

impl Ledger {
    /// Works out what follows from the facts so far, which are acted upon together at this moment.
    pub(super) fn act(&mut self, model: &mut Model, flows: &Counts, now: Timestamp) {
        let ports: BTreeSet<ServicePort> =
            self.services.keys().chain(model.configs.keys()).filter(|port| covers(port)).cloned().collect();
        for port in ports {
            self.act_on(&port, model, flows, now);
        }
        model.forget_terminated();
    }

    fn act_on(&mut self, port: &ServicePort, model: &Model, flows: &Counts, now: Timestamp) {
        let wanted = model.configs.get(port);
        let known = self.services.get(port);
        let Some(config) = wanted.or(known.map(|(config, _)| config)).cloned() else { return };
        // Its source has changed, or it was given up: pods that go with that may be well.
        let is_reload =
            known.is_some_and(|(old, was)| old.fixed != config.fixed || (*was && wanted.is_none()));
        let expected = model.expect_under(port, &config).present;
        let own: Vec<Key> = self.entries.keys().filter(|(of, _)| of == port).cloned().collect();
        for key in &own {
            let address = key.1.address;
            let entry = self.entries.get_mut(key).expect("it was listed");
            let is_listed = expected.get(&address).is_some_and(|known| known.uid == key.1.pod_uid);
            if entry.is_present && !is_listed {
                let was_terminating = entry.conditions.terminating
                    || (config.fixed.is_none() && model.says_terminating(port, address, &key.1.pod_uid));
                let by_service =
                    !is_reload && config.fixed.is_none() && config.settings.on_removal == OnRemoval::Deadline;
                entry.is_present = false;
                entry.lasts = was_terminating || entry.leaves || by_service;
                if !flows.contains_key(key) {
                    self.entries.remove(key);
                }
            }
        }
        if wanted.is_some() {
            for (address, known) in &expected {
                let identity = EndpointIdentity { pod_uid: known.uid.clone(), address: *address };
                self.entries.entry((port.clone(), identity)).or_insert_with(Entry::new).is_present = true;
            }
        }
        for (key, entry) in self.entries.iter_mut().filter(|(key, _)| key.0 == *port) {
            if entry.is_present {
                entry.update(&expected[&key.1.address], wanted.is_some());
            }
            let asked = model.drain_asked(port, key.1.address, entry.pod.as_deref());
            let is_waiting = key.1.pod_uid.as_ref().is_some_and(|uid| model.gates.contains(uid));
            let Conditions { ready, terminating, .. } = entry.conditions;
            let drains = if entry.is_present {
                entry.leaves || (terminating && (!ready || is_waiting))
            } else {
                entry.lasts
            };
            if !drains && asked.is_none() {
                let undone = entry.drain.take().is_some() && !entry.is_present;
                self.undone_gone += u64::from(undone);
                continue;
            }
            if !entry.is_present && entry.drain.is_none() && !flows.contains_key(key) {
                continue;
            }
            let drain = entry.drain.get_or_insert(Drain { since: now, deadline: None });
            let by_settings = match config.settings.drain.deadline {
                DrainDeadline::None => None,
                DrainDeadline::After(time) => Some(drain.since.after(time)),
                DrainDeadline::Pod => {
                    model.killed(&key.1.pod_uid).map(|killed| killed.before(config.settings.drain.margin))
                }
            };
            let by_operator = asked.and_then(|(at, time)| Some(at.after(time?)));
            let due = by_settings.into_iter().chain(by_operator).min();
            let due = due.map(|due| if due <= now { now.after(HASTE) } else { due });
            let before = drain.deadline;
            drain.deadline = before.into_iter().chain(due).min();
            self.replanned_gone += u64::from(!entry.is_present && before != drain.deadline);
        }
        self.services.insert(port.clone(), (config, wanted.is_some()));
    }

    /// Forgets whom the table does not know any more, which has to have no flows, and checks that who is there is known.
    pub(super) fn compare(&mut self, views: &[ServiceView], flows: &Counts) {
        let endpoints = views.iter().filter(|view| covers(&view.port)).flat_map(|view| &view.endpoints);
        let views: BTreeMap<Key, _> = endpoints.map(|view| (key(&view.endpoint), view)).collect();
        for key in views.keys() {
            assert!(self.entries.contains_key(key), "nobody said that {key:?} is there");
        }
        self.entries.retain(|key, entry| {
            let Some(view) = views.get(key) else {
                assert!(!flows.contains_key(key), "{key:?} was forgotten with flows on it");
                return false;
            };
            assert_eq!(view.conditions.is_some(), entry.is_present, "{view:?}");
            let drain = view.drain.as_ref().map(|drain| (drain.since, drain.deadline));
            let expected = entry.drain.map(|drain| (drain.since, drain.deadline));
            assert_eq!(drain, expected, "since when {view:?} drains, and until when");
            true
        });
    }

    /// Whether a pod is terminating, or gone with flows left, by what is known here.
    pub(super) fn is_terminating(&self, uid: &str, flows: &Counts) -> bool {
        let mut own = self.entries.iter().filter(|(key, _)| key.1.pod_uid.as_deref() == Some(uid));
        own.any(|(key, entry)| {
            let has_flows = flows.contains_key(key);
            // Of a service that was given up nothing is left without flows.
            let terminates = entry.conditions.terminating && (self.services[&key.0].1 || has_flows);
            if entry.is_present { terminates } else { has_flows }
        })
    }

    /// The endpoints that have gone and have flows left, each with whether it drains.
    pub(super) fn gone(&self) -> Vec<(Key, bool)> {
        let gone = self.entries.iter().filter(|(_, entry)| !entry.is_present);
        gone.map(|(key, entry)| (key.clone(), entry.drain.is_some())).collect()
    }

    /// The drain of an endpoint, where one is on.
    pub(super) fn drain(&self, key: &Key) -> Option<Drain> {
        self.entries.get(key)?.drain
    }

    /// What workers are to follow.
    pub(super) fn plan(&self, key: &Key) -> Option<DrainPlan> {
        let Drain { since, deadline } = self.drain(key)?;
        let settings = self.services.get(&key.0)?.0.settings.drain;
        Some(DrainPlan {
            began: since,
            deadline: deadline?,
            window: settings.window,
            quiet: settings.quiet,
            max_per_second: settings.max_per_second,
        })
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            is_present: true,
            conditions: Conditions::default(),
            leaves: false,
            pod: None,
            lasts: false,
            drain: None,
        }
    }

    fn update(&mut self, known: &Known, is_configured: bool) {
        self.conditions = known.conditions;
        // Of a service that was given up nobody stays open elsewhere.
        self.leaves = known.leaves && is_configured;
        self.pod.clone_from(&known.pod);
    }
}
