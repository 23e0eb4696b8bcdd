//! Readers that are slow, or stop: the sender has to wait, the proxy holds little, and nobody else notices.

use std::{thread, time::Duration};

use tidegate_tests::support::{Endpoint, Pattern, until};

use crate::setup;

const MIB: u64 = 1024 * 1024;
/// A write that waits for so long waits for the reader.
const STUCK: Duration = Duration::from_secs(1);

/// P8: a fast sender to an endpoint that does not read is stopped; the proxy's memory hardly grows; another flow on
/// the same proxy goes on; and when the endpoint reads again it gets every byte.
#[test]
fn sender_waits_for_an_endpoint_that_does_not_read() {
    let silent = Endpoint::listen();
    let proxy = setup().config(|config| config.set("workers", 1.into())).ready([&silent]).start();
    let (mut client, mut served) = proxy.connect_to(&silent);
    let before = proxy.process().resident();
    let sent = client.send_until_stuck(STUCK);
    let grown = proxy.process().resident().saturating_sub(before);
    assert!(sent > MIB, "only {sent} bytes were taken");
    assert!(grown < 8 * MIB, "the proxy grew by {grown} bytes for one flow that waits");

    let (mut other, mut other_served) = proxy.connect_to(&silent);
    for _ in 0..100 {
        other.send(b"still there?");
        other_served.expect(b"still there?");
        other_served.send(b"yes");
        other.expect(b"yes");
    }

    let reader = thread::spawn(move || {
        Pattern::default().read(&mut served, sent);
        served
    });
    let mut served = reader.join().unwrap();
    client.send(b"the end");
    served.expect(b"the end");
}

/// P8: a client that pauses its reading for longer than a few seconds keeps its flow, because no user timeout is set
/// where nobody asked for one. The pause itself is the stimulus.
#[test]
fn reader_that_pauses_for_seconds_keeps_its_flow() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    let sent = served.send_until_stuck(STUCK);
    thread::sleep(Duration::from_secs(7));
    Pattern::default().read(&mut client, sent);
    served.send(b"and on");
    client.expect(b"and on");
    assert_eq!(proxy.metrics().total("tidegate_flows_terminated_total"), 0);
}

/// P5, P6: after bulk has set splicing off, a reader that takes little at a time meets a sender of tiny segments, so
/// that pipes are full of slots and not of bytes. All arrives.
#[test]
fn tiny_segments_into_full_pipes_make_progress() {
    let endpoint = Endpoint::listen();
    endpoint.socket().set_recv_buffer_size(32 * 1024).unwrap();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    let (bulk, tiny) = (4 * MIB, 256 * 1024);
    let sender = thread::spawn(move || {
        let bytes = Pattern::default().bytes(bulk + tiny);
        let (bulk, tiny) = bytes.split_at(bulk as usize);
        client.send(bulk);
        tiny.chunks(3).for_each(|segment| client.send(segment));
        client.finish();
        client
    });
    let mut position = 0;
    while position < bulk + tiny {
        let count = 1 + position % 6000;
        let count = count.min(bulk + tiny - position);
        Pattern::default().read_from(&mut served, position, count);
        position += count;
    }
    served.expect_end();
    let spliced = proxy.metrics().sum("tidegate_bytes_total", &[("way", "splice"), ("direction", "up")]);
    assert!(spliced > 0, "nothing was spliced, so this test shows nothing");
    drop(sender.join().unwrap());
    drop(served);
    proxy.wait_for_no_flows();
}

/// P6: one byte at a time in both directions, while both ends read one byte at a time.
#[test]
fn single_bytes_arrive_in_order() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    for byte in Pattern::default().bytes(3000) {
        client.send(&[byte]);
        served.expect(&[byte]);
        served.send(&[!byte]);
        client.expect(&[!byte]);
    }
    let flow = proxy.flow_of(&client);
    assert_eq!((flow.bytes_up, flow.bytes_down), (3000, 3000));
}

/// P8: a client that connects and sends nothing, or one byte and no more, costs nobody anything.
#[test]
fn silent_clients_do_not_hold_up_others() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().config(|config| config.set("workers", 1.into())).ready([&endpoint]).start();
    let mut slow: Vec<_> = (0..50).map(|_| proxy.connect()).collect();
    slow.iter_mut().take(25).for_each(|client| client.send(b"x"));
    until("all are flows", || proxy.status().flows == 50);
    let (mut client, _) = proxy.connect_greeted();
    for _ in 0..100 {
        client.exchange(b"quick");
    }
    assert_eq!(proxy.metrics().total("tidegate_pipes_busy"), 0);
}
