//! ClientIP affinity.

use serde_json::json;
use tidegate_tests::support::{Endpoint, Slice, SliceEndpoint};

use crate::setup;

/// A client comes back to the endpoint that it had.
#[test]
fn client_comes_back_to_its_endpoint() {
    let endpoints = Endpoint::greeting_group(4);
    let proxy = setup().web(json!({"affinity": {"clientIP": {"timeout": "1h"}}})).ready(&endpoints).start();
    let spread = proxy.spread(24);
    assert_eq!(spread.len(), 1, "{spread:?}");
}

/// A21: the endpoint that a client sticks to drains: its next flow goes elsewhere and sticks there, also when the
/// first one is ready again.
#[test]
fn draining_endpoint_loses_its_clients_to_another_one() {
    let endpoints = Endpoint::greeting_group(3);
    let proxy = setup().web(json!({"affinity": {"clientIP": {"timeout": "1h"}}})).ready(&endpoints).start();
    let (mut old, first) = proxy.connect_greeted();
    let draining = |slice: Slice, endpoint: &Endpoint| {
        let line = endpoint.in_slice();
        slice.with(if endpoint.address() == first { line.terminating() } else { line.ready() })
    };
    let slice = Slice::named("web-1").with_port(first.port());
    proxy.write_slice(&endpoints.iter().fold(slice, draining));
    proxy.wait_for_eligible_to_be(endpoints.iter().filter(|endpoint| endpoint.address() != first));
    let spread = proxy.spread(12);
    assert_eq!(spread.len(), 1, "{spread:?}");
    assert!(!spread.contains_key(&first), "a new flow went to the draining endpoint");
    old.exchange(b"the old flow stays where it is");

    proxy.write_slice(&Slice::ready("web-1", &endpoints));
    proxy.wait_for_eligible_to_be(&endpoints);
    assert_eq!(proxy.spread(12).keys().collect::<Vec<_>>(), spread.keys().collect::<Vec<_>>());
}

/// A21: an endpoint that is not in the slice any more is forgotten by affinity as well.
#[test]
fn endpoint_that_is_gone_loses_its_clients() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().web(json!({"affinity": {"clientIP": {}}})).ready(&endpoints).start();
    let (_, first) = proxy.connect_greeted();
    let rest: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.address() != first).collect();
    let line: fn(SliceEndpoint) -> SliceEndpoint = SliceEndpoint::ready;
    proxy.write_slice(&Slice::named("web-1").with_port(first.port()).with(line(rest[0].in_slice())));
    proxy.wait_for_eligible_to_be(rest.iter().copied());
    proxy.expect_all_on(rest[0]);
}
