//! One of the two processes stands still, at each step, as a debugger or a machine that swaps makes it: while the flow is
//! the predecessor's that one goes on, and no flow and no socket ever has two owners.

use std::{thread, time::Duration};

use rustix::process::Signal;
use serde_json::json;
use tidegate_tests::support::{Endpoint, Pattern, Proxy, Setup, until};

use super::{BEFORE, Successor, expect_as_before, setup, split_at};

/// Points of the successor at which the flow is its own, and the rest is not.
const HALF: [&str; 4] = ["held", "committed", "started", "doors"];
/// Points of the successor at which all is its own.
const WHOLE: [&str; 4] = ["doors-taken", "doors-owned", "answering", "finished"];

/// Proxies that soon give up a source that is not complete, and each other.
fn impatient() -> Setup {
    setup().config(|config| {
        config.set("handoff", json!({"socket": "../handoff.sock", "timeout": "5s", "linger": "60s"}));
    })
}

/// Does the same at each of these points at once: mostly it waits.
fn at_each(points: &'static [&'static str], what: impl Fn(&'static str) + Sync) {
    thread::scope(|scope| {
        let all: Vec<_> = points.iter().map(|point| (point, scope.spawn(|| what(point)))).collect();
        let failed: Vec<_> =
            all.into_iter().filter_map(|(point, thread)| thread.join().is_err().then_some(point)).collect();
        assert!(failed.is_empty(), "at {failed:?}");
    });
}

/// A successor that stands still at this point.
fn stalled(proxy: &Proxy, point: &str) -> Successor {
    let successor = Successor::failing(proxy, &format!("stop:{point}"));
    successor.process().wait_until_stopped();
    successor
}

/// The successor has nothing yet: the predecessor gives it up and goes on, the flow too; and the successor gives up when it
/// wakes.
#[test]
fn stalled_successor_without_flows_is_given_up() {
    at_each(&BEFORE, |point| {
        let endpoint = Endpoint::greeting();
        let proxy = impatient().ready([&endpoint]).start();
        let (mut flow, _) = proxy.connect_greeted();
        let mut successor = stalled(&proxy, point);
        expect_as_before(&proxy, &endpoint, 1);
        flow.exchange(b"taken back");
        successor.process().signal(Signal::CONT);
        assert_eq!(successor.wait_for_end().code(), Some(1), "{point}");
        flow.exchange(b"still here");
        proxy.expect_all_on(&endpoint);
        let mut next = Successor::start(&proxy, &[]);
        next.wait_until_it_has_taken_over();
        flow.exchange(b"moved");
    });
}

/// The successor has the flow and not the rest: the predecessor goes on with the rest, counts the flow, keeps gates shut
/// for it, and hands over to nobody else. The successor serves the flow to its end when it wakes, and nothing else.
#[test]
fn stalled_successor_keeps_the_flow_that_it_owns() {
    at_each(&HALF, |point| {
        let endpoint = Endpoint::greeting();
        let proxy = impatient().ready([&endpoint]).start();
        let (mut flow, _) = proxy.connect_greeted();
        let mut successor = stalled(&proxy, point);
        expect_as_before(&proxy, &endpoint, 1);
        let mut rival = Successor::start(&proxy, &[]);
        assert_eq!(rival.wait_for_end().code(), Some(1), "{point}");
        assert!(rival.log().contains("still has flows"), "{point}: {}", rival.log());
        successor.process().signal(Signal::CONT);
        flow.exchange(b"goes on in the successor");
        until("the flow is counted", || proxy.metrics().total("tidegate_flows_open") == 1);
        proxy.expect_all_on(&endpoint);
        drop(flow);
        assert_eq!(successor.wait_for_end().code(), Some(1), "{point}");
        until("the flow's end is counted", || {
            let metrics = proxy.metrics();
            metrics.total("tidegate_flows_open") == 0
                && metrics.total("tidegate_flows_opened_total")
                    == metrics.total("tidegate_flows_terminated_total")
        });
        let mut next = Successor::start(&proxy, &[]);
        next.wait_until_it_has_taken_over();
    });
}

