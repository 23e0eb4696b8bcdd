//! A worker: a thread with a runtime, its listeners, its flows, and the commands that it carries out.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    fmt::Display,
    io,
    ops::RangeInclusive,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tidegate_core::{
    EndpointId, FlowEnd, FlowId, ListenerId, ListenerSpec, Party, Permit, PickState, Rng, Snapshot, Timestamp,
};
use tidegate_sys::{FrozenFlow, coarse_time, local_ports};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{Notify, mpsc},
};

use crate::{
    Command, Report,
    accept::{self, Listener, Target},
    counters::WorkerCounters,
    drains::{Drains, SHED_TICK},
    flow,
    flows::{Flow, Flows},
    freeze::Freeze,
    lifetimes::Lifetimes,
    pipes::Pipes,
    rebalances::Rebalances,
    relay::Tools,
    survey,
};

/// The buffer through which a worker copies: as much as the kernel's loopback and GRO make of one segment.
const BUFFER: usize = 64 * 1024;

/// A flow that has lived this long gets keepalive on both legs. A shorter one never pays for the calls, nor for the
/// kernel's timers.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(1);

/// How often a worker looks at the flows that wait for something.
const TICK: Duration = Duration::from_secs(1);

/// Which flows get a line in the flow log: none (0), all (1), or one in so many. Shared, so that a reload reaches
/// every worker.
#[derive(Debug, Default)]
pub struct FlowLogRate(AtomicU32);

impl FlowLogRate {
    /// Logs one flow in `every`; none where that is 0.
    pub fn set(&self, every: u32) {
        self.0.store(every, Ordering::Relaxed);
    }

    fn wants(&self, id: FlowId) -> bool {
        match self.0.load(Ordering::Relaxed) {
            0 => false,
            every => (id.0 as u32).is_multiple_of(every),
        }
    }
}

/// What a worker starts with.
#[derive(Debug)]
pub struct WorkerOptions {
    /// Its number, from 0.
    pub index: usize,
    /// The origin of every [`Timestamp`].
    pub origin: Instant,
    /// Where the controller publishes.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// What it is told.
    pub commands: mpsc::Receiver<Command>,
    /// Where it answers.
    pub reports: mpsc::Sender<Report>,
    /// What every worker counts; its own are at its index.
    pub counters: Vec<Arc<WorkerCounters>>,
    /// How many flows all workers together may have; accept waits beyond that, and connections queue in the kernel.
    pub max_flows: u64,
    /// How many pipes this worker may have; halves copy beyond that.
    pub max_pipes: u64,
    /// Which flows are logged.
    pub flow_log: Arc<FlowLogRate>,
    /// Where its picks' randomness begins.
    pub seed: u64,
}

/// What a worker's tasks share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) flows: Flows,
    pub(crate) tools: Tools,
    pub(crate) drains: Drains,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) rebalances: Rebalances,
    pub(crate) rng: RefCell<Rng>,
    /// Ports that a connect of this host may be given.
    pub(crate) local_ports: RangeInclusive<u16>,
    /// Wakes an accept that waits because the worker is full.
    pub(crate) flow_ended: Notify,
    /// The coarse clock at the origin of every timestamp.
    origin: Duration,
    pub(crate) reports: mpsc::Sender<Report>,
    flow_log: Arc<FlowLogRate>,
    max_flows: u64,
    /// What the other workers count, to know how full the process is.
    all_counters: Vec<Arc<WorkerCounters>>,
    /// Flows that wait for their keepalive, the oldest first.
    young: RefCell<VecDeque<(Timestamp, FlowId)>>,
    /// Flows that a receiver holds up, by when they were last looked at.
    held_up: RefCell<VecDeque<(Timestamp, FlowId)>>,
    pub(crate) freezes: RefCell<Vec<Freeze>>,
    paused: Cell<bool>,
    stopping: Cell<bool>,
}

/// Starts a worker on a thread of its own. The thread ends after [`Command::Stop`], or when its command channel is
/// closed.
///
/// # Errors
/// The thread or its runtime cannot be made.
pub fn spawn_worker(options: WorkerOptions) -> io::Result<JoinHandle<()>> {
    let name = format!("worker-{}", options.index);
    std::thread::Builder::new().name(name).spawn(move || {
        let runtime =
            Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(run(options)),
            Err(error) => tracing::error!(%error, "cannot make a worker's runtime"),
        }
    })
}

