//! Endpoints that vanish without ever having been terminating: pods that failed, forced deletions.

use serde_json::json;
use tidegate_tests::support::{Endpoint, Slice, SliceEndpoint, api, until};

use crate::setup;

/// A17: by default the flows of an endpoint that vanished go on.
#[test]
fn flows_of_an_endpoint_that_vanished_are_kept() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready([&endpoints[0]]).start();
    let (mut flow, _) = proxy.connect_greeted();
    proxy.write_slice(&Slice::ready("web-1", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    proxy.expect_all_on(&endpoints[1]);
    flow.exchange(b"still here");
    proxy.wait_for_log("endpoint removed; its flows stay pinned to it");
}

/// A17: with `onRemoval: close` they are closed, both ends see it, and the count says why. Other endpoints' flows stay.
#[test]
fn flows_of_an_endpoint_that_vanished_are_closed_where_configured() {
    let endpoints = Endpoint::group(2);
    let (gone, stays) = (&endpoints[0], &endpoints[1]);
    let proxy = setup().web(json!({"onRemoval": "close"})).ready([gone]).start();
    let (mut client, mut served) = proxy.connect_to(gone);
    client.send(b"hello");
    served.expect(b"hello");
    proxy.write_slice(&Slice::ready("web-1", [gone, stays]));
    proxy.wait_for_eligible(2);
    proxy.write_slice(&Slice::ready("web-1", [stays]));
    client.expect_reset();
    served.expect_reset();
    let (mut client, mut served) = proxy.connect_to(stays);
    client.send(b"hello");
    served.expect(b"hello");
    assert_eq!(proxy.metrics().sum("tidegate_flows_terminated_total", &[("by", "removal")]), 1);
}

/// A17: with `onRemoval: deadline` they are drained: shed ahead of the deadline that counts from there.
#[test]
fn flows_of_an_endpoint_that_vanished_are_drained_where_configured() {
    let endpoints = Endpoint::greeting_group(2);
    // The last shed is half a second ahead of the deadline, so that a busy machine comes in time.
    let drain = json!({"deadline": "6s", "window": "5s", "quiet": "20ms"});
    let settings = json!({"onRemoval": "deadline", "drain": drain});
    let proxy = setup().web(settings).ready([&endpoints[0]]).start();
    let (mut flow, _) = proxy.connect_greeted();
    proxy.write_slice(&Slice::ready("web-1", [&endpoints[1]]));
    flow.expect_end();
    drop(flow);
    until("it is counted as shed", || proxy.terminated("shed", "data") == 1);
    let audit: api::Audit = proxy.get("/v1/audit").json();
    assert!(audit.records[0].why.contains("without having been terminating"), "{audit:?}");
}

/// A17, D1: with `onRemoval: close` the flows of an endpoint that went by way of terminating are still left alone: it
/// told of its end, and its flows may come to theirs.
#[test]
fn flows_of_an_endpoint_that_terminated_first_are_kept() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().web(json!({"onRemoval": "close"})).ready([&endpoints[0]]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let terminating: SliceEndpoint = endpoints[0].in_slice().terminating();
    let slice = Slice::ready("web-1", [&endpoints[1]]);
    proxy.write_slice(&slice.clone().with(terminating));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    proxy.write_slice(&slice);
    until("it is gone", || proxy.endpoint(&endpoints[0]).is_some_and(|row| row.conditions.is_none()));
    flow.exchange(b"still here");
}

/// A17: an operator ends the flows of an endpoint that vanished and were kept; taken back, they go on.
#[test]
fn operator_drains_an_endpoint_that_vanished() {
    let endpoints = Endpoint::greeting_group(2);
    let drain = json!({"quiet": "20ms"});
    let proxy = setup().web(json!({ "drain": drain })).ready([&endpoints[0]]).start();
    let (mut flow, used) = proxy.connect_greeted();
    proxy.write_slice(&Slice::ready("web-1", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    let ask = |words: &[&str]| {
        let output = proxy.command(words);
        assert!(output.status.success(), "{output:?}");
    };
    let (drain, address) = (|| proxy.endpoint(&endpoints[0]).unwrap().drain, used.to_string());
    assert!(drain().is_none());
    ask(&["drain", "default/web", &address, "--deadline", "1h"]);
    assert!(drain().unwrap().deadline.is_some());
    ask(&["undrain", "default/web", &address]);
    assert!(drain().is_none());
    flow.exchange(b"still here");
    ask(&["drain", "default/web", &address, "--deadline", "3s"]);
    flow.expect_end();
    drop(flow);
    until("it is counted as shed", || proxy.terminated("shed", "data") == 1);
}
