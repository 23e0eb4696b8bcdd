//! Some namespaces instead of all: each has a list and a watch of its own, and none speaks for another.

use serde_json::json;
use tidegate_tests::{
    apiserver::{ApiServer, Call, Calls, ENDPOINT_SLICES, Fault, Verb},
    support::{Connection, Endpoint, Proxy, Slice, until},
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
