//! The controller: one task that owns the table.
//!
//! A turn takes what is ready from every input, tells the table, and carries out what the table asks for. Bursts are
//! published together; a turn is bounded, so that no input starves another.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use tidegate_core::{Event, Notice, OnRemoval, Output, Party, PodRef, ServiceConfig, Snapshot, Table};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    BindFn, BoundListener, Clock, Command, ControlCounters, ControlHandle, Desired, EventKind, Lifecycle,
    NoticeKind, Report, StateDirectory,
    audit::{AuditLog, DrainBeginning},
    drains::Keeper,
    flow_log,
    gate::Gates,
    handle::ShutdownSignal,
    handoff::Handoff,
    lifecycle::Course,
    listening::Listening,
    notices,
    progress::{Looks, Paces},
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
    /// A successor may take over from this process.
    pub has_successors: bool,
    /// This process takes over from another one: it waits for that one's listeners.
    pub has_predecessor: bool,
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
    /// The source has yet to say which listeners it asks for.
    pub(crate) awaits_wanted: bool,
    pub(crate) course: Course,
    pub(crate) bind: BindFn,
    pub(crate) keeper: Keeper,
    pub(crate) handoff: Handoff,
    pub(crate) gates: Gates,
    /// Listeners wait for the source's first complete list until then.
    pub(crate) sync_deadline: Instant,
    cell: Arc<ArcSwap<Snapshot>>,
    reports: Input<Report>,
    sources: Input<(Event, std::time::Instant)>,
    requests: Input<Request>,
    pub(crate) shutdown: Arc<ShutdownSignal>,
    pub(crate) lifecycle: watch::Sender<Lifecycle>,
    pub(crate) open_flows: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// When the source events arrived that no publish contains yet.
    arrivals: Vec<std::time::Instant>,
    /// How long the events of the last publish waited, the longest of them; `None` where it had none.
    last_publish: Option<Duration>,
    /// Asks a source for the deadlines of these pods.
    wanted_pods: watch::Sender<Arc<[PodRef]>>,
    pub(crate) audit: AuditLog,
    pub(crate) paces: Paces,
    pub(crate) looks: Looks,
    pub(crate) ended: Ended,
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
        let (wanted_pods, wanted_pods_receiver) = watch::channel(Arc::default());
        let shutdown = Arc::new(ShutdownSignal::default());
        let audit = AuditLog::new(Arc::clone(&wiring.counters), wiring.has_predecessor);
        let handle = ControlHandle {
            requests: request_sender,
            lifecycle: lifecycle_receiver,
            shutdown: Arc::clone(&shutdown),
            counters: Arc::clone(&wiring.counters),
            clock: wiring.clock,
            last_reload: Arc::default(),
            audit_keep: audit.keep(),
            drain_news: audit.news(),
            wanted_pods: wanted_pods_receiver,
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
            awaits_wanted: desired.awaits_wanted,
            course: Course::new(desired.lifecycle),
            bind: wiring.bind,
            keeper: Keeper::restore(wiring.state),
            handoff: Handoff {
                is_possible: wiring.has_successors,
                awaited: wiring.has_predecessor,
                ..Handoff::default()
            },
            gates: Gates::default(),
            sync_deadline: Instant::now() + desired.lifecycle.sync_wait,
            cell: wiring.cell,
            reports: Input::new(wiring.reports),
            sources: Input::new(wiring.sources),
            requests: Input::new(requests),
            shutdown,
            lifecycle,
            open_flows: wiring.open_flows,
            arrivals: Vec::new(),
            last_publish: None,
            wanted_pods,
            audit,
            paces: Paces::default(),
            looks: Looks::default(),
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
        for event in self.keeper.events() {
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
            self.gates.deadline(now),
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
            Wake::Tick => {
                self.table.handle_tick(self.clock.now());
                self.tend_gates();
                self.note_paces();
            }
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
        self.gates.is_stale = true;
    }

    /// Brings everything into line with the table and the lifecycle.
    fn settle(&mut self) {
        self.carry_out_all();
        self.workers.flush();
        if self.handoff.is_possible {
            self.drop_copies_of_the_lost();
        }
        self.answer_waiting();
        if !self.course.is_ending() {
            self.open_listeners();
        }
        while let Some(step) = self.course.step(&self.facts(), Instant::now()) {
            self.advance(step);
        }
        self.find_gated(Instant::now());
        self.refresh_gates();
    }

    /// Does what the table asks for.
    pub(crate) fn carry_out_all(&mut self) {
        while let Some(output) = self.table.poll_output(self.clock.now()) {
            self.carry_out(output);
        }
        self.arrivals.clear();
        self.last_publish = None;
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
            Output::DrainPlanned { endpoint, service, plan } => {
                let endpoint = || Arc::clone(&endpoint);
                self.workers.tell_all(|_| Command::PlanDrain { endpoint: endpoint(), service, plan });
            }
            Output::PodsWanted(pods) => drop(self.wanted_pods.send_replace(pods)),
            Output::Rebalance(run) => self.workers.tell_all(|_| Command::Rebalance(run.clone())),
            Output::Notice(notice) => {
                self.counters.notices(NoticeKind::of(&notice)).fetch_add(1, Ordering::Relaxed);
                if let Notice::SliceIgnored { count, .. } = notice {
                    self.counters.slice_entries_ignored.fetch_add(count.into(), Ordering::Relaxed);
                }
                notices::write(&notice);
                match notice {
                    Notice::DrainBegan { endpoint, pod, causes, flows, deadline } => {
                        let began = DrainBeginning { endpoint, pod, causes, flows, deadline };
                        self.audit.began(began, self.last_publish);
                    }
                    Notice::Drained { record } | Notice::DrainUndone { record } => self.audit.over(*record),
                    _ => {}
                }
            }
        }
    }

    fn publish(&mut self, snapshot: Arc<Snapshot>) {
        self.counters.publishes.fetch_add(1, Ordering::Relaxed);
        self.counters.generation.store(snapshot.generation(), Ordering::Relaxed);
        self.cell.store(snapshot);
        let now = Instant::now().into_std();
        let first = self.arrivals.iter().min();
        self.last_publish = first.map(|first| now.saturating_duration_since(*first));
        for arrival in self.arrivals.drain(..) {
            self.counters.arrival_to_publish.record(now.saturating_duration_since(arrival));
        }
    }
}

#[cfg(test)]
mod tests;
