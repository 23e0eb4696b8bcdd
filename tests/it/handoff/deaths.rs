//! One of the two processes is killed, at each step: the other goes on, and only what the dead one owned is lost.

use std::io::Read as _;

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Proxy, until};

use super::{BEFORE, Successor, expect_as_before, setup, split_at};

/// Points of the successor at which the flow is its own.
const OWNER: [&str; 6] = ["committed", "started", "doors", "doors-taken", "doors-owned", "answering"];

/// The kernel ends a dead process's sockets, with a reset or a FIN.
#[track_caller]
pub(super) fn expect_lost(flow: &Connection, at: &str) {
    let _ = flow.stream().set_read_timeout(Some(tidegate_tests::support::DEADLINE));
    let ended = flow.stream().read(&mut [0; 1]);
    let is_silent = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    assert!(
        matches!(&ended, Ok(0)) || ended.as_ref().is_err_and(|error| !is_silent(error)),
        "{at}: {ended:?}"
    );
}

/// So many flows are open and shown, and endpoints count as many.
#[track_caller]
fn expect_open(proxy: &Proxy, count: u64) {
    until("so many flows are open", || {
        let of_endpoints: u64 = proxy.endpoints().iter().map(|endpoint| endpoint.flows).sum();
        proxy.metrics().total("tidegate_flows_open") == count
            && proxy.flows().len() as u64 == count
            && of_endpoints == count
    });
}

/// Whether this flow goes on; one that does not has ended.
fn goes_on(flow: &Connection) -> bool {
    use std::io::Write as _;
    let _ = flow.stream().set_read_timeout(Some(tidegate_tests::support::DEADLINE));
    let mut answer = [0; 1];
    flow.stream().write_all(b"?").is_ok() && matches!(flow.stream().read(&mut answer), Ok(1))
}

/// R3: the successor is killed at each step before it owns a flow: the predecessor goes on as before, its flow too, and
/// the next successor takes over.
#[test]
fn killed_successor_costs_nothing_before_it_owns_flows() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let (mut flow, _) = proxy.connect_greeted();
    // Who says nothing was never a successor.
    assert!(!Successor::failing(&proxy, "kill:hello").wait_for_end().success());
    proxy.expect_all_on(&endpoint);
    for (at, point) in BEFORE.iter().enumerate() {
        let mut successor = Successor::failing(&proxy, &format!("kill:{point}"));
        assert!(!successor.wait_for_end().success(), "{point}");
        expect_as_before(&proxy, &endpoint, at as u64 + 1);
        flow.exchange(point.as_bytes());
    }
    let mut successor = Successor::start(&proxy, &[]);
    successor.wait_until_it_has_taken_over();
    flow.exchange(b"taken over");
    proxy.expect_all_on(&endpoint);
}

/// The successor is killed when it owns the flow: that flow is lost, and nothing else. The predecessor accepts again, and
/// answers again.
#[test]
fn killed_owner_loses_what_it_owned() {
    for point in OWNER {
        let endpoint = Endpoint::greeting();
        let proxy = setup().ready([&endpoint]).start();
        let (flow, _) = proxy.connect_greeted();
        let mut successor = Successor::failing(&proxy, &format!("kill:{point}"));
        assert!(!successor.wait_for_end().success(), "{point}");
        expect_as_before(&proxy, &endpoint, 1);
        expect_lost(&flow, point);
        expect_open(&proxy, 0);
        let mut next = Successor::start(&proxy, &[]);
        next.wait_until_it_has_taken_over();
    }
}

/// The successor is killed with a word under way that it holds the flow: whether it owned it is for the predecessor to
/// say. The flow goes on there, or it is lost: it is never left without an owner, and never counted without one.
#[test]
fn flow_of_a_successor_killed_on_the_edge_goes_on_or_ends() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let (flow, _) = proxy.connect_greeted();
    let mut successor = Successor::failing(&proxy, "kill:held");
    assert!(!successor.wait_for_end().success());
    expect_as_before(&proxy, &endpoint, 1);
    let left = u64::from(goes_on(&flow));
    expect_open(&proxy, left);
}

