//! A running proxy: the configuration turned into threads.
//!
//! One thread per worker moves bytes. One thread holds the control runtime: the controller, the source, signals and
//! reloads. One thread holds the admin runtime, so that a slow scrape shows in nobody's latency.

use std::{
    cell::RefCell,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tidegate_admin::metrics::Totals;
use tidegate_config::{Configuration, FlowLog, Workers};
use tidegate_control::{
    BindFn, BoundListener, Clock, ControlCounters, ControlHandle, Controller, Desired, Ended,
    LifecycleSettings, StateDirectory, controller::Wiring,
};
use tidegate_core::Snapshot;
use tidegate_dataplane::{FlowLogRate, WorkerCounters, WorkerOptions, spawn_worker};
use tidegate_handoff::Channel;
use tidegate_kubernetes::Interest;
use tidegate_sys::DescriptorLimit;
use tokio::sync::mpsc;

use crate::{
    admin,
    audit_file::AuditWriter,
    handoff::{
        self,
        lingering::{Counting, Lingering},
        meeting::Meeting,
        parked::Parked,
        predecessor::Predecessor,
        successor::Taken,
    },
    overrides::Overrides,
    reload, signals,
    sockets::Inherited,
    source::{SYNC_WAIT_KUBERNETES, Source},
};

mod listeners;

use self::listeners::bind_listeners;
pub(crate) use self::listeners::desired_listeners;

/// Commands that wait for one worker.
const COMMANDS_WAITING: usize = 1024;
/// Reports of all workers that wait for the controller.
const REPORTS_WAITING: usize = 16 * 1024;
/// Source events that wait for the controller.
const EVENTS_WAITING: usize = 1024;

/// What of the outside a proxy follows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Following {
    /// The configuration's file: it is read again when it changes, and on SIGHUP.
    pub(crate) config_file: Option<PathBuf>,
    /// SIGTERM, SIGINT and SIGHUP, and the service manager.
    pub(crate) signals: bool,
    /// What the command line and the environment say of the configuration.
    pub(crate) overrides: Overrides,
    /// It takes over from a process that runs, where the configuration says how.
    pub(crate) takes_over: bool,
    /// It has handed over before, and takes over again because that process ends.
    pub(crate) comes_back: bool,
}

/// A running proxy.
pub(crate) struct Proxy {
    /// Asks its controller.
    pub(crate) handle: ControlHandle,
    /// Another process has taken over from it.
    pub(crate) handed_over: Arc<AtomicBool>,
    /// Where it listens, by listener name.
    pub(crate) listeners: Vec<(Arc<str>, SocketAddr)>,
    control: JoinHandle<anyhow::Result<Ended>>,
    workers: Vec<JoinHandle<()>>,
    /// The socket for a successor, the thread that waits for one, and what tells it that the last flow has ended.
    meeting: Option<(Arc<Meeting>, JoinHandle<()>, std::sync::mpsc::Sender<()>)>,
    counting: Option<Counting>,
    /// A handoff that its predecessor took back: why. What was committed is served to its end.
    taken_back: Option<String>,
}

/// What several parts of the process look at.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) handle: ControlHandle,
    pub(crate) workers: Vec<Arc<WorkerCounters>>,
    pub(crate) source: Source,
    pub(crate) flow_log: Arc<FlowLogRate>,
    pub(crate) limit: DescriptorLimit,
    pub(crate) audit: AuditWriter,
    /// This is the process that the service manager follows.
    pub(crate) is_main: Arc<AtomicBool>,
    /// Another process has taken over.
    pub(crate) handed_over: Arc<AtomicBool>,
    pub(crate) counted: admin::Counted,
}

