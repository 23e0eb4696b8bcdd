use serde_json::{Value, json};

use super::*;
use crate::{intern::Intern, node, service};

const CLASS: &str = "tidegate.io/tidegate";

fn rules() -> Rules {
    Rules { class: Some(CLASS.into()), addresses: Vec::new(), node: Some("here".into()) }
}

/// A Service of the class, as old as its day, with these changes.
fn service(name: &str, day: u32, ports: &Value, changes: &Value) -> Value {
    let mut spec = json!({
        "type": "LoadBalancer", "loadBalancerClass": CLASS, "ipFamilies": ["IPv4"], "ports": ports,
        "externalTrafficPolicy": "Cluster", "sessionAffinity": "None",
    });
    for (field, value) in changes.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "creationTimestamp": format!("2026-01-{day:02}T00:00:00Z")},
        "spec": spec,
    })
}

fn view(services: &[Value]) -> View {
    let mut view = View::default();
    let mut intern = Intern::default();
    for object in services {
        let read = service::read(&object.to_string(), &mut intern).expect("a Service");
        view.services.insert(ServiceName::new(read.key.namespace, read.key.name), read.object);
    }
    let here = json!({"metadata": {"name": "here"}, "status": {"addresses": [
        {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "fd00::1"},
        {"type": "ExternalIP", "address": "203.0.113.1"}]}});
    let read = node::read(&here.to_string(), &mut intern).expect("a node");
    view.nodes.insert(read.key.name, read.object);
    view
}

/// What is planned, in short.
fn planned(services: &[Value], taken: &[&str]) -> Vec<String> {
    let taken: Vec<_> = taken.iter().map(|address| address.parse().expect("an address")).collect();
    let plan = plan(&view(services), &rules(), &taken);
    let listeners = plan.listeners.iter().map(|it| format!("{} {} -> {}", it.name, it.address, it.port));
    let problems = plan
        .problems
        .iter()
        .map(|it| format!("! {} {} {}: {}", it.service, it.port.unwrap_or_default(), it.reason, it.message));
    listeners.chain(problems).collect()
}

fn http() -> Value {
    json!([{"name": "http", "port": 80, "targetPort": "web"}])
}

#[test]
fn a_service_of_the_class_gets_a_listener_for_each_port() {
    let ports = json!([{"name": "http", "port": 80}, {"name": "https", "port": 443, "protocol": "TCP"}]);
    assert_eq!(
        planned(&[service("web", 1, &ports, &json!({}))], &[]),
        [
            "default/web:80 10.0.0.1:80 -> default/web:http",
            "default/web:443 10.0.0.1:443 -> default/web:https"
        ]
    );
}

/// A24.
#[test]
fn services_of_others_are_left_alone() {
    for changes in [
        json!({"loadBalancerClass": "example.com/other"}),
        json!({"loadBalancerClass": null}),
        json!({"type": "ClusterIP"}),
    ] {
        assert_eq!(planned(&[service("web", 1, &http(), &changes)], &[]), [""; 0], "{changes}");
    }
    let mut deleting = service("web", 1, &http(), &json!({}));
    deleting["metadata"]["deletionTimestamp"] = json!("2026-02-01T00:00:00Z");
    assert_eq!(planned(&[deleting], &[]), [""; 0]);
    let none = Rules { class: None, ..rules() };
    assert_eq!(plan(&view(&[service("web", 1, &http(), &json!({}))]), &none, &[]), Plan::default());
}

#[test]
fn families_choose_the_addresses() {
    let dual = json!({"ipFamilies": ["IPv6", "IPv4"]});
    assert_eq!(
        planned(&[service("web", 1, &http(), &dual)], &[]),
        [
            "default/web:80@10.0.0.1 10.0.0.1:80 -> default/web:http",
            "default/web:80@fd00::1 [fd00::1]:80 -> default/web:http"
        ]
    );
    let six = json!({"ipFamilies": ["IPv6"]});
    assert_eq!(
        planned(&[service("web", 1, &http(), &six)], &[]),
        ["default/web:80 [fd00::1]:80 -> default/web:http"]
    );
}

