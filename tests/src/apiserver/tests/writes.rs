//! Writes: conflicts, the status subresource, patches, server-side apply, deletion, validation.

use serde_json::{Value, json};

use super::{
    super::{LEASES, SERVICES},
    WEB, service, slice, with_slices,
};

const SERVICE: &str = "/api/v1/namespaces/default/services";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

fn lease(holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "leader", "namespace": "default"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-11-21T19:04:55.000000Z"},
    })
}

fn ingress(ip: &str) -> Value {
    json!({"status": {"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "Proxy"}]}}})
}

#[test]
fn of_two_writers_one_has_a_conflict() {
    let (server, client) = with_slices(0);
    let made = client.post(LEASE, &lease("a"));
    assert_eq!(made.status, 201);
    assert_eq!(client.post(LEASE, &lease("b")).json()["reason"], "AlreadyExists");
    let (mut first, mut second) = (made.json(), made.json());
    first["spec"]["holderIdentity"] = json!("first");
    second["spec"]["holderIdentity"] = json!("second");
    let path = format!("{LEASE}/leader");
    assert_eq!(client.put(&path, &first).status, 200);
    let conflict = client.put(&path, &second);
    assert_eq!((conflict.status, conflict.json()["reason"].as_str()), (409, Some("Conflict")));
    assert_eq!(client.patch(&path, "merge-patch+json", &second).status, 409);
    assert_eq!(server.get(LEASES, "default", "leader").unwrap()["spec"]["holderIdentity"], "first");
    // A lease is never updated blindly.
    assert_eq!(client.put(&path, &lease("b")).status, 422);
    assert_eq!(
        client.patch(&path, "merge-patch+json", &json!({"spec": {"holderIdentity": "c"}})).status,
        200
    );
    assert_eq!(server.get(LEASES, "default", "leader").unwrap()["spec"]["leaseDurationSeconds"], 15);
}

#[test]
fn status_and_the_rest_are_written_apart() {
    let (server, client) = with_slices(0);
    let mut wanted = service("web");
    wanted["status"] = ingress("192.0.2.1")["status"].clone();
    client.post(SERVICE, &wanted);
    let path = format!("{SERVICE}/web");
    let read = || server.get(SERVICES, "default", "web").unwrap();
    assert_eq!(read()["status"], json!({"loadBalancer": {}}));
    let status = format!("{path}/status");
    assert_eq!(client.patch(&status, "merge-patch+json", &ingress("192.0.2.1")).status, 200);
    assert_eq!(read()["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.1");
    let both =
        json!({"spec": {"sessionAffinity": "ClientIP"}, "status": {"loadBalancer": {"ingress": null}}});
    client.patch(&path, "merge-patch+json", &both);
    assert_eq!(read()["spec"]["sessionAffinity"], "ClientIP");
    assert_eq!(read()["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.1");
    client.patch(&status, "merge-patch+json", &both);
    assert!(read()["status"]["loadBalancer"]["ingress"].is_null());
    // A write that changes nothing is none.
    let before = server.revision();
    assert_eq!(client.put(&path, &read()).status, 200);
    assert_eq!(server.revision(), before);
}

#[test]
fn conditions_are_merged_by_their_type() {
    let (server, client) = with_slices(0);
    client.post(SERVICE, &service("web"));
    let status = format!("{SERVICE}/web/status");
    let condition =
        |of: &str, value: &str| json!({"status": {"conditions": [{"type": of, "status": value}]}});
    client.patch(&status, "strategic-merge-patch+json", &condition("A", "True"));
    client.patch(&status, "strategic-merge-patch+json", &condition("B", "True"));
    client.patch(&status, "strategic-merge-patch+json", &condition("A", "False"));
    let conditions = server.get(SERVICES, "default", "web").unwrap()["status"]["conditions"].clone();
    let wanted = json!([{"type": "A", "status": "False"}, {"type": "B", "status": "True"}]);
    assert_eq!(conditions, wanted);
}

#[test]
fn applied_fields_have_an_owner() {
    let (server, client) = with_slices(0);
    let annotated = |annotations: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "default", "annotations": annotations},
        })
    };
    client.post(SERVICE, &service("web"));
    let apply = |manager: &str, body: &Value| {
        client.patch(&format!("{SERVICE}/web?fieldManager={manager}"), "apply-patch+yaml", body)
    };
    assert_eq!(apply("one", &annotated(json!({"a": "1", "b": "1"}))).status, 200);
    let conflict = apply("two", &annotated(json!({"b": "2"})));
    assert_eq!(conflict.status, 409);
    assert_eq!(conflict.json()["details"]["causes"][0]["field"], ".metadata.annotations.b");
    assert_eq!(apply("two&force=true", &annotated(json!({"b": "2", "c": "2"}))).status, 200);
    // What its only owner leaves out goes; what somebody else owns stays.
    assert_eq!(apply("one", &annotated(json!({}))).status, 200);
    let annotations = server.get(SERVICES, "default", "web").unwrap()["metadata"]["annotations"].clone();
    assert_eq!(annotations, json!({"b": "2", "c": "2"}));
    assert_eq!(apply("", &annotated(json!({}))).status, 400);
}

#[test]
fn applying_creates_and_the_status_is_applied_apart() {
    let (server, client) = with_slices(0);
    let path = format!("{SERVICE}/web");
    let body = service("web");
    assert_eq!(client.patch(&format!("{path}?fieldManager=one"), "apply-patch+yaml", &body).status, 201);
    let mut status = ingress("192.0.2.1");
    let of_status = format!("{path}/status?fieldManager=one&force=true");
    assert_eq!(client.patch(&of_status, "apply-patch+yaml", &status).status, 200);
    let read = || server.get(SERVICES, "default", "web").unwrap();
    assert_eq!(read()["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.1");
    assert_eq!(read()["spec"], body_with_defaults(&read()["spec"]));
    status["status"] = json!({});
    assert_eq!(client.patch(&of_status, "apply-patch+yaml", &status).status, 200);
    assert!(read()["status"]["loadBalancer"]["ingress"].is_null());
    let missing = format!("{SERVICE}/other/status?fieldManager=one");
    assert_eq!(client.patch(&missing, "apply-patch+yaml", &ingress("192.0.2.1")).status, 404);
}

/// The spec of [`service`] with what the server fills in.
fn body_with_defaults(_: &Value) -> Value {
    json!({
        "type": "LoadBalancer",
        "sessionAffinity": "None",
        "externalTrafficPolicy": "Cluster",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}],
    })
}

