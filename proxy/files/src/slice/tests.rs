use serde_json::json;

use super::*;

/// A slice of `default/web` with these ports and endpoints.
fn object(ports: &Value, endpoints: &Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": "web-1", "namespace": "default", "generation": 7,
                      "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut object = object(&json!([{ "name": "http", "port": 80 }]), &json!([]));
    object[field] = value;
    object
}

fn without(field: &str) -> Value {
    let mut object = with("unused", Value::Null);
    object.as_object_mut().unwrap().remove(field);
    object
}

#[test]
fn everything_the_table_needs_is_taken() {
    let slice = from_json(&object(
        &json!([{ "name": "http", "protocol": "TCP", "port": 8080, "appProtocol": "http" }]),
        &json!([{
            "addresses": ["10.244.2.2", "10.244.2.3"],
            "conditions": { "ready": false, "serving": true, "terminating": true },
            "targetRef": { "kind": "Pod", "namespace": "default", "name": "web-a", "uid": "u-1" },
            "nodeName": "node-b", "zone": "zone-b", "hostname": "web-a",
            "hints": { "forZones": [{ "name": "zone-b" }, { "name": "zone-c" }], "forNodes": [{ "name": "node-b" }] }
        }]),
    ))
    .unwrap();
    assert_eq!(slice.name.to_string(), "default/web-1");
    assert_eq!(slice.service.as_ref().unwrap().to_string(), "default/web");
    assert_eq!((slice.generation, slice.is_fqdn), (7, false));
    assert_eq!((slice.ignored_ports, slice.ignored_endpoints), (0, 0));
    assert_eq!(slice.ports, [SlicePort { name: "http".into(), number: 8080 }]);
    assert_eq!(
        slice.endpoints,
        [SliceEndpoint {
            address: [10, 244, 2, 2].into(),
            conditions: Conditions { ready: false, serving: true, terminating: true },
            pod_uid: Some("u-1".into()),
            pod_name: Some("default/web-a".into()),
            node: Some("node-b".into()),
            zone: Some("zone-b".into()),
            zone_hints: vec!["zone-b".into(), "zone-c".into()],
            node_hints: vec!["node-b".into()],
        }]
    );
}

/// A1, A2, A3: absent conditions have the defaults that Kubernetes documents, whether the field or its value lacks.
#[test]
fn absent_conditions_have_their_defaults() {
    let conditions = |conditions: Value| {
        let endpoint = json!([{ "addresses": ["10.0.0.1"], "conditions": conditions }]);
        from_json(&object(&json!(null), &endpoint)).unwrap().endpoints[0].conditions
    };
    let of = |ready, serving, terminating| Conditions { ready, serving, terminating };
    assert_eq!(conditions(json!(null)), of(true, true, false));
    assert_eq!(conditions(json!({})), of(true, true, false));
    assert_eq!(
        conditions(json!({ "ready": null, "serving": null, "terminating": null })),
        of(true, true, false)
    );
    assert_eq!(conditions(json!({ "ready": false })), of(false, false, false));
    assert_eq!(conditions(json!({ "ready": true, "terminating": true })), of(true, true, true));
    assert_eq!(conditions(json!({ "ready": false, "serving": true })), of(false, true, false));
}

/// A12: a placeholder slice says "no endpoints" and is no error.
#[test]
fn a_placeholder_says_no_endpoints() {
    for (ports, endpoints) in [(json!(null), json!(null)), (json!([]), json!([])), (json!(null), json!([]))] {
        let slice = from_json(&object(&ports, &endpoints)).unwrap();
        assert!(slice.ports.is_empty() && slice.endpoints.is_empty());
    }
    assert!(from_json(&without("ports")).unwrap().ports.is_empty());
}

/// A13: ports that no flow can use are counted, the others work.
#[test]
fn unusable_ports_are_counted() {
    let slice = from_json(&object(
        &json!([
            { "name": "nil" },
            { "name": "null", "port": null },
            { "name": "zero", "port": 0 },
            { "name": "negative", "port": -1 },
            { "name": "large", "port": 65536 },
            { "name": "udp", "protocol": "UDP", "port": 53 },
            { "name": "sctp", "protocol": "SCTP", "port": 53 },
            { "port": 1 },
            { "name": null, "protocol": null, "port": 2 },
            { "name": "", "protocol": "TCP", "port": 65535 },
        ]),
        &json!([]),
    ))
    .unwrap();
    let ports: Vec<_> = slice.ports.iter().map(|port| (&*port.name, port.number)).collect();
    assert_eq!(ports, [("", 1), ("", 2), ("", 65535)]);
    assert_eq!(slice.ignored_ports, 7);
}

