//! What the tests drive: a controller with workers that are played by the test.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use tidegate_core::{
    Conditions, Event, FixedEndpoint, ListenerId, ServiceConfig, ServiceName, ServicePort, ServiceSettings,
    Slice, SliceEndpoint, SliceName, SlicePort, Snapshot, Survey,
};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

use crate::{
    BindFn, BoundListener, Clock, Command, ControlHandle, Controller, Desired, DesiredListener, Ended,
    Report, StateDirectory, Wiring,
};

/// A controller that runs, with played workers.
pub(crate) struct Rig {
    pub(crate) handle: ControlHandle,
    pub(crate) task: JoinHandle<Ended>,
    pub(crate) cell: Arc<ArcSwap<Snapshot>>,
    pub(crate) events: mpsc::Sender<(Event, std::time::Instant)>,
    pub(crate) reports: mpsc::Sender<Report>,
    /// How many flows the workers say they have.
    pub(crate) flows: Arc<AtomicU64>,
    /// What the workers were told, in words; pings are left out.
    pub(crate) told: Arc<Mutex<Vec<String>>>,
}

/// How a played worker behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers everything.
    Willing,
    /// Takes commands and says nothing.
    Silent,
    /// Answers everything but that a listener is closed.
    Clinging,
    /// Takes nothing.
    Stuck,
    /// Has ended.
    Gone,
}

impl Rig {
    /// Starts a controller.
    pub(crate) fn start(desired: Desired, manners: &[Manner], state: Option<StateDirectory>) -> Self {
        let (events, sources) = mpsc::channel(64);
        let (reports, report_receiver) = mpsc::channel(64);
        let flows = Arc::new(AtomicU64::new(0));
        let told = Arc::new(Mutex::new(Vec::new()));
        let cell = Arc::new(ArcSwap::default());
        let play = |(worker, manner): (usize, &Manner)| {
            let (sender, commands) = mpsc::channel(4);
            match manner {
                Manner::Gone => drop(commands),
                _ => {
                    let told = Arc::clone(&told);
                    drop(tokio::spawn(play(worker, *manner, commands, reports.clone(), told)));
                }
            }
            sender
        };
        let workers = manners.iter().enumerate().map(play).collect();
        let bind: BindFn = Arc::new(sockets);
        let bound = desired.listeners.iter().map(|listener| BoundListener {
            sockets: sockets(listener.address, manners.len()).unwrap(),
            desired: listener.clone(),
        });
        let start = Desired {
            services: desired.services,
            listeners: bound.collect(),
            node: desired.node,
            zone: desired.zone,
            lifecycle: desired.lifecycle,
            wanted: desired.wanted,
            awaits_wanted: desired.awaits_wanted,
        };
        let open_flows = Arc::clone(&flows);
        let wiring = Wiring {
            clock: Clock::start(),
            counters: Arc::default(),
            cell: Arc::clone(&cell),
            workers,
            reports: report_receiver,
            sources,
            open_flows: Arc::new(move || open_flows.load(Ordering::Relaxed)),
            bind,
            state,
            seed: 7,
            has_successors: false,
            has_predecessor: false,
        };
        let (controller, handle) = Controller::new(wiring, start);
        let task = tokio::spawn(controller.run());
        Self { handle, task, cell, events, reports, flows, told }
    }

    /// Sends a source's event.
    pub(crate) async fn event(&self, event: Event) {
        self.events.send((event, Instant::now().into_std())).await.unwrap();
    }

    /// Waits until the controller has taken everything that was sent, and the workers what it told them.
    pub(crate) async fn settled(&self) {
        self.handle.services().await.unwrap();
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    }

    /// What the workers were told since the last call, sorted.
    pub(crate) fn told(&self) -> Vec<String> {
        let mut told = std::mem::take(&mut *self.told.lock().unwrap());
        told.sort();
        told
    }
}

