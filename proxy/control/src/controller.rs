//! The controller: one task that owns the table.
//!
//! A turn takes what is ready from every input, tells the table, and carries out what the table asks for. Bursts are
//! published together; a turn is bounded, so that no input starves another.

use std::{net::TcpListener, sync::Arc, sync::atomic::Ordering, time::Duration};

use arc_swap::ArcSwap;
use tidegate_core::{
    Event, ListenerId, ListenerSpec, OnRemoval, Output, Party, ServiceConfig, ServiceId, Snapshot, Table,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    BindFn, BoundListener, Clock, Command, ControlCounters, ControlHandle, Desired, DesiredListener,
    EventKind, Lifecycle, NoticeKind, Report, StateDirectory,
    drains::Drains,
    flow_log,
    handle::ShutdownSignal,
    lifecycle::{Course, Facts, Step, StopCause},
    notices,
    request::{Purpose, Request},
    workers::{Questions, Workers},
};

/// How many source events one turn takes.
const EVENTS_PER_TURN: usize = 1_024;
/// How many reports one turn takes.
const REPORTS_PER_TURN: usize = 1_024;
/// How many requests one turn takes.
const REQUESTS_PER_TURN: usize = 64;
/// How many requests wait.
const REQUESTS_WAITING: usize = 256;
/// How often the table looks at the time.
const TICK: Duration = Duration::from_secs(1);
/// How long workers may take to close a listener before it is said that they did not.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What connects the controller to the rest of the process.
pub struct Wiring {
    /// The process's clock; workers have the same origin.
    pub clock: Clock,
    /// Where the counters go.
    pub counters: Arc<ControlCounters>,
    /// What the workers pick from.
    pub cell: Arc<ArcSwap<Snapshot>>,
    /// One line per worker.
    pub workers: Vec<mpsc::Sender<Command>>,
    /// What the workers say.
    pub reports: mpsc::Receiver<Report>,
    /// What the sources say, each with the moment of its arrival.
    pub sources: mpsc::Receiver<(Event, std::time::Instant)>,
    /// How many flows have not ended, over all workers.
    pub open_flows: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Binds the listeners that a reload adds.
    pub bind: BindFn,
    /// Where operator drains are kept.
    pub state: Option<StateDirectory>,
    /// Decides the hash of the affinity tables.
    pub seed: u64,
}

/// How the process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Flows that were cut, because the grace was over or a second request came.
    pub flows_cut: u64,
    /// A second request came.
    pub forced: bool,
}

/// The one owner of the table.
pub struct Controller {
    pub(crate) table: Table,
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<ControlCounters>,
    pub(crate) workers: Workers,
    pub(crate) questions: Questions<Purpose>,
    pub(crate) listeners: Vec<Listening>,
    pub(crate) next_listener: u32,
    /// The services in force.
    pub(crate) services: Vec<ServiceConfig>,
    /// Services that a reload gave up and whose listeners are not closed yet.
    pub(crate) retiring: Vec<ServiceConfig>,
    pub(crate) course: Course,
    pub(crate) bind: BindFn,
    pub(crate) drains: Drains,
    /// Listeners wait for the source's first complete list until then.
    sync_deadline: Instant,
    cell: Arc<ArcSwap<Snapshot>>,
    reports: Input<Report>,
    sources: Input<(Event, std::time::Instant)>,
    requests: Input<Request>,
    shutdown: Arc<ShutdownSignal>,
    lifecycle: watch::Sender<Lifecycle>,
    open_flows: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// When the source events arrived that no publish contains yet.
    arrivals: Vec<std::time::Instant>,
    ended: Ended,
}

/// A listener that is open or about to be.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) desired: DesiredListener,
    pub(crate) spec: ListenerSpec,
    /// Its sockets, while workers have not been given them.
    pub(crate) held: Option<Vec<TcpListener>>,
}

/// A channel that may have been closed by its senders.
struct Input<T> {
    receiver: mpsc::Receiver<T>,
    open: bool,
}

