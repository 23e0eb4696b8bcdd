//! A worker with real sockets: freezing flows and taking them over; and telling them to go: ahead of deadlines (`sheds`), for
//! their age (`lifetimes`), to other endpoints (`rebalances`).

mod lifetimes;
mod rebalances;
mod sheds;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
};

use tidegate_core::{
    Endpoint, Event, FixedEndpoint, FlowRow, FlowState, ListenerId, Output, Phase, ServiceConfig,
    ServiceName, ServicePort, ServiceSettings, SurveyOf, Table, Termination,
};

use super::*;

/// Longer than anything here takes; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than the sockets between a sender and a reader that does not read can hold.
const STREAM: usize = 24 << 20;

/// Two workers, the first with a listener, and a service with one endpoint that the test plays.
struct Rig {
    commands: Vec<mpsc::Sender<Command>>,
    reports: mpsc::Receiver<Report>,
    counters: Vec<Arc<WorkerCounters>>,
    endpoint: TcpListener,
    table: Table,
    pinned: Arc<Endpoint>,
    cell: Arc<ArcSwap<Snapshot>>,
    origin: Instant,
    listener: ListenerSpec,
    address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

impl Rig {
    fn new() -> Self {
        Self::with_pipes(16)
    }

    /// Where there are no pipes, bulk is copied.
    fn with_pipes(max_pipes: u64) -> Self {
        let endpoint = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = ServicePort { service: ServiceName::new("default", "web"), port: None };
        let fixed = FixedEndpoint { address: endpoint.local_addr().unwrap(), weight: 1 };
        let mut table = Table::new(0);
        table.handle_event(
            Event::ServicesConfigured(vec![ServiceConfig {
                port: port.clone(),
                settings: ServiceSettings::default(),
                fixed: Some(vec![fixed]),
            }]),
            Timestamp::default(),
        );
        let cell = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
        publish(&mut table, &cell);
        let pinned = Arc::clone(&table.services()[0].endpoints[0].endpoint);
        let service = table.service_id(&port).unwrap();
        let (report_sender, reports) = mpsc::channel(1024);
        let counters: Vec<Arc<WorkerCounters>> = vec![Arc::default(), Arc::default()];
        let (mut commands, mut threads) = (Vec::new(), Vec::new());
        // Moments before the flows are moments too.
        let origin = Instant::now().checked_sub(Duration::from_secs(100)).expect("the machine runs longer");
        for index in 0..2 {
            let (sender, receiver) = mpsc::channel(64);
            threads.push(
                spawn_worker(WorkerOptions {
                    index,
                    origin,
                    snapshot: Arc::clone(&cell),
                    commands: receiver,
                    reports: report_sender.clone(),
                    counters: counters.clone(),
                    max_flows: 1000,
                    max_pipes,
                    flow_log: Arc::default(),
                    seed: 1,
                })
                .unwrap(),
            );
            commands.push(sender);
        }
        let socket = tidegate_sys::listen_group((Ipv4Addr::LOCALHOST, 0).into(), 1).unwrap().remove(0);
        let address = socket.local_addr().unwrap();
        let listener = ListenerSpec { id: ListenerId(1), name: "web".into(), address, service, port };
        let rig = Self {
            commands,
            reports,
            counters,
            endpoint,
            table,
            pinned,
            cell,
            origin,
            listener,
            address,
            threads,
        };
        rig.tell(0, Command::Listen { listener: rig.listener.clone(), socket });
        rig
    }

    /// The table learns something, and workers see what follows.
    fn learn(&mut self, event: Event) {
        self.table.handle_event(event, Timestamp::default());
        publish(&mut self.table, &self.cell);
    }

    fn tell(&self, worker: usize, command: Command) {
        self.commands[worker].blocking_send(command).unwrap();
    }

    /// The next report that `wanted` takes.
    fn hear<T>(&mut self, wanted: impl Fn(Report) -> Option<T>) -> T {
        loop {
            let report = self.reports.blocking_recv().expect("a worker answers");
            if let Some(found) = wanted(report) {
                return found;
            }
        }
    }

