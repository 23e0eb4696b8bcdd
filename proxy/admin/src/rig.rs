//! What the tests ask: a router in front of a real controller whose workers are played.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header::HeaderMap},
};
use tidegate_control::{
    BoundListener, Clock, Command, ControlHandle, Controller, Desired, DesiredListener, Report, Wiring,
};
use tidegate_core::{
    Conditions, Event, FlowId, FlowRow, FlowState, ServiceConfig, ServiceName, ServicePort, ServiceSettings,
    Slice, SliceEndpoint, SliceName, SlicePort, Survey, Timestamp,
};
use tidegate_dataplane::WorkerCounters;
use tokio::{sync::mpsc, time::Instant};
use tower::Service;

use crate::{
    AdminState, PodEventsReport, Sampler, ServiceProblem, SourceReport, TriggerDelay, WatchReport,
    WriterReport,
    access::{Access, Peer},
    router,
    serve::Lasting,
};

/// A controller with one service of two endpoints and two workers.
pub(crate) struct Rig {
    pub(crate) state: AdminState,
    pub(crate) router: Router,
    pub(crate) events: mpsc::Sender<(Event, std::time::Instant)>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Rig {
    /// Starts with every worker answering, or with the last one silent.
    pub(crate) async fn start(last_is_silent: bool) -> Self {
        let (events, sources) = mpsc::channel(64);
        let (reports, report_receiver) = mpsc::channel(64);
        let play = |worker: usize| {
            let (sender, commands) = mpsc::channel(16);
            let is_silent = worker == 1 && last_is_silent;
            drop(tokio::spawn(play(worker, is_silent, commands, reports.clone())));
            sender
        };
        let clock = Clock::new(Instant::now().into_std(), UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = BoundListener {
            desired: DesiredListener {
                name: "web".into(),
                address: socket.local_addr().unwrap(),
                port: port(),
            },
            sockets: vec![socket.try_clone().unwrap(), socket],
        };
        let workers = vec![play(0), play(1)];
        let wiring = Wiring {
            clock,
            counters: Arc::default(),
            cell: Arc::default(),
            workers,
            reports: report_receiver,
            sources,
            open_flows: Arc::new(|| 0),
            bind: Arc::new(|_, _| Err(std::io::Error::other("no reload binds here"))),
            state: None,
            seed: 1,
            has_successors: false,
            has_predecessor: false,
        };
        let service = ServiceConfig { port: port(), settings: ServiceSettings::default(), fixed: None };
        let desired = Desired { services: vec![service], listeners: vec![listener], ..Desired::default() };
        let (controller, control) = Controller::new(wiring, desired);
        drop(tokio::spawn(controller.run()));
        let state = state(control);
        let access = Access { address: Some("127.0.0.1:9901".parse().unwrap()), token: None };
        let router = router::operators(state.clone(), access);
        let rig = Self { state, router, events };
        rig.event(Event::SlicesListed(vec![slice(&[("10.0.0.1", "web-0"), ("10.0.0.2", "web-1")])])).await;
        rig
    }

    /// Sends a source's event and waits until it was taken.
    pub(crate) async fn event(&self, event: Event) {
        self.events.send((event, Instant::now().into_std())).await.unwrap();
        while self.events.capacity() != self.events.max_capacity() {
            tokio::task::yield_now().await;
        }
        self.state.control.services().await.unwrap();
    }

    /// GET from loopback.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).header("host", "127.0.0.1:9901").body(Body::empty()).unwrap()).await
    }

    /// POST of JSON from loopback.
    pub(crate) async fn post(&self, path: &str, json: &str) -> Answer {
        let request = Request::post(path)
            .header("host", "localhost:9901")
            .header("content-type", "application/json; charset=utf-8")
            .body(Body::from(json.to_owned()));
        self.ask(request.unwrap()).await
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        ask(&self.router, request).await
    }
}

/// Asks a router as a connection does.
pub(crate) async fn ask(router: &Router, mut request: Request<Body>) -> Answer {
    request.extensions_mut().insert(Peer { name: "127.0.0.1:5000".to_owned(), local: None });
    request.extensions_mut().insert(Lasting::of_test());
    let response = router.clone().call(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
}

fn state(control: ControlHandle) -> AdminState {
    let counters = || {
        let worker = Arc::new(WorkerCounters::default());
        let service = worker.service(&port());
        service.opened.add(7);
        service.connected.add(6);
        service.connect_nanos.add(3_000_000);
        service.terminated(tidegate_core::Termination::NORMAL).add(4);
        let by = tidegate_core::Party::NoEndpoint;
        service.terminated(tidegate_core::Termination { by, phase: tidegate_core::Phase::Pick }).add(1);
        service.bytes(tidegate_dataplane::Direction::Up, tidegate_dataplane::Way::Splice).add(1_000);
        service.connect_failures(tidegate_dataplane::ConnectFailure::Refused).add(2);
        worker.pipes_made.add(3);
        worker
    };
    let started = Instant::now().into_std();
    let source = move || {
        Some(SourceReport {
            kind: "files".to_owned(),
            directory: "/etc/tidegate/endpoints".into(),
            trouble: None,
            files: 2,
            slices: 1,
            invalid: vec![("bad.yaml".to_owned(), "line 3: no endpoints".to_owned())],
            last_event: Some(started),
            events: 5,
            invalid_total: 1,
            watches: vec![WatchReport {
                resource: "endpointslices".to_owned(),
                trouble: Some("the API server cannot be reached".to_owned()),
                objects: 7,
                events: 41,
                outdated: 2,
                lists: 3,
                errors: vec![("unreachable", 5), ("expired", 1)],
                unreadable: 1,
                last_contact: Some(started),
            }],
            trigger_delay: Some(TriggerDelay { count: 9, sum: Duration::from_millis(1_500) }),
            problems: vec![ServiceProblem {
                service: "default/web".to_owned(),
                port: Some(80),
                reason: "PortConflict",
                message: "192.0.2.1:80 is taken by the older Service default/old".to_owned(),
            }],
            writer: Some(WriterReport {
                leads: true,
                trouble: None,
                statuses: 4,
                events: 2,
                errors: vec![("forbidden", 1)],
            }),
            pod_events: Some(PodEventsReport { trouble: None, written: 11, dropped: 3 }),
            clock_skew_millis: Some(-2_500),
        })
    };
    AdminState {
        sampler: Sampler::new(control.clone()),
        control,
        workers: vec![counters(), counters()],
        source: Arc::new(source),
        version: "1.2.3",
        flow_limit: 9_000,
        peers: None,
        gate: Default::default(),
        carried: Default::default(),
    }
}

async fn play(
    worker: usize,
    is_silent: bool,
    mut commands: mpsc::Receiver<Command>,
    reports: mpsc::Sender<Report>,
) {
    while let Some(command) = commands.recv().await {
        let answer = match command {
            Command::Ping { request } => Report::Alive { request, generation: 1 },
            Command::ListFlows { request, .. } => {
                Report::Flows { request, flows: vec![flow(worker)], total: 1 }
            }
            Command::Survey { request, of, .. } => {
                let survey = Survey { flows: 2, idle: 1, bytes: 1_000, oldest: Some(Timestamp::default()) };
                Report::Surveyed { request, surveys: of.iter().map(|of| (of.endpoint, survey)).collect() }
            }
            Command::CloseFlow { request, flow, .. } => Report::Ended { request, found: flow.0 == 0x2a },
            _ => continue,
        };
        if !is_silent {
            reports.send(answer).await.unwrap();
        }
    }
}

fn flow(worker: usize) -> FlowRow {
    FlowRow {
        id: FlowId(0x100 + worker as u64),
        listener: "web".into(),
        service: port(),
        client: format!("192.0.2.{worker}:4000").parse().unwrap(),
        endpoint: None,
        state: FlowState::Connecting,
        opened: Timestamp::default(),
        active: Timestamp::default(),
        bytes_up: 10,
        bytes_down: 20,
        attempts: 1,
    }
}

pub(crate) fn port() -> ServicePort {
    ServicePort { service: ServiceName::new("default", "web"), port: Some("http".into()) }
}

/// A slice with these endpoints, each with its pod's name.
pub(crate) fn slice(endpoints: &[(&str, &str)]) -> Slice {
    let endpoint = |(address, pod): &(&str, &str)| SliceEndpoint {
        address: address.parse().unwrap(),
        conditions: Conditions::default(),
        pod_uid: Some(format!("uid-{pod}").into()),
        pod_name: Some(format!("default/{pod}").into()),
        node: Some("node-a".into()),
        zone: Some("zone-1".into()),
        zone_hints: Vec::new(),
        node_hints: Vec::new(),
    };
    Slice {
        name: SliceName { namespace: "default".into(), name: "web-abc12".into() },
        service: Some(ServiceName::new("default", "web")),
        generation: 1,
        ports: vec![SlicePort { name: "http".into(), number: 80 }],
        endpoints: endpoints.iter().map(endpoint).collect(),
        ignored_ports: 0,
        ignored_endpoints: 0,
        is_fqdn: false,
    }
}
