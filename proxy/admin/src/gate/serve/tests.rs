use std::{future::poll_fn, io::Write as _, pin::Pin};

use axum::body::to_bytes;
use hyper::body::Body as _;
use tempfile::NamedTempFile;
use tidegate_core::{Conditions, Event, Permit, ServiceName, Tier};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, advance},
};

use super::*;
use crate::{
    Members, PeerOptions, api,
    gate::{GateAnswer, GateEnd, PeerRefusal},
    rig::{Rig, slice},
};

const LEAVING: Conditions = Conditions { ready: false, serving: true, terminating: true };

/// A gate in front of a real controller, and what keeps it answering.
struct Gate {
    rig: Rig,
    router: Router,
    serving: Option<watch::Sender<()>>,
}

impl Gate {
    async fn start(peers: Option<Peers>, connections: usize) -> Self {
        let rig = Rig::start(false).await;
        let (serving, served) = watch::channel(());
        let state = AdminState { peers: peers.map(Arc::new), ..rig.state.clone() };
        let router = router(GateContext::new(state, connections, served));
        Self { rig, router, serving: Some(serving) }
    }

    /// The pod web-0 with these conditions, and web-1.
    async fn says(&self, conditions: Conditions) {
        let mut slice = slice(&[("10.0.0.1", "web-0"), ("10.0.0.2", "web-1")]);
        slice.endpoints[0].conditions = conditions;
        self.rig.event(Event::SliceApplied(slice)).await;
    }

    /// The API server says when the pod web-0 is killed.
    async fn is_killed_after(&self, time: Duration) {
        let killed = self.rig.state.control.clock().now().after(time);
        let uid = "uid-web-0".into();
        self.rig.event(Event::PodDeadline { namespace: "default".into(), uid, killed }).await;
    }

    /// How many questions ended so.
    fn ended(&self, end: GateEnd) -> u64 {
        self.rig.state.gate.ended(end)
    }

    async fn ask(&self, path: &str) -> (StatusCode, String) {
        ask(self.router.clone(), path, "10.0.0.1", None).await
    }

    async fn answer(&self, path: &str) -> GateAnswer {
        let (status, text) = self.ask(path).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A flow on the pod web-0.
    async fn flow(&self) -> Permit {
        let services = self.rig.state.control.services().await.unwrap().services;
        Permit::enter(&services[0].endpoints[0].endpoint, Tier::Ready).unwrap()
    }
}

async fn respond(mut router: Router, path: &str, from: &str, token: Option<&str>) -> Response {
    let mut request = Request::get(path).header("host", "10.0.0.9:9903");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(Caller { address: from.parse().unwrap(), is_encrypted: false });
    router.call(request).await.unwrap()
}

async fn ask(router: Router, path: &str, from: &str, token: Option<&str>) -> (StatusCode, String) {
    let response = respond(router, path, from, token).await;
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

fn error(text: &str) -> api::Error {
    serde_json::from_str(text).unwrap()
}

fn peers(token: &str) -> (Peers, NamedTempFile) {
    peers_of(token, Members::Addresses(Vec::new()), 9903)
}

/// This instance answers at this port.
fn peers_of(token: &str, members: Members, port: u16) -> (Peers, NamedTempFile) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(token.as_bytes()).unwrap();
    let options = PeerOptions {
        members,
        token_file: file.path().to_owned(),
        tls: None,
        own: SocketAddr::new([10, 0, 0, 9].into(), port),
    };
    (Peers::new(options).unwrap(), file)
}

/// D6: nothing to wait for, and then a flow to wait for.
#[tokio::test(start_paused = true)]
async fn a_gate_opens_with_the_last_flow() {
    let gate = Gate::start(None, 64).await;
    let flow = gate.flow().await;
    gate.says(LEAVING).await;
    let answer = gate.answer("/v1/gate?uid=uid-web-0&timeout_ms=2000").await;
    assert_eq!((&*answer.outcome, answer.flows, answer.waited_ms), ("time_over", 1, 2000));
    assert!(answer.terminating && answer.programmed && !answer.drained, "{answer:?}");
    let endpoint = flow.endpoint().id();
    drop(flow);
    gate.rig.event(Event::EndpointEmptied(endpoint)).await;
    let answer = gate.answer("/v1/gate?uid=uid-web-0").await;
    assert_eq!((&*answer.outcome, answer.flows, answer.waited_ms), ("drained", 0, 0));
    assert!(answer.drained, "{answer:?}");
}

/// Whoever waits is told in time what is left: the margin ahead of when the pod is killed.
#[tokio::test(start_paused = true)]
async fn a_gate_answers_before_its_pod_is_killed() {
    let gate = Gate::start(None, 64).await;
    let _flow = gate.flow().await;
    gate.says(LEAVING).await;
    gate.is_killed_after(Duration::from_secs(12)).await;
    let answer = gate.answer("/v1/gate?uid=uid-web-0").await;
    assert_eq!((&*answer.outcome, answer.flows, answer.waited_ms), ("time_over", 1, 10_000));
}

/// Its deadline holds also when its endpoint has gone from the slices, while another instance is waited for.
#[tokio::test(start_paused = true)]
async fn a_gate_remembers_when_its_pod_is_killed() {
    let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = busy.local_addr().unwrap();
    drop(tokio::spawn(async move {
        while let Ok((mut stream, _)) = busy.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
        }
    }));
    let (peers, _file) = peers_of("a token of some length", Members::Addresses(vec![other]), 9903);
    let gate = Gate::start(Some(peers), 64).await;
    gate.says(LEAVING).await;
    gate.is_killed_after(Duration::from_secs(42)).await;
    let (answer, ()) = tokio::join!(gate.answer("/v1/gate?uid=uid-web-0"), async {
        advance(Duration::from_secs(5)).await;
        gate.rig.event(Event::SlicesListed(Vec::new())).await;
    });
    assert_eq!((&*answer.outcome, &*answer.instances[1].state), ("time_over", "not_synced"), "{answer:?}");
    assert_eq!(answer.waited_ms, 40_000, "neither the usual 25 s nor for good");
}

