//! Flows that move: no byte is lost or doubled, and what is known of them moves with them.

use std::{sync::mpsc, thread, time::Duration};

use serde_json::json;
use tidegate_tests::support::{Endpoint, Pattern, Slice, until};

use super::{Successor, setup};

const MIB: u64 = 1024 * 1024;
/// A write that waits for so long waits for the reader.
const STUCK: Duration = Duration::from_millis(300);

/// R5: bulk both ways, a conversation, both kinds of half-closed flows and two with a stalled reader move while bytes
/// are under way. Every byte arrives once and in its order.
#[test]
fn moved_flows_lose_no_byte() {
    let endpoint = Endpoint::listen();
    let proxy = setup().ready([&endpoint]).start();
    let mut talking = proxy.connect_to(&endpoint);
    let (mut up_client, mut up_served) = proxy.connect_to(&endpoint);
    let (mut down_client, mut down_served) = proxy.connect_to(&endpoint);
    let mut client_closed = proxy.connect_to(&endpoint);
    client_closed.0.send(b"last words");
    client_closed.0.finish();
    assert_eq!(client_closed.1.receive_to_end(), b"last words");
    let mut endpoint_closed = proxy.connect_to(&endpoint);
    endpoint_closed.1.send(b"last words");
    endpoint_closed.1.finish();
    assert_eq!(endpoint_closed.0.receive_to_end(), b"last words");
    let mut stalled_up = proxy.connect_to(&endpoint);
    let stuck_up = stalled_up.0.send_until_stuck(STUCK);
    let mut stalled_down = proxy.connect_to(&endpoint);
    let stuck_down = stalled_down.1.send_until_stuck(STUCK);
    let before = proxy.endpoint(&endpoint).unwrap();

    let (begin, begun) = mpsc::channel();
    let total = 400 * MIB;
    let bulk = [
        // Who has written all stays until it has the answer: an answer to nobody would be reset.
        thread::spawn(move || {
            Pattern::from(1).write(&mut up_client.stream(), total);
            up_client.finish();
            assert_eq!(up_client.receive_to_end(), b"got it");
        }),
        thread::spawn(move || {
            Pattern::from(2).write(&mut down_served.stream(), total);
            down_served.finish();
            assert_eq!(down_served.receive_to_end(), b"got it");
        }),
        thread::spawn({
            let begin = begin.clone();
            move || {
                Pattern::from(1).read(&mut up_served.stream(), 8 * MIB);
                begin.send(()).unwrap();
                Pattern::from(1).read_from(&mut up_served.stream(), 8 * MIB, total - 8 * MIB);
                up_served.send(b"got it");
            }
        }),
        thread::spawn(move || {
            Pattern::from(2).read(&mut down_client.stream(), 8 * MIB);
            begin.send(()).unwrap();
            Pattern::from(2).read_from(&mut down_client.stream(), 8 * MIB, total - 8 * MIB);
            down_client.send(b"got it");
        }),
    ];
    begun.recv().unwrap();
    begun.recv().unwrap();
    let mut successors = Vec::new();
    for turn in 0..3 {
        let mut successor = Successor::start(&proxy, &[]);
        successor.wait_until_it_has_taken_over();
        assert_eq!(proxy.endpoint(&endpoint).unwrap().pod, before.pod);
        talking.0.send(format!("question {turn}").as_bytes());
        talking.1.expect(format!("question {turn}").as_bytes());
        talking.1.send(b"answer");
        talking.0.expect(b"answer");
        successors.push(successor);
    }
    for bulk in bulk {
        bulk.join().unwrap();
    }
    client_closed.1.send(b"answer after the end");
    client_closed.1.finish();
    assert_eq!(client_closed.0.receive_to_end(), b"answer after the end");
    endpoint_closed.0.send(b"answer after the end");
    endpoint_closed.0.finish();
    assert_eq!(endpoint_closed.1.receive_to_end(), b"answer after the end");
    Pattern::default().read(&mut stalled_up.1.stream(), stuck_up);
    stalled_up.0.send(b"the end");
    stalled_up.1.expect(b"the end");
    Pattern::default().read(&mut stalled_down.0.stream(), stuck_down);
    stalled_down.1.send(b"the end");
    stalled_down.0.expect(b"the end");
    assert!(proxy.wait_for_end().status.success());
    for (client, mut served) in [talking, stalled_up, stalled_down] {
        drop(client);
        served.expect_end();
    }
    until("all have ended", || proxy.metrics().total("tidegate_flows_open") == 0);
    assert_eq!(proxy.endpoint(&endpoint).unwrap().flows, 0);
    let broken = proxy.metrics().sum("tidegate_flows_terminated_total", &[("by", "endpoint")]);
    assert_eq!(broken, 0);
}

