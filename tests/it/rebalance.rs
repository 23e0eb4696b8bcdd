//! `rebalance`: endpoints that were added get flows of those that have more than their fair share.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tidegate_tests::support::{Connection, Endpoint, Proxy, Slice, until};

use crate::setup;

fn flows_of(proxy: &Proxy, endpoint: &Endpoint) -> u64 {
    proxy.endpoint(endpoint).map_or(0, |row| row.flows)
}

/// Clients that connect again when they are told to go, as a pool does; they run until the test is over.
fn with_clients(proxy: &Proxy, count: usize, test: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let (mut flow, _) = proxy.connect_greeted();
                    flow.stream().set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
                    // It waits for the FIN a moment each time.
                    let is_left = || over.load(Ordering::SeqCst) || is_over(&flow);
                    until("the flow is over, or the test is", is_left);
                    flow.finish();
                }
            });
        }
        test();
        over.store(true, Ordering::SeqCst);
    });
}

/// The other end has sent its FIN; waits a moment for it.
fn is_over(flow: &Connection) -> bool {
    matches!(flow.stream().peek(&mut [0]), Ok(0))
}

/// After a scale-up flows move, no faster than they may, until everybody has a fair share; then no more.
#[test]
fn added_endpoints_get_their_fair_share() {
    let endpoints = Endpoint::greeting_group(3);
    let rebalance = json!({"maxPerSecond": 10, "tolerance": "20%", "delay": "1s"});
    let settings = json!({"rebalance": rebalance, "drain": {"quiet": "50ms"}});
    let proxy = setup().web(settings).ready(&endpoints[..2]).start();
    with_clients(&proxy, 30, || {
        until("all are connected", || endpoints.iter().map(|it| flows_of(&proxy, it)).sum::<u64>() == 30);
        let began = Instant::now();
        proxy.write_slice(&Slice::ready("web-1", &endpoints));
        proxy.wait_for_log("rebalance ended");
        // A second of waiting, then ten in a second but for those that were saved up.
        assert!(began.elapsed() > Duration::from_millis(1_600), "{:?}", began.elapsed());
        assert_eq!(proxy.terminated("rebalance", "data"), 10, "as many as were above twenty");
        until("all are connected again", || {
            endpoints.iter().map(|it| flows_of(&proxy, it)).sum::<u64>() == 30
        });
        // Each of those who went had the new one in two of three draws.
        assert!(flows_of(&proxy, &endpoints[2]) >= 3, "{}", flows_of(&proxy, &endpoints[2]));
        for endpoint in &endpoints[..2] {
            assert!(flows_of(&proxy, endpoint) >= 10, "{:?}", endpoint.address());
        }
    });
    assert_eq!(proxy.terminated("shed", "data") + proxy.terminated("cut", "data"), 0);
}

/// Without being asked for, nobody is moved.
#[test]
fn nobody_is_moved_by_default() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().web(json!({"drain": {"quiet": "20ms"}})).ready(&endpoints[..1]).start();
    let mut flows: Vec<_> = (0..10).map(|_| proxy.connect_greeted().0).collect();
    proxy.write_slice(&Slice::ready("web-1", &endpoints));
    proxy.wait_for_eligible(2);
    let began = Instant::now();
    until("the table has looked", || began.elapsed() > Duration::from_millis(2_500));
    flows.iter_mut().for_each(|flow| flow.exchange(b"still here"));
    assert_eq!(proxy.terminated("rebalance", "data"), 0);
}

/// A busy flow is not moved; the idlest go first.
#[test]
fn the_idlest_flows_go_first() {
    let endpoints = Endpoint::greeting_group(2);
    let rebalance = json!({"maxPerSecond": 1000, "delay": "0s"});
    let settings = json!({"rebalance": rebalance, "drain": {"quiet": "500ms"}});
    let proxy = setup().web(settings).ready(&endpoints[..1]).start();
    let mut busy: Vec<_> = (0..5).map(|_| proxy.connect_greeted().0).collect();
    let mut idle: Vec<_> = (0..5).map(|_| proxy.connect_greeted().0).collect();
    proxy.write_slice(&Slice::ready("web-1", &endpoints));
    until("half of them are told to go", || {
        busy.iter_mut().for_each(|flow| flow.exchange(b"busy"));
        proxy.terminated("rebalance", "data") == 5
    });
    idle.iter_mut().for_each(Connection::expect_end);
    busy.iter_mut().for_each(|flow| flow.exchange(b"still here"));
}

/// A flow that is never quiet takes nobody's turn, although no bytes have moved there for longest.
#[test]
fn a_flow_that_is_held_up_holds_nobody_up() {
    let endpoints = Endpoint::group(2);
    let rebalance = json!({"maxPerSecond": 4, "delay": "0s"});
    let settings = json!({"rebalance": rebalance, "drain": {"quiet": "50ms"}});
    let setup = setup().web(settings).ready(&endpoints[..1]);
    let proxy = setup.config(|config| config.set("workers", json!(1))).start();
    let held_up = proxy.held_up(&endpoints[0]);
    let flows: Vec<_> = (0..5).map(|_| proxy.connect_to(&endpoints[0])).collect();
    proxy.write_slice(&Slice::ready("web-1", &endpoints));
    until("half of them are told to go", || {
        let told = flows.iter().filter(|(client, _)| {
            client.stream().set_nonblocking(true).expect("a socket option");
            is_over(client)
        });
        told.count() == 3
    });
    drop((flows, held_up));
}
