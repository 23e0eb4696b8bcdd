//! The gate: a pod's preStop waits until no flow is pinned to the pod any more, on any instance.

mod all;
mod command;
mod instances;
mod successor;

use std::time::Instant;

use serde_json::json;
use tidegate_tests::support::{
    Connection, Endpoint, Gate, Proxy, Setup, Slice, SliceEndpoint, api, until, unused_address,
};

/// The pod that waits.
const UID: &str = "uid-web-0";

/// A setup with a gate, and the gate.
fn setup() -> (Setup, Gate) {
    let address = unused_address();
    let setup = crate::setup().config(|config| config.set("gate", json!({"address": address.to_string()})));
    (setup, Gate(address))
}

/// A slice with the pod that waits, as `says` has it.
fn slice(endpoint: &Endpoint, says: impl Fn(SliceEndpoint) -> SliceEndpoint) -> Slice {
    let pod = says(endpoint.in_slice().pod("web-0", UID));
    Slice::named("web-1").with_port(endpoint.address().port()).with(pod)
}

fn ready(endpoint: &Endpoint) -> Slice {
    slice(endpoint, SliceEndpoint::ready)
}

fn leaving(endpoint: &Endpoint) -> Slice {
    slice(endpoint, SliceEndpoint::terminating)
}

/// Its Service has publishNotReadyAddresses.
fn kept_ready(endpoint: &Endpoint) -> Slice {
    slice(endpoint, |it| it.conditions([Some(true), Some(true), Some(true)]))
}

/// A proxy with a gate, its pod ready, and so many flows on it.
fn with_flows(count: usize) -> (Endpoint, Proxy, Gate, Vec<Connection>) {
    let endpoint = Endpoint::greeting();
    let (setup, gate) = setup();
    let proxy = setup.slice(&ready(&endpoint)).start();
    let flows = (0..count).map(|_| proxy.connect_greeted().0).collect();
    (endpoint, proxy, gate, flows)
}

