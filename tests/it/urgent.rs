//! P13: urgent data (RFC 6093) is a byte of the stream like any other: relayed in line and in its place.

use std::thread;

use tidegate_tests::support::{Connection, Endpoint, Pattern};

use crate::setup;

/// P13: urgent bytes between small messages, as the first and as the last byte, in both directions.
#[test]
fn urgent_byte_between_small_messages_arrives_in_its_place() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    send_and_expect(&mut client, &mut served);
    send_and_expect(&mut served, &mut client);
    client.send_urgent(b'z');
    client.finish();
    assert_eq!(served.receive_to_end(), b"z");
    served.send(b"last ");
    served.send_urgent(b'!');
    drop(served);
    assert_eq!(client.receive_to_end(), b"last !");
    proxy.wait_for_no_flows();
}

/// P13: an urgent byte after bulk that is spliced, with more bulk behind it, in both directions.
#[test]
fn urgent_bytes_inside_bulk_arrive_in_their_places() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (client, served) = proxy.connect_to(&endpoint);
    let ways = [(client.share(), served.share()), (served, client)];
    let moving = ways.map(|(from, to)| thread::spawn(move || send_bulk_with_urgent_bytes(from, to)));
    moving.into_iter().for_each(|way| way.join().unwrap());
    proxy.wait_for_no_flows();
    let spliced = proxy.metrics().sum("tidegate_bytes_total", &[("way", "splice")]);
    assert!(spliced > 0, "nothing was spliced, so this test shows nothing");
}

/// P13: urgent bytes one after the other, each with a short message behind it, and nothing ever waits for the next one.
#[test]
fn message_behind_an_urgent_byte_does_not_wait_for_the_next_one() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    for number in 0..200_u8 {
        client.send(b"ahead");
        client.send_urgent(number);
        client.send(b"behind");
        served.expect(b"ahead");
        served.expect(&[number]);
        served.expect(b"behind");
    }
}

/// P13: an urgent byte in the middle of bulk that is spliced, and more behind it than the window holds: the kernel says
/// nothing further, so whoever waits for it there waits for ever.
#[test]
fn bulk_behind_an_urgent_byte_arrives_without_another_event() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    const BEFORE: u64 = 8 << 20;
    const BEHIND: u64 = 2 << 20;
    for _ in 0..5 {
        let (client, mut served) = proxy.connect_to(&endpoint);
        let sender = thread::spawn(move || {
            let mut client = client;
            Pattern::default().write(&mut client, BEFORE);
            client.send_urgent(b'!');
            Pattern::default().write(&mut client, BEHIND);
            client
        });
        Pattern::default().read(&mut served, BEFORE);
        served.expect(b"!");
        Pattern::default().read(&mut served, BEHIND);
        drop(sender.join().unwrap());
    }
}

fn send_and_expect(from: &mut Connection, to: &mut Connection) {
    from.send_urgent(b'1');
    from.send(b"23");
    from.send_urgent(b'4');
    from.send_urgent(b'5');
    from.send(b"67");
    to.expect(b"1234567");
}

fn send_bulk_with_urgent_bytes(mut from: Connection, mut to: Connection) {
    const BLOCKS: u64 = 48;
    const BLOCK: u64 = 256 * 1024 + 13;
    let sender = thread::spawn(move || {
        for number in 0..BLOCKS {
            Pattern::from(number).write(&mut from, BLOCK);
            from.send_urgent(number as u8);
        }
        from.finish();
        from
    });
    for number in 0..BLOCKS {
        Pattern::from(number).read(&mut to, BLOCK);
        to.expect(&[number as u8]);
    }
    to.expect_end();
    sender.join().unwrap();
}
