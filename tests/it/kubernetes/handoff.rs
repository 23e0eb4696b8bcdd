//! One process takes over from another, and both follow an API server.

use std::{net::SocketAddr, time::Instant};

use serde_json::json;
use tidegate_tests::{
    apiserver::{ApiServer, Call, Calls, Fault, LEASES, SERVICES, Verb},
    support::{Connection, Endpoint, Proxy, Setup, Slice, until},
};

use super::{
    Clients, put,
    services::{PORT, own_address, service, serving, wait_for_listener},
    writing::{SYSTEM, at, control_plane, holder, ingress, status_writes},
};
use crate::handoff::Successor;

const OLD: &str = "tidegate-a";
const NEW: &str = "tidegate-b";

/// A proxy on node-1, as this pod, that serves Services at this address and hands over.
fn instance(api: &ApiServer, address: SocketAddr, timeout: &str) -> Proxy {
    let handoff = json!({"socket": "../handoff.sock", "timeout": timeout});
    let setup: Setup = serving(api, address).config(|config| config.set("handoff", handoff));
    let proxy = setup.environment("POD_NAMESPACE", SYSTEM).environment("POD_NAME", OLD).start();
    wait_for_listener(&proxy, address);
    proxy
}

fn successor(proxy: &Proxy, pod: &str, fault: &str) -> Successor {
    let environment = [
        ("NODE_NAME", "node-1"),
        ("POD_NAMESPACE", SYSTEM),
        ("POD_NAME", pod),
        ("TIDEGATE_HANDOFF_FAULT", fault),
    ];
    Successor::start(proxy, &environment)
}

/// A control plane, a proxy that serves its Service `web`, leads, and has written the status.
fn leading(endpoint: &Endpoint, timeout: &str) -> (ApiServer, Proxy, SocketAddr) {
    let (api, address) = (control_plane(endpoint), own_address(PORT));
    let proxy = instance(&api, address, timeout);
    until("the status is written", || ingress(&api, "web") == at(&["192.0.2.1", "192.0.2.2"]));
    assert_eq!(holder(&api).as_deref(), Some(OLD));
    (api, proxy, address)
}

fn gives_back(call: &Call) -> bool {
    call.is(Verb::Update, LEASES) && call.body["spec"]["holderIdentity"].is_null()
}

/// Listeners that Services ask for move like any other: nobody is refused, flows go on, and one process after the other
/// does so. The status of the Service stays as it is, and whoever leads next does so without waiting for a Lease to run out.
#[test]
fn listeners_of_services_are_handed_over() {
    let endpoint = Endpoint::greeting();
    let (api, proxy, address) = leading(&endpoint, "30s");
    let clients = Clients::at(address);
    let mut flow = Connection::open(address);
    flow.greeting();
    let mut successors: Vec<Successor> = Vec::new();
    for round in 0..3 {
        clients.wait_for(20);
        let pod = format!("{NEW}-{round}");
        let calls = api.call_count();
        let mut next = successor(&proxy, &pod, "");
        next.wait_until_it_has_taken_over();
        clients.wait_for(20);
        flow.exchange(b"still here");
        match successors.last_mut() {
            Some(last) => assert!(last.wait_for_end().success()),
            None => assert!(proxy.wait_for_end().status.success()),
        }
        let listeners = proxy.status().listeners;
        assert_eq!(listeners.len(), 1, "{listeners:?}");
        assert!(listeners[0].accepting && listeners[0].address == address.to_string(), "{listeners:?}");
        let given = api.wait_for_call_after(calls, "the Lease is given back", gives_back);
        until("the new process leads", || holder(&api).as_deref() == Some(&pod));
        assert!(given.at.elapsed().as_secs() < 10, "a Lease that is not given back lasts 15s");
        let updates = api.calls_of(Verb::Update, LEASES);
        let mut early = updates.iter().filter(|call| call.at < given.at);
        assert!(early.all(|call| call.body["spec"]["holderIdentity"] != pod.as_str()), "two lead at a time");
        successors.push(next);
    }
    clients.finish();
    assert_eq!(ingress(&api, "web"), at(&["192.0.2.1", "192.0.2.2"]));
    assert_eq!(status_writes(&api).len(), 1, "the status was right all the time");
    // Of the clients some may have been there at that moment.
    assert!(proxy.metrics().total("tidegate_flows_taken_over_total") >= 3);
}