async fn run(options: WorkerOptions) {
    let WorkerOptions { index, snapshot, mut commands, reports, counters: all_counters, .. } = options;
    let counters = all_counters.get(index).cloned().unwrap_or_default();
    let tools = Tools {
        buffer: vec![0; BUFFER].into_boxed_slice().into(),
        pipes: Pipes::new(Arc::clone(&counters), options.max_pipes),
    };
    let worker = Rc::new(Worker {
        snapshot,
        flows: Flows::new(index, Arc::clone(&counters)),
        counters,
        tools,
        drains: Drains::default(),
        lifetimes: Lifetimes::new(options.seed),
        rebalances: Rebalances::default(),
        rng: RefCell::new(Rng::new(options.seed)),
        local_ports: local_ports(),
        flow_ended: Notify::new(),
        origin: coarse_time().saturating_sub(options.origin.elapsed()),
        reports,
        flow_log: options.flow_log,
        max_flows: options.max_flows.max(1),
        all_counters,
        young: RefCell::default(),
        held_up: RefCell::default(),
        freezes: RefCell::default(),
        paused: Cell::new(false),
        stopping: Cell::new(false),
    });
    let mut listeners: Listeners = BTreeMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut shed_tick = tokio::time::interval(SHED_TICK);
    shed_tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            _ = tick.tick() => {
                worker.tick();
                continue;
            }
            _ = shed_tick.tick(), if worker.sheds() => {
                worker.drains.tick(&worker);
                worker.rebalances.tick(&worker);
                worker.lifetimes.tick(&worker);
                continue;
            }
        };
        match command {
            Some(Command::Stop) | None => break,
            Some(command) => carry_out(&worker, &mut listeners, command).await,
        }
    }
    // Listeners first, so that no flow begins any more.
    worker.stopping.set(true);
    for listener in listeners.values().flatten() {
        listener.close(0);
    }
    worker.flows.each(None, |flow| {
        flow.order(|orders| orders.close = Some(Party::Shutdown));
    });
    while worker.flows.len() > 0 {
        worker.flow_ended.notified().await;
    }
    // The controller may be gone already, and then nobody waits for it.
    let _ = worker.reports.send(Report::Stopped { worker: index }).await;
}

/// Its listeners: one socket each, or more where a predecessor had more workers.
type Listeners = BTreeMap<ListenerId, Vec<Rc<Listener>>>;

async fn carry_out(worker: &Rc<Worker>, listeners: &mut Listeners, command: Command) {
    match command {
        Command::Listen { listener: spec, socket } => {
            let listener = Listener::new(worker.target(spec.clone()));
            listeners.entry(spec.id).or_default().push(Rc::clone(&listener));
            let worker = Rc::clone(worker);
            tokio::task::spawn_local(async move {
                let closed = accept::run(Rc::clone(&worker), listener, socket).await;
                if let Some(request) = closed {
                    worker.report(Report::Closed { request }).await;
                }
            });
        }
        Command::Retarget(spec) => {
            if let Some(sockets) = listeners.get(&spec.id) {
                let target = Rc::new(worker.target(spec));
                sockets.iter().for_each(|socket| *socket.target.borrow_mut() = Rc::clone(&target));
            }
        }
        Command::StopAccepting { listener, request } => match listeners.remove(&listener) {
            // Each takes what is in its queue; the last one answers.
            Some(mut sockets) => {
                if let Some(last) = sockets.pop() {
                    sockets.iter().for_each(|socket| socket.close(0));
                    last.close(request);
                }
            }
            None => worker.report(Report::Closed { request }).await,
        },
        Command::Ping { request } => {
            let generation = worker.snapshot.load().generation();
            worker.report(Report::Alive { request, generation }).await;
        }
        Command::ListFlows { request, limit, endpoint } => {
            let (mut flows, mut total) = (Vec::new(), 0);
            worker.flows.each(endpoint, |flow| {
                total += 1;
                if flows.len() < limit {
                    flows.push(flow.row());
                }
            });
            worker.report(Report::Flows { request, flows, total }).await;
        }
        Command::Survey { request, of, over } => {
            let worker = Rc::clone(worker);
            tokio::task::spawn_local(async move {
                let surveys = survey::survey(&worker, &of, over).await;
                worker.report(Report::Surveyed { request, surveys }).await;
            });
        }
        Command::CloseFlow { request, flow, by } => {
            let found = worker.flows.find(flow);
            if let Some(flow) = &found {
                flow.order(|orders| orders.close = Some(by));
            }
            worker.report(Report::Ended { request, found: found.is_some() }).await;
        }
        Command::CloseEndpoint { endpoint, by } => {
            worker.flows.each(Some(endpoint), |flow| {
                flow.order(|orders| orders.close = Some(by));
            });
        }
        Command::SetUserTimeout { endpoint, timeout } => {
            worker.flows.each(Some(endpoint), |flow| {
                flow.order(|orders| orders.user_timeout = Some(timeout));
            });
        }
        Command::PlanDrain { endpoint, service, plan } => {
            worker.drains.plan(endpoint, service, plan, &worker.flows);
        }
        Command::Rebalance(run) => worker.rebalances.follow(run, &worker.flows),
        Command::Freeze { request, limit } => worker.freeze(request, limit).await,
        Command::Adopt { flow: frozen, permit, listener } => {
            let target = listeners.get(&listener.id).and_then(|sockets| sockets.first()).map_or_else(
                || Rc::new(worker.target(listener)),
                |listener| Rc::clone(&listener.target.borrow()),
            );
            let address = frozen.client_address;
            let resumed = match permit {
                None => {
                    flow::begin_again(worker, &target, frozen);
                    Ok(())
                }
                Some(permit) => {
                    let settings = worker.settings(&target.spec);
                    flow::resume(worker, &target, frozen, permit, settings)
                }
            };
            if let Err(error) = resumed {
                tracing::error!(%error, client = %address, "cannot take over a flow");
            }
        }
        Command::Stop => {}
    }
}