/// The successor has everything and does not say so: the predecessor leaves it to it, because two must not serve, and the
/// successor goes on when it wakes.
#[test]
fn stalled_successor_that_has_everything_keeps_it() {
    at_each(&WHOLE, |point| {
        let endpoint = Endpoint::greeting();
        let proxy = impatient().ready([&endpoint]).start();
        let (mut flow, _) = proxy.connect_greeted();
        let successor = stalled(&proxy, point);
        assert!(proxy.wait_for_end().status.success(), "{point}");
        successor.process().signal(Signal::CONT);
        flow.exchange(b"goes on in the successor");
        proxy.expect_all_on(&endpoint);
        assert_eq!(proxy.get("/readyz").status, 200);
        let mut next = Successor::start(&proxy, &[]);
        next.wait_until_it_has_taken_over();
        flow.exchange(b"and in the next");
    });
}

/// The predecessor stands still before it has given anything: the successor gives up, and the predecessor goes on when it
/// wakes.
#[test]
fn predecessor_that_stalls_with_everything_goes_on() {
    at_each(split_at("gave-listeners").0, |point| {
        let endpoint = Endpoint::greeting();
        let fault = format!("stop:{point}");
        let proxy = impatient().environment("TIDEGATE_HANDOFF_FAULT", fault).ready([&endpoint]).start();
        let (mut flow, _) = proxy.connect_greeted();
        let mut successor = Successor::start(&proxy, &[]);
        assert_eq!(successor.wait_for_end().code(), Some(1), "{point}");
        let log = successor.log();
        assert!(log.contains("said nothing for 5s"), "{point}: {log}");
        proxy.process().signal(Signal::CONT);
        expect_as_before(&proxy, &endpoint, 1);
        flow.exchange(b"still here");
    });
}

/// The predecessor stands still with a part given: the successor serves new clients, starts nothing that is not its own,
/// and gets the rest when the predecessor wakes.
#[test]
fn predecessor_that_stalls_half_way_gives_the_rest_later() {
    at_each(split_at("gave-listeners").1, |point| {
        let endpoint = Endpoint::greeting();
        let fault = format!("stop:{point}");
        let proxy = impatient().environment("TIDEGATE_HANDOFF_FAULT", fault).ready([&endpoint]).start();
        let (mut flow, _) = proxy.connect_greeted();
        let mut successor = Successor::start(&proxy, &[]);
        proxy.process().wait_until_stopped();
        proxy.expect_all_on(&endpoint);
        assert!(successor.child.try_wait().unwrap().is_none(), "{point}");
        proxy.process().signal(Signal::CONT);
        successor.wait_until_it_has_taken_over();
        assert!(proxy.wait_for_end().status.success(), "{point}");
        flow.exchange(b"moved");
        proxy.expect_all_on(&endpoint);
        assert_eq!(proxy.get("/readyz").status, 200);
    });
}

/// What is offered does not fit in the socket, and the successor does not read: the predecessor breaks off in the middle of
/// a word. The successor must not take that for its death: the flows were taken back.
#[test]
fn broken_off_word_is_no_death() {
    let endpoint = Endpoint::listen();
    let proxy = impatient().config(|config| config.set("workers", json!(1))).ready([&endpoint]).start();
    // Each has bytes that its client does not read.
    let mut flows: Vec<_> = (0..60).map(|_| proxy.connect_to(&endpoint)).collect();
    let sent: Vec<u64> =
        flows.iter_mut().map(|(_, served)| served.send_until_stuck(Duration::from_millis(50))).collect();
    let mut successor = stalled(&proxy, "accepted");
    proxy.wait_for_log("taking flows back");
    proxy.wait_for_log("this process goes on");
    successor.process().signal(Signal::CONT);
    assert_eq!(successor.wait_for_end().code(), Some(1));
    assert!(!successor.log().contains("the running process died"), "{}", successor.log());
    for ((client, _), sent) in flows.iter_mut().zip(&sent) {
        Pattern::default().read(&mut client.stream(), *sent);
    }
    drop(flows);
    proxy.wait_for_no_flows();
}