/// Two processes of one pod, one after the other: the Lease stays with the pod, and is not lost at the end of the first.
#[test]
fn lease_stays_with_its_pod() {
    let endpoint = Endpoint::greeting();
    let (api, proxy, address) = leading(&endpoint, "30s");
    let mut next = successor(&proxy, OLD, "");
    next.wait_until_it_has_taken_over();
    assert!(proxy.wait_for_end().status.success());
    let writer = || proxy.status().source.expect("a source").writer.expect("it would write");
    until("the new process leads", || writer().leads && holder(&api).as_deref() == Some(OLD));
    // It is the new one that keeps it up.
    let calls = api.call_count();
    api.wait_for_call_after(calls, "the Lease is renewed", |call| {
        call.is(Verb::Update, LEASES) && call.body["spec"]["holderIdentity"] == OLD
    });
    assert!(writer().leads);
    assert_eq!(status_writes(&api).len(), 1);
    Connection::open(address).greeting();
}

/// Whoever waits to take over writes nothing and holds no Lease, also where it is free.
#[test]
fn waiting_successor_writes_nothing() {
    let endpoint = Endpoint::greeting();
    let (api, proxy, address) = leading(&endpoint, "30s");
    let waiting = successor(&proxy, NEW, "stop:accepting");
    waiting.wait_until_it_is_stopped();
    waiting.let_it_take_over();
    let takes = |call: &Call| call.writes(LEASES) && call.body["spec"]["holderIdentity"] == NEW;
    let taken = api.wait_for_call("the new process takes the Lease", takes);
    let given = api.calls().into_iter().find(gives_back).expect("the old process gave it back");
    assert!(given.at < taken.at);
    Connection::open(address).greeting();
}

/// A successor is ready when it knows all that its API server has: Services that cannot be listed, or slices, keep it
/// waiting; after handoff.timeout it gives up, and the running process has noticed nothing.
#[test]
fn successor_waits_for_its_sources() {
    let endpoint = Endpoint::greeting();
    let (api, proxy, address) = leading(&endpoint, "2s");
    let mut flow = Connection::open(address);
    flow.greeting();
    for (at, resource) in [SERVICES, tidegate_tests::apiserver::ENDPOINT_SLICES].into_iter().enumerate() {
        api.fail_always(Calls::of(Verb::List, resource), Fault::Refuse(500));
        let begun = Instant::now();
        let mut late = successor(&proxy, NEW, "");
        assert_eq!(late.wait_for_end().code(), Some(1));
        assert!(begun.elapsed().as_secs() >= 2);
        assert!(late.log().contains("(handoff.timeout); the running process goes on"), "{}", late.log());
        api.heal();
        until("it is counted", || {
            proxy.metrics().sum("tidegate_handoffs_total", &[("result", "failed")]) == at as u64 + 1
        });
        flow.exchange(b"still here");
        Connection::open(address).greeting();
        assert_eq!(holder(&api).as_deref(), Some(OLD));
    }
    let mut next = successor(&proxy, NEW, "");
    next.wait_until_it_has_taken_over();
    flow.exchange(b"moved");
}

/// Services that come and go while one process takes over from another: what holds at the end is what they ask for then,
/// whether the handoff comes to its end or not.
#[test]
fn services_may_change_meanwhile() {
    let endpoint = Endpoint::greeting();
    for ends_well in [true, false] {
        let (api, proxy, address) = leading(&endpoint, "30s");
        put(&api, &Slice::ready("late-1", [&endpoint]).of_service("late"));
        let mut next = successor(&proxy, NEW, "stop:accepting");
        next.wait_until_it_is_stopped();
        let late = SocketAddr::new(address.ip(), PORT + 1);
        api.put(&service("late", late.port(), "01:00:00"));
        if ends_well {
            next.let_it_take_over();
        } else {
            next.kill();
            proxy.wait_for_log("this process goes on");
        }
        wait_for_listener(&proxy, late);
        Connection::open(late).greeting();
        Connection::open(address).greeting();
        api.remove(SERVICES, "default", "web");
        until("the first one is closed", || Connection::try_open(address).is_err());
        Connection::open(late).greeting();
    }
}
