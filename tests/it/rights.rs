//! The rights that deploy/kubernetes gives the proxy are enough for what it asks an API server for.

use serde_json::json;
use tidegate_tests::{
    apiserver::{ApiServer, ENDPOINT_SLICES, NODES, Verb},
    rights::Rights,
    support::{Endpoint, Slice, until},
};

use crate::setup;

/// A start, clients, a change of the slices, a watch that has expired and is listed anew.
#[test]
fn proxy_asks_for_nothing_that_its_rules_do_not_grant() {
    let endpoints = Endpoint::greeting_group(2);
    let api = ApiServer::start();
    api.put(&json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "node-1", "labels": {"topology.kubernetes.io/zone": "zone-a"}},
    }));
    api.put(&Slice::ready("web-1", [&endpoints[0]]).json());
    let setup = setup();
    let kubeconfig = api.write_kubeconfig(setup.directory());
    let proxy = setup
        .config(|config| config.set("source", json!({"kubernetes": {"kubeconfig": kubeconfig}})))
        .environment("NODE_NAME", "node-1")
        .start();
    proxy.expect_all_on(&endpoints[0]);
    api.put(&Slice::ready("web-2", [&endpoints[1]]).json());
    proxy.wait_for_eligible(2);
    let lists = api.calls_of(Verb::List, ENDPOINT_SLICES).len();
    api.compact();
    api.streams(ENDPOINT_SLICES).expire();
    until("the slices are listed anew", || api.calls_of(Verb::List, ENDPOINT_SLICES).len() > lists);
    api.wait_for_streams(ENDPOINT_SLICES, 1);
    assert!(api.call_count() > 4);
    assert!(!api.calls_of(Verb::Watch, NODES).is_empty(), "it follows its node");
    let missing = Rights::of_the_deployment().missing(&api.calls());
    assert!(missing.is_empty(), "deploy/kubernetes/rbac.yaml does not grant:\n{missing:#?}");
}
