//! A worker's live flows: who they are, and what the control plane asked of each.
//!
//! A flow's task owns its sockets; this register holds only facts for operators and the orders that the task carries
//! out at its next poll.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use slab::Slab;
use tidegate_core::{Endpoint, EndpointId, FlowId, FlowRow, FlowState, Party, Termination, Timestamp};

use crate::{accept::Target, counters::WorkerCounters};

/// A live flow's facts.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) id: FlowId,
    pub(crate) target: Rc<Target>,
    pub(crate) client: std::net::SocketAddr,
    pub(crate) opened: Timestamp,
    pub(crate) active: Cell<Timestamp>,
    pub(crate) state: Cell<FlowState>,
    pub(crate) attempts: Cell<u32>,
    pub(crate) bytes_up: Cell<u64>,
    pub(crate) bytes_down: Cell<u64>,
    pub(crate) endpoint: RefCell<Option<Arc<Endpoint>>>,
    /// The worker looks at it from time to time, because a receiver holds it up.
    pub(crate) is_watched: Cell<bool>,
    /// It was told to end at its next quiet moment, in this party's name.
    pub(crate) shed: Cell<Option<Party>>,
    /// Its relay is over; it is delivering what is left, or closing.
    pub(crate) is_leaving: Cell<bool>,
    orders: Cell<Orders>,
    waker: RefCell<Option<Waker>>,
}

/// What the control plane wants of a flow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Orders {
    /// End it, in this party's name.
    pub(crate) close: Option<Party>,
    /// Take it out of the worker.
    pub(crate) freeze: bool,
    /// Turn keepalive on at both legs.
    pub(crate) keepalive: bool,
    /// See whether an end has failed while the other one holds it up.
    pub(crate) look: bool,
    /// Set TCP_USER_TIMEOUT on the endpoint's leg.
    pub(crate) user_timeout: Option<Option<Duration>>,
    any: bool,
}

impl Flow {
    /// Takes the orders that came since the last poll, and remembers whom to wake for the next ones.
    pub(crate) fn take_orders(&self, cx: &mut Context<'_>) -> Option<Orders> {
        let mut waker = self.waker.borrow_mut();
        if waker.is_none() {
            *waker = Some(cx.waker().clone());
        }
        let orders = self.orders.get();
        if !orders.any {
            return None;
        }
        self.orders.set(Orders::default());
        Some(orders)
    }

    /// Adds to the flow's orders and wakes it.
    pub(crate) fn order(&self, add: impl FnOnce(&mut Orders)) {
        let mut orders = self.orders.get();
        add(&mut orders);
        orders.any = true;
        self.orders.set(orders);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Tells it to end at its next quiet moment, in this party's name.
    pub(crate) fn tell_to_go(&self, by: Party) {
        self.shed.set(Some(by));
        self.order(|_| ());
    }

    /// There is no point in telling it to go: it goes already, for another reason, or it has not begun.
    pub(crate) fn cannot_go(&self) -> bool {
        self.shed.get().is_some() || self.state.get() == FlowState::Connecting
    }

    /// The flow as an operator sees it.
    pub(crate) fn row(&self) -> FlowRow {
        FlowRow {
            id: self.id,
            listener: Arc::clone(&self.target.spec.name),
            service: self.target.spec.port.clone(),
            client: self.client,
            endpoint: self.endpoint.borrow().as_ref().map(|endpoint| (endpoint.id(), endpoint.address())),
            state: self.state.get(),
            opened: self.opened,
            active: self.active.get(),
            bytes_up: self.bytes_up.get(),
            bytes_down: self.bytes_down.get(),
            attempts: self.attempts.get(),
        }
    }

    pub(crate) fn is_pinned_to(&self, id: EndpointId) -> bool {
        self.endpoint.borrow().as_ref().is_some_and(|endpoint| endpoint.id() == id)
    }
}

/// The live flows of one worker.
#[derive(Debug)]
pub(crate) struct Flows {
    worker: u64,
    serial: Cell<u32>,
    live: RefCell<Slab<Rc<Flow>>>,
    counters: Arc<WorkerCounters>,
}

/// A flow number is worker, slot and serial: 10, 22 and 32 bits.
const SLOT_BITS: u32 = 22;

impl Flows {
    pub(crate) fn new(worker: usize, counters: Arc<WorkerCounters>) -> Self {
        Self { worker: worker as u64, serial: Cell::new(0), live: RefCell::default(), counters }
    }

    pub(crate) fn len(&self) -> usize {
        self.live.borrow().len()
    }

    /// Enters a flow.
    pub(crate) fn open(
        &self,
        target: &Rc<Target>,
        client: std::net::SocketAddr,
        opened: Timestamp,
    ) -> Rc<Flow> {
        let mut live = self.live.borrow_mut();
        let slot = live.vacant_entry();
        let serial = self.serial.get();
        self.serial.set(serial.wrapping_add(1));
        let id = FlowId(self.worker << (SLOT_BITS + 32) | (slot.key() as u64) << 32 | u64::from(serial));
        let flow = Rc::new(Flow {
            id,
            target: Rc::clone(target),
            client,
            opened,
            active: Cell::new(opened),
            state: Cell::new(FlowState::Connecting),
            attempts: Cell::new(0),
            bytes_up: Cell::new(0),
            bytes_down: Cell::new(0),
            endpoint: RefCell::new(None),
            is_watched: Cell::new(false),
            shed: Cell::new(None),
            is_leaving: Cell::new(false),
            orders: Cell::default(),
            waker: RefCell::new(None),
        });
        slot.insert(Rc::clone(&flow));
        self.counters.flows.add(1);
        flow
    }

    /// Takes a flow out: it has ended, or it goes on elsewhere.
    pub(crate) fn remove(&self, flow: &Flow) {
        if self.live.borrow_mut().try_remove(Self::slot(flow.id)).is_some() {
            self.counters.flows.sub(1);
        }
    }

    /// Takes a flow out that has ended so.
    pub(crate) fn close(&self, flow: &Flow, termination: Termination) {
        flow.state.set(FlowState::Ended(termination));
        self.remove(flow);
    }

    pub(crate) fn find(&self, id: FlowId) -> Option<Rc<Flow>> {
        self.live.borrow().get(Self::slot(id)).filter(|flow| flow.id == id).cloned()
    }

    /// Calls `visit` with each live flow; those of one endpoint, where one is named.
    pub(crate) fn each(&self, endpoint: Option<EndpointId>, mut visit: impl FnMut(&Rc<Flow>)) {
        for (_, flow) in &*self.live.borrow() {
            if endpoint.is_none_or(|id| flow.is_pinned_to(id)) {
                visit(flow);
            }
        }
    }

    /// Calls `visit` with the live flows in so many slots from `first`; returns where to go on, until all were seen.
    pub(crate) fn some(&self, first: usize, slots: usize, mut visit: impl FnMut(&Rc<Flow>)) -> Option<usize> {
        let live = self.live.borrow();
        let end = first.saturating_add(slots);
        (first..end.min(live.capacity())).filter_map(|slot| live.get(slot)).for_each(&mut visit);
        (end < live.capacity()).then_some(end)
    }

    fn slot(id: FlowId) -> usize {
        ((id.0 >> 32) & ((1 << SLOT_BITS) - 1)) as usize
    }
}