    /// A client and the endpoint's side of its flow, which relays.
    fn connect(&mut self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.address).unwrap();
        let (endpoint, _) = self.endpoint.accept().unwrap();
        for stream in [&client, &endpoint] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
        }
        // The endpoint's kernel has accepted it before the worker knows.
        while self.flows(0).iter().any(|flow| flow.state == FlowState::Connecting) {
            std::thread::yield_now();
        }
        (client, endpoint)
    }

    /// How many flows ended so, of all workers.
    fn ended(&self, by: Party) -> u64 {
        let how = [Phase::Data, Phase::LastData].map(|phase| Termination { by, phase });
        let of = |counters: &Arc<WorkerCounters>| {
            let service = counters.service(&self.listener.port);
            how.iter().map(|how| service.terminated(*how).get()).sum::<u64>()
        };
        self.counters.iter().map(of).sum()
    }

    fn flows(&mut self, worker: usize) -> Vec<FlowRow> {
        self.tell(worker, Command::ListFlows { request: 7, limit: 100, endpoint: None });
        self.hear(|report| match report {
            Report::Flows { request: 7, flows, .. } => Some(flows),
            _ => None,
        })
    }

    fn freeze(&mut self, worker: usize) -> Vec<FrozenFlow> {
        self.tell(worker, Command::Freeze { request: 9, limit: 100 });
        self.hear(|report| match report {
            Report::Frozen { request: 9, flows } => Some(flows),
            _ => None,
        })
    }

    fn adopt(&self, worker: usize, flow: FrozenFlow) {
        let (permit, listener) = (Permit::pinned(&self.pinned), self.listener.clone());
        self.tell(worker, Command::Adopt { flow, permit: Some(permit), listener });
    }

    /// Moves every flow from one worker to the other, `times` times to and fro.
    fn move_flows(&mut self, times: usize) {
        for turn in 0..times {
            let (from, to) = (turn % 2, (turn + 1) % 2);
            for flow in self.freeze(from) {
                self.adopt(to, flow);
            }
        }
    }

    fn await_no_flows(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.pinned.admission().flows() > 0 {
            assert!(Instant::now() < deadline, "flows are left: {:?} {:?}", self.flows(0), self.flows(1));
            std::thread::yield_now();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for sender in &self.commands {
            let _ = sender.blocking_send(Command::Stop);
        }
        self.commands.clear();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a worker panicked");
        }
    }
}

fn publish(table: &mut Table, cell: &ArcSwap<Snapshot>) {
    while let Some(output) = table.poll_output(Timestamp::default()) {
        if let Output::Publish(snapshot) = output {
            cell.store(snapshot);
        }
    }
}

/// A byte that tells its place in the stream.
fn pattern(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}

fn write_stream(mut to: TcpStream) {
    let bytes: Vec<u8> = (0..STREAM).map(pattern).collect();
    to.write_all(&bytes).unwrap();
    to.shutdown(Shutdown::Write).unwrap();
}

fn read_stream(mut from: TcpStream) {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), STREAM);
    let wrong = bytes.iter().enumerate().position(|(at, byte)| *byte != pattern(at));
    assert_eq!(wrong, None, "a byte was lost, doubled or changed");
}

/// R5, invariant 8: flows that move between workers while bulk goes both ways lose no byte and double none.
#[test]
fn a_flow_with_bulk_both_ways_can_be_frozen_and_adopted_again_and_again() {
    let mut rig = Rig::new();
    let (client, endpoint) = rig.connect();
    let threads = [
        std::thread::spawn({
            let client = client.try_clone().unwrap();
            move || write_stream(client)
        }),
        std::thread::spawn({
            let endpoint = endpoint.try_clone().unwrap();
            move || write_stream(endpoint)
        }),
        std::thread::spawn(move || read_stream(client)),
        std::thread::spawn(move || read_stream(endpoint)),
    ];
    rig.move_flows(40);
    for thread in threads {
        thread.join().unwrap();
    }
    rig.await_no_flows();
    let way = |way| rig.counters.iter().map(|counters| moved(counters, way)).sum::<u64>();
    assert_eq!(way(crate::Way::Copy) + way(crate::Way::Splice), 2 * STREAM as u64);
    assert!(way(crate::Way::Splice) > 0, "bulk goes through pipes");
    assert!(rig.counters.iter().all(|counters| counters.pipes_busy.get() == 0), "a pipe was lost");
}

