//! How new flows are spread, and lists of endpoints that are fixed in the configuration.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_tests::support::{Endpoint, Setup, Slice};

use crate::setup;

/// A worker keeps its own turn, so one worker makes the turns visible.
fn one_worker(settings: Value) -> Setup {
    setup().config(|config| config.set("workers", json!(1))).web(settings)
}

/// roundRobin takes endpoints in turn.
#[test]
fn round_robin_takes_turns() {
    let endpoints = Endpoint::greeting_group(3);
    let proxy = one_worker(json!({"policy": "roundRobin"})).ready(&endpoints).start();
    let spread = proxy.spread(12);
    assert_eq!(spread, endpoints.iter().map(|of| (of.address(), 4)).collect::<BTreeMap<_, _>>());
}

/// leastFlows evens out what is uneven: after one endpoint's flows have gone it gets most of the new ones.
#[test]
fn least_flows_fills_the_emptiest() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = one_worker(json!({"policy": "leastFlows"})).ready(&endpoints[..1]).start();
    let _full: Vec<_> = (0..10).map(|_| proxy.connect_greeted()).collect();
    proxy.write_slice(&Slice::ready("web-1", &endpoints));
    proxy.wait_for_eligible(2);
    // With two endpoints both are always compared.
    let _even: Vec<_> = (0..10).map(|_| proxy.connect_greeted()).collect();
    assert_eq!(proxy.endpoints().iter().map(|row| row.flows).collect::<Vec<_>>(), [10, 10]);
}

/// maglev sends a client to the same endpoint, also after a restart, without any memory of it.
#[test]
fn maglev_finds_the_endpoint_again_after_a_restart() {
    let endpoints = Endpoint::greeting_group(5);
    let mut proxy = setup().web(json!({"policy": "maglev"})).ready(&endpoints).start();
    let before = proxy.spread(6);
    assert_eq!(before.len(), 1, "{before:?}");
    proxy.restart();
    assert_eq!(proxy.spread(6), before);
}

/// A fixed list with weights: no source is needed, and shares follow the weights.
#[test]
fn fixed_endpoints_are_used_by_weight() {
    let endpoints = Endpoint::greeting_group(2);
    let [light, heavy] = [0, 1].map(|number| endpoints[number].address().to_string());
    let settings = json!({"policy": "roundRobin", "endpoints": [light, {"address": heavy, "weight": 3}]});
    let proxy = one_worker(settings).config(|config| config.unset("source")).start();
    let spread = proxy.spread(12);
    let wanted = BTreeMap::from([(endpoints[0].address(), 3), (endpoints[1].address(), 9)]);
    assert_eq!(spread, wanted);
    assert!(proxy.status().source.is_none());
}

/// A service with a fixed list does not use slices, and the log says so.
#[test]
fn slices_of_a_service_with_a_fixed_list_are_not_used() {
    let (fixed, sliced) = (Endpoint::greeting(), Endpoint::greeting());
    let settings = json!({"endpoints": [fixed.address().to_string()]});
    let proxy = setup().web(settings).ready([&sliced]).start();
    proxy.wait_for_log("its slices are not used");
    proxy.expect_all_on(&fixed);
}
