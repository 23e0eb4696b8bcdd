//! Half-closes: a FIN in one direction leaves the other one open, and comes after every byte ahead of it.

use std::thread;

use tidegate_tests::support::{Connection, Endpoint, Pattern, until};

use crate::setup;

const MIB: u64 = 1024 * 1024;

/// P1: the client sends its request and a FIN; the endpoint answers later, and the answer arrives.
#[test]
fn reply_arrives_after_the_client_has_closed_its_half() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    client.send(b"request");
    client.finish();
    assert_eq!(served.receive_to_end(), b"request");
    until("the flow is half-closed", || proxy.flow_of(&client).state == "client_closed");
    served.send(b"a late reply");
    served.finish();
    assert_eq!(client.receive_to_end(), b"a late reply");
    proxy.wait_for_no_flows();
}

/// P1, P3: the FIN comes after all bytes of a bulk request whose reader stalls while they sit in the pipe.
#[test]
fn fin_comes_after_the_bytes_that_wait_for_a_stalled_endpoint() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (client, mut served) = proxy.connect_to(&endpoint);
    let sender = send_bulk_and_finish(client, 24 * MIB);
    // Nothing is read until the sender can send no more: pipes and buffers are full.
    wait_until_stalled(|| proxy.flows()[0].bytes_up);
    Pattern::default().read(&mut served, 24 * MIB);
    served.expect_end();
    let mut client = sender.join().unwrap();
    served.send(b"done");
    drop(served);
    assert_eq!(client.receive_to_end(), b"done");
    proxy.wait_for_no_flows();
}

/// P2, P3: the same in the other direction, where the client is the one that stalls.
#[test]
fn fin_comes_after_the_bytes_that_wait_for_a_stalled_client() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, served) = proxy.connect_to(&endpoint);
    let sender = send_bulk_and_finish(served, 24 * MIB);
    wait_until_stalled(|| proxy.flows()[0].bytes_down);
    Pattern::default().read(&mut client, 24 * MIB);
    client.expect_end();
    let mut served = sender.join().unwrap();
    client.send(b"done");
    drop(client);
    assert_eq!(served.receive_to_end(), b"done");
    proxy.wait_for_no_flows();
}

/// P2: the endpoint closes its half first; what the client sends afterwards still arrives.
#[test]
fn client_goes_on_sending_after_the_endpoint_has_closed_its_half() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    served.send(b"that is all");
    served.finish();
    assert_eq!(client.receive_to_end(), b"that is all");
    until("the flow is half-closed", || proxy.flow_of(&client).state == "endpoint_closed");
    Pattern::default().write(&mut client, 4 * MIB);
    client.finish();
    Pattern::default().read(&mut served, 4 * MIB);
    served.expect_end();
    proxy.wait_for_no_flows();
}

/// P2: small messages go on for as long as the client likes after the endpoint's FIN.
#[test]
fn half_closed_flow_carries_small_messages() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    served.finish();
    client.expect_end();
    for number in 0..100_u8 {
        client.send(&[number; 7]);
        served.expect(&[number; 7]);
    }
    drop(client);
    served.expect_end();
    proxy.wait_for_no_flows();
}

/// P1: an empty request, that is a FIN and nothing else, is a request.
#[test]
fn fin_without_a_byte_ahead_of_it_is_passed_on() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    client.finish();
    served.expect_end();
    served.send(b"nothing was asked");
    drop(served);
    assert_eq!(client.receive_to_end(), b"nothing was asked");
    proxy.wait_for_no_flows();
}

fn send_bulk_and_finish(mut from: Connection, count: u64) -> thread::JoinHandle<Connection> {
    thread::spawn(move || {
        Pattern::default().write(&mut from, count);
        from.finish();
        from
    })
}

/// Waits until bytes have moved and then move no more.
fn wait_until_stalled(bytes: impl Fn() -> u64) {
    let (mut last, mut same) = (0, 0);
    until("the flow has stalled", || {
        let seen = bytes();
        same = if seen > 0 && seen == last { same + 1 } else { 0 };
        last = seen;
        same == 20
    });
}