/// No pod waits for longer than a day, whenever it is killed.
#[tokio::test(start_paused = true)]
async fn no_wait_is_longer_than_a_day() {
    let gate = Gate::start(None, 64).await;
    let _flow = gate.flow().await;
    gate.says(LEAVING).await;
    gate.is_killed_after(Duration::from_secs(48 * 3600)).await;
    let answer = gate.answer("/v1/gate?uid=uid-web-0").await;
    assert_eq!((&*answer.outcome, answer.waited_ms), ("time_over", 24 * 3600 * 1000));
}

/// The slices of the instances' own Service, with an instance at each of these addresses.
fn instances(addresses: &[&str]) -> Event {
    let pods: Vec<_> = addresses.iter().map(|address| (*address, *address)).collect();
    let mut slice = slice(&pods);
    slice.name.name = "tidegate-abc12".into();
    slice.service = Some(ServiceName::new("default", "tidegate"));
    Event::SliceApplied(slice)
}

/// An instance that starts while a gate waits is asked before the gate opens; one that has gone again is not asked for
/// longer than others that are silent.
#[tokio::test(start_paused = true)]
async fn who_starts_while_a_gate_waits_is_waited_for() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let members = Members::Service(ServiceName::new("default", "tidegate"));
    let (peers, _file) = peers_of("a token of some length", members, silent.local_addr().unwrap().port());
    let gate = Gate::start(Some(peers), 64).await;
    let flow = gate.flow().await;
    gate.says(LEAVING).await;
    gate.rig.event(instances(&["10.0.0.9"])).await;
    let (answer, ()) = tokio::join!(gate.answer("/v1/gate?uid=uid-web-0&timeout_ms=60000"), async {
        // Until between two readings of the list.
        let over = gate.answer("/v1/gate?uid=uid-web-0&timeout_ms=5500").await;
        assert_eq!((&*over.outcome, over.instances.len()), ("time_over", 1), "{over:?}");
        gate.rig.event(instances(&["10.0.0.9", "127.0.0.1"])).await;
        let endpoint = flow.endpoint().id();
        drop(flow);
        gate.rig.event(Event::EndpointEmptied(endpoint)).await;
        let over = gate.answer("/v1/gate?uid=uid-web-0&timeout_ms=500").await;
        assert_eq!((&*over.outcome, over.instances.len()), ("time_over", 2), "{over:?}");
        gate.rig.event(instances(&["10.0.0.9"])).await;
    });
    let states: Vec<_> = answer.instances.iter().map(|it| &*it.state).collect();
    assert_eq!((&*answer.outcome, &*states), ("drained", &["done", "unreachable"][..]), "{answer:?}");
    assert_eq!(answer.waited_ms, 8_500, "three seconds from when it was found: {answer:?}");
}