impl Proxy {
    /// Starts a proxy. Everything that can be wrong with addresses is found here, before any thread runs.
    pub(crate) fn start(configuration: Configuration, following: Following) -> anyhow::Result<Self> {
        let limit = tidegate_sys::raise_descriptor_limit();
        tracing::info!(
            descriptors = limit.now,
            was = limit.before,
            flows = limit.flows(),
            "descriptor limit raised to the hard limit; two descriptors per flow"
        );
        let inherited = Arc::new(Inherited::from_environment());
        let worker_count = worker_count(configuration.workers);
        let bind: BindFn = {
            let inherited = Arc::clone(&inherited);
            Arc::new(move |address, workers| inherited.listen(address, workers))
        };
        let takeover = match &configuration.handoff {
            Some(handoff) if following.takes_over => {
                handoff::greet(handoff, &configuration, limit.flows(), worker_count, following.comes_back)?
            }
            _ => None,
        };
        // A successor binds nothing before its predecessor has given it what it has.
        let listeners = match &takeover {
            Some(_) => Vec::new(),
            None => bind_listeners(&configuration, worker_count, &bind)?,
        };
        let addresses: Vec<_> = listeners
            .iter()
            .map(|bound: &BoundListener| (Arc::clone(&bound.desired.name), bound.address()))
            .collect();
        let bound: Vec<_> = configuration.listeners.iter().map(|listener| listener.address).collect();
        inherited.warn_of_unused(&bound);
        let (doors, meeting) = match &takeover {
            Some(_) => (admin::Doors::default(), None),
            None => {
                // Whoever has these addresses may have the socket too, so they come first.
                let doors = admin::Doors::open(&configuration)?;
                let meeting = configuration.handoff.as_ref().map(|handoff| Meeting::open(&handoff.socket));
                (doors, meeting.transpose()?)
            }
        };
        let admin = Arc::new(admin::AdminSide::default());
        let state = match &configuration.state_directory {
            Some(path) => Some(StateDirectory::open(path.clone())?),
            None => None,
        };
        // Clients and drains are known to the predecessor by its own clock and its own hashes.
        let (clock, seed) = match &takeover {
            Some(takeover) => (takeover.clock, takeover.seed),
            None => (Clock::start(), random_seed()),
        };
        let cell = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
        let flow_log = Arc::new(FlowLogRate::default());
        flow_log.set(flow_log_rate(configuration.flow_log));
        let counters: Vec<Arc<WorkerCounters>> = (0..worker_count).map(|_| Arc::default()).collect();
        let (report_sender, reports) = mpsc::channel(REPORTS_WAITING);
        let (event_sender, sources) = mpsc::channel(EVENTS_WAITING);

        let mut commands = Vec::new();
        let mut workers = Vec::new();
        for index in 0..worker_count {
            let (command_sender, command_receiver) = mpsc::channel(COMMANDS_WAITING);
            commands.push(command_sender);
            workers.push(
                spawn_worker(WorkerOptions {
                    index,
                    origin: clock.origin(),
                    snapshot: Arc::clone(&cell),
                    commands: command_receiver,
                    reports: report_sender.clone(),
                    counters: counters.clone(),
                    max_flows: limit.flows(),
                    max_pipes: (limit.pipes() / worker_count as u64).max(1),
                    flow_log: Arc::clone(&flow_log),
                    seed: random_seed(),
                })
                .with_context(|| format!("cannot start worker {index}"))?,
            );
        }
        drop(report_sender);

        let open_flows = {
            let counters = counters.clone();
            Arc::new(move || open_flows(&counters))
        };
        let wiring = Wiring {
            clock,
            counters: Arc::new(ControlCounters::default()),
            cell,
            workers: commands,
            reports,
            sources,
            open_flows,
            bind: Arc::clone(&bind),
            state,
            seed,
            has_successors: configuration.handoff.is_some(),
            has_predecessor: takeover.is_some(),
        };
        let (ready_sender, ready_receiver) = std::sync::mpsc::channel();
        let own = (configuration.clone(), Arc::clone(&admin));
        let kept = configuration;
        let is_successor = takeover.is_some();
        let following_signals = following.signals;
        let control = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                let (configuration, admin) = own;
                tidegate_sys::yield_to_others();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async move {
                    let (controller, handle) =
                        Controller::new(wiring, desired(&configuration, None, listeners));
                    let interest = Interest { pods: handle.wanted_pods(), origin: handle.clock().origin() };
                    let (overrides, seed) = (&following.overrides, random_seed());
                    let source = Source::follow(
                        &configuration,
                        overrides,
                        seed,
                        &event_sender,
                        interest,
                        is_successor,
                    )?;
                    handle.keep_audit_records(configuration.audit.keep);
                    let audit = AuditWriter::start(&handle, configuration.audit.file.clone())?;
                    let pod_events = source.announce_drains(&handle, &configuration);
                    let is_main = Arc::new(AtomicBool::new(!is_successor));
                    let shared = Shared {
                        handle: handle.clone(),
                        workers: counters,
                        source,
                        flow_log,
                        limit,
                        audit,
                        is_main,
                        handed_over: Arc::default(),
                        counted: admin::Counted::default(),
                    };
                    if !is_successor {
                        admin.open(doors, &shared)?;
                    }
                    if following.signals {
                        signals::follow(&shared, following.config_file.is_some())?;
                    }
                    let reloads = reload::follow(
                        following.config_file,
                        following.overrides,
                        configuration,
                        shared.clone(),
                        is_successor,
                    );
                    let _ = ready_sender.send(shared.clone());
                    let ended = controller.run().await;
                    tokio::join!(shared.source.resigned(), pod_events.finish());
                    // Until here the source is followed, the file watched and the admin API answered.
                    admin.close();
                    shared.audit.finish().await;
                    drop((reloads, shared));
                    Ok(ended)
                })
            })
            .context("cannot start the control thread")?;
        let Ok(shared) = ready_receiver.recv() else {
            // The thread ended before it could say anything, so its result says why.
            return match control.join() {
                Ok(Err(error)) => Err(error),
                _ => Err(anyhow::anyhow!("the control thread ended at its start")),
            };
        };
        let handle = shared.handle.clone();
        let mut proxy = Self {
            handle,
            handed_over: Arc::clone(&shared.handed_over),
            listeners: addresses,
            control,
            workers,
            meeting: None,
            counting: None,
            taken_back: None,
        };
        let superseded = takeover.as_ref().map(|takeover| takeover.superseded.clone()).unwrap_or_default();
        let (meeting, others) = match takeover {
            None => (meeting, None),
            Some(takeover) => match takeover.run(&shared, &kept, worker_count, &bind)? {
                Taken::Whole { doors, meeting, predecessor, counted } => {
                    shared.counted.carried.set(counted);
                    let hears = predecessor.as_ref().map(Channel::try_clone).transpose()?;
                    let follow = |hears| Lingering::follow(hears, &shared, Totals::default(), None);
                    let others = hears.map(follow).transpose()?;
                    admin.open(doors, &shared)?;
                    if following_signals {
                        // Before the predecessor may end: else its end would be taken for the service's.
                        signals::take_the_place(&shared);
                    }
                    if let Some(predecessor) = &predecessor {
                        Taken::finish(predecessor);
                    }
                    shared.source.begin_to_write();
                    (meeting, others)
                }
                Taken::Part(why, predecessor) => {
                    tracing::error!(why, "the running process took back what it had not handed over");
                    let linger = kept.handoff.as_ref().map_or(Duration::ZERO, |handoff| handoff.linger);
                    proxy.leave(linger)?;
                    proxy.taken_back = Some(why);
                    proxy.counting = Some(Counting::begin(predecessor, shared.clone())?);
                    (None, None)
                }
            },
        };
        if let (Some(meeting), Some(handoff)) = (meeting, kept.handoff.clone()) {
            let meeting = Arc::new(meeting);
            let (over, ended) = std::sync::mpsc::channel();
            let predecessor = Predecessor {
                meeting: Arc::clone(&meeting),
                parked: Parked::behind(&shared.handle)?,
                shared,
                admin,
                handoff,
                config: handoff::hash(&kept),
                workers: worker_count,
                binary: std::env::current_exe(),
                seed,
                superseded,
                others: RefCell::new(others.into_iter().collect()),
                ended,
            };
            proxy.meeting = Some((meeting, predecessor.serve()?, over));
        }
        Ok(proxy)
    }

    /// It serves: its predecessor has not taken anything back.
    pub(crate) fn has_taken_its_place(&self) -> bool {
        self.taken_back.is_none()
    }

    /// Ends when its flows have ended; its listeners are another process's.
    fn leave(&self, linger: Duration) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(async {
            self.handle.close_rest().await?;
            self.handle.leave(linger).await
        })?;
        Ok(())
    }

    /// Waits until the proxy has ended.
    pub(crate) fn wait(self) -> anyhow::Result<Ended> {
        let ended = self.control.join().map_err(|_| anyhow::anyhow!("the control thread panicked"))?;
        for worker in self.workers {
            worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
        }
        if let Some((meeting, thread, over)) = self.meeting {
            meeting.remove_file();
            drop(over);
            if meeting.is_passed_on() {
                // The successor is told the last counts.
                let _ = thread.join();
            }
        }
        self.counting.into_iter().for_each(Counting::finish);
        match self.taken_back {
            Some(why) => Err(anyhow::anyhow!("the handoff did not come to its end: {why}")),
            None => ended,
        }
    }
}