/// A flow's listener, age, idle time and byte counts are those that it had, and its endpoint counts it.
#[test]
fn facts_of_a_flow_move_with_it() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    flow.exchange(b"some bytes");
    let before = proxy.flow_of(&flow);
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    let after = proxy.flow_of(&flow);
    assert_eq!(
        (&after.listener, &after.service, &after.endpoint),
        (&before.listener, &before.service, &before.endpoint)
    );
    assert_eq!((after.bytes_up, after.bytes_down), (before.bytes_up, before.bytes_down));
    assert_eq!(proxy.endpoint(&endpoint).unwrap().flows, 1);
    assert_eq!(proxy.metrics().total("tidegate_flows_taken_over_total"), 1);
    flow.exchange(b"still here");
}

/// What operators asked for holds in the successor, without a state directory; a flow of a draining endpoint stays
/// there, and the drain's deadline goes on.
#[test]
fn operators_drain_moves_on() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready(&endpoints).start();
    let (mut flow, used) = proxy.connect_greeted();
    let drained = endpoints.iter().find(|endpoint| endpoint.address() == used).unwrap();
    let other = endpoints.iter().find(|endpoint| endpoint.address() != used).unwrap();
    let request =
        json!({"service": "default/web", "endpoint": used.to_string(), "by": "ada", "reason": "disk"});
    assert_eq!(proxy.post("/v1/drain", &request).status, 200);
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    proxy.expect_all_on(other);
    let row = proxy.endpoint(drained).unwrap();
    assert_eq!((row.eligible, row.flows), (false, 1));
    flow.exchange(b"still here");
    assert_eq!(proxy.post("/v1/undrain", &request).status, 200);
    proxy.wait_for_eligible_to_be(&endpoints);
}

/// A flow whose endpoint the successor does not know stays on it, counted, as one that has gone.
#[test]
fn flow_of_a_removed_endpoint_moves() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready([&endpoints[0]]).start();
    let (mut flow, _) = proxy.connect_greeted();
    proxy.write_slice(&Slice::ready("web-1", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    let row = proxy.endpoint(&endpoints[0]).unwrap();
    assert_eq!((row.conditions.is_none(), row.eligible, row.flows), (true, false, 1));
    flow.exchange(b"still here");
    drop(flow);
    until("it is forgotten with its last flow", || proxy.endpoint(&endpoints[0]).is_none());
}

/// A flow that is connecting moves as its client; the successor connects it, to another endpoint where that is better.
#[test]
fn flow_that_connects_moves_and_connects_anew() {
    let (full, other) = (Endpoint::listen(), Endpoint::greeting());
    let proxy = setup().web(json!({"connectTimeout": "20s"})).ready([&full]).start();
    let _waiting = full.fill_queue();
    let mut client = proxy.connect();
    client.send(b"early");
    until("it is connecting", || proxy.metrics().total("tidegate_flows_open") == 1);
    proxy.write_slice(&Slice::ready("web-1", [&other]));
    proxy.wait_for_eligible_to_be([&other]);
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    assert_eq!(client.greeting(), other.address());
    client.expect(b"early");
    client.exchange(b"and so on");
    let metrics = proxy.metrics();
    assert_eq!(metrics.total("tidegate_flows_opened_total"), 1);
    assert_eq!(metrics.total("tidegate_flows_open"), 1);
    assert!(proxy.wait_for_end().status.success());
    drop(client);
    proxy.wait_for_no_flows();
}