/// A container that is merely restarted has a preStop, too.
#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_terminate_waits_three_seconds() {
    let gate = Gate::start(None, 64).await;
    let begun = Instant::now();
    let answer = gate.answer("/v1/gate").await;
    assert_eq!((&*answer.outcome, answer.terminating, &*answer.uid), ("not_terminating", false, "uid-web-0"));
    assert_eq!(begun.elapsed().as_secs(), 3, "found by its address, and waited for");
}

/// D8: the gate is told.
#[tokio::test(start_paused = true)]
async fn a_reverted_drain_is_told() {
    let gate = Gate::start(None, 64).await;
    let _flow = gate.flow().await;
    gate.says(LEAVING).await;
    let (answer, ()) = tokio::join!(gate.answer("/v1/gate?uid=uid-web-0"), async {
        advance(Duration::from_secs(5)).await;
        gate.says(Conditions::default()).await;
    });
    assert_eq!((&*answer.outcome, answer.terminating, answer.waited_ms), ("reverted", false, 5_000));
}

#[tokio::test(start_paused = true)]
async fn callers_that_are_no_endpoint_get_a_hint() {
    let gate = Gate::start(None, 64).await;
    let (status, text) = gate.ask("/v1/gate?uid=somebody").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(error(&text).remedy.unwrap().contains("metadata.uid"), "{text}");
    let (status, text) = ask(gate.router.clone(), "/v1/gate", "10.9.9.9", None).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{text}");
    let two = [slice(&[("10.0.0.1", "web-0")]), slice(&[("10.0.0.1", "web-1")])];
    let [first, mut second] = two;
    second.name.name = "other".into();
    second.ports[0].number = 81;
    gate.rig.event(Event::SlicesListed(vec![first, second])).await;
    let (status, text) = gate.ask("/v1/gate").await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "two pods on a node's network: {text}");
    for bad in
        ["uid=", "uid=a%20b", "timeout_ms=0", "timeout_ms=90000000", "timeout_ms=-1", "follow=x", "a=b"]
    {
        let (status, text) = gate.ask(&format!("/v1/gate?{bad}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}: {text}");
        assert!(error(&text).remedy.is_some(), "{bad}");
    }
}

/// Beyond the bound the answer comes at once and says what to do; whoever leaves makes room.
#[tokio::test(start_paused = true)]
async fn waiters_are_bounded() {
    let gate = Gate::start(None, 8).await;
    let _flow = gate.flow().await;
    gate.says(LEAVING).await;
    let waiting: Vec<_> = (0..2)
        .map(|_| tokio::spawn(ask(gate.router.clone(), "/v1/gate?uid=uid-web-0", "10.0.0.1", None)))
        .collect();
    advance(Duration::from_secs(1)).await;
    let (status, text) = gate.ask("/v1/gate?uid=uid-web-0").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(error(&text).error, "2 pods wait at this gate, which is its limit");
    assert!(error(&text).remedy.is_some(), "{text}");
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().0, StatusCode::OK);
    }
    assert_eq!(gate.ask("/v1/gate?uid=uid-web-0&timeout_ms=1").await.0, StatusCode::OK);
}

