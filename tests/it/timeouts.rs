//! Timeouts that were configured.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_tests::support::{Endpoint, until};

use crate::setup;

/// A flow without a byte for idleTimeout is closed, and the count says why.
#[test]
fn idle_flow_is_closed() {
    let endpoint = Endpoint::listen();
    let proxy = setup().web(json!({"idleTimeout": "1s"})).ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    client.send(b"hello");
    served.expect(b"hello");
    client.expect_end();
    served.expect_end();
    proxy.wait_for_no_flows();
    assert_eq!(proxy.terminated("timeout", "data"), 1);
}

/// A flow that moves bytes in one direction alone is not idle.
#[test]
fn busy_flow_is_not_closed() {
    let endpoint = Endpoint::listen();
    let proxy = setup().web(json!({"idleTimeout": "2s"})).ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        served.send(b"news");
        client.expect(b"news");
    }
    assert_eq!(proxy.metrics().total("tidegate_flows_terminated_total"), 0);
    client.expect_end();
}

/// A flow that is half-closed is subject to it too: whose peer never answers does not stay for ever.
#[test]
fn half_closed_flow_is_closed_when_it_is_idle() {
    let endpoint = Endpoint::listen();
    let proxy = setup().web(json!({"idleTimeout": "1s"})).ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    client.finish();
    served.expect_end();
    client.expect_end();
    until("it is counted", || proxy.terminated("timeout", "last_data") == 1);
}
