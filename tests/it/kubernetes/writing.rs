//! What is written to the API server: the status of Services and Events, by one instance of all.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_tests::{
    apiserver::{ApiServer, Call, LEASES, NAMESPACES, NEW_EVENTS, SERVICES, Verb},
    rights::Rights,
    support::{Endpoint, Proxy, Slice, until},
};

use super::{
    put,
    services::{PORT, own_address, service, serving, wait_for_listener},
};

/// Where the instances are.
pub(super) const SYSTEM: &str = "tidegate-system";

/// A node that is Ready, or not, with an internal address.
fn node(name: &str, ready: bool, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "status": {
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            "addresses": [{"type": "InternalIP", "address": address}],
        },
    })
}

/// A control plane with two nodes that have a ready instance each, and a Service `web` with an endpoint.
pub(super) fn control_plane(endpoint: &Endpoint) -> ApiServer {
    let api = ApiServer::start();
    api.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}));
    api.put(&node("node-1", true, "192.0.2.1"));
    api.put(&node("node-2", true, "192.0.2.2"));
    let instance = |node: &str, address: &str| json!({"addresses": [address], "conditions": {"ready": true}, "nodeName": node});
    api.put(&json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "tidegate-1", "namespace": SYSTEM, "labels": {"kubernetes.io/service-name": "tidegate"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "metrics", "port": 9902}],
        "endpoints": [instance("node-1", "192.0.2.1"), instance("node-2", "192.0.2.2")],
    }));
    put(&api, &Slice::ready("web-1", [endpoint]));
    api.put(&service("web", PORT, "00:00:00"));
    api
}

fn instance(api: &ApiServer, at: SocketAddr, pod: &str) -> Proxy {
    serving(api, at).environment("POD_NAMESPACE", SYSTEM).environment("POD_NAME", pod).start()
}

/// `status.loadBalancer.ingress` of a Service.
pub(super) fn ingress(api: &ApiServer, name: &str) -> Value {
    let service = api.get(SERVICES, "default", name).expect("the Service is there");
    service["status"]["loadBalancer"]["ingress"].clone()
}

pub(super) fn at(addresses: &[&str]) -> Value {
    addresses.iter().map(|ip| json!({"ip": ip, "ipMode": "Proxy"})).collect()
}

pub(super) fn status_writes(api: &ApiServer) -> Vec<Call> {
    let is_write = |call: &Call| call.writes(SERVICES) && call.is_of_subresource("status");
    api.calls().into_iter().filter(is_write).collect()
}

pub(super) fn holder(api: &ApiServer) -> Option<String> {
    let lease = api.get(LEASES, SYSTEM, "tidegate")?;
    lease["spec"]["holderIdentity"].as_str().map(Into::into)
}

/// The status names the nodes where the Service is served, is written once, and again only when it changes.
#[test]
fn status_names_the_nodes_and_is_written_when_it_changes() {
    let endpoint = Endpoint::greeting();
    let api = control_plane(&endpoint);
    let address = own_address(PORT);
    let proxy = instance(&api, address, "tidegate-a");
    until("the status is written", || ingress(&api, "web") == at(&["192.0.2.1", "192.0.2.2"]));
    assert_eq!(holder(&api).as_deref(), Some("tidegate-a"));
    let writes = status_writes(&api);
    assert!(writes.iter().all(|call| call.name() == "web" && call.verb == Verb::Patch), "{writes:?}");
    assert_eq!(writes.len(), 1);

    // What does not concern it makes no write: the next change makes the second.
    for round in 0..3 {
        let other = Slice::ready(&format!("other-{round}"), [&endpoint]).of_service("other");
        put(&api, &other);
        put(&api, &Slice::ready("web-1", [&endpoint]).with_port(9 + round));
    }
    until("all of it is known", || proxy.status().source.unwrap().slices == 5);
    api.put(&node("node-2", false, "192.0.2.2"));
    until("the node is gone from it", || ingress(&api, "web") == at(&["192.0.2.1"]));
    assert_eq!(status_writes(&api).len(), 2);
    // Somebody else's scribbling is put right.
    api.edit(SERVICES, "default", "web", |web| web["status"] = json!({"loadBalancer": {}}));
    until("it is written again", || ingress(&api, "web") == at(&["192.0.2.1"]));
}

