//! Draining with a deadline: idle flows are shed gently in the window before it, the rest is cut at it.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tidegate_tests::support::{Connection, Endpoint, Proxy, Slice, SliceEndpoint, until};

use crate::{draining::fins, setup};

/// A proxy with two endpoints and this drain block, and flows on the first of them.
struct Rollout {
    endpoints: Vec<Endpoint>,
    proxy: Proxy,
    flows: Vec<Connection>,
}

impl Rollout {
    fn new(drain: &Value, flows: usize) -> Self {
        let endpoints = Endpoint::greeting_group(2);
        let proxy = setup().web(json!({ "drain": drain })).ready([&endpoints[0]]).start();
        let flows = (0..flows).map(|_| proxy.connect_greeted().0).collect();
        Self { endpoints, proxy, flows }
    }

    /// The first endpoint terminates; the second is ready, or nobody is.
    fn drain(&self, is_other_ready: bool) -> Instant {
        let [first, second] = [self.endpoints[0].in_slice(), self.endpoints[1].in_slice()];
        let second = if is_other_ready { second.ready() } else { second.not_ready() };
        let port = self.endpoints[0].address().port();
        let began = Instant::now();
        self.proxy.write_slice(&Slice::named("web-1").with_port(port).with(first.terminating()).with(second));
        began
    }

    fn shed(&self) -> u64 {
        self.proxy.terminated("shed", "data")
    }

    fn cut(&self) -> u64 {
        self.proxy.terminated("cut", "data")
    }
}

/// D2: idle flows get a FIN within the window, none earlier and none at the deadline.
#[test]
fn idle_flows_are_shed_within_the_window() {
    let window = json!({"deadline": "8s", "window": "6s", "quiet": "50ms"});
    let mut rollout = Rollout::new(&window, 30);
    let began = rollout.drain(true);
    let ends: Vec<_> = fins(rollout.flows.drain(..)).into_iter().map(|end| end - began).collect();
    // The drain begins a moment after the file was written, so its window does too.
    assert!(ends[0] >= Duration::from_secs(2), "the first ended after {:?}", ends[0]);
    assert!(ends[29] < Duration::from_secs(8), "the last ended after {:?}", ends[29]);
    // Spread out: half of them are gone about half-way.
    let middle = ends[15] - ends[0];
    let all = ends[29] - ends[0];
    assert!((0.3..0.7).contains(&(middle.as_secs_f64() / all.as_secs_f64())), "{ends:?}");
    until("all are counted as shed", || rollout.shed() == 30);
    assert_eq!(rollout.cut(), 0);
    rollout.proxy.wait_for_no_flows();
}

/// D2: a flow that is never quiet is cut at the deadline and not before; both ends are reset.
#[test]
fn a_busy_flow_is_cut_at_the_deadline() {
    let mut rollout = Rollout::new(&json!({"deadline": "1500ms", "window": "1s", "quiet": "1s"}), 1);
    let began = rollout.drain(true);
    let mut flow = rollout.flows.remove(0);
    while rollout.cut() == 0 && began.elapsed() < Duration::from_secs(20) {
        // Every exchange that is answered was ahead of the cut.
        let mut answer = [0; 4];
        if flow.write_all(b"busy").and_then(|()| flow.read_exact(&mut answer)).is_err() {
            break;
        }
    }
    assert!(began.elapsed() >= Duration::from_millis(1_500), "{:?}", began.elapsed());
    until("it is counted as cut", || rollout.cut() == 1);
    assert_eq!(rollout.shed(), 0);
}

/// D9: while no endpoint is ready nobody is shed or cut, because nobody could take the reconnects.
#[test]
fn without_a_ready_endpoint_sheds_and_cut_wait() {
    let mut rollout = Rollout::new(&json!({"deadline": "500ms", "quiet": "20ms"}), 4);
    let began = rollout.drain(false);
    rollout.proxy.wait_for_eligible(0);
    until("the deadline is long over", || began.elapsed() > Duration::from_millis(1_500));
    for flow in &mut rollout.flows {
        flow.exchange(b"still here");
    }
    assert_eq!((rollout.shed(), rollout.cut()), (0, 0));
    rollout.drain(true);
    rollout.flows.drain(..).for_each(|mut flow| flow.expect_end());
    until("they are shed now", || rollout.shed() == 4);
    assert_eq!(rollout.cut(), 0);
}

/// D9: whoever waited for a ready endpoint past the deadline does not storm it: they are shed no faster than ever, and
/// nobody is cut.
#[test]
fn after_a_wait_past_the_deadline_there_is_no_storm() {
    let drain = json!({"deadline": "3s", "window": "1s", "quiet": "20ms", "maxPerSecond": 10});
    let mut rollout = Rollout::new(&drain, 20);
    let began = rollout.drain(false);
    until("the deadline is over", || began.elapsed() > Duration::from_millis(3_500));
    let ready = rollout.drain(true);
    rollout.flows.drain(..).for_each(|mut flow| flow.expect_end());
    // Twenty, but for the one that is due at once and what is kept for a moment.
    assert!(ready.elapsed() > Duration::from_millis(1_600), "{:?}", ready.elapsed());
    until("they are shed", || rollout.shed() == 20);
    assert_eq!(rollout.cut(), 0);
}