async fn play(
    worker: usize,
    manner: Manner,
    mut commands: mpsc::Receiver<Command>,
    reports: mpsc::Sender<Report>,
    told: Arc<Mutex<Vec<String>>>,
) {
    if manner == Manner::Stuck {
        std::future::pending::<()>().await;
    }
    let mut sockets: Vec<(ListenerId, TcpListener)> = Vec::new();
    while let Some(command) = commands.recv().await {
        let (words, answer) = match command {
            Command::Ping { request } => (None, Some(Report::Alive { request, generation: 1 })),
            Command::Listen { listener, socket } => {
                sockets.push((listener.id, socket));
                (Some(format!("listen {} for {}", listener.name, listener.port)), None)
            }
            Command::Retarget(spec) => (Some(format!("retarget {} to {}", spec.name, spec.port)), None),
            Command::StopAccepting { listener, request } => {
                sockets.retain(|(id, _)| *id != listener);
                let answer = (manner != Manner::Clinging).then_some(Report::Closed { request });
                (Some(format!("stop accepting {}", listener.0)), answer)
            }
            Command::ListFlows { request, limit, endpoint } => {
                let endpoint = endpoint.map(|id| id.0);
                let words = format!("list {limit} of {endpoint:?}");
                (Some(words), Some(Report::Flows { request, flows: Vec::new(), total: 5 }))
            }
            Command::Survey { request, of, .. } => {
                let survey = Survey { flows: 3, idle: 1, bytes: 100, oldest: None };
                let surveys = of.iter().map(|of| (of.endpoint, survey)).collect();
                (Some(format!("survey {} endpoints", of.len())), Some(Report::Surveyed { request, surveys }))
            }
            Command::CloseFlow { request, flow, .. } => {
                let found = worker == 1 && flow.0 == 42;
                (Some(format!("close flow {flow}")), Some(Report::Ended { request, found }))
            }
            Command::CloseEndpoint { by, .. } => (Some(format!("close endpoint, {}", by.word())), None),
            Command::SetUserTimeout { timeout, .. } => (Some(format!("user timeout {timeout:?}")), None),
            Command::PlanDrain { endpoint, plan, .. } => {
                let what = if plan.is_some() { "plan" } else { "no plan" };
                (Some(format!("{what} for {}", endpoint.address())), None)
            }
            Command::Rebalance(run) => (Some(format!("rebalance {}", run.is_some())), None),
            Command::Stop => (Some("stop".to_owned()), Some(Report::Stopped { worker })),
            Command::Freeze { request, .. } => (None, Some(Report::Frozen { request, flows: Vec::new() })),
            Command::Adopt { .. } => unreachable!("there are no flows here"),
        };
        if let Some(words) = words {
            told.lock().unwrap().push(format!("{worker}: {words}"));
        }
        if let Some(answer) = answer.filter(|_| manner != Manner::Silent) {
            reports.send(answer).await.unwrap();
        }
    }
}

/// One socket per worker. They are the same one, because nobody connects.
fn sockets(address: SocketAddr, workers: usize) -> std::io::Result<Vec<TcpListener>> {
    let first = TcpListener::bind(address)?;
    (0..workers).map(|_| first.try_clone()).collect()
}

pub(crate) fn port(service: &str) -> ServicePort {
    ServicePort { service: ServiceName::new("default", service), port: None }
}

pub(crate) fn listener(name: &str, service: &str) -> DesiredListener {
    DesiredListener { name: name.into(), address: "127.0.0.1:0".parse().unwrap(), port: port(service) }
}

/// A service whose endpoints come from slices.
pub(crate) fn sliced(service: &str) -> ServiceConfig {
    ServiceConfig { port: port(service), settings: ServiceSettings::default(), fixed: None }
}

/// A service with one fixed endpoint.
pub(crate) fn fixed(service: &str) -> ServiceConfig {
    let endpoint = FixedEndpoint { address: "10.0.0.9:80".parse().unwrap(), weight: 1 };
    ServiceConfig { fixed: Some(vec![endpoint]), ..sliced(service) }
}

/// A slice of a service with these endpoints, each with its pod's name.
pub(crate) fn slice(service: &str, endpoints: &[(&str, &str)]) -> Slice {
    let endpoint = |(address, pod): &(&str, &str)| SliceEndpoint {
        address: address.parse().unwrap(),
        conditions: Conditions::default(),
        pod_uid: Some(format!("uid-{pod}").into()),
        pod_name: Some(format!("default/{pod}").into()),
        node: None,
        zone: None,
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    };
    Slice {
        name: SliceName { namespace: "default".into(), name: format!("{service}-1").into() },
        service: Some(ServiceName::new("default", service)),
        generation: 1,
        ports: vec![SlicePort { name: "".into(), number: 80 }],
        endpoints: endpoints.iter().map(endpoint).collect(),
        ignored_ports: 0,
        ignored_endpoints: 0,
        is_fqdn: false,
    }
}
