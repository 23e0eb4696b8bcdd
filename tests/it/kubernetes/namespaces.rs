//! Some namespaces instead of all: each has a list and a watch of its own, and none speaks for another.

use std::{fs, net::SocketAddr};

use serde_json::json;
use tidegate_tests::{
    apiserver::{ApiServer, Call, Calls, ENDPOINT_SLICES, Fault, SERVICES, Verb},
    support::{Connection, Endpoint, Gate, Proxy, Slice, until, unused_address},
};

use super::{Clients, following, lists, put, remove};

/// A proxy that follows `default` and `edge`, with a listener for `web` of each.
fn follower(api: &ApiServer) -> Proxy {
    let setup = following(api);
    let kubeconfig = api.write_kubeconfig(setup.directory());
    let source = json!({"kubernetes": {"kubeconfig": kubeconfig, "namespaces": ["default", "edge"]}});
    let setup = setup.config(|config| {
        config.set("source", source);
        config.listener("edge", "127.0.0.1:0", "edge/web");
    });
    setup.spawn()
}

fn put_in_edge(api: &ApiServer, slice: &Slice) {
    let mut slice = slice.json();
    slice["metadata"]["namespace"] = json!("edge");
    api.put(&slice);
}

fn expect_edge_on(proxy: &Proxy, endpoint: &Endpoint) {
    assert_eq!(Connection::open(proxy.address("edge")).greeting(), endpoint.address());
}

fn is_of(namespace: &str, call: &Call) -> bool {
    call.target.as_ref().is_some_and(|target| target.namespace.as_deref() == Some(namespace))
}

/// Where the instances are.
const SYSTEM: &str = "tidegate-system";

/// The instances find each other in a namespace that is not among those that are followed; of that, nothing else is read.
#[test]
fn instances_find_each_other_in_a_namespace_of_their_own() {
    let endpoint = Endpoint::greeting();
    let api = ApiServer::start();
    let ready = |name: &str, address: SocketAddr| {
        let mut slice = Slice::named(name).of_service("tidegate").json();
        slice["metadata"]["namespace"] = json!(SYSTEM);
        slice["ports"] = json!([{"name": "gate", "protocol": "TCP", "port": address.port()}]);
        slice["endpoints"] = json!([{"addresses": [address.ip()], "conditions": {"ready": true}}]);
        slice
    };
    let pod = |terminating: bool| {
        let pod = endpoint.in_slice().pod("web-0", "uid-web-0");
        let pod = if terminating { pod.terminating() } else { pod.ready() };
        Slice::named("web-1").with_port(endpoint.address().port()).with(pod)
    };
    put(&api, &pod(false));
    let gates = [unused_address(), unused_address()];
    let proxies = gates.map(|gate| {
        api.put(&ready(&format!("tidegate-{}", gate.port()), gate));
        let setup = following(&api);
        let kubeconfig = api.write_kubeconfig(setup.directory());
        fs::write(setup.directory().join("token"), "the instances' own token").expect("written");
        let setup = setup.config(|config| {
            config
                .set("source", json!({"kubernetes": {"kubeconfig": kubeconfig, "namespaces": ["default"]}}));
            config.set("gate", json!({"address": gate.to_string()}));
            config.set("peers", json!({"tokenFile": "../token"}));
        });
        setup.environment("POD_NAMESPACE", SYSTEM).start()
    });
    let flow = proxies[1].connect_greeted().0;
    put(&api, &pod(true));
    let mut gated = Gate(gates[0]).follow("uid-web-0");
    gated.until(|it| it.phase == "drained" && it.flows == 1);
    drop(flow);
    let answer = gated.answer();
    assert_eq!((&*answer.outcome, answer.instances.len()), ("drained", 2), "{answer:?}");
    let of_system = |call: &&Call| is_of(SYSTEM, call);
    let calls = api.calls();
    assert!(calls.iter().any(|call| of_system(&call)));
    for call in calls.iter().filter(of_system).filter(|call| call.is(Verb::List, ENDPOINT_SLICES)) {
        assert_eq!(call.parameter("labelSelector"), "kubernetes.io/service-name=tidegate", "{call:?}");
    }
    assert!(calls.iter().filter(of_system).all(|call| !call.is(Verb::List, SERVICES)), "{calls:?}");
}

