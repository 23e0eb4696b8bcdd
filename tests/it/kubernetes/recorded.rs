//! What a real control plane said, replayed event by event through the double: the eligible set after each event, and
//! a rolling update with live flows.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tidegate_tests::{
    apiserver::{ApiServer, ENDPOINT_SLICES, Recording},
    support::{Connection, Endpoint, Proxy, greet_and_echo, until},
};

use super::following;

/// How long after its event arrived a change may still be missing.
const IN_FORCE: Duration = Duration::from_millis(100);

/// A recording whose pods this test serves.
struct Stage {
    recording: Recording,
    /// They serve until the end, those that are gone too: who ends a flow is the proxy or nobody.
    _endpoints: Vec<Endpoint>,
}

impl Stage {
    fn of(name: &str) -> Self {
        let recording = Recording::load(name).of_service("web");
        let mut by_port: BTreeMap<u16, Vec<SocketAddr>> = BTreeMap::new();
        for pod in recording.endpoints() {
            by_port.entry(pod.port()).or_default().push(pod);
        }
        let (mut moves, mut endpoints) = (BTreeMap::new(), Vec::new());
        for pods in by_port.values() {
            let group =
                Endpoint::group(pods.len()).into_iter().map(|endpoint| endpoint.serve(greet_and_echo));
            for (pod, endpoint) in pods.iter().zip(group) {
                moves.insert(*pod, endpoint.address());
                endpoints.push(endpoint);
            }
        }
        Self { recording: recording.moved(&moves), _endpoints: endpoints }
    }

    fn start(&self) -> (ApiServer, Proxy) {
        let api = ApiServer::start();
        api.load(&self.recording);
        let proxy = following(&api).start();
        api.wait_for_streams(ENDPOINT_SLICES, 1);
        (api, proxy)
    }
}

/// The addresses that new flows may go to, by the plainest rule, of all slices that the server has.
fn ready(api: &ApiServer) -> BTreeSet<SocketAddr> {
    let slices = api.objects(ENDPOINT_SLICES);
    slices.iter().flat_map(ready_in).collect()
}

fn ready_in(slice: &Value) -> Vec<SocketAddr> {
    let ports = slice["ports"].as_array().into_iter().flatten();
    let numbers = ports.filter(|port| port["name"] == "http").filter_map(|port| port["port"].as_u64());
    let is_ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
    let endpoints: Vec<_> = slice["endpoints"].as_array().into_iter().flatten().filter(is_ready).collect();
    numbers
        .flat_map(|number| endpoints.iter().map(move |endpoint| (endpoint, number)))
        .map(|(endpoint, number)| {
            let address = endpoint["addresses"][0].as_str().unwrap().parse().unwrap();
            SocketAddr::new(address, u16::try_from(number).unwrap())
        })
        .collect()
}

fn eligible(proxy: &Proxy) -> BTreeSet<SocketAddr> {
    let rows = proxy.endpoints().into_iter().filter(|row| row.eligible);
    rows.map(|row| row.endpoint.parse().unwrap()).collect()
}

/// Replays a whole recording: after each event exactly the ready endpoints take new flows, and flows that were opened
/// at the beginning are there at the end.
fn replay(name: &str) {
    let stage = Stage::of(name);
    let (api, proxy) = stage.start();
    let mut flows: Vec<_> = (0..8).map(|_| proxy.connect_greeted().0).collect();
    for (line, number) in stage.recording.lines.iter().zip(1..) {
        api.replay(line);
        if line["type"] == "ERROR" {
            api.streams(ENDPOINT_SLICES).end();
        }
        let wanted = ready(&api);
        until(&format!("line {number} of {name} is in force"), || eligible(&proxy) == wanted);
    }
    flows.iter_mut().for_each(|flow| flow.exchange(b"still here"));
}

