//! Which endpoint a new flow goes to, by its conditions; and that none of them cuts a flow that exists.

use serde_json::json;
use tidegate_tests::support::{Endpoint, Proxy, Slice, SliceEndpoint};

use crate::setup;

/// What a test makes of an endpoint's line in the slice.
type State = fn(SliceEndpoint) -> SliceEndpoint;

/// A1: an endpoint without conditions is ready.
#[test]
fn endpoint_without_conditions_takes_new_flows() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().slice(&slice(&[(&endpoint, |line| line)])).start();
    proxy.expect_all_on(&endpoint);
    let conditions = proxy.endpoint(&endpoint).unwrap().conditions.unwrap();
    assert_eq!((conditions.ready, conditions.serving, conditions.terminating), (true, true, false));
}

/// A2: where `serving` is absent it follows `ready`, so a terminating endpoint that says nothing of it takes no flow,
/// not even as the last resort.
#[test]
fn absent_serving_follows_ready() {
    let endpoint = Endpoint::greeting();
    let state: State = |line| line.conditions([Some(false), None, Some(true)]);
    let proxy = setup()
        .web(json!({"whenNoneReady": "servingTerminating"}))
        .slice(&slice(&[(&endpoint, state)]))
        .start();
    proxy.expect_refusal();
    assert!(!proxy.endpoint(&endpoint).unwrap().conditions.unwrap().serving);
}

/// A3: ready and terminating (publishNotReadyAddresses) takes new flows, and is no drain.
#[test]
fn ready_and_terminating_takes_new_flows() {
    let endpoint = Endpoint::greeting();
    let state: State = |line| line.conditions([Some(true), Some(true), Some(true)]);
    let proxy = setup().slice(&slice(&[(&endpoint, state)])).start();
    proxy.expect_all_on(&endpoint);
    assert_eq!(proxy.endpoint(&endpoint).unwrap().drain, None);
}

/// A4: a terminating endpoint's readiness probe fails and succeeds again: who may take flows as the last resort
/// follows, and a flow that exists is never cut by it.
#[test]
fn serving_flips_while_terminating_and_old_flows_stay() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().web(json!({"whenNoneReady": "servingTerminating"})).ready([&endpoint]).start();
    let (mut old, _) = proxy.connect_greeted();
    for _ in 0..3 {
        proxy.write_slice(&slice(&[(&endpoint, SliceEndpoint::terminating)]));
        proxy.wait_for_eligible(1);
        until_last_resort(&proxy);
        proxy.expect_all_on(&endpoint);
        old.exchange(b"serving");
        proxy.write_slice(&slice(&[(&endpoint, SliceEndpoint::terminating_not_serving)]));
        proxy.wait_for_eligible(0);
        proxy.expect_refusal();
        old.exchange(b"not serving");
    }
}

/// A5: one ready endpoint among many that terminate takes all new flows.
#[test]
fn one_ready_endpoint_among_many_terminating_takes_all() {
    let endpoints = Endpoint::greeting_group(6);
    let mut lines: Vec<(&Endpoint, State)> = endpoints.iter().map(|of| (of, terminating())).collect();
    lines[3].1 = SliceEndpoint::ready;
    let proxy = setup().web(json!({"whenNoneReady": "servingTerminating"})).slice(&slice(&lines)).start();
    proxy.expect_all_on(&endpoints[3]);
}

/// A6: none is ready and some serve while they terminate: refused, where nothing else is configured.
#[test]
fn none_ready_is_a_refusal_by_default() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready(&endpoints).start();
    let (mut old, _) = proxy.connect_greeted();
    let lines: Vec<_> = endpoints.iter().map(|of| (of, terminating())).collect();
    proxy.write_slice(&slice(&lines));
    proxy.wait_for_eligible(0);
    proxy.expect_refusal();
    old.exchange(b"still here");
    let refused = [("by", "no_endpoint"), ("phase", "pick")];
    assert_eq!(proxy.metrics().sum("tidegate_flows_terminated_total", &refused), 1);
    // Nothing is left of the refused one.
    drop(old);
    proxy.wait_for_no_flows();
}

/// A6: with `whenNoneReady: servingTerminating` those that serve take new flows, and only those.
#[test]
fn serving_and_terminating_endpoints_are_the_last_resort() {
    let endpoints = Endpoint::greeting_group(3);
    let lines: [(&Endpoint, State); 3] = [
        (&endpoints[0], SliceEndpoint::terminating_not_serving),
        (&endpoints[1], SliceEndpoint::terminating),
        (&endpoints[2], SliceEndpoint::not_ready),
    ];
    let proxy = setup().web(json!({"whenNoneReady": "servingTerminating"})).slice(&slice(&lines)).start();
    until_last_resort(&proxy);
    proxy.expect_all_on(&endpoints[1]);
    // As soon as one is ready it takes all, and the last resort none.
    let mut lines = lines;
    lines[2].1 = SliceEndpoint::ready;
    proxy.write_slice(&slice(&lines));
    proxy.wait_for_eligible_to_be([&endpoints[2]]);
    proxy.expect_all_on(&endpoints[2]);
}

/// A7: none is ready and none serves: new flows are refused, old ones continue.
#[test]
fn none_serving_is_a_refusal_and_old_flows_continue() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().web(json!({"whenNoneReady": "servingTerminating"})).ready(&endpoints).start();
    let mut old: Vec<_> = (0..4).map(|_| proxy.connect_greeted().0).collect();
    proxy.write_slice(&slice(&[
        (&endpoints[0], SliceEndpoint::terminating_not_serving),
        (&endpoints[1], SliceEndpoint::not_ready),
    ]));
    proxy.wait_for_eligible(0);
    proxy.expect_refusal();
    old.iter_mut().for_each(|flow| flow.exchange(b"still here"));
}

/// A20: an endpoint that loses its readiness and gets it back while it has flows never loses one of them.
#[test]
fn readiness_flaps_and_flows_stay() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready(&endpoints).start();
    let mut flows: Vec<_> = (0..8).map(|_| proxy.connect_greeted().0).collect();
    for _ in 0..5 {
        proxy.write_slice(&slice(&[
            (&endpoints[0], SliceEndpoint::not_ready),
            (&endpoints[1], SliceEndpoint::ready),
        ]));
        proxy.wait_for_eligible_to_be([&endpoints[1]]);
        proxy.expect_all_on(&endpoints[1]);
        proxy.write_slice(&Slice::ready("web-1", &endpoints));
        proxy.wait_for_eligible_to_be(&endpoints);
    }
    flows.iter_mut().for_each(|flow| flow.exchange(b"still here"));
    let kept: u64 = proxy.endpoints().iter().map(|row| row.flows).sum();
    assert!(kept >= 8, "{kept} flows are counted of at least 8");
}

fn slice(lines: &[(&Endpoint, State)]) -> Slice {
    lines.iter().fold(Slice::named("web-1"), |slice, (endpoint, state)| {
        slice.with_port(endpoint.address().port()).with(state(endpoint.in_slice()))
    })
}

fn terminating() -> State {
    SliceEndpoint::terminating
}

fn until_last_resort(proxy: &Proxy) {
    tidegate_tests::support::until("the last resort is in use", || proxy.status().services[0].last_resort);
}