/// B5: both lists are waited for, and nobody asks for all namespaces.
#[test]
fn every_namespace_is_waited_for() {
    let endpoints = Endpoint::greeting_group(2);
    let api = ApiServer::start();
    put(&api, &Slice::ready("web-1", [&endpoints[0]]));
    put_in_edge(&api, &Slice::ready("web-1", [&endpoints[1]]));
    let of_edge = Calls::of(Verb::List, ENDPOINT_SLICES).in_namespace("edge");
    api.fail_always(of_edge, Fault::Refuse(503));
    let proxy = follower(&api);
    let is_list = |call: &Call| call.is(Verb::Watch, ENDPOINT_SLICES) && is_of("default", call);
    api.wait_for_call("the other namespace is watched already", is_list);
    let status = proxy.status();
    assert!(!status.ready && status.listeners.iter().all(|listener| !listener.accepting), "{status:?}");
    api.heal();
    proxy.wait_until_ready();
    proxy.expect_all_on(&endpoints[0]);
    expect_edge_on(&proxy, &endpoints[1]);
    let all = api.calls_of(Verb::List, ENDPOINT_SLICES);
    assert!(all.iter().all(|call| is_of("default", call) || is_of("edge", call)), "{all:?}");
}

/// B1: both watches expire, and a slice of one namespace was deleted meanwhile: what the lists lack is gone, each in its
/// namespace, and what stays was never away.
#[test]
fn list_of_one_namespace_takes_nothing_of_another() {
    let endpoints = Endpoint::greeting_group(3);
    let api = ApiServer::start();
    put(&api, &Slice::ready("web-1", [&endpoints[0]]));
    put(&api, &Slice::ready("web-2", [&endpoints[1]]));
    put_in_edge(&api, &Slice::ready("web-1", [&endpoints[2]]));
    let proxy = follower(&api);
    proxy.wait_until_ready();
    api.wait_for_streams(ENDPOINT_SLICES, 2);
    let (clients, before) = (Clients::of(&proxy), lists(&api));
    api.streams(ENDPOINT_SLICES).hold();
    remove(&api, "web-2");
    api.compact();
    api.streams(ENDPOINT_SLICES).expire();
    until("both namespaces are listed again", || lists(&api) >= before + 2);
    api.wait_for_streams(ENDPOINT_SLICES, 2);
    proxy.wait_for_eligible_to_be([&endpoints[0], &endpoints[2]]);
    proxy.expect_all_on(&endpoints[0]);
    expect_edge_on(&proxy, &endpoints[2]);
    clients.finish();
}

/// B3: one namespace that may not be read any more changes nothing of the other, nor of what is known of it.
#[test]
fn trouble_with_one_namespace_is_no_trouble_for_another() {
    let endpoints = Endpoint::greeting_group(3);
    let api = ApiServer::start();
    put(&api, &Slice::ready("web-1", [&endpoints[0]]));
    put_in_edge(&api, &Slice::ready("web-1", [&endpoints[2]]));
    let proxy = follower(&api);
    proxy.wait_until_ready();
    api.wait_for_streams(ENDPOINT_SLICES, 2);
    api.fail_always(Calls::about(ENDPOINT_SLICES).in_namespace("edge"), Fault::Refuse(403));
    api.streams(ENDPOINT_SLICES).cut();
    until("the status says so", || super::trouble(&proxy).is_some_and(|why| why.contains("endpointslices")));
    put(&api, &Slice::ready("web-1", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[1], &endpoints[2]]);
    proxy.expect_all_on(&endpoints[1]);
    expect_edge_on(&proxy, &endpoints[2]);
}
