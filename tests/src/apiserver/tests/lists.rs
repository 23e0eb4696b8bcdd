//! Lists: pages, resourceVersions, selectors, forms.

use super::{super::NODES, SLICES, WEB, names, slice, with_slices};
use serde_json::json;

#[test]
fn pages_are_of_one_state() {
    let (server, client) = with_slices(5);
    let first = client.get(&format!("{SLICES}?limit=2")).json();
    assert_eq!(names(&first), ["web-0", "web-1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    // What happens between two pages is not in them.
    server.remove(super::ENDPOINT_SLICES, "default", "web-3");
    server.put(&slice("web-2a", "10.0.1.1"));
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = client.get(&format!("{SLICES}?limit=2&continue={token}")).json();
    assert_eq!(names(&second), ["web-2", "web-3"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = client.get(&format!("{SLICES}?limit=2&continue={token}")).json();
    assert_eq!(names(&third), ["web-4"]);
    assert!(third["metadata"]["continue"].is_null());
    assert_eq!(names(&client.get(SLICES).json()), ["web-0", "web-1", "web-2", "web-2a", "web-4"]);
}

#[test]
fn pages_of_a_forgotten_state_are_gone() {
    let (server, client) = with_slices(3);
    let first = client.get(&format!("{SLICES}?limit=2")).json();
    server.compact();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let gone = client.get(&format!("{SLICES}?limit=2&continue={token}"));
    assert_eq!((gone.status, gone.json()["reason"].as_str()), (410, Some("Expired")));
}

#[test]
fn resource_versions_choose_the_state() {
    let (server, client) = with_slices(1);
    let old = server.revision();
    server.put(&slice("web-1", "10.0.0.1"));
    assert_eq!(names(&client.get(&format!("{SLICES}?resourceVersion=0")).json()).len(), 2);
    let exact = format!("{SLICES}?resourceVersion={old}&resourceVersionMatch=Exact");
    let list = client.get(&exact).json();
    assert_eq!(
        (names(&list), &list["metadata"]["resourceVersion"]),
        (vec!["web-0".into()], &json!(old.to_string()))
    );
    let newer = format!("{SLICES}?resourceVersion={old}&resourceVersionMatch=NotOlderThan");
    assert_eq!(names(&client.get(&newer).json()).len(), 2);
    let ahead = client.get(&format!("{SLICES}?resourceVersion={}", server.revision() + 1));
    assert_eq!(ahead.status, 504);
    assert_eq!(ahead.json()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    // The watch cache's answer has no pages.
    assert_eq!(names(&client.get(&format!("{SLICES}?resourceVersion=0&limit=1")).json()).len(), 2);
    server.compact();
    assert_eq!(client.get(&exact).status, 410);
    assert_eq!(client.get(&format!("{SLICES}?resourceVersionMatch=Exact")).status, 422);
}

#[test]
fn selectors_and_namespaces_choose_objects() {
    let (server, client) = with_slices(2);
    let mut other = slice("other", "10.0.2.1");
    other["metadata"]["namespace"] = json!("kube-system");
    other["metadata"]["labels"] = json!({"kubernetes.io/service-name": "dns", "tier": "a"});
    server.put(&other);
    let of = |query: &str| names(&client.get(&format!("{SLICES}?{query}")).json());
    assert_eq!(of("labelSelector=kubernetes.io/service-name%3Ddns"), ["other"]);
    assert_eq!(of("labelSelector=kubernetes.io/service-name!%3Ddns"), ["web-0", "web-1"]);
    assert_eq!(of("labelSelector=tier"), ["other"]);
    assert_eq!(of("labelSelector=!tier"), ["web-0", "web-1"]);
    assert_eq!(of("labelSelector=tier%20in%20(a,b),kubernetes.io/service-name"), ["other"]);
    assert_eq!(of("labelSelector=tier%20notin%20(a,b)"), ["web-0", "web-1"]);
    assert_eq!(of("fieldSelector=metadata.name%3Dweb-1"), ["web-1"]);
    assert_eq!(of("fieldSelector=metadata.namespace!%3Ddefault"), ["other"]);
    assert_eq!(names(&client.get(WEB).json()), ["web-0", "web-1"]);
    assert_eq!(client.get(&format!("{SLICES}?labelSelector=a%20b")).status, 400);
}

#[test]
fn metadata_alone_can_be_asked_for() {
    let (server, mut client) = with_slices(0);
    server.put(&json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}, "spec": {"podCIDR": "10.0.0.0/24"},
    }));
    client.accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = client.get("/api/v1/nodes").json();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(
        (&list["items"][0]["metadata"]["name"], &list["items"][0]["spec"]),
        (&json!("node-a"), &json!(null))
    );
    assert_eq!(server.objects(NODES)[0]["spec"]["podCIDR"], "10.0.0.0/24");
}