#[test]
fn the_older_of_two_keeps_the_port_and_names_decide_between_equals() {
    let services = [
        service("b", 2, &http(), &json!({})),
        service("a", 3, &http(), &json!({})),
        service("d", 2, &http(), &json!({})),
    ];
    let expected = [
        "default/b:80 10.0.0.1:80 -> default/b:http",
        "! default/d 80 PortConflict: 10.0.0.1:80 is taken by the older Service default/b",
        "! default/a 80 PortConflict: 10.0.0.1:80 is taken by the older Service default/b",
    ];
    assert_eq!(planned(&services, &[]), expected);
}

#[test]
fn a_listener_of_the_configuration_keeps_its_port() {
    for taken in ["10.0.0.1:80", "0.0.0.0:80", "[::]:80"] {
        let planned = planned(&[service("web", 1, &http(), &json!({}))], &[taken]);
        let expected = format!(
            "! default/web 80 PortInUse: 10.0.0.1:80 is taken by a listener of the configuration on {taken}"
        );
        assert_eq!(planned, [expected]);
    }
    assert_eq!(planned(&[service("web", 1, &http(), &json!({}))], &["10.0.0.1:81", "10.0.0.2:80"]).len(), 1);
}

#[test]
fn what_is_not_tcp_is_said_for_its_port_alone() {
    let ports = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]);
    assert_eq!(
        planned(&[service("dns", 1, &ports, &json!({}))], &[]),
        [
            "default/dns:53 10.0.0.1:53 -> default/dns:dns-tcp",
            "! default/dns 53 ProtocolNotSupported: port 53 is UDP: only TCP is served"
        ]
    );
}

#[test]
fn a_hundred_ports_are_a_hundred_listeners() {
    let ports: Vec<_> = (1..=100).map(|port| json!({"name": format!("p{port}"), "port": port})).collect();
    assert_eq!(planned(&[service("many", 1, &json!(ports), &json!({}))], &[]).len(), 100);
}

#[test]
fn without_an_address_the_remedy_is_named() {
    let lost = Rules { node: None, ..rules() };
    let plan = plan(&view(&[service("web", 1, &http(), &json!({}))]), &lost, &[]);
    assert!(plan.listeners.is_empty());
    assert_eq!(plan.problems[0].reason, "NoAddress");
    let given = Rules { node: None, addresses: vec!["192.0.2.1".parse().expect("an address")], ..rules() };
    let plan = super::plan(&view(&[service("web", 1, &http(), &json!({}))]), &given, &[]);
    assert_eq!(plan.listeners[0].address.to_string(), "192.0.2.1:80");
}

/// A22.
#[test]
fn ranges_that_mean_nothing_are_said_and_let_nobody_in() {
    let with = |ranges: Value| {
        let services = [service("web", 1, &http(), &json!({"loadBalancerSourceRanges": ranges}))];
        let name = ServiceName::new("default", "web");
        let ranges = treatment(&view(&services), &name, true).expect("it is known").source_ranges;
        let allows = ranges.is_none_or(|ranges| ranges.allows("10.0.0.9".parse().expect("an address")));
        (allows, planned(&services, &[]).len() - 1)
    };
    assert_eq!(with(json!([])), (true, 0));
    assert_eq!(with(json!([" "])), (true, 0));
    assert_eq!(with(json!([" 10.0.0.0/24 ", "fd00::/8"])), (true, 0));
    assert_eq!(with(json!(["192.0.2.0/24", "10.0.0/8"])), (false, 1));
    assert_eq!(with(json!(["10.0.0/8"])), (false, 1));
}

#[test]
fn policies_and_affinity_are_those_of_the_traffic() {
    let name = ServiceName::new("default", "web");
    let changes = json!({
        "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster", "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}, "loadBalancerSourceRanges": ["10.0.0.0/8"],
    });
    let mut object = service("web", 1, &http(), &changes);
    object["metadata"]["annotations"] = json!({"tidegate.io/policy": "maglev", "other.io/x": "y"});
    let view = view(&[object]);
    let external = treatment(&view, &name, true).expect("it is known");
    assert!(external.local_only && external.source_ranges.is_some());
    assert_eq!(external.affinity, Some(Duration::from_secs(600)));
    assert_eq!(external.overrides, [("policy".to_owned(), "maglev".to_owned())]);
    let internal = treatment(&view, &name, false).expect("it is known");
    assert!(!internal.local_only && internal.source_ranges.is_none());
    assert_eq!(treatment(&view, &ServiceName::new("default", "other"), true), None);
}