/// The nodes are known although the instances' namespace is none of those that are followed.
#[test]
fn status_is_written_where_the_instances_are_in_another_namespace() {
    let endpoint = Endpoint::greeting();
    let api = control_plane(&endpoint);
    let at_port = own_address(PORT);
    let setup = serving(&api, at_port);
    let kubeconfig = api.write_kubeconfig(setup.directory());
    let source = json!({"kubeconfig": kubeconfig, "addresses": [at_port.ip()], "namespaces": ["default"]});
    let _proxy = setup
        .config(|config| config.set("source", json!({ "kubernetes": source })))
        .environment("POD_NAMESPACE", SYSTEM)
        .environment("POD_NAME", "tidegate-a")
        .start();
    until("the status is written", || ingress(&api, "web") == at(&["192.0.2.1", "192.0.2.2"]));
    let missing = Rights::of_the_deployment().missing(&api.calls());
    assert!(missing.is_empty(), "deploy/kubernetes/rbac.yaml does not grant:\n{missing:#?}");
}

/// Two Services want one port: the older keeps it, the other's status has an error for the port and it is told in an
/// Event; a third port of it is served. When the older one goes, the other takes over and the error is gone.
#[test]
fn of_two_services_with_one_port_the_older_keeps_it() {
    let endpoints = Endpoint::greeting_group(2);
    let api = control_plane(&endpoints[0]);
    put(&api, &Slice::ready("late-1", [&endpoints[1]]).of_service("late"));
    let mut late = service("late", PORT, "12:00:00");
    late["spec"]["ports"] = json!([
        {"name": "http", "protocol": "TCP", "port": PORT},
        {"name": "more", "protocol": "TCP", "port": PORT + 1},
    ]);
    api.put(&late);
    let address = own_address(PORT);
    let proxy = instance(&api, address, "tidegate-a");
    wait_for_listener(&proxy, address);
    wait_for_listener(&proxy, SocketAddr::new(address.ip(), PORT + 1));
    let greeting = || tidegate_tests::support::Connection::open(address).greeting();
    assert_eq!(greeting(), endpoints[0].address());

    let ports = |ingress: &Value| ingress[0]["ports"].clone();
    let with_error = json!([
        {"port": PORT, "protocol": "TCP", "error": "PortConflict"},
        {"port": PORT + 1, "protocol": "TCP"},
    ]);
    until("the status says which port is not served", || ports(&ingress(&api, "late")) == with_error);
    assert!(ports(&ingress(&api, "web")).is_null(), "{}", ingress(&api, "web"));
    let problems = proxy.status().source.expect("a source").problems;
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!(
        (problem.service.as_str(), problem.port, problem.reason.as_str()),
        ("default/late", Some(PORT), "PortConflict")
    );
    assert_eq!(proxy.metrics().sum("tidegate_service_problems", &[("reason", "PortConflict")]), 1);
    let shown = proxy.command(&["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&format!("service default/late port {PORT}: PortConflict: ")), "{shown}");
    until("an Event says it", || {
        api.objects(NEW_EVENTS).iter().any(|event| {
            event["reason"] == "PortConflict"
                && event["regarding"]["name"] == "late"
                && event["note"].as_str().is_some_and(|note| note.contains("default/web"))
        })
    });

    api.remove(SERVICES, "default", "web");
    until("the other takes over", || greeting_is(address, &endpoints[1]));
    until("the error is gone", || {
        let ingress = ingress(&api, "late");
        ports(&ingress).is_null() && ingress[0]["ip"] == "192.0.2.1"
    });
    assert_eq!(api.objects(NEW_EVENTS).iter().filter(|event| event["reason"] == "PortConflict").count(), 1);
    let missing = Rights::of_the_deployment().missing(&api.calls());
    assert!(missing.is_empty(), "deploy/kubernetes/rbac.yaml does not grant:\n{missing:#?}");
}

fn greeting_is(address: SocketAddr, endpoint: &Endpoint) -> bool {
    use std::io::Read as _;
    let Ok(client) = tidegate_tests::support::Connection::try_open(address) else { return false };
    let mut line = vec![0; endpoint.address().to_string().len()];
    client.stream().read_exact(&mut line).is_ok() && line == endpoint.address().to_string().as_bytes()
}

/// Of two instances one writes; when it is gone without a word, the other takes over once the Lease has run out, and
/// writes what has changed meanwhile.
#[test]
fn one_instance_writes_and_another_takes_over() {
    let endpoint = Endpoint::greeting();
    let api = control_plane(&endpoint);
    let first = instance(&api, own_address(PORT), "tidegate-a");
    until("the first one leads", || holder(&api).as_deref() == Some("tidegate-a"));
    until("the status is written", || ingress(&api, "web") == at(&["192.0.2.1", "192.0.2.2"]));
    let second_address = own_address(PORT);
    let second = instance(&api, second_address, "tidegate-b");
    wait_for_listener(&second, second_address);
    api.put(&node("node-2", false, "192.0.2.2"));
    until("the status follows", || ingress(&api, "web") == at(&["192.0.2.1"]));
    assert_eq!(status_writes(&api).len(), 2, "one of the two wrote");
    assert!(!second.log().contains("wrote the status"), "the second one wrote");

    // Killed: it gives nothing back.
    drop(first);
    api.put(&node("node-2", true, "192.0.2.2"));
    until("the second one leads", || holder(&api).as_deref() == Some("tidegate-b"));
    until("the status follows", || ingress(&api, "web") == at(&["192.0.2.1", "192.0.2.2"]));
    assert_eq!(status_writes(&api).len(), 3);
    let lease = api.get(LEASES, SYSTEM, "tidegate").unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
}

/// The instance that writes gives the Lease back when it is told to end: another one takes over at its next look, and does
/// not wait until the Lease has run out. Its flows may take their time meanwhile.
#[test]
fn lease_is_given_back_at_the_end() {
    let endpoint = Endpoint::greeting();
    let api = control_plane(&endpoint);
    let address = own_address(PORT);
    let first = instance(&api, address, "tidegate-a");
    until("the first one leads", || holder(&api).as_deref() == Some("tidegate-a"));
    wait_for_listener(&first, address);
    let mut flow = tidegate_tests::support::Connection::open(address);
    flow.greeting();
    first.terminate();
    api.wait_for_call("the Lease is given back", |call| {
        call.is(Verb::Update, LEASES) && call.body["spec"]["holderIdentity"].is_null()
    });
    flow.exchange(b"still here");
    assert!(first.is_running());
    let _second = instance(&api, own_address(PORT), "tidegate-b");
    until("the second one leads", || holder(&api).as_deref() == Some("tidegate-b"));
    let lease = api.get(LEASES, SYSTEM, "tidegate").unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    drop(flow);
    assert!(first.wait_for_end().status.success());
}

/// A process that has nothing more to do has given the Lease back before it ends, also where the server takes its time.
#[test]
fn the_end_waits_for_the_lease() {
    use tidegate_tests::apiserver::{Calls, Fault};
    let endpoint = Endpoint::greeting();
    let api = control_plane(&endpoint);
    let proxy = instance(&api, own_address(PORT), "tidegate-a");
    until("it leads", || holder(&api).as_deref() == Some("tidegate-a"));
    api.fail_always(Calls::about(LEASES), Fault::Late(std::time::Duration::from_millis(500)));
    proxy.terminate();
    assert!(proxy.wait_for_end().status.success());
    assert_eq!(holder(&api), None);
}

/// What keeps an instance from the Lease is said where operators look: in the log, in the status and in the metrics.
#[test]
fn what_keeps_from_the_lease_is_said() {
    use tidegate_tests::apiserver::{Calls, Fault};
    let endpoint = Endpoint::greeting();
    let api = control_plane(&endpoint);
    api.fail_always(Calls::about(LEASES), Fault::Refuse(403));
    let proxy = instance(&api, own_address(PORT), "tidegate-a");
    let writer = || proxy.status().source.expect("a source").writer.expect("it would write");
    let trouble = |words: &str| {
        until(&format!("the status says {words}"), || writer().trouble.is_some_and(|it| it.contains(words)));
        proxy.wait_for_log(words);
    };
    trouble("give the verb `get` on `leases` of coordination.k8s.io by RBAC");
    assert!(!writer().leads);
    assert!(proxy.metrics().sum("tidegate_writer_errors_total", &[("cause", "forbidden")]) > 0);
    assert_eq!(proxy.metrics().total("tidegate_writer_leads"), 0);
    let shown = proxy.command(&["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("status of Services trouble: may not get leases"), "{shown}");

    api.heal();
    api.remove(NAMESPACES, "", SYSTEM);
    trouble("POD_NAMESPACE has to be the namespace of this pod");
    api.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}));
    until("it leads as soon as it can", || writer().leads);
    assert_eq!(writer().trouble, None);
    until("a scrape says so", || proxy.metrics().total("tidegate_writer_leads") == 1);
}

/// An instance that may not write (no rights) serves all the same, and says what is missing.
#[test]
fn instance_that_may_not_write_serves_all_the_same() {
    use tidegate_tests::apiserver::{Calls, Fault};
    let endpoint = Endpoint::greeting();
    let api = control_plane(&endpoint);
    api.fail_always(Calls::of(Verb::Patch, SERVICES), Fault::Refuse(403));
    let address = own_address(PORT);
    let proxy = instance(&api, address, "tidegate-a");
    wait_for_listener(&proxy, address);
    assert!(greeting_is(address, &endpoint));
    proxy.wait_for_log("services/status");
    api.heal();
    until("it is written as soon as it may", || ingress(&api, "web") == at(&["192.0.2.1", "192.0.2.2"]));
}
