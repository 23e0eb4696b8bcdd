//! A worker's part in lifetimes: a flow that has reached its own is told to go at its next quiet moment.
//!
//! A service with a limit has its flows in line by when they reach it, so a look costs as much as there is due. A flow
//! gets its place when it is a second old, together with its keepalive: nothing is paid when a flow begins, and a short
//! one never pays. Services without a limit have no line. When a reload brings a limit or another one, the flows there are
//! are put in line once.
//!
//! Time is the worker's monotonic clock (D10), and how fast the service's flows may go, over all workers, is `core::pace`'s
//! word. While no endpoint of the service is ready, nobody is told to go.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use tidegate_core::{
    FlowId, LifetimeSettings, Party, Rng, ServiceId, ServiceSnapshot, Snapshot, Timestamp, end_of_life,
};

use crate::{
    drains::refuge,
    flows::{Flow, Flows},
    worker::Worker,
};

/// A flow that is due and cannot go is asked again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// Flows that one look takes up at most; who is due and not quiet is looked at again when it could be.
const LOOKS: usize = 256;

/// The lifetimes of one worker's flows.
#[derive(Debug)]
pub(crate) struct Lifetimes {
    /// Decides each flow's share of the jitter, with its number.
    seed: u64,
    /// The snapshot whose settings are in force here.
    generation: Cell<u64>,
    services: RefCell<BTreeMap<ServiceId, Aging>>,
    /// When the next one is due, of all services.
    next: Cell<Option<Timestamp>>,
}

/// A service whose flows have a limit.
#[derive(Debug)]
struct Aging {
    settings: LifetimeSettings,
    /// Flows by when they are due. Ended ones are found out when their turn comes.
    line: BinaryHeap<Reverse<(Timestamp, FlowId)>>,
}

impl Aging {
    fn expect(&mut self, flow: &Flow, seed: u64) {
        let random = Rng::new(seed ^ flow.id.0).next_u64();
        if let Some(end) = end_of_life(self.settings, flow.opened, random) {
            self.line.push(Reverse((end, flow.id)));
        }
    }
}

impl Lifetimes {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, generation: Cell::new(0), services: RefCell::default(), next: Cell::new(None) }
    }

    /// A flow is old enough to have its place.
    pub(crate) fn expect(&self, flow: &Flow) {
        let mut services = self.services.borrow_mut();
        if let Some(aging) = services.get_mut(&flow.target.spec.service) {
            aging.expect(flow, self.seed);
            drop(services);
            self.note_next();
        }
    }

    /// A flow that was told to go was not quiet after all: its turn is another one's.
    pub(crate) fn decline(&self, flow: &Flow, snapshot: &Snapshot, now: Timestamp) {
        let id = flow.target.spec.service;
        if let Some(aging) = self.services.borrow_mut().get_mut(&id) {
            aging.line.push(Reverse((now.after(AGAIN), flow.id)));
        }
        if let Some(service) = snapshot.service(id) {
            service.paces().lifetime.give_back(service.settings().drain.max_per_second);
        }
        self.note_next();
    }

    /// Somebody is due.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.next.get().is_some_and(|next| next <= now)
    }

    /// Brings the limits into line with the snapshot.
    pub(crate) fn follow(&self, snapshot: &Snapshot, flows: &Flows) {
        if self.generation.replace(snapshot.generation()) == snapshot.generation() {
            return;
        }
        let limit = |id: ServiceId| {
            let settings = snapshot.service(id)?.settings().lifetime;
            settings.max.map(|_| settings)
        };
        let mut services = self.services.borrow_mut();
        services.retain(|id, aging| limit(*id) == Some(aging.settings));
        let limited = snapshot.services().filter_map(|(id, _)| Some((id, limit(id)?)));
        let mut new: BTreeMap<ServiceId, Aging> = limited
            .filter(|(id, _)| !services.contains_key(id))
            .map(|(id, settings)| (id, Aging { settings, line: BinaryHeap::new() }))
            .collect();
        if !new.is_empty() {
            flows.each(None, |flow| {
                if let Some(aging) = new.get_mut(&flow.target.spec.service) {
                    aging.expect(flow, self.seed);
                }
            });
            services.append(&mut new);
        }
        drop(services);
        self.note_next();
    }

    /// Tells those who are due and quiet to go.
    pub(crate) fn tick(&self, worker: &Worker) {
        let snapshot = worker.snapshot.load();
        for (id, aging) in &mut *self.services.borrow_mut() {
            if let Some(service) = refuge(&snapshot, *id) {
                aging.tell(service, &worker.flows, worker.now());
            }
        }
        self.note_next();
    }

    fn note_next(&self) {
        let services = self.services.borrow();
        let due = services.values().filter_map(|aging| aging.line.peek()).map(|Reverse((due, _))| *due);
        self.next.set(due.min());
    }
}

impl Aging {
    fn tell(&mut self, service: &ServiceSnapshot, flows: &Flows, now: Timestamp) {
        let drain = &service.settings().drain;
        for _ in 0..LOOKS {
            let is_due = self.line.peek().is_some_and(|Reverse((due, _))| *due <= now);
            if !is_due {
                return;
            }
            let Some(Reverse((due, id))) = self.line.pop() else { return };
            let Some(flow) = flows.find(id).filter(|flow| !flow.is_leaving.get()) else { continue };
            let active = flow.active.get();
            if now.since(active) < drain.quiet {
                self.line.push(Reverse((active.after(drain.quiet), id)));
            } else if flow.cannot_go() {
                // It goes already, if it can; or it has not begun.
                self.line.push(Reverse((now.after(AGAIN), id)));
            } else if service.paces().lifetime.take(drain.max_per_second, now) {
                flow.tell_to_go(Party::Lifetime);
            } else {
                return self.line.push(Reverse((due, id)));
            }
        }
    }
}