fn moved(counters: &WorkerCounters, way: crate::Way) -> u64 {
    let services = counters.services();
    let both = crate::Direction::ALL.iter();
    both.flat_map(|direction| services.iter().map(|(_, counted)| counted.bytes(*direction, way).get())).sum()
}

/// R5: the bytes that a stalled reader has not taken yet, in a pipe or a buffer, move with the flow.
#[test]
fn a_flow_with_a_stalled_reader_moves_with_the_bytes_it_holds() {
    let mut rig = Rig::new();
    let (client, endpoint) = rig.connect();
    let writer = std::thread::spawn(move || write_stream(endpoint));
    // Stalled: two looks in a row see the same number of bytes, and more than a pipe's worth has moved.
    let mut before = 0;
    loop {
        let down = rig.flows(0)[0].bytes_down;
        if down == before && down > 0 && rig.counters[0].pipes_busy.get() == 1 {
            break;
        }
        before = down;
        std::thread::yield_now();
    }
    let frozen = rig.freeze(0).pop().unwrap();
    assert!(frozen.down.pipe.as_ref().is_some_and(|pipe| pipe.length > 0), "{frozen:?}");
    assert_eq!(rig.counters[0].pipes_busy.get(), 0);
    rig.adopt(1, frozen);
    read_stream(client);
    writer.join().unwrap();
    rig.await_no_flows();
}

/// R5: the same for bytes in a buffer, where there is no pipe.
#[test]
fn a_flow_without_pipes_moves_with_the_bytes_it_holds() {
    let mut rig = Rig::with_pipes(0);
    let (client, endpoint) = rig.connect();
    let writer = std::thread::spawn(move || write_stream(endpoint));
    let mut moves = 0;
    loop {
        // One that a worker has yet to take over is not there to be frozen.
        let Some(frozen) = rig.freeze(moves % 2).pop() else { continue };
        let holds = !frozen.down.pending.is_empty();
        moves += 1;
        rig.adopt(moves % 2, frozen);
        if holds {
            break;
        }
    }
    read_stream(client);
    writer.join().unwrap();
    rig.await_no_flows();
}

/// R5: a direction that has ended stays ended, and the other one goes on.
#[test]
fn a_half_closed_flow_stays_half_closed_when_it_moves() {
    for client_first in [true, false] {
        let mut rig = Rig::new();
        let (client, endpoint) = rig.connect();
        let (mut first, mut second) = if client_first { (client, endpoint) } else { (endpoint, client) };
        first.write_all(b"request").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        let mut request = Vec::new();
        second.read_to_end(&mut request).unwrap();
        assert_eq!(request, b"request");
        rig.move_flows(3);
        second.write_all(b"reply").unwrap();
        second.shutdown(Shutdown::Write).unwrap();
        let mut reply = Vec::new();
        first.read_to_end(&mut reply).unwrap();
        assert_eq!(reply, b"reply");
        rig.await_no_flows();
    }
}

/// Invariant 8: what an operator sees of a flow moves with it.
#[test]
fn a_moved_flow_keeps_its_facts_and_its_permit() {
    let mut rig = Rig::new();
    let (mut client, mut endpoint) = rig.connect();
    client.write_all(b"hello").unwrap();
    let mut hello = [0; 5];
    endpoint.read_exact(&mut hello).unwrap();
    let before = rig.flows(0).remove(0);
    assert_eq!(rig.pinned.admission().flows(), 1);
    rig.move_flows(1);
    let after = rig.flows(1).remove(0);
    assert_eq!(rig.pinned.admission().flows(), 1);
    assert!(rig.flows(0).is_empty());
    assert_eq!((after.client, after.endpoint), (before.client, before.endpoint));
    assert_eq!((after.bytes_up, after.bytes_down, after.attempts), (5, 0, 1));
    drop((client, endpoint));
    rig.await_no_flows();
}