/// A successor that dies after its last word is a proxy that died. Another one starts in its place, on the same sockets.
#[test]
fn successor_killed_after_its_last_word_is_replaced() {
    let endpoint = Endpoint::greeting();
    let proxy = setup().ready([&endpoint]).start();
    let mut successor = Successor::failing(&proxy, "kill:finished");
    assert!(!successor.wait_for_end().success());
    assert!(proxy.wait_for_end().status.success());
    let mut next = Successor::start(&proxy, &[]);
    expect_it_serves(&proxy, &endpoint);
    assert!(next.child.try_wait().unwrap().is_none());
}

/// Whoever answers is ready, and its listener leads to the endpoint. It may have another port than the proxy had that is
/// gone, where that one did not hand its listeners over.
#[track_caller]
fn expect_it_serves(proxy: &Proxy, endpoint: &Endpoint) {
    until("another process answers and is ready", || {
        proxy.admin().get("/readyz").is_ok_and(|answer| answer.status == 200)
    });
    let status = proxy.status();
    let web = status.listeners.iter().find(|listener| listener.name == "web").expect("it has the listener");
    let mut client = Connection::open(web.address.parse().unwrap());
    assert_eq!(client.greeting(), endpoint.address());
}

/// The predecessor is killed at each step: the successor goes on with what it has, or starts without a predecessor. The
/// flow is lost only where it was the predecessor's.
#[test]
fn killed_predecessor_leaves_a_successor_that_serves() {
    // From the offer on the successor has the flow, though it may not know yet that it is its own.
    let (before, since) = split_at("offer-said");
    let points = before.iter().map(|point| (point, false)).chain(since.iter().map(|point| (point, true)));
    for (point, survives) in points {
        let endpoint = Endpoint::greeting();
        let fault = format!("kill:{point}");
        let proxy = setup().environment("TIDEGATE_HANDOFF_FAULT", fault).ready([&endpoint]).start();
        let (mut flow, _) = proxy.connect_greeted();
        let mut successor = Successor::start(&proxy, &[]);
        assert!(!proxy.wait_for_end().status.success(), "{point}");
        expect_it_serves(&proxy, &endpoint);
        if survives {
            flow.exchange(point.as_bytes());
        } else {
            expect_lost(&flow, point);
        }
        until("it counts the flows that it has", || {
            proxy.metrics().total("tidegate_flows_open") == u64::from(survives)
        });
        // The next one finds a proxy like any other.
        let mut next = Successor::start(&proxy, &[]);
        next.wait_until_it_has_taken_over();
        assert!(successor.wait_for_end().success(), "{point}");
    }
}

/// So many flows of one worker that they move in several batches.
fn many_flows(fault: Option<&str>) -> (Endpoint, Proxy, Vec<Connection>) {
    let endpoint = Endpoint::greeting();
    let mut setup = setup().config(|config| config.set("workers", json!(1))).ready([&endpoint]);
    if let Some(fault) = fault {
        setup = setup.environment("TIDEGATE_HANDOFF_FAULT", fault);
    }
    let proxy = setup.start();
    let flows = (0..150).map(|_| proxy.connect_greeted().0).collect();
    (endpoint, proxy, flows)
}

/// The predecessor is killed between two batches: the successor has those of the first, and the others are lost.
#[test]
fn predecessor_killed_between_batches_loses_the_rest() {
    let (endpoint, proxy, flows) = many_flows(Some("kill:started-heard"));
    let _successor = Successor::start(&proxy, &[]);
    assert!(!proxy.wait_for_end().status.success());
    expect_it_serves(&proxy, &endpoint);
    let left = flows.iter().filter(|flow| goes_on(flow)).count() as u64;
    assert!((1..150).contains(&left), "{left}");
    assert_eq!(proxy.metrics().total("tidegate_flows_taken_over_total"), left);
    expect_open(&proxy, left);
}

/// The successor is killed between two batches, and while it holds the second: those of the first are lost, the others
/// never left the predecessor.
#[test]
fn successor_killed_between_batches_loses_the_first() {
    let (endpoint, proxy, flows) = many_flows(None);
    let mut successor = Successor::failing(&proxy, "kill:started");
    assert!(!successor.wait_for_end().success());
    expect_as_before(&proxy, &endpoint, 1);
    let left = flows.iter().filter(|flow| goes_on(flow)).count() as u64;
    assert!((1..150).contains(&left), "{left}");
    expect_open(&proxy, left);
}
