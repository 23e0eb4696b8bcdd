//! Draining: no new flows, and those that exist go on to their own end.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::json;
use tidegate_tests::support::{
    Answer, Connection, Endpoint, Pattern, Proxy, Slice, SliceEndpoint, api, eventually, until,
};

use crate::setup;

const MIB: u64 = 1024 * 1024;

/// D1: a flow open to an endpoint that turns terminating carries bytes both ways until an end closes; the drain is
/// shown with what is left of it, and ends with the last flow.
#[test]
fn flow_goes_on_while_its_endpoint_terminates() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready(&endpoints).start();
    let mut flows: Vec<_> = (0..6).map(|_| proxy.connect_greeted()).collect();
    let (leaving, staying) = (&endpoints[0], &endpoints[1]);
    let pinned = flows.iter().filter(|(_, endpoint)| *endpoint == leaving.address()).count() as u64;
    assert!(pinned > 0, "no flow is on the endpoint that is to drain");

    proxy.write_slice(&with_first(&endpoints, SliceEndpoint::terminating));
    proxy.wait_for_eligible_to_be([staying]);
    let drain = proxy.endpoint(leaving).unwrap().drain.expect("a drain is on");
    assert_eq!((drain.flows_at_start, drain.flows_left, drain.drained), (pinned, pinned, None));
    proxy.expect_all_on(staying);
    for (flow, _) in &mut flows {
        flow.exchange(b"small");
        let mut sender = flow.share();
        let sending = thread::spawn(move || Pattern::default().write(&mut sender, MIB));
        Pattern::default().read(flow, MIB);
        sending.join().unwrap();
    }
    let rest = flows.split_off(3);
    drop(flows);
    let left = rest.iter().filter(|(_, endpoint)| *endpoint == leaving.address()).count() as u64;
    until("the drain counts down", || {
        let drain = proxy.endpoint(leaving).unwrap().drain.expect("a drain is on");
        drain.flows_left == left && drain.drained.is_some() == (left == 0)
    });
    drop(rest);
    until("the endpoint is drained", || {
        proxy.endpoint(leaving).unwrap().drain.is_some_and(|drain| drain.drained.is_some())
    });
    proxy.wait_for_log("drained: no flows left");
}

/// D1: the endpoint stops serving, and then vanishes from the slice, and its flow still goes on.
#[test]
fn flow_goes_on_after_its_endpoint_has_vanished() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready([&endpoints[0]]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let states: [fn(SliceEndpoint) -> SliceEndpoint; 2] =
        [SliceEndpoint::terminating, SliceEndpoint::terminating_not_serving];
    for state in states {
        proxy.write_slice(&with_first(&endpoints, state));
        proxy.wait_for_eligible_to_be([&endpoints[1]]);
        flow.exchange(b"still here");
    }
    proxy.write_slice(&Slice::ready("web-1", [&endpoints[1]]));
    until("the endpoint is gone", || {
        proxy.endpoint(&endpoints[0]).is_some_and(|row| row.conditions.is_none())
    });
    flow.exchange(b"still here");
    flow.finish();
    flow.expect_end();
    until("nothing is left of it", || proxy.endpoint(&endpoints[0]).is_none());
}

/// D5: flows are opened in a loop while an endpoint is drained and undrained a hundred times: none is lost, and what
/// a drain counts is exact: once it says drained, nobody comes any more.
#[test]
fn drain_counts_are_exact_while_flows_race_with_it() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready(&endpoints).start();
    let ending = Arc::new(AtomicBool::new(false));
    let address = proxy.address("web");
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let ending = Arc::clone(&ending);
            thread::spawn(move || open_flows_until(&ending, address))
        })
        .collect();

    let drained = &endpoints[0];
    for _ in 0..100 {
        assert_eq!(
            set_drain(&proxy, "/v1/drain", drained).json::<api::DrainAnswer>().endpoints[0].state,
            "drain"
        );
        let drain = eventually("the endpoint is drained", || {
            proxy.endpoint(drained).unwrap().drain.filter(|drain| drain.drained.is_some())
        });
        assert_eq!(drain.flows_left, 0);
        let before = drained.accepted();
        proxy.expect_all_on(&endpoints[1]);
        assert_eq!(drained.accepted(), before, "a flow came after the last one had left");
        let answer: api::DrainAnswer = set_drain(&proxy, "/v1/undrain", drained).json();
        assert_eq!(answer.endpoints[0].state, "in_service");
    }
    ending.store(true, Ordering::SeqCst);
    let opened: u64 = clients.into_iter().map(|client| client.join().expect("no flow was lost")).sum();
    assert!(opened > 100, "only {opened} flows raced with the drains");
    proxy.wait_for_no_flows();
    let metrics = proxy.metrics();
    let broken = metrics.total("tidegate_flows_terminated_total")
        - metrics.sum("tidegate_flows_terminated_total", &[("by", "normal")]);
    assert_eq!(broken, 0, "{metrics:?}");
}