macro_rules! replays {
    ($($(#[$doc:meta])* $test:ident: $name:literal;)*) => {
        $($(#[$doc])* #[test] fn $test() { replay($name); })*
    };
}

replays! {
    /// A12: scaled to zero and back.
    scale_to_zero: "scale-to-zero";
    /// A4, A20: readiness that flaps, also while terminating.
    readiness_flap: "readiness-flap";
    /// A17: endpoints that go without having terminated for long.
    force_delete: "force-delete";
    /// A16, A11: the named port's number changes.
    named_port: "named-port";
    /// A3, A15: ready while terminating; the Service is made again.
    service_changes: "service-changes";
    /// A8, A9: many slices that come and go.
    many_slices: "many-slices";
    /// A node is lost and comes back.
    node_lost: "node-lost";
    /// B1: the API server restarts; the watch ends with 410.
    apiserver_restart: "apiserver-restart";
}

/// A flow of a client that comes and goes.
struct Opened {
    began: Instant,
    greeted: Instant,
    endpoint: SocketAddr,
}

/// D1, A5, B3: a rolling update of three pods, as recorded, under live flows and a steady stream of new ones: no flow
/// breaks, and no new flow goes to an endpoint later than 100 ms after the event arrived that says it is not ready.
#[test]
fn rolling_update_breaks_no_flow_and_sends_no_new_one_astray() {
    let stage = Stage::of("rollout");
    let (api, proxy) = stage.start();
    let mut pinned: Vec<_> = (0..24).map(|_| proxy.connect_greeted()).collect();
    let used: BTreeSet<_> = pinned.iter().map(|(_, endpoint)| *endpoint).collect();
    assert_eq!(used, ready(&api), "every pod has live flows when the update begins");

    let opened: Arc<Mutex<Vec<Opened>>> = Arc::default();
    let ending = Arc::new(AtomicBool::new(false));
    let clients = thread::spawn({
        let (opened, ending, address) = (Arc::clone(&opened), Arc::clone(&ending), proxy.address("web"));
        move || {
            while !ending.load(Ordering::SeqCst) {
                let began = Instant::now();
                let mut client = Connection::open(address);
                let endpoint = client.greeting();
                opened.lock().unwrap().push(Opened { began, greeted: Instant::now(), endpoint });
                client.exchange(b"short");
            }
        }
    });
    let wait_for_clients = || {
        let before = opened.lock().unwrap().len();
        until("clients are served", || opened.lock().unwrap().len() >= before + 10 || clients.is_finished());
    };

    let mut states = vec![(Instant::now(), ready(&api))];
    wait_for_clients();
    for line in &stage.recording.lines {
        api.replay(line);
        states.push((Instant::now(), ready(&api)));
        // Clients are served in every state, and after the time that a change has.
        until("the change has had its time", || states.last().unwrap().0.elapsed() > IN_FORCE);
        wait_for_clients();
    }
    ending.store(true, Ordering::SeqCst);
    clients.join().expect("no new flow was refused or broken");

    let opened = opened.lock().unwrap();
    for Opened { began, greeted, endpoint } in opened.iter() {
        // Every state that was in force at some moment between, or may still have been.
        let ends = states.iter().skip(1).map(|(since, _)| *since + IN_FORCE).map(Some).chain([None]);
        let allowed = states.iter().zip(ends).any(|((since, ready), end)| {
            since <= greeted && end.is_none_or(|end| *began <= end) && ready.contains(endpoint)
        });
        assert!(allowed, "a flow went to {endpoint}, which was not ready");
    }
    let last = &states.last().unwrap().1;
    assert!(used.is_disjoint(last), "every pod was replaced");
    let after: BTreeSet<_> = opened.iter().map(|flow| flow.endpoint).collect();
    assert!(last.is_subset(&after), "every new pod was used");
    pinned.iter_mut().for_each(|(flow, _)| flow.exchange(b"still here"));
    // What has ended has ended well, and the proxy's own figure agrees.
    let metrics = proxy.metrics();
    assert_eq!(
        metrics.total("tidegate_flows_terminated_total"),
        proxy.terminated("normal", "finished"),
        "{metrics:?}"
    );
    let published = metrics.total("tidegate_publish_delay_seconds_count");
    let in_time = metrics.sum("tidegate_publish_delay_seconds_bucket", &[("le", "0.1")]);
    assert!(published >= 6 && in_time == published, "{in_time} of {published} within 100 ms");
    drop(pinned);
    proxy.wait_for_no_flows();
}