impl Worker {
    /// The time, to within a few milliseconds: it is read for every flow and every move of bytes.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::default().after(coarse_time().saturating_sub(self.origin))
    }

    /// The process has all the flows that it may have. The kernel spreads connections by hash, so a fixed share for
    /// each worker would refuse clients while other workers have room.
    pub(crate) fn is_full(&self) -> bool {
        let flows: u64 = self.all_counters.iter().map(|counters| counters.flows.get()).sum();
        flows >= self.max_flows
    }

    /// Counts a flow out of its endpoint that goes on elsewhere.
    pub(crate) fn release(&self, permit: Permit) {
        self.count_out(permit, FlowEnd::Elsewhere);
    }

    /// Counts a flow out of its endpoint, and tells the controller where that was the last one of a drain.
    pub(crate) fn count_out(&self, permit: Permit, end: FlowEnd) {
        let id: EndpointId = permit.endpoint().id();
        // A full channel loses nothing: the controller looks at the counts of draining endpoints itself, later.
        if permit.end(end) {
            let _ = self.reports.try_send(Report::EndpointEmptied(id));
        }
    }

    /// Puts a flow in line for keepalive on its legs.
    pub(crate) fn expect_keepalive(&self, flow: &Flow) {
        self.young.borrow_mut().push_back((flow.opened, flow.id));
    }

    /// Looks at a flow after some time, because a receiver holds it up.
    pub(crate) fn watch(&self, flow: &Flow) {
        self.held_up.borrow_mut().push_back((self.now(), flow.id));
    }

    fn tick(&self) {
        self.lifetimes.follow(&self.snapshot.load(), &self.flows);
        self.order_those_due(&self.young, KEEPALIVE_AFTER, |flow| {
            flow.order(|orders| orders.keepalive = true);
            self.lifetimes.expect(flow);
        });
        self.order_those_due(&self.held_up, flow::STALL, |flow| flow.order(|orders| orders.look = true));
    }

    /// Orders something of the flows at the front of a line that have waited long enough.
    fn order_those_due(
        &self,
        line: &RefCell<VecDeque<(Timestamp, FlowId)>>,
        wait: Duration,
        order: impl Fn(&Flow),
    ) {
        let now = self.now();
        let mut line = line.borrow_mut();
        while let Some((since, id)) = line.front().copied() {
            if now.since(since) < wait {
                break;
            }
            line.pop_front();
            if let Some(flow) = self.flows.find(id) {
                order(&flow);
            }
        }
        if line.is_empty() {
            line.shrink_to(64);
        }
    }

    /// Says once per pause, not once per connection, that accept waits.
    pub(crate) fn note_accept_pause(&self, cause: &dyn Display) {
        self.counters.accept_pauses.add(1);
        if !self.paused.replace(true) {
            tracing::warn!(%cause, flows = self.flows.len(), "accept pauses; connections wait in the kernel's queue");
        }
    }

    /// Accept has caught up, so the next pause is worth a line again.
    pub(crate) fn note_accepting(&self) {
        self.paused.set(false);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Writes a flow's log line, if it gets one.
    pub(crate) fn log(&self, flow: &Flow) {
        if self.flow_log.wants(flow.id) && self.reports.try_send(Report::FlowEnded(flow.row())).is_err() {
            self.counters.reports_dropped.add(1);
        }
        if !self.freezes.borrow().is_empty() {
            self.settle_freeze(flow.id, None);
        }
    }

    /// Takes a frozen flow out of this worker.
    pub(crate) fn hand_out(&self, flow: &Flow, frozen: Option<FrozenFlow>) {
        self.flows.remove(flow);
        self.drains.note_ended(flow);
        flow.target.counters.moved_out.add(1);
        self.flow_ended.notify_waiters();
        self.settle_freeze(flow.id, frozen);
    }

    fn target(&self, spec: ListenerSpec) -> Target {
        let counters = self.counters.service(&spec.port);
        Target { spec, counters, pick_state: RefCell::new(PickState::default()) }
    }

    fn settings(&self, spec: &ListenerSpec) -> Arc<tidegate_core::ServiceSettings> {
        let snapshot = self.snapshot.load();
        snapshot.service(spec.service).map_or_else(Arc::default, |service| Arc::clone(service.settings()))
    }

    /// Answers the controller. A controller that is gone needs no answer.
    pub(crate) async fn report(&self, report: Report) {
        let _ = self.reports.send(report).await;
    }
}

#[cfg(test)]
mod tests;