/// What woke the controller.
enum Wake {
    Source(Option<(Event, std::time::Instant)>),
    Report(Option<Report>),
    Request(Option<Request>),
    Tick,
    Other,
}

impl<T> Input<T> {
    fn new(receiver: mpsc::Receiver<T>) -> Self {
        Self { receiver, open: true }
    }
}

impl Controller {
    /// A controller for a configuration whose listeners are bound. [`Controller::run`] starts it.
    pub fn new(wiring: Wiring, desired: Desired<BoundListener>) -> (Self, ControlHandle) {
        let (request_sender, requests) = mpsc::channel(REQUESTS_WAITING);
        let (lifecycle, lifecycle_receiver) = watch::channel(Lifecycle::Starting);
        let shutdown = Arc::new(ShutdownSignal::default());
        let handle = ControlHandle {
            requests: request_sender,
            lifecycle: lifecycle_receiver,
            shutdown: Arc::clone(&shutdown),
            counters: Arc::clone(&wiring.counters),
            clock: wiring.clock,
        };
        let mut controller = Self {
            table: Table::new(wiring.seed),
            clock: wiring.clock,
            workers: Workers::new(wiring.workers, Arc::clone(&wiring.counters)),
            counters: wiring.counters,
            questions: Questions::new(),
            listeners: Vec::new(),
            next_listener: 0,
            services: Vec::new(),
            retiring: Vec::new(),
            course: Course::new(desired.lifecycle),
            bind: wiring.bind,
            drains: Drains::restore(wiring.state),
            sync_deadline: Instant::now() + desired.lifecycle.sync_wait,
            cell: wiring.cell,
            reports: Input::new(wiring.reports),
            sources: Input::new(wiring.sources),
            requests: Input::new(requests),
            shutdown,
            lifecycle,
            open_flows: wiring.open_flows,
            arrivals: Vec::new(),
            ended: Ended { flows_cut: 0, forced: false },
        };
        controller.begin(desired);
        (controller, handle)
    }