/// A13: endpoints without a usable first address are counted, the others work.
#[test]
fn unusable_addresses_are_counted() {
    let endpoints = |addresses: &[&str]| -> Value {
        addresses.iter().map(|address| json!({ "addresses": [address] })).collect()
    };
    let bad = [
        "",
        "10.0.0",
        "10.0.0.256",
        "010.0.0.1",
        "10.0.0.1:80",
        "web.example",
        "2001:db8::1",
        "0.0.0.0",
        "224.0.0.1",
        "::ffff:10.0.0.1",
    ];
    let mut list = endpoints(&bad);
    list.as_array_mut().unwrap().extend([
        json!({}),
        json!({ "addresses": null }),
        json!({ "addresses": [] }),
        json!({ "addresses": ["10.0.0.1"] }),
    ]);
    let slice = from_json(&object(&json!(null), &list)).unwrap();
    assert_eq!((slice.endpoints.len(), slice.ignored_endpoints as usize), (1, bad.len() + 3));

    let mut six = object(
        &json!(null),
        &endpoints(&["2001:db8::1", "10.0.0.1", "::", "ff02::1", "::ffff:10.0.0.1", "fe80::1%eth0"]),
    );
    six["addressType"] = json!("IPv6");
    let slice = from_json(&six).unwrap();
    assert_eq!((slice.endpoints.len(), slice.ignored_endpoints), (1, 5));
}

/// A13, S6: a slice of host names is marked and has no endpoints.
#[test]
fn a_slice_of_host_names_is_marked() {
    let mut object =
        object(&json!(null), &json!([{ "addresses": ["web.example"] }, { "addresses": ["10.0.0.1"] }]));
    object["addressType"] = json!("FQDN");
    let slice = from_json(&object).unwrap();
    assert!(slice.is_fqdn && slice.endpoints.is_empty());
    assert_eq!(slice.ignored_endpoints, 2);
}

/// A13, S1: a slice without the label has no service.
#[test]
fn a_slice_without_the_label_has_no_service() {
    for metadata in [
        json!({ "name": "a" }),
        json!({ "name": "a", "labels": null }),
        json!({ "name": "a", "labels": {} }),
        json!({ "name": "a", "labels": { "kubernetes.io/service-name": "" } }),
        json!({ "name": "a", "labels": { "app": "web" }, "namespace": "", "generation": -1 }),
    ] {
        let slice = from_json(&with("metadata", metadata)).unwrap();
        assert_eq!(slice.service, None);
        assert_eq!(slice.name.to_string(), "default/a");
    }
}

#[test]
fn what_every_slice_has_must_be_there() {
    let error = |object: &Value| from_json(object).unwrap_err().to_string();
    let texts = [
        error(&json!("text")),
        error(&without("metadata")),
        error(&with("metadata", json!({ "namespace": "default" }))),
        error(&with("metadata", json!({ "name": "" }))),
        error(&with("metadata", json!({ "name": 3 }))),
        error(&without("addressType")),
        error(&with("addressType", json!(""))),
        error(&with("addressType", json!("IPv5"))),
        error(&without("endpoints")),
        error(&with("endpoints", json!({}))),
        error(&with("endpoints", json!([{ "addresses": "10.0.0.1" }]))),
        error(&with("ports", json!([{ "port": 1 }, { "port": "http" }]))),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn the_api_servers_limits_are_kept() {
    let endpoints = |count: usize| vec![json!({ "addresses": ["10.0.0.1"] }); count];
    assert_eq!(from_json(&with("endpoints", endpoints(1000).into())).unwrap().endpoints.len(), 1000);
    let error = from_json(&with("endpoints", endpoints(1001).into())).unwrap_err();
    assert!(error.to_string().contains("1001 endpoints are more than the 1000"), "{error}");
    assert_eq!(from_json(&with("ports", vec![json!({ "port": 1 }); 100].into())).unwrap().ports.len(), 100);
    assert!(from_json(&with("ports", vec![json!({ "port": 1 }); 101].into())).is_err());
}

#[test]
fn empty_texts_are_absent_ones() {
    let endpoint = json!([{
        "addresses": ["10.0.0.1"], "nodeName": "", "zone": "", "targetRef": { "uid": "", "name": "" }, "hints": {}
    }]);
    let slice = from_json(&object(&json!(null), &endpoint)).unwrap();
    let endpoint = &slice.endpoints[0];
    assert_eq!((&endpoint.node, &endpoint.zone), (&None, &None));
    assert_eq!((&endpoint.pod_uid, &endpoint.pod_name), (&None, &None));
    assert!(endpoint.zone_hints.is_empty() && endpoint.node_hints.is_empty());
}