#[test]
fn finalizers_hold_a_deletion_up() {
    let (server, client) = with_slices(0);
    let mut held = service("web");
    held["metadata"]["finalizers"] = json!(["service.kubernetes.io/load-balancer-cleanup"]);
    client.post(SERVICE, &held);
    let path = format!("{SERVICE}/web");
    assert!(client.delete(&path).json()["metadata"]["deletionTimestamp"].is_string());
    assert!(server.get(SERVICES, "default", "web").is_some());
    client.patch(&path, "merge-patch+json", &json!({"metadata": {"finalizers": []}}));
    assert_eq!(server.get(SERVICES, "default", "web"), None);
    assert_eq!(client.delete(&path).status, 404);
    // A namespace takes everything with it.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}});
    let mut inside = slice("web-0", "10.0.0.1");
    inside["metadata"]["namespace"] = json!("mine");
    let mine = WEB.replace("default", "mine");
    assert_eq!(client.post(&mine, &inside).status, 404);
    client.post("/api/v1/namespaces", &namespace);
    assert_eq!(client.post(&mine, &inside).status, 201);
    client.delete("/api/v1/namespaces/mine");
    assert_eq!(client.get(&format!("{mine}/web-0")).status, 404);
}

#[test]
fn what_the_api_server_would_not_take_is_refused() {
    let (_server, client) = with_slices(0);
    let loopback = client.post(WEB, &slice("web-0", "127.0.0.1"));
    assert_eq!(loopback.status, 422);
    assert_eq!(
        loopback.json()["message"],
        "EndpointSlice.discovery.k8s.io \"web-0\" is invalid: endpoints[0].addresses[0]: Invalid value: \"127.0.0.1\": \
         may not be in the loopback range (127.0.0.0/8, ::1/128)"
    );
    let mut imprecise = lease("a");
    imprecise["spec"]["renewTime"] = json!("2026-11-21T19:04:55Z");
    assert_eq!(client.post(LEASE, &imprecise).status, 422);
    client.post(SERVICE, &service("web"));
    let status = format!("{SERVICE}/web/status");
    assert_eq!(client.patch(&status, "merge-patch+json", &ingress("no address")).status, 422);
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": "web.1", "namespace": "default"},
        "eventTime": "2026-11-21T19:04:55.000000Z", "reportingController": "tidegate.io/proxy",
        "reportingInstance": "a", "action": "Listen", "reason": "PortConflict", "type": "Warning",
        "regarding": {"kind": "Service", "namespace": "default", "name": "web"},
    });
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    assert_eq!(client.post(events, &event).status, 201);
    let mut incomplete = event;
    incomplete["metadata"]["name"] = json!("web.2");
    incomplete["reportingController"] = json!("");
    assert_eq!(client.post(events, &incomplete).status, 422);
    assert_eq!(client.patch(&status, "json-patch+json", &json!([])).status, 415);
}
