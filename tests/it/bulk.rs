//! P13: large streams, byte for byte.

use std::thread;

use tidegate_tests::support::{Connection, Endpoint, Pattern};

use crate::setup;

const MIB: u64 = 1024 * 1024;

/// P13: 256 MiB in each direction at once, every byte in its place, most of it spliced.
#[test]
fn large_streams_arrive_byte_for_byte() {
    const COUNT: u64 = 256 * MIB;
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let (client, served) = proxy.connect_to(&endpoint);
    let up = stream(client.share(), served.share(), 1, COUNT);
    let down = stream(served, client, 2, COUNT);
    up.join().unwrap();
    down.join().unwrap();
    proxy.wait_for_no_flows();
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("tidegate_bytes_total", &[("direction", "up")]), COUNT);
    assert_eq!(metrics.sum("tidegate_bytes_total", &[("direction", "down")]), COUNT);
    assert!(metrics.sum("tidegate_bytes_total", &[("way", "splice")]) > COUNT, "{metrics:?}");
    assert_eq!(metrics.total("tidegate_pipes_busy"), 0);
}

/// P13: a flow that goes back and forth between bulk and small messages, so that it changes its way often.
#[test]
fn flow_changes_between_bulk_and_small_messages() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let (mut client, _) = proxy.connect_greeted();
    for size in sizes() {
        let mut sender = client.share();
        let sending = thread::spawn(move || Pattern::from(size).write(&mut sender, size));
        Pattern::from(size).read(&mut client, size);
        sending.join().unwrap();
        for _ in 0..5 {
            client.exchange(b"small");
        }
    }
    client.finish();
    client.expect_end();
    proxy.wait_for_no_flows();
    let metrics = proxy.metrics();
    for way in ["copy", "splice"] {
        assert!(metrics.sum("tidegate_bytes_total", &[("way", way)]) > 0, "{metrics:?}");
    }
    assert_eq!(metrics.total("tidegate_pipes_busy"), 0);
}

/// P13: twenty flows with bulk at once on one worker.
#[test]
fn bulk_flows_on_one_worker_do_not_mix() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().config(|config| config.set("workers", 1.into())).ready([&endpoint]).start();
    thread::scope(|scope| {
        for number in 0..20 {
            let (mut client, _) = proxy.connect_greeted();
            scope.spawn(move || {
                let mut sender = client.share();
                scope.spawn(move || {
                    Pattern::from(number * 1000).write(&mut sender, 4 * MIB);
                    sender.finish();
                });
                Pattern::from(number * 1000).read(&mut client, 4 * MIB);
                client.expect_end();
            });
        }
    });
    proxy.wait_for_no_flows();
}

fn stream(mut from: Connection, mut to: Connection, seed: u64, count: u64) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        thread::scope(|scope| {
            scope.spawn(move || {
                Pattern::from(seed).write(&mut from, count);
                from.finish();
            });
            Pattern::from(seed).read(&mut to, count);
            to.expect_end();
        });
    })
}

/// Sizes below and above what changes a half's way, in an order without a pattern.
fn sizes() -> impl Iterator<Item = u64> {
    (1..=40_u64).map(|number| {
        let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (1 << (10 + (scattered >> 40) % 12)) + (scattered >> 20) % 1000
    })
}