/// Whoever waits while this process stops to answer is told to ask again: another process may have its flows.
#[tokio::test(start_paused = true)]
async fn a_gate_that_stops_says_so() {
    let mut gate = Gate::start(None, 64).await;
    let _flow = gate.flow().await;
    gate.says(LEAVING).await;
    let plain = tokio::spawn(ask(gate.router.clone(), "/v1/gate?uid=uid-web-0", "10.0.0.1", None));
    let path = "/v1/gate?uid=uid-web-0&follow=true";
    let followed = tokio::spawn(ask(gate.router.clone(), path, "10.0.0.1", None));
    advance(Duration::from_secs(1)).await;
    drop(gate.serving.take());
    assert_eq!(plain.await.unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
    let (status, text) = followed.await.unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((status, lines.len()), (StatusCode::OK, 2), "{text}");
    assert!(lines[0].contains("\"progress\"") && lines[1].contains("\"again\""), "{text}");
    assert_eq!(gate.ended(GateEnd::Stopped), 2);
}

/// Whoever follows a pod's gate hears of this instance once a second, though nothing changes: silence means that it has
/// gone.
#[tokio::test(start_paused = true)]
async fn a_feed_says_something_every_second() {
    let token = "a token of some length";
    let (peers, _file) = peers(token);
    let gate = Gate::start(Some(peers), 64).await;
    let feed = respond(gate.router.clone(), "/v1/peer/gate?uid=uid-web-0", "10.0.0.8", Some(token)).await;
    assert_eq!(feed.status(), StatusCode::OK);
    let mut lines = feed.into_body();
    let began = Instant::now();
    for seconds in 0..4 {
        let line = poll_fn(|cx| Pin::new(&mut lines).poll_frame(cx)).await.unwrap().unwrap();
        assert!(line.data_ref().is_some_and(|line| line.ends_with(b"\n")));
        assert_eq!(began.elapsed().as_secs(), seconds);
    }
}

/// A wrong token, or none, learns nothing; nor does anybody where there are no peers.
#[tokio::test(start_paused = true)]
async fn instances_show_their_token() {
    let (peers, file) = peers("a token of some length");
    let gate = Gate::start(Some(peers), 64).await;
    let path = "/v1/peer/audit";
    for token in [None, Some("a token of some lengtH"), Some("")] {
        let (status, text) = ask(gate.router.clone(), path, "10.0.0.8", token).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{text}");
    }
    let ok = ask(gate.router.clone(), path, "10.0.0.8", Some("a token of some length")).await;
    assert_eq!(ok.0, StatusCode::OK, "{}", ok.1);
    file.close().unwrap();
    let (status, _) = ask(gate.router.clone(), path, "10.0.0.8", Some("a token of some length")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let refused = |why| gate.rig.state.gate.peers_refused(why);
    assert_eq!((refused(PeerRefusal::Token), refused(PeerRefusal::Configuration)), (3, 1));
    let alone = Gate::start(None, 64).await;
    assert_eq!(ask(alone.router.clone(), path, "10.0.0.8", Some("x")).await.0, StatusCode::NOT_FOUND);
}

/// The gate's address serves nothing else.
#[tokio::test(start_paused = true)]
async fn nothing_else_is_served() {
    let gate = Gate::start(None, 64).await;
    for path in
        ["/metrics", "/livez", "/readyz", "/v1/status", "/v1/endpoints", "/v1/drain", "/v1/flows", "/"]
    {
        assert_eq!(gate.ask(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

/// Whoever waits is counted while that is so, and by how it ended once it did; a wait's time is that of its answer.
#[tokio::test(start_paused = true)]
async fn questions_are_counted_by_how_they_end() {
    let gate = Gate::start(None, 8).await;
    let counters = Arc::clone(&gate.rig.state.gate);
    assert!(counters.is_served());
    gate.answer("/v1/gate").await;
    let flow = gate.flow().await;
    gate.says(LEAVING).await;
    gate.answer("/v1/gate?uid=uid-web-0&timeout_ms=2000").await;
    gate.ask("/v1/gate?uid=somebody").await;
    gate.ask("/v1/gate?uid=").await;
    let waits: Vec<_> = ["", "&follow=true"]
        .into_iter()
        .map(|more| {
            let path = format!("/v1/gate?uid=uid-web-0{more}");
            let router = gate.router.clone();
            tokio::spawn(async move { ask(router, &path, "10.0.0.1", None).await })
        })
        .collect();
    advance(Duration::from_secs(1)).await;
    assert_eq!(counters.waiting(), 2);
    gate.ask("/v1/gate?uid=uid-web-0").await;
    assert_eq!((counters.waiting(), gate.ended(GateEnd::Busy)), (2, 1));
    for wait in waits {
        wait.abort();
        assert!(wait.await.is_err());
    }
    while counters.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    let (reverted, ()) = tokio::join!(gate.answer("/v1/gate?uid=uid-web-0"), async {
        advance(Duration::from_secs(5)).await;
        gate.says(Conditions::default()).await;
    });
    assert_eq!(reverted.outcome, "reverted");
    drop(flow);
    gate.says(LEAVING).await;
    gate.answer("/v1/gate?uid=uid-web-0").await;
    let ended = GateEnd::ALL.map(|end| (end.word(), gate.ended(end)));
    let expected = [
        ("drained", 1),
        ("not_terminating", 1),
        ("reverted", 1),
        ("time_over", 1),
        ("left", 2),
        ("stopped", 0),
        ("unknown_pod", 1),
        ("invalid", 1),
        ("busy", 1),
    ];
    assert_eq!(ended, expected);
    let (count, sum) = (counters.waits().counts().sum::<u64>(), counters.waits().sum());
    // The first was found by its address, and its uid looked for a moment later.
    let expected = Duration::from_secs(3 + 2 + 5) + Duration::from_millis(100);
    assert_eq!((count, sum), (4, expected), "of those that were answered");
    drop(gate);
    assert_eq!(counters.waiting(), 0);
}
