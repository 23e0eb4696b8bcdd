//! A19, A26: this node's zone comes from its Node object, and what it chooses concerns new flows alone. A25: a node that
//! shuts down.

use serde_json::{Value, json};
use tidegate_tests::{
    apiserver::{ApiServer, NODES},
    support::{Endpoint, Slice},
};

use super::{following, put, with_ready};

fn node(zone: Option<&str>) -> Value {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "node-1", "labels": {"kubernetes.io/hostname": "node-1"}},
    });
    if let Some(zone) = zone {
        node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(zone);
    }
    node
}

/// One endpoint is hinted for zone-a, the other for zone-b.
fn hinted(endpoints: &[Endpoint]) -> Slice {
    endpoints.iter().zip(["zone-a", "zone-b"]).fold(Slice::named("web-1"), |slice, (endpoint, zone)| {
        slice.with_port(endpoint.address().port()).with(endpoint.in_slice().ready().for_zone(zone))
    })
}

/// A19: a node without a zone label has no use for hints: every ready endpoint takes flows.
#[test]
fn node_without_a_zone_label_ignores_hints() {
    let endpoints = Endpoint::greeting_group(2);
    let api = ApiServer::start();
    api.put(&node(None));
    put(&api, &hinted(&endpoints));
    let proxy = following(&api).environment("NODE_NAME", "node-1").start();
    proxy.wait_for_eligible(2);
    assert_eq!(proxy.spread(16).len(), 2);
}

/// A19, A26: the node gets its zone's label, loses it and gets it back: new flows follow, and those on the endpoint
/// that is excluded stay.
#[test]
fn zone_label_chooses_for_new_flows_alone() {
    let endpoints = Endpoint::greeting_group(2);
    let api = ApiServer::start();
    api.put(&node(Some("zone-a")));
    put(&api, &hinted(&endpoints));
    let proxy = following(&api).environment("NODE_NAME", "node-1").start();
    // The zone is known before the first client is taken in.
    proxy.expect_all_on(&endpoints[0]);
    api.put(&node(None));
    proxy.wait_for_eligible(2);
    let mut flows: Vec<_> = (0..16).map(|_| proxy.connect_greeted()).collect();
    assert!(flows.iter().any(|(_, endpoint)| *endpoint == endpoints[1].address()));
    api.put(&node(Some("zone-a")));
    proxy.wait_for_eligible_to_be([&endpoints[0]]);
    proxy.expect_all_on(&endpoints[0]);
    flows.iter_mut().for_each(|(flow, _)| flow.exchange(b"still here"));
    // A node that is deleted is no reason to move anybody.
    api.remove(NODES, "", "node-1");
    flows.iter_mut().for_each(|(flow, _)| flow.exchange(b"still here"));
}

/// A25, C5: a node shuts down gracefully. Its endpoint stays ready in the slice, and never terminates, while its process
/// takes no connection any more; some time later it vanishes. New flows are connected elsewhere from the first one on,
/// and flows that exist are left alone.
#[test]
fn endpoint_of_a_node_that_shuts_down_costs_no_client() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy) = with_ready(&endpoints);
    let mut flows: Vec<_> = (0..16).map(|_| proxy.connect_greeted()).collect();
    assert!(flows.iter().any(|(_, endpoint)| *endpoint == endpoints[0].address()));
    endpoints[0].close();
    proxy.expect_all_on(&endpoints[1]);
    put(&api, &Slice::ready("web-1", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    proxy.expect_all_on(&endpoints[1]);
    flows.iter_mut().for_each(|(flow, _)| flow.exchange(b"still here"));
}