/// P8, P14: a client that fills an endpoint which does not read, and then vanishes, does not keep its sockets for ever.
#[test]
fn a_reset_behind_a_stalled_reader_ends_the_flow_after_a_while() {
    let mut rig = Rig::new();
    let (mut client, endpoint) = rig.connect();
    client.set_nonblocking(true).unwrap();
    let chunk = vec![7; 1 << 20];
    // Full: the client cannot write, and the proxy holds bytes that the endpoint does not take.
    while client.write(&chunk).is_ok()
        || rig.flows(0)[0].bytes_up == 0
        || rig.counters[0].pipes_busy.get() == 0
    {
        std::thread::yield_now();
    }
    tidegate_sys::socket::reset_on_close(client.as_fd()).unwrap();
    drop(client);
    rig.await_no_flows();
    assert_eq!(rig.ended(Party::Client), 1);
    assert_eq!(rig.counters[0].pipes_busy.get(), 0);
    drop(endpoint);
}

/// A freeze answers also where there is nothing to freeze.
#[test]
fn a_worker_without_flows_answers_a_freeze_with_none() {
    let mut rig = Rig::new();
    assert!(rig.freeze(0).is_empty());
}

/// A survey counts the flows of the endpoints that are asked for: which are idle, how old they are, what they move.
#[test]
fn flows_are_surveyed() {
    let mut rig = Rig::new();
    let flows = [rig.connect(), rig.connect(), rig.connect()];
    let mut survey = |quiet: Duration, over: Duration| {
        let id = rig.pinned.id();
        let of = [SurveyOf { endpoint: id, quiet }, SurveyOf { endpoint: EndpointId(u64::MAX), quiet }];
        rig.tell(0, Command::Survey { request: 5, of: of.into(), over });
        let surveys = rig.hear(|report| match report {
            Report::Surveyed { request: 5, surveys } => Some(surveys),
            _ => None,
        });
        assert_eq!(surveys.len(), 1, "nobody is on the other one");
        assert_eq!(surveys[0].0, id);
        surveys[0].1
    };
    let still = survey(Duration::ZERO, Duration::ZERO);
    assert_eq!((still.flows, still.idle, still.bytes), (3, 3, 0));
    assert!(still.oldest.is_some());
    assert_eq!(survey(PATIENCE, Duration::ZERO).idle, 0, "nobody has been silent for so long");

    let (mut client, mut endpoint) = (flows[0].0.try_clone().unwrap(), flows[0].1.try_clone().unwrap());
    let sending = std::thread::spawn(move || while client.write_all(&[1; 512]).is_ok() {});
    let receiving = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while endpoint.read(&mut bytes).is_ok_and(|read| read > 0) {}
    });
    let busy = loop {
        let survey = survey(Duration::from_millis(100), Duration::from_millis(100));
        if (survey.idle, survey.bytes > 0) == (2, true) {
            break survey;
        }
    };
    assert_eq!((busy.flows, busy.oldest), (3, still.oldest));
    flows[0].0.shutdown(Shutdown::Both).unwrap();
    drop(flows);
    sending.join().unwrap();
    receiving.join().unwrap();
    rig.await_no_flows();
    let id = rig.pinned.id();
    rig.tell(
        0,
        Command::Survey {
            request: 6,
            of: [SurveyOf { endpoint: id, quiet: PATIENCE }].into(),
            over: PATIENCE,
        },
    );
    let empty = rig.hear(|report| match report {
        Report::Surveyed { request: 6, surveys } => Some(surveys),
        _ => None,
    });
    assert!(empty.is_empty(), "and where nobody is, nobody is waited for");
}