/// The cap is the service's and not a worker's, and the window begins so early that it is kept.
#[test]
fn the_cap_holds_over_all_workers() {
    let drain = json!({"deadline": "7s", "window": "1s", "quiet": "20ms", "maxPerSecond": 4});
    let endpoints = Endpoint::greeting_group(2);
    let setup = setup().web(json!({ "drain": drain })).ready([&endpoints[0]]);
    let proxy = setup.config(|config| config.set("workers", json!(8))).start();
    let flows: Vec<_> = (0..16).map(|_| proxy.connect_greeted().0).collect();
    let mut rollout = Rollout { endpoints, proxy, flows };
    rollout.drain(true);
    let ends = fins(rollout.flows.drain(..));
    assert!(ends[15] - ends[0] > Duration::from_millis(3_000), "{ends:?}");
    until("they are shed", || rollout.shed() == 16);
    assert_eq!(rollout.cut(), 0);
}

/// A proxy with one worker and two endpoints whose connections the test accepts; the first has flows.
fn accepting(settings: Value) -> Rollout {
    let endpoints = Endpoint::group(2);
    let setup = setup().web(settings).ready([&endpoints[0]]);
    let proxy = setup.config(|config| config.set("workers", json!(1))).start();
    Rollout { endpoints, proxy, flows: Vec::new() }
}

/// Flows that are never quiet hold nobody else up, although no bytes have moved there for longest.
#[test]
fn flows_that_are_held_up_hold_nobody_up() {
    let drain = json!({"deadline": "6s", "window": "5s", "quiet": "20ms", "maxPerSecond": 20});
    let rollout = accepting(json!({ "drain": drain }));
    let held_up: Vec<_> = (0..6).map(|_| rollout.proxy.held_up(&rollout.endpoints[0])).collect();
    let idle: Vec<_> = (0..20).map(|_| rollout.proxy.connect_to(&rollout.endpoints[0])).collect();
    rollout.drain(true);
    for (mut client, mut endpoint) in idle {
        client.expect_end();
        endpoint.expect_end();
    }
    until("the idle ones are shed", || rollout.shed() == 20);
    until("the others are cut", || rollout.cut() == 6);
    drop(held_up);
    assert_eq!(rollout.shed(), 20);
}

/// Nor does a flow that has not begun.
#[test]
fn a_flow_that_connects_holds_nobody_up() {
    let drain = json!({"deadline": "6s", "window": "5s", "quiet": "20ms"});
    let rollout = accepting(json!({"drain": drain, "connectTimeout": "30s"}));
    let mut idle: Vec<_> = (0..5).map(|_| rollout.proxy.connect_to(&rollout.endpoints[0])).collect();
    let queue = rollout.endpoints[0].fill_queue();
    let connecting = rollout.proxy.connect();
    assert_eq!(rollout.proxy.flow_of(&connecting).state, "connecting");
    for (client, endpoint) in &mut idle {
        client.send(b"later");
        endpoint.expect(b"later");
    }
    rollout.drain(true);
    for (mut client, mut endpoint) in idle {
        client.expect_end();
        endpoint.expect_end();
    }
    until("the idle ones are shed", || rollout.shed() == 5);
    drop((queue, connecting));
}

/// D8: an endpoint that is ready again takes its drain back, and no flow is shed.
#[test]
fn a_drain_that_is_undone_sheds_nobody() {
    let mut rollout = Rollout::new(&json!({"deadline": "5s", "window": "100ms", "quiet": "20ms"}), 5);
    let began = rollout.drain(true);
    until("the drain is on", || rollout.proxy.endpoint(&rollout.endpoints[0]).unwrap().drain.is_some());
    rollout.proxy.write_slice(&Slice::ready("web-1", &rollout.endpoints));
    rollout.proxy.wait_for_eligible(2);
    until("the deadline would be over", || began.elapsed() > Duration::from_millis(5_500));
    for flow in &mut rollout.flows {
        flow.exchange(b"still here");
    }
    assert_eq!((rollout.shed(), rollout.cut()), (0, 0));
}

/// A byte that comes in after the FIN is lost, and such a flow was cut and not shed.
#[test]
fn a_byte_after_the_fin_makes_it_a_cut() {
    let mut rollout = Rollout::new(&json!({"deadline": "6s", "window": "5s", "quiet": "20ms"}), 1);
    rollout.drain(true);
    let mut flow = rollout.flows.remove(0);
    flow.expect_end();
    flow.send(b"too late");
    drop(flow);
    until("it is counted as cut", || rollout.cut() == 1);
    assert_eq!(rollout.shed(), 0);
}

