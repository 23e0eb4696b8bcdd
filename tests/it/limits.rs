//! What happens when the process runs out of descriptors.

use std::{thread, time::Duration};

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Pattern, Setup, until};

use crate::setup;

const MIB: u64 = 1024 * 1024;

fn one_worker() -> Setup {
    setup().config(|config| config.set("workers", json!(1)))
}

/// P7: the kernel gives no pipe: bulk flows by copy, both ways, and the metric counts the refusal. When there are pipes
/// again they are used.
#[test]
fn bulk_is_copied_where_there_is_no_pipe() {
    let endpoint = Endpoint::listen();
    let proxy = one_worker().ready([&endpoint]).start();
    let (mut client, mut served) = proxy.connect_to(&endpoint);
    client.send(b"hello");
    served.expect(b"hello");
    proxy.process().settled_descriptors();
    // A pipe needs two; one is left for the admin API.
    proxy.process().leave_descriptors(1);
    both_ways(&mut client, &mut served, 8 * MIB);
    let metrics = proxy.metrics();
    assert!(metrics.total("tidegate_pipes_refused_total") > 0, "{metrics:?}");
    assert_eq!(metrics.sum("tidegate_bytes_total", &[("way", "splice")]), 0);
    assert_eq!(metrics.sum("tidegate_bytes_total", &[("way", "copy")]), 16 * MIB + 5);
    proxy.wait_for_log("no pipe for splice");

    proxy.process().limit_descriptors(1024);
    until("bulk is spliced again", || {
        both_ways(&mut client, &mut served, MIB);
        proxy.metrics().sum("tidegate_bytes_total", &[("way", "splice")]) > 0
    });
}

/// P9: the limit on descriptors is reached: accept pauses without spinning, connections wait in the kernel's queue, and
/// are served when flows have ended.
#[test]
fn accept_pauses_at_the_descriptor_limit_and_recovers() {
    let endpoint = Endpoint::greeting();
    let proxy = one_worker().ready([&endpoint]).start();
    proxy.process().settled_descriptors();
    proxy.process().leave_descriptors(4);
    let first = proxy.connect_greeted();
    let (mut second, _) = proxy.connect_greeted();
    let mut third = proxy.connect();
    third.send(b"hello");
    proxy.wait_for_log("accept pauses");

    // How much it costs to wait can only be seen over a while.
    let (before, observed) = (proxy.process().processor_time(), Duration::from_secs(2));
    thread::sleep(observed);
    let used = proxy.process().processor_time() - before;
    assert!(used < observed / 4, "{used:?} of processor time in {observed:?} of waiting");
    second.exchange(b"flows go on");

    drop(first);
    third.greeting();
    third.expect(b"hello");
    drop((second, third));
    proxy.wait_for_no_flows();
    assert!(proxy.metrics().total("tidegate_accept_pauses_total") > 0);
    let (mut last, _) = proxy.connect_greeted();
    last.exchange(b"and all is well");
}

/// P9: a client got the last descriptor and there is none for its endpoint: it is refused, for want of a resource and
/// through no fault of the endpoint's.
#[test]
fn flow_without_a_descriptor_for_its_endpoint_is_refused() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = one_worker().ready(&endpoints).start();
    proxy.process().settled_descriptors();
    proxy.process().leave_descriptors(1);
    proxy.expect_refusal();
    proxy.wait_for_no_flows();
    assert_eq!(proxy.terminated("resource", "connect"), 1);
    let metrics = proxy.metrics();
    let local = metrics.sum("tidegate_connect_failures_total", &[("cause", "local")]);
    assert_eq!((local, local), (metrics.total("tidegate_connect_failures_total"), 2));
    assert_eq!(proxy.status().services[0].eligible, 2);
}

/// P9: there are as many flows as the descriptor limit allows, whichever worker has them: the next client waits, and is
/// served when one ends, whichever worker it waits for.
#[test]
fn clients_beyond_the_flow_limit_wait_for_their_turn() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().descriptor_limit(128).ready([&endpoint]).start();
    let limit = proxy.status().flow_limit;
    // 128, less half of it in reserve and the pipes' sixteenth, at two each.
    assert_eq!(limit, 28);
    let mut flows: Vec<_> = (0..limit).map(|_| proxy.connect_greeted().0).collect();
    let mut waiting: Vec<_> = (0..4).map(|_| proxy.connect()).collect();
    waiting.iter_mut().for_each(|client| client.send(b"hello"));
    until("accept pauses", || proxy.metrics().total("tidegate_accept_pauses_total") > 0);
    flows.iter_mut().for_each(|flow| flow.exchange(b"still here"));
    assert_eq!(proxy.status().flows, limit);
    assert_eq!(endpoint.accepted() as u64, limit);
    drop(flows);
    for client in &mut waiting {
        client.greeting();
        client.expect(b"hello");
    }
}

/// The same bytes in both directions at once.
fn both_ways(client: &mut Connection, served: &mut Connection, count: u64) {
    thread::scope(|scope| {
        let (mut client_sends, mut served_sends) = (client.share(), served.share());
        scope.spawn(move || Pattern::from(1).write(&mut client_sends, count));
        scope.spawn(move || Pattern::from(2).write(&mut served_sends, count));
        scope.spawn(move || Pattern::from(1).read(served, count));
        Pattern::from(2).read(client, count);
    });
}
