//! Connects that fail: another endpoint is tried, within limits, and never after a byte was sent.

use serde_json::{Value, json};
use tidegate_tests::support::{Connection, Endpoint, Setup};

use crate::setup;

/// One worker that takes endpoints in turn, so that every endpoint is picked.
fn in_turn(mut settings: Value) -> Setup {
    settings["policy"] = json!("roundRobin");
    setup().config(|config| config.set("workers", json!(1))).web(settings)
}

/// D4: an endpoint refuses, another one takes the flow, and the client notices nothing.
#[test]
fn refused_connect_goes_to_another_endpoint() {
    let endpoints = Endpoint::greeting_group(2);
    endpoints[0].close();
    let proxy = in_turn(json!({})).ready(&endpoints).start();
    proxy.expect_all_on(&endpoints[1]);
    let metrics = proxy.metrics();
    let refused = metrics.sum("tidegate_connect_failures_total", &[("cause", "refused")]);
    assert!(refused > 0, "the dead endpoint was never picked");
    assert_eq!(metrics.total("tidegate_connect_retries_total"), refused);
    assert_eq!(metrics.total("tidegate_connects_total"), 8);
    // It is still in the slice as ready, so it stays eligible.
    assert_eq!(proxy.status().services[0].eligible, 2);
}

/// D4: an endpoint does not answer at all, its address being gone: after connectTimeout another one takes the flow.
#[test]
fn connect_that_times_out_goes_to_another_endpoint() {
    let endpoints = Endpoint::group(2);
    let _queued = endpoints[0].fill_queue();
    let proxy = in_turn(json!({"connectTimeout": "300ms"})).ready(&endpoints).start();
    for _ in 0..4 {
        let (mut client, mut served) = proxy.connect_to(&endpoints[1]);
        client.send(b"hello");
        served.expect(b"hello");
    }
    let timeouts = proxy.metrics().sum("tidegate_connect_failures_total", &[("cause", "timeout")]);
    assert!(timeouts > 0, "the silent endpoint was never picked");
}

/// D4: no more endpoints are tried than connectAttempts says; then the client is refused.
#[test]
fn attempts_are_bounded() {
    let endpoints = Endpoint::greeting_group(6);
    endpoints.iter().for_each(Endpoint::close);
    let proxy = in_turn(json!({"connectAttempts": 3})).ready(&endpoints).start();
    proxy.expect_refusal();
    proxy.wait_for_no_flows();
    let metrics = proxy.metrics();
    assert_eq!(metrics.total("tidegate_connect_failures_total"), 3);
    assert_eq!(metrics.total("tidegate_connect_retries_total"), 2);
    assert_eq!(proxy.terminated("endpoint", "connect"), 1);
}

/// D4: the same endpoint is never tried twice for one flow, however many attempts are left.
#[test]
fn no_endpoint_is_tried_twice() {
    let endpoints = Endpoint::greeting_group(2);
    endpoints.iter().for_each(Endpoint::close);
    let proxy = in_turn(json!({"connectAttempts": 16})).ready(&endpoints).start();
    proxy.expect_refusal();
    proxy.wait_for_no_flows();
    assert_eq!(proxy.metrics().total("tidegate_connect_failures_total"), 2);
}

/// D4: once a connect has succeeded there is no second endpoint: a reset ends the flow, whether bytes were sent or not.
#[test]
fn no_other_endpoint_is_tried_after_the_connect() {
    let endpoints: Vec<_> =
        Endpoint::group(2).into_iter().map(|endpoint| endpoint.serve(reset_after_a_byte)).collect();
    let proxy = in_turn(json!({})).ready(&endpoints).start();
    for _ in 0..6 {
        let mut client = proxy.connect();
        client.send(b"x");
        client.expect_reset();
    }
    proxy.wait_for_no_flows();
    assert_eq!(endpoints.iter().map(Endpoint::accepted).sum::<usize>(), 6);
    assert_eq!(proxy.metrics().total("tidegate_connect_retries_total"), 0);
}

fn reset_after_a_byte(connection: &mut Connection, _: std::net::SocketAddr) {
    connection.receive(1);
    connection.share().reset();
}