/// An operator's drain and the slice's are independent: undoing one leaves the other.
#[test]
fn operators_drain_is_independent_of_the_slices() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready(&endpoints).start();
    let (first, second) = (&endpoints[0], &endpoints[1]);
    set_drain(&proxy, "/v1/drain", first).json::<api::DrainAnswer>();
    proxy.expect_all_on(second);
    // The slice drains it too, and says later that it is ready: the operator's drain is still on.
    proxy.write_slice(&with_first(&endpoints, SliceEndpoint::terminating));
    until("the slice is in force", || proxy.endpoint(first).unwrap().conditions.unwrap().terminating);
    proxy.write_slice(&Slice::ready("web-1", &endpoints));
    until("the slice is in force", || proxy.endpoint(first).unwrap().conditions.unwrap().ready);
    proxy.expect_all_on(second);
    let row = proxy.endpoint(first).unwrap();
    assert_eq!((row.admin_state.state.as_str(), row.eligible), ("drain", false));
    // The other way round: undrained while the slice says terminating.
    proxy.write_slice(&with_first(&endpoints, SliceEndpoint::terminating));
    until("the slice is in force", || proxy.endpoint(first).unwrap().conditions.unwrap().terminating);
    set_drain(&proxy, "/v1/undrain", first).json::<api::DrainAnswer>();
    proxy.expect_all_on(second);
    proxy.write_slice(&Slice::ready("web-1", &endpoints));
    proxy.wait_for_eligible_to_be(&endpoints);
}

/// An operator's drain of the only endpoint refuses new flows, and keeps the old ones.
#[test]
fn drain_of_the_only_endpoint_refuses_new_flows() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().web(json!({"whenNoneReady": "servingTerminating"})).ready([&endpoint]).start();
    let (mut old, _) = proxy.connect_greeted();
    set_drain(&proxy, "/v1/drain", &endpoint).json::<api::DrainAnswer>();
    proxy.expect_refusal();
    old.exchange(b"still here");
    set_drain(&proxy, "/v1/undrain", &endpoint).json::<api::DrainAnswer>();
    proxy.expect_all_on(&endpoint);
}

/// With a state directory an operator's drain survives a restart; who asked and why is kept with it.
#[test]
fn operators_drain_survives_a_restart() {
    let endpoints = Endpoint::greeting_group(2);
    let mut proxy =
        setup().config(|config| config.set("stateDirectory", json!("../state"))).ready(&endpoints).start();
    let answer: api::DrainAnswer = set_drain(&proxy, "/v1/drain", &endpoints[0]).json();
    assert!(answer.kept, "{answer:?}");
    proxy.restart();
    let row = proxy.endpoint(&endpoints[0]).unwrap();
    assert_eq!((row.admin_state.state.as_str(), row.eligible), ("drain", false));
    assert_eq!(row.admin_state.by.as_deref(), Some("a test"));
    assert_eq!(row.admin_state.reason.as_deref(), Some("to see it drain"));
    proxy.expect_all_on(&endpoints[1]);
    set_drain(&proxy, "/v1/undrain", &endpoints[0]).json::<api::DrainAnswer>();
    proxy.restart();
    proxy.wait_for_eligible_to_be(&endpoints);
}

/// Without one it ends with the process, and the answer says so.
#[test]
fn drain_that_is_not_kept_says_so() {
    let endpoint = Endpoint::greeting();
    let mut proxy = setup().ready([&endpoint]).start();
    let answer: api::DrainAnswer = set_drain(&proxy, "/v1/drain", &endpoint).json();
    assert_eq!((answer.kept, answer.kept_error), (false, None));
    proxy.wait_for_log("no stateDirectory");
    proxy.restart();
    proxy.expect_all_on(&endpoint);
}

fn open_flows_until(ending: &AtomicBool, address: SocketAddr) -> u64 {
    let mut opened = 0;
    while !ending.load(Ordering::SeqCst) {
        let mut client = Connection::open(address);
        client.greeting();
        client.exchange(b"hello");
        client.finish();
        client.expect_end();
        opened += 1;
    }
    opened
}

fn set_drain(proxy: &Proxy, path: &str, endpoint: &Endpoint) -> Answer {
    let request = api::DrainRequest {
        service: "default/web".to_owned(),
        endpoint: endpoint.address().to_string(),
        reason: Some("to see it drain".to_owned()),
        by: Some("a test".to_owned()),
        deadline_ms: None,
    };
    proxy.post(path, &request)
}

/// Both ready, but for what `state` makes of the first one.
fn with_first(endpoints: &[Endpoint], state: fn(SliceEndpoint) -> SliceEndpoint) -> Slice {
    Slice::named("web-1")
        .with_port(endpoints[0].address().port())
        .with(state(endpoints[0].in_slice()))
        .with(endpoints[1].in_slice().ready())
}