/// So does a byte of the endpoint's, while the client does not answer its own FIN.
#[test]
fn a_byte_of_the_endpoint_after_the_fin_makes_it_a_cut() {
    for has_a_byte in [true, false] {
        let mut rollout = accepting(json!({"drain": {"deadline": "6s", "window": "5s", "quiet": "20ms"}}));
        let (mut client, mut endpoint) = rollout.proxy.connect_to(&rollout.endpoints[0]);
        rollout.drain(true);
        endpoint.expect_end();
        client.expect_end();
        if has_a_byte {
            endpoint.send(b"too late");
        }
        rollout.flows.extend([client, endpoint]);
        until("it is counted", || rollout.shed() + rollout.cut() == 1);
        assert_eq!(rollout.cut(), u64::from(has_a_byte));
    }
}

/// By default a drain has no deadline, whatever it takes.
#[test]
fn without_a_deadline_nobody_is_shed() {
    let mut rollout = Rollout::new(&json!({}), 3);
    let began = rollout.drain(true);
    rollout.proxy.wait_for_eligible_to_be([&rollout.endpoints[1]]);
    until("some time went by", || began.elapsed() > Duration::from_secs(1));
    for flow in &mut rollout.flows {
        flow.exchange(b"still here");
    }
}

/// An operator's deadline needs no setting; taken back, it sheds nobody.
#[test]
fn an_operators_deadline_sheds_too() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready(&endpoints).start();
    let mut flows: Vec<_> = (0..6).map(|_| proxy.connect_greeted()).collect();
    let [first, second] = [endpoints[0].address(), endpoints[1].address()];
    for (endpoint, deadline) in [(first, "1h"), (second, "1500ms")] {
        let output = proxy.command(&["drain", "default/web", &endpoint.to_string(), "--deadline", deadline]);
        assert!(output.status.success(), "{output:?}");
        if endpoint == first {
            assert!(proxy.endpoint(&endpoints[0]).unwrap().drain.unwrap().deadline.is_some());
            let output = proxy.command(&["undrain", "default/web", &endpoint.to_string()]);
            assert!(output.status.success(), "{output:?}");
        }
    }
    let on_second = flows.iter().filter(|(_, endpoint)| *endpoint == second).count() as u64;
    until("those of the second are shed", || proxy.terminated("shed", "data") == on_second);
    for (flow, _) in flows.iter_mut().filter(|(_, endpoint)| *endpoint == first) {
        flow.exchange(b"still here");
    }
    for (deadline, words) in [("1h", "  deadline 2"), ("2h", "the deadline stays"), ("30m", "  deadline 2")] {
        let output = proxy.command(&["drain", "default/web", &first.to_string(), "--deadline", deadline]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(words), "{deadline}: {text}");
    }
    let output = proxy.command(&["drain", "default/web", &first.to_string(), "--deadline", "soon"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("90s or 10m"), "{output:?}");
}

/// A deadline of nothing is a second: who is quiet is told to go with a FIN, who is not is cut.
#[test]
fn a_deadline_of_nothing_leaves_a_second() {
    let mut rollout = Rollout::new(&json!({}), 3);
    rollout.proxy.write_slice(&Slice::ready("web-1", &rollout.endpoints));
    rollout.proxy.wait_for_eligible(2);
    let mut busy = rollout.flows.remove(0);
    let talking = thread::spawn(move || {
        let mut answer = [0; 4];
        while busy.write_all(b"busy").and_then(|()| busy.read_exact(&mut answer)).is_ok() {}
    });
    let address = rollout.endpoints[0].address().to_string();
    let output = rollout.proxy.command(&["drain", "default/web", &address, "--deadline", "0s"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fins(rollout.flows.drain(..)).len(), 2);
    talking.join().unwrap();
    until("all are counted", || rollout.shed() + rollout.cut() == 3);
    assert!(rollout.shed() >= 1 && rollout.cut() >= 1, "{} shed, {} cut", rollout.shed(), rollout.cut());
}

/// A flow that came as a last resort, when the endpoint had none any more, has the drain's deadline too.
#[test]
fn a_flow_of_the_last_resort_has_the_deadline_too() {
    let endpoints = Endpoint::greeting_group(2);
    let drain = json!({"deadline": "6s", "window": "5s", "quiet": "20ms"});
    let settings = json!({"drain": drain, "whenNoneReady": "servingTerminating"});
    let proxy = setup().web(settings).ready([&endpoints[0]]).start();
    let leaving = |other: SliceEndpoint| {
        let slice = Slice::named("web-1").with_port(endpoints[0].address().port());
        proxy.write_slice(&slice.with(endpoints[0].in_slice().terminating()).with(other));
    };
    leaving(endpoints[1].in_slice().not_ready());
    let drained =
        || proxy.endpoint(&endpoints[0]).unwrap().drain.is_some_and(|drain| drain.drained.is_some());
    until("it is drained", drained);
    // Longer than a worker takes to look at its plans.
    let began = Instant::now();
    until("workers have looked", || began.elapsed() > Duration::from_millis(200));
    let (mut flow, endpoint) = proxy.connect_greeted();
    assert_eq!(endpoint, endpoints[0].address());
    leaving(endpoints[1].in_slice().ready());
    flow.expect_end();
    drop(flow);
    until("it is counted as shed", || proxy.terminated("shed", "data") == 1);
}