    /// Runs until a shutdown is complete.
    pub async fn run(mut self) -> Ended {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.settle();
            if self.course.lifecycle() == Lifecycle::Stopped {
                return self.ended;
            }
            let wake = self.wait(&mut tick).await;
            self.take(wake);
        }
    }

    /// Tells the table what the configuration and the state directory say.
    fn begin(&mut self, desired: Desired<BoundListener>) {
        for event in self.drains.events() {
            self.tell_table(event);
        }
        self.tell_table(Event::NodeIs { name: desired.node, zone: desired.zone });
        self.services = desired.services;
        self.tell_table(Event::ServicesConfigured(self.services.clone()));
        for bound in desired.listeners {
            self.add_listener(bound);
        }
    }

    /// Sleeps until there is something to do.
    async fn wait(&mut self, tick: &mut Interval) -> Wake {
        let now = Instant::now();
        let deadlines = [
            self.course.deadline(),
            self.questions.deadline(),
            self.workers.deadline(now),
            self.holds_listeners().then_some(self.sync_deadline).filter(|deadline| *deadline > now),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        tokio::select! {
            () = self.shutdown.rung() => Wake::Other,
            event = self.sources.receiver.recv(), if self.sources.open => Wake::Source(event),
            report = self.reports.receiver.recv(), if self.reports.open => Wake::Report(report),
            request = self.requests.receiver.recv(), if self.requests.open => Wake::Request(request),
            _ = tick.tick() => Wake::Tick,
            () = sleep_until(deadline.unwrap_or(now)), if deadline.is_some() => Wake::Other,
        }
    }

    /// Takes in what woke the controller, and what else is ready.
    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Source(Some(event)) => self.take_event(event),
            Wake::Source(None) => self.sources.open = false,
            Wake::Report(Some(report)) => self.take_report(report),
            Wake::Report(None) => self.reports.open = false,
            Wake::Request(Some(request)) => self.take_request(request),
            Wake::Request(None) => self.requests.open = false,
            Wake::Tick => {}
            Wake::Other => {}
        }
        for _ in 0..EVENTS_PER_TURN {
            let Ok(event) = self.sources.receiver.try_recv() else { break };
            self.take_event(event);
        }
        for _ in 0..REPORTS_PER_TURN {
            let Ok(report) = self.reports.receiver.try_recv() else { break };
            self.take_report(report);
        }
        // Requests are answered from a table whose outputs are carried out.
        self.carry_out_all();
        for _ in 0..REQUESTS_PER_TURN {
            let Ok(request) = self.requests.receiver.try_recv() else { break };
            self.take_request(request);
        }
        while let Some(closed) = self.questions.expired(Instant::now()) {
            self.close_question(closed);
        }
    }

    fn take_event(&mut self, (event, arrival): (Event, std::time::Instant)) {
        self.arrivals.push(arrival);
        self.tell_table(event);
    }

    fn take_report(&mut self, report: Report) {
        match report {
            Report::EndpointEmptied(endpoint) => self.tell_table(Event::EndpointEmptied(endpoint)),
            Report::FlowEnded(flow) => flow_log::write(&flow, self.clock.now()),
            Report::Stopped { worker } => self.workers.stopped(worker),
            answer => self.take_answer(answer),
        }
    }

    pub(crate) fn tell_table(&mut self, event: Event) {
        self.counters.events(EventKind::of(&event)).fetch_add(1, Ordering::Relaxed);
        self.table.handle_event(event, self.clock.now());
    }

    /// Brings everything into line with the table and the lifecycle.
    fn settle(&mut self) {
        self.carry_out_all();
        self.workers.flush();
        if !self.course.is_ending() {
            self.open_listeners();
        }
        while let Some(step) = self.course.step(&self.facts(), Instant::now()) {
            self.advance(step);
        }
    }

    /// Does what the table asks for.
    pub(crate) fn carry_out_all(&mut self) {
        while let Some(output) = self.table.poll_output(self.clock.now()) {
            self.carry_out(output);
        }
        self.arrivals.clear();
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Publish(snapshot) => self.publish(snapshot),
            Output::EndpointGone {
                endpoint, was_terminating: false, on_removal: OnRemoval::Close, ..
            } => {
                let endpoint = endpoint.id();
                self.workers.tell_all(|_| Command::CloseEndpoint { endpoint, by: Party::Removal });
            }
            Output::EndpointGone { endpoint, dead_peer_timeout: timeout @ Some(_), .. }
            | Output::EndpointBack { endpoint, user_timeout: timeout } => {
                let endpoint = endpoint.id();
                self.workers.tell_all(|_| Command::SetUserTimeout { endpoint, timeout });
            }
            Output::EndpointGone { dead_peer_timeout: None, .. } => {}
            Output::Notice(notice) => {
                self.counters.notices(NoticeKind::of(&notice)).fetch_add(1, Ordering::Relaxed);
                if let tidegate_core::Notice::SliceIgnored { count, .. } = notice {
                    self.counters.slice_entries_ignored.fetch_add(count.into(), Ordering::Relaxed);
                }
                notices::write(&notice);
            }
        }
    }

    fn publish(&mut self, snapshot: Arc<Snapshot>) {
        self.counters.publishes.fetch_add(1, Ordering::Relaxed);
        self.counters.generation.store(snapshot.generation(), Ordering::Relaxed);
        self.cell.store(snapshot);
        let now = Instant::now().into_std();
        for arrival in self.arrivals.drain(..) {
            self.counters.arrival_to_publish.record(now.saturating_duration_since(arrival));
        }
    }

    /// A listener that workers will be given as soon as its service may be asked for endpoints.
    pub(crate) fn add_listener(&mut self, bound: BoundListener) {
        let id = ListenerId(self.next_listener);
        self.next_listener += 1;
        let spec = self.spec(id, &bound.desired, bound.address());
        self.listeners.push(Listening { desired: bound.desired, spec, held: Some(bound.sockets) });
    }

    /// A listener as workers are to know it.
    pub(crate) fn spec(
        &self,
        id: ListenerId,
        desired: &DesiredListener,
        address: std::net::SocketAddr,
    ) -> ListenerSpec {
        // Listeners are checked against the services before they come here; a slot that no snapshot has refuses flows.
        let service = self.table.service_id(&desired.port).unwrap_or(ServiceId(u32::MAX));
        ListenerSpec { id, name: Arc::clone(&desired.name), address, service, port: desired.port.clone() }
    }

    fn holds_listeners(&self) -> bool {
        self.listeners.iter().any(|listening| listening.held.is_some())
    }

    /// Whether this service's endpoints come from a source that has to be waited for.
    pub(crate) fn awaits_source(&self, services: &[ServiceConfig]) -> bool {
        !self.table.is_synced() && services.iter().any(|service| service.fixed.is_none())
    }

    /// Gives workers the listeners whose services are known: at once where endpoints are fixed, else once the source
    /// has given a complete list, so that nobody is refused for want of endpoints that were not read yet (B5).
    fn open_listeners(&mut self) {
        let waited = Instant::now() >= self.sync_deadline;
        let mut listeners = std::mem::take(&mut self.listeners);
        for listening in listeners.iter_mut().filter(|listening| listening.held.is_some()) {
            let port = &listening.desired.port;
            let own = self.services.iter().find(|service| service.port == *port);
            let is_waiting = own.is_some_and(|service| self.awaits_source(std::slice::from_ref(service)));
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
            for (worker, socket) in sockets.into_iter().enumerate() {
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

    fn facts(&self) -> Facts {
        let lifecycle = self.course.lifecycle();
        let counts_flows = matches!(lifecycle, Lifecycle::Closing | Lifecycle::Waiting);
        let is_closing = |purpose: &&Purpose| matches!(purpose, Purpose::Close { .. });
        Facts {
            shutdowns: self.shutdown.asked(),
            listeners_held: self.listeners.iter().filter(|listening| listening.held.is_some()).count(),
            listeners_closing: self.questions.purposes().filter(is_closing).count(),
            flows: if counts_flows { (self.open_flows)() } else { 0 },
            workers: self.workers.running(),
        }
    }

    /// Does what the lifecycle asks for.
    fn advance(&mut self, step: Step) {
        let flows = (self.open_flows)();
        let settings = *self.course.settings();
        match step {
            Step::BecomeReady => {
                tracing::info!(listeners = self.listeners.len(), workers = self.workers.count(), "ready");
            }
            Step::BeginDraining => {
                let delay = settings.delay;
                tracing::info!(flows, ?delay, "shutting down: not ready any more, still accepting");
            }
            Step::CloseListeners => {
                tracing::info!(flows, listeners = self.listeners.len(), "shutting down: closing listeners");
                for listening in std::mem::take(&mut self.listeners) {
                    self.close_listener(listening);
                }
            }
            Step::AwaitFlows => {
                let grace = settings.grace;
                tracing::info!(flows, ?grace, "shutting down: waiting for flows to end");
            }
            Step::ReportProgress => tracing::info!(flows, "shutting down: flows left"),
            Step::StopWorkers(cause) => self.stop_workers(cause, flows),
            Step::Finish => {
                let workers = self.workers.running();
                if workers > 0 {
                    tracing::warn!(workers, "workers did not stop in time");
                }
                tracing::info!(flows_cut = self.ended.flows_cut, "shut down");
            }
        }
        self.lifecycle.send_replace(self.course.lifecycle());
    }

    fn stop_workers(&mut self, cause: StopCause, flows: u64) {
        self.ended = Ended { flows_cut: flows, forced: cause == StopCause::SecondRequest };
        match cause {
            StopCause::NoFlows => tracing::info!("shutting down: no flows left"),
            StopCause::GraceOver => tracing::warn!(flows, "shutting down: the grace is over; cutting flows"),
            StopCause::SecondRequest => tracing::warn!(flows, "shutting down at once; cutting flows"),
        }
        self.listeners.clear();
        self.workers.stop();
    }
}
