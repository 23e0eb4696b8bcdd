//! `maxLifetime`: a flow that has grown old is told to go, at a quiet moment, and nobody loses a byte.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_tests::support::{Endpoint, Slice, until};

use crate::{draining::fins, setup};

/// Flows that are silent get a FIN when they are old enough, none earlier than the jitter allows.
#[test]
fn old_flows_are_ended_at_a_quiet_moment() {
    let settings = json!({"maxLifetime": "2s", "maxLifetimeJitter": "50%", "drain": {"quiet": "50ms"}});
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().web(settings).ready(&endpoints).start();
    let began = Instant::now();
    let mut flows: Vec<_> = (0..20).map(|_| proxy.connect_greeted().0).collect();
    for flow in &mut flows {
        flow.expect_end();
        assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    }
    drop(flows);
    until("all are counted", || proxy.terminated("lifetime", "data") == 20);
    proxy.wait_for_no_flows();
    assert_eq!(proxy.terminated("shed", "data") + proxy.terminated("cut", "data"), 0);
}

/// However many are old at once, they go no faster than the service's cap.
#[test]
fn old_flows_go_one_by_one() {
    let drain = json!({"quiet": "20ms", "maxPerSecond": 5});
    let settings = json!({"maxLifetime": "1s", "maxLifetimeJitter": "0%", "drain": drain});
    let endpoint = Endpoint::greeting();
    let proxy = setup().web(settings).ready([&endpoint]).start();
    let began = Instant::now();
    let mut flows: Vec<_> = (0..20).map(|_| proxy.connect_greeted().0).collect();
    flows.iter_mut().for_each(|flow| {
        flow.expect_end();
    });
    assert!(began.elapsed() > Duration::from_millis(4_000), "{:?}", began.elapsed());
}

/// A flow that is never quiet is never cut for its age; once it is quiet it goes.
#[test]
fn a_busy_flow_goes_on_until_it_is_quiet() {
    let settings = json!({"maxLifetime": "1s", "maxLifetimeJitter": "0%", "drain": {"quiet": "2s"}});
    let endpoint = Endpoint::greeting();
    let proxy = setup().web(settings).ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        flow.exchange(b"busy");
    }
    assert_eq!(proxy.terminated("lifetime", "data"), 0);
    flow.expect_end();
    drop(flow);
    until("it is counted", || proxy.terminated("lifetime", "data") == 1);
}

/// D9: while no endpoint is ready nobody is told to go: there would be no place to go to.
#[test]
fn without_a_ready_endpoint_old_flows_stay() {
    let settings = json!({"maxLifetime": "1s", "drain": {"quiet": "20ms"}});
    let endpoint = Endpoint::greeting();
    let proxy = setup().web(settings).ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let began = Instant::now();
    let port = endpoint.address().port();
    proxy.write_slice(&Slice::named("web-1").with_port(port).with(endpoint.in_slice().not_ready()));
    proxy.wait_for_eligible(0);
    until("it has long been old", || began.elapsed() > Duration::from_secs(3));
    flow.exchange(b"still here");
    proxy.write_slice(&Slice::ready("web-1", [&endpoint]));
    flow.expect_end();
}

/// Flows that began together are told to go no faster than the cap, over all workers.
#[test]
fn old_flows_go_no_faster_than_the_cap() {
    let drain = json!({"quiet": "20ms", "maxPerSecond": 4});
    let settings = json!({"maxLifetime": "1s", "maxLifetimeJitter": "0%", "drain": drain});
    let endpoint = Endpoint::greeting();
    let setup = setup().web(settings).ready([&endpoint]);
    let proxy = setup.config(|config| config.set("workers", json!(8))).start();
    let flows: Vec<_> = (0..16).map(|_| proxy.connect_greeted().0).collect();
    let ends = fins(flows);
    assert!(ends[15] - ends[0] > Duration::from_millis(3_000), "{ends:?}");
}

/// A reload that brings a limit holds for the flows that there are, and one that takes it away lets them live.
#[test]
fn a_reload_holds_for_live_flows() {
    let endpoint = Endpoint::greeting();
    let mut proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let began = Instant::now();
    until("it is old", || began.elapsed() > Duration::from_millis(1_500));
    let settings = |max: &str| json!({"maxLifetime": max, "drain": {"quiet": "20ms"}});
    proxy.write_config(|config| config.service("default/web", settings("1h")));
    proxy.wait_for_log("maxLifetime");
    flow.exchange(b"still here");
    proxy.write_config(|config| config.service("default/web", settings("1s")));
    flow.expect_end();
    drop(flow);
    until("it is counted", || proxy.terminated("lifetime", "data") == 1);
}

/// By default a flow may grow as old as it likes; the line in the log says who ended one.
#[test]
fn the_flow_log_has_its_letter() {
    let endpoint = Endpoint::greeting();
    let settings = json!({"maxLifetime": "1s", "drain": {"quiet": "20ms"}});
    let setup = setup().web(settings).ready([&endpoint]);
    let proxy = setup.config(|config| config.set("flowLog", json!({"mode": "all"}))).start();
    let (mut flow, _) = proxy.connect_greeted();
    flow.expect_end();
    drop(flow);
    proxy.wait_for_log("termination=AD");
}