fn refusal(gate: Gate, path: &str, head: &str, status: u16) -> api::Error {
    let answer = gate.get(path, head);
    assert_eq!(answer.status, status, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// D6: without flows the gate opens at once.
#[test]
fn a_pod_without_flows_is_let_go_at_once() {
    let (endpoint, proxy, gate, _) = with_flows(0);
    proxy.write_slice(&leaving(&endpoint));
    let answer = gate.wait(UID, 20_000);
    assert_eq!((&*answer.outcome, answer.flows), ("drained", 0), "{answer:?}");
    assert!(answer.terminating && answer.programmed && answer.drained, "{answer:?}");
}

/// D6: with flows it opens when the last one has ended, and says so without a poll.
#[test]
fn the_gate_opens_with_the_last_flow() {
    let (endpoint, proxy, gate, mut flows) = with_flows(3);
    let mut gated = gate.follow(UID);
    gated.until(|it| it.phase == "terminating" && it.flows == 3);
    proxy.write_slice(&leaving(&endpoint));
    gated.until(|it| it.phase == "drained");
    let mut last = flows.pop().unwrap();
    drop(flows);
    gated.until(|it| it.flows == 1);
    last.exchange(b"still here");
    drop(last);
    let ended = Instant::now();
    let answer = gated.answer();
    let took = ended.elapsed();
    assert_eq!((&*answer.outcome, answer.flows), ("drained", 0), "{answer:?}");
    assert!(took.as_millis() < 500, "{took:?}: nobody looks but once a second");
    assert_eq!(proxy.endpoint(&endpoint).unwrap().flows, 0);
}

/// D7: a connect that is in progress counts: the pod could still get its connection.
#[test]
fn a_connect_in_progress_keeps_the_gate_shut() {
    let endpoint = Endpoint::listen();
    let (setup, gate) = setup();
    let proxy = setup.web(json!({"connectTimeout": "1m"})).slice(&ready(&endpoint)).start();
    let queued = endpoint.fill_queue();
    let client = proxy.connect();
    assert_eq!(proxy.flow_of(&client).state, "connecting");
    proxy.write_slice(&leaving(&endpoint));
    let mut gated = gate.follow(UID);
    gated.until(|it| it.phase == "drained" && it.flows == 1);
    // Room for the connect, which the kernel tries again.
    for _ in &queued {
        drop(endpoint.accept());
    }
    drop(queued);
    let served = endpoint.accept();
    until("it is connected", || proxy.flow_of(&client).state != "connecting");
    drop((served, client));
    assert_eq!(gated.answer().outcome, "drained");
}

/// D8: the pod is ready again, and the gate is told.
#[test]
fn a_reverted_drain_is_told_at_the_gate() {
    let (endpoint, proxy, gate, flows) = with_flows(1);
    proxy.write_slice(&leaving(&endpoint));
    let mut gated = gate.follow(UID);
    gated.until(|it| it.phase == "drained");
    proxy.write_slice(&ready(&endpoint));
    let answer = gated.answer();
    assert_eq!((&*answer.outcome, answer.terminating, answer.drained), ("reverted", false, false));
    drop(flows);
}

/// A liveness restart has a preStop, and no drain: the pod is told after three seconds.
#[test]
fn a_pod_that_does_not_terminate_is_told_so() {
    let (_endpoint, _proxy, gate, flows) = with_flows(1);
    let answer = gate.wait(UID, 20_000);
    assert_eq!((&*answer.outcome, answer.terminating), ("not_terminating", false));
    assert!((3_000..10_000).contains(&answer.waited_ms), "{answer:?}");
    drop(flows);
}

/// The slice follows the deletion by up to a second: the gate waits for it.
#[test]
fn the_gate_waits_for_the_slice() {
    let (endpoint, proxy, gate, _) = with_flows(0);
    let mut gated = gate.follow(UID);
    gated.until(|it| it.phase == "terminating");
    proxy.write_slice(&leaving(&endpoint));
    assert_eq!(gated.answer().outcome, "drained");
}

/// C4: a pod that its slices keep ready while it terminates is drained by its own gate.
#[test]
fn a_gate_drains_a_pod_that_is_kept_ready() {
    let (endpoint, proxy, gate, flows) = with_flows(1);
    proxy.write_slice(&kept_ready(&endpoint));
    let mut gated = gate.follow(UID);
    gated.until(|it| it.phase == "drained" && it.flows == 1);
    let drain = proxy.endpoint(&endpoint).unwrap().drain.expect("a drain is on");
    assert_eq!(drain.why, "gate");
    proxy.expect_refusal();
    drop(flows);
    assert_eq!(gated.answer().outcome, "drained");
}

/// What is left is told when the time is over.
#[test]
fn what_is_left_is_told_when_the_time_is_over() {
    let (endpoint, proxy, gate, flows) = with_flows(2);
    proxy.write_slice(&leaving(&endpoint));
    proxy.wait_for_eligible(0);
    let answer = gate.wait(UID, 300);
    assert_eq!((&*answer.outcome, answer.flows, answer.drained), ("time_over", 2, false), "{answer:?}");
    assert_eq!((&*answer.instances[0].instance, &*answer.instances[0].state), ("this", "flows_left"));
    drop(flows);
}

/// Without a uid the source address decides, where exactly one pod has it.
#[test]
fn callers_that_are_no_endpoint_are_refused_with_a_hint() {
    let (endpoint, proxy, gate, _) = with_flows(0);
    let hint = refusal(gate, "/v1/gate?uid=somebody-else", "", 404).remedy.unwrap();
    assert!(hint.contains("metadata.uid"), "{hint}");
    let hint = refusal(gate, "/v1/gate", "", 404).remedy.unwrap();
    assert!(hint.contains("uid"), "{hint}");
    for bad in ["timeout_ms=0", "timeout_ms=-1", "timeout_ms=1e9", "uid=", "uid=%00"] {
        refusal(gate, &format!("/v1/gate?{bad}"), "", 400);
    }
    proxy.write_slice(&leaving(&endpoint));
    let own = Slice::named("own")
        .with_port(endpoint.address().port())
        .with(SliceEndpoint::at_text("127.0.0.1").terminating().pod("web-9", "uid-web-9"));
    proxy.write_slice(&own);
    until("the caller's address is a pod's", || gate.get("/v1/gate", "").status == 200);
    assert_eq!(gate.get("/v1/gate", "").json::<tidegate_admin::gate::GateAnswer>().uid, "uid-web-9");
}

/// The gate's address serves nothing else, and no instance's questions where there are no peers.
#[test]
fn the_gate_serves_nothing_else() {
    let (_endpoint, _proxy, gate, _) = with_flows(0);
    for path in ["/metrics", "/livez", "/v1/status", "/v1/endpoints", "/v1/peer/audit", "/v1/peer/gate?uid=a"]
    {
        refusal(gate, path, "authorization: Bearer something-long-enough\r\n", 404);
    }
}

/// As many wait as there is room for; the next one is told at once, and all are answered.
#[test]
fn many_wait_and_the_next_one_is_told() {
    let endpoint = Endpoint::greeting();
    let (setup, gate) = setup();
    let proxy = setup.descriptor_limit(4_096).slice(&ready(&endpoint)).start();
    let client = proxy.connect_greeted().0;
    proxy.write_slice(&leaving(&endpoint));
    proxy.wait_for_eligible(0);
    let connections = proxy.status().flow_limit / 8;
    let mut waiting: Vec<_> = (0..connections / 4).map(|_| gate.follow(UID)).collect();
    let busy = refusal(gate, &format!("/v1/gate?uid={UID}"), "", 503);
    assert!(busy.remedy.is_some(), "{busy:?}");
    assert!(waiting.len() > 40, "{}", waiting.len());
    drop(client);
    for gated in &mut waiting {
        assert_eq!(gated.answer().outcome, "drained");
    }
}