/// The configuration as far as it concerns the controller; `zone` is what the source knows.
pub(crate) fn desired<Listener>(
    configuration: &Configuration,
    zone: Option<Arc<str>>,
    listeners: Vec<Listener>,
) -> Desired<Listener> {
    let defaults = LifecycleSettings::default();
    let sync_wait = match configuration.source {
        Some(tidegate_config::Source::Kubernetes(_)) => SYNC_WAIT_KUBERNETES,
        _ => defaults.sync_wait,
    };
    let awaits_wanted = matches!(
        &configuration.source,
        Some(tidegate_config::Source::Kubernetes(kubernetes)) if kubernetes.load_balancer_class.is_some()
    );
    Desired {
        awaits_wanted,
        wanted: Vec::new(),
        services: configuration.service_configs(),
        listeners,
        node: configuration.node.name.clone(),
        zone: configuration.node.zone.clone().or(zone),
        lifecycle: LifecycleSettings {
            delay: configuration.shutdown.delay,
            grace: configuration.shutdown.grace,
            sync_wait,
        },
    }
}

/// One line in so many, as the workers know it.
pub(crate) fn flow_log_rate(flow_log: FlowLog) -> u32 {
    match flow_log {
        FlowLog::Off => 0,
        FlowLog::All => 1,
        FlowLog::Sampled { every } => every,
    }
}

fn worker_count(workers: Workers) -> usize {
    match workers {
        Workers::Auto => thread::available_parallelism().map_or(1, usize::from),
        Workers::Count(count) => usize::from(count).max(1),
    }
}

fn open_flows(workers: &[Arc<WorkerCounters>]) -> u64 {
    workers.iter().map(|worker| worker.flows.get()).sum()
}

/// A seed that differs from process to process.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0_u64)
}
