//! Draining with a deadline: idle flows are shed gently in the window before it, the rest is cut at it.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tidegate_tests::support::{Connection, Endpoint, Proxy, Slice, SliceEndpoint, until};

use crate::setup;

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
    let ends: Vec<_> = rollout
        .flows
        .drain(..)
        .map(|mut flow| {
            thread::spawn(move || {
                flow.expect_end();
                Instant::now()
            })
        })
        .collect();
    let mut ends: Vec<Duration> = ends.into_iter().map(|end| end.join().unwrap() - began).collect();
    ends.sort();
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
    until("they are ended now", || rollout.shed() + rollout.cut() == 4);
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
    let output = proxy.command(&["drain", "default/web", &first.to_string(), "--deadline", "soon"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("90s or 10m"), "{output:?}");
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
