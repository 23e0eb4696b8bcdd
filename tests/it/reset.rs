//! Resets: passed on as resets, but never ahead of the bytes that were received before them.

use std::io::{ErrorKind, Read as _};

use tidegate_tests::support::{Connection, Endpoint, Pattern, until};

use crate::setup;

/// What fits into a send buffer and much more than a small receive buffer takes.
const BULK: u64 = 2 * 1024 * 1024;
/// A receiver that keeps most of the bulk waiting in the proxy.
const NARROW: usize = 64 * 1024;

/// P4: an endpoint's reset reaches the client as a reset.
#[test]
fn reset_of_an_endpoint_is_a_reset_for_the_client() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    client.send(b"ping");
    served.expect(b"ping");
    served.reset();
    client.expect_reset();
    proxy.wait_for_no_flows();
    let by_endpoint = [("by", "endpoint"), ("phase", "data")];
    assert_eq!(proxy.metrics().sum("tidegate_flows_terminated_total", &by_endpoint), 1);
}

/// P4: a client's reset reaches the endpoint as a reset.
#[test]
fn reset_of_a_client_is_a_reset_for_the_endpoint() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    client.send(b"ping");
    served.expect(b"ping");
    client.reset();
    served.expect_reset();
    proxy.wait_for_no_flows();
    let by_client = [("by", "client"), ("phase", "data")];
    assert_eq!(proxy.metrics().sum("tidegate_flows_terminated_total", &by_client), 1);
}

/// P4: the proxy has read megabytes before the endpoint resets; a slow client gets every one of them first.
#[test]
fn reset_comes_after_megabytes_for_a_slow_client() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let mut client = Connection::open_narrow(proxy.address("web"), NARROW);
    let mut served = endpoint.accept();
    Pattern::default().write(&mut served, BULK);
    until("the proxy has it all", || proxy.flow_of(&client).bytes_down == BULK);
    let before = proxy.process().settled_descriptors();
    served.reset();
    until("the proxy has seen the reset", || proxy.process().descriptors().len() < before);
    read_slowly_to_reset(&mut client);
    proxy.wait_for_no_flows();
}

/// P4: the same from the client to a slow endpoint.
#[test]
fn reset_comes_after_megabytes_for_a_slow_endpoint() {
    let endpoint = Endpoint::listen();
    // Accepted sockets inherit the size.
    endpoint.socket().set_recv_buffer_size(NARROW).unwrap();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    Pattern::default().write(&mut client, BULK);
    until("the proxy has it all", || proxy.flow_of(&client).bytes_up == BULK);
    let before = proxy.process().settled_descriptors();
    client.reset();
    until("the proxy has seen the reset", || proxy.process().descriptors().len() < before);
    read_slowly_to_reset(&mut served);
    proxy.wait_for_no_flows();
}

/// P4: a receiver that takes nothing gets the reset all the same, some seconds later, and memory comes back.
#[test]
fn reset_is_not_held_up_for_ever_by_a_receiver_that_takes_nothing() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let client = Connection::open_narrow(proxy.address("web"), NARROW);
    let mut served = endpoint.accept();
    Pattern::default().write(&mut served, BULK);
    until("the proxy has it all", || proxy.flow_of(&client).bytes_down == BULK);
    served.reset();
    client.wait_for_reset();
    proxy.wait_for_no_flows();
}

/// P4: a reset after a half-close is passed on too, and counted as one in the last phase.
#[test]
fn reset_after_a_half_close_is_passed_on() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    client.finish();
    served.expect_end();
    served.send(b"part of the re");
    client.expect(b"part of the re");
    served.reset();
    client.expect_reset();
    proxy.wait_for_no_flows();
    let last = [("by", "endpoint"), ("phase", "last_data")];
    assert_eq!(proxy.metrics().sum("tidegate_flows_terminated_total", &last), 1);
}

/// P4: the reset of a client that has closed its half does not overtake what it sent before.
#[test]
fn reset_after_a_half_close_comes_after_megabytes_for_a_slow_endpoint() {
    let endpoint = Endpoint::listen();
    endpoint.socket().set_recv_buffer_size(NARROW).unwrap();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    // What the proxy's own socket can hold, so that its FIN is behind it while the endpoint has read next to nothing.
    const QUEUED: u64 = 300 * 1024;
    Pattern::default().write(&mut client, QUEUED);
    client.finish();
    until("the proxy has it all", || proxy.flow_of(&client).bytes_up == QUEUED);
    until("the FIN, too", || proxy.flow_of(&client).state == "client_closed");
    served.send(b"an answer");
    until("the client has the answer", || proxy.flow_of(&client).bytes_down == 9);
    // Unread, the answer makes the close a reset.
    client.reset();
    served.send(b"more");
    let (mut buffer, mut position) = ([0; 4096], 0);
    while let Ok(count) = served.read(&mut buffer) {
        if count == 0 {
            break;
        }
        Pattern::default().check(&buffer[..count], position);
        position += count as u64;
    }
    assert_eq!(position, QUEUED, "the reset came ahead of what was received before it");
    drop(served);
    proxy.wait_for_no_flows();
}

/// P4, P14: a reset of an end that has closed its half is noticed also while the other end says nothing.
#[test]
fn reset_of_a_half_closed_end_ends_a_flow_whose_other_end_is_silent() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    client.send(b"request");
    client.finish();
    served.expect(b"request");
    served.expect_end();
    client.reset();
    proxy.wait_for_no_flows();
    assert_eq!(proxy.terminated("client", "last_data"), 1);
    // The kernel's word for a reset after a FIN (tcp_reset(): EPIPE in CLOSE-WAIT).
    served.wait_for_error(ErrorKind::BrokenPipe);

    let (mut client, mut served) = proxy.connect_to(&endpoint);
    served.send(b"greeting");
    served.finish();
    client.expect(b"greeting");
    client.expect_end();
    served.reset();
    proxy.wait_for_no_flows();
    assert_eq!(proxy.terminated("endpoint", "last_data"), 1);
    client.wait_for_error(ErrorKind::BrokenPipe);
}

/// Small reads, so that the kernel's window opens bit by bit; then the reset, and every byte was right.
fn read_slowly_to_reset(receiver: &mut Connection) {
    let (mut buffer, mut position) = ([0; 4096], 0);
    loop {
        match receiver.read(&mut buffer) {
            Ok(0) => panic!("a FIN after {position} bytes where a reset was expected"),
            Ok(count) => {
                Pattern::default().check(&buffer[..count], position);
                position += count as u64;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                break;
            }
        }
    }
    assert_eq!(position, BULK, "the reset came ahead of what was received before it");
}
