//! P14: closes at every bad moment. Whatever the order, no descriptor, no permit and no count is left over.

use std::{
    sync::{Arc, Barrier},
    thread,
};

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Proxy, until};

use crate::setup;

/// P14: both ends close in the same moment, with FINs and resets in all combinations.
#[test]
fn simultaneous_closes_leave_nothing_behind() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let descriptors = proxy.process().settled_descriptors();
    for round in 0..200 {
        let (mut client, mut served) = proxy.connect_to(&endpoint);
        if round % 2 == 0 {
            client.send(b"hello");
            served.expect(b"hello");
        }
        let together = Arc::new(Barrier::new(2));
        let other = Arc::clone(&together);
        let ending = thread::spawn(move || {
            other.wait();
            end(served, round % 3 == 0);
        });
        together.wait();
        end(client, round % 5 == 0);
        ending.join().unwrap();
    }
    expect_nothing_left(&proxy, descriptors);
}

/// P14: the client closes while the proxy is still connecting, and the connect fails.
#[test]
fn client_that_closes_during_a_connect_that_fails() {
    let endpoint = Endpoint::listen();
    let _queued = endpoint.fill_queue();
    let proxy =
        setup().web(json!({"connectTimeout": "500ms", "connectAttempts": 1})).ready([&endpoint]).start();
    let descriptors = proxy.process().settled_descriptors();
    for with_reset in [false, true] {
        let clients: Vec<_> = (0..10).map(|_| proxy.connect()).collect();
        until("all are connecting", || {
            proxy.flows().iter().filter(|flow| flow.state == "connecting").count() == clients.len()
        });
        clients.into_iter().for_each(|client| end(client, with_reset));
        proxy.wait_for_no_flows();
    }
    expect_nothing_left(&proxy, descriptors);
    assert_eq!(proxy.terminated("endpoint", "connect"), 20);
}

/// P14: the client has sent its request and its FIN and is gone before the connect finishes: the endpoint gets both.
#[test]
fn request_of_a_client_that_is_gone_before_the_connect_finishes() {
    let endpoint = Endpoint::listen();
    let queued = endpoint.fill_queue();
    let proxy = setup().web(json!({"connectTimeout": "20s"})).ready([&endpoint]).start();
    let descriptors = proxy.process().settled_descriptors();
    let mut client = proxy.connect();
    until("the flow is connecting", || proxy.flow_of(&client).state == "connecting");
    client.send(b"request");
    end(client, false);
    // Room in the queue: the kernel answers the next SYN, which it has to wait for.
    let queued: Vec<_> = queued.iter().map(|_| endpoint.accept()).collect();
    let mut served = endpoint.accept();
    assert_eq!(served.receive_to_end(), b"request");
    drop((served, queued));
    expect_nothing_left(&proxy, descriptors);
}

/// P14: the client has reset before the connect finishes: the endpoint hears of it, and is not left with a dead flow.
#[test]
fn reset_of_a_client_before_the_connect_finishes() {
    let endpoint = Endpoint::listen();
    let queued = endpoint.fill_queue();
    let proxy = setup().web(json!({"connectTimeout": "20s"})).ready([&endpoint]).start();
    let descriptors = proxy.process().settled_descriptors();
    let client = proxy.connect();
    until("the flow is connecting", || proxy.flow_of(&client).state == "connecting");
    end(client, true);
    let queued: Vec<_> = queued.iter().map(|_| endpoint.accept()).collect();
    endpoint.accept().expect_reset();
    drop(queued);
    expect_nothing_left(&proxy, descriptors);
}

/// An operator closes a flow: both ends are reset, and the count says who it was.
#[test]
fn operator_closes_a_flow() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    let (mut other, mut other_served) = proxy.connect_to(&endpoint);
    let flow = proxy.flow_of(&client).id;
    assert_eq!(proxy.post("/v1/flows/close", &json!({"flow": flow})).status, 200);
    client.expect_reset();
    served.expect_reset();
    until("it is counted", || proxy.terminated("operator", "data") == 1);
    assert_eq!(proxy.post("/v1/flows/close", &json!({"flow": flow})).status, 404);
    other.send(b"not me");
    other_served.expect(b"not me");
}

fn end(connection: Connection, with_reset: bool) {
    if with_reset {
        connection.reset();
    } else {
        drop(connection);
    }
}

fn expect_nothing_left(proxy: &Proxy, descriptors: usize) {
    proxy.wait_for_no_flows();
    until("all descriptors are back", || proxy.process().settled_descriptors() <= descriptors);
}
