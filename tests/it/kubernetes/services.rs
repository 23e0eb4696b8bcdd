//! Services of the class: listeners that come and go, whom they let in, and how a Service wants its flows treated.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_tests::{
    apiserver::{ApiServer, SERVICES},
    support::{Connection, Endpoint, Proxy, Setup, Slice, SliceEndpoint, until},
};

use super::{following, put};

pub(super) const CLASS: &str = "tidegate.io/tidegate";
/// The port of Services here. Every proxy has an address of its own, so nobody else has it there.
pub(super) const PORT: u16 = 8080;

/// A Service of the class, made at this moment of one day.
pub(super) fn service(name: &str, port: u16, made: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name, "namespace": "default", "creationTimestamp": format!("2026-01-01T{made}Z"),
        },
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": CLASS,
            "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "protocol": "TCP", "port": port}],
        },
    })
}

/// An address that no other proxy has.
pub(super) fn own_address(port: u16) -> SocketAddr {
    SocketAddr::new(Endpoint::listen().address().ip(), port)
}

/// A proxy without listeners of its own, which serves Services at this address as node-1.
pub(super) fn serving(api: &ApiServer, at: SocketAddr) -> Setup {
    let setup = following(api);
    let kubeconfig = api.write_kubeconfig(setup.directory());
    let source = json!({"kubernetes": {"kubeconfig": kubeconfig, "addresses": [at.ip()]}});
    setup.environment("NODE_NAME", "node-1").config(|config| {
        config.set("source", source);
        config.set("listeners", json!([]));
    })
}

/// Waits until the proxy accepts on this address.
#[track_caller]
pub(super) fn wait_for_listener(proxy: &Proxy, at: SocketAddr) {
    until(&format!("a listener accepts on {at}"), || {
        let listeners = proxy.status().listeners;
        listeners.iter().any(|listener| listener.accepting && listener.address == at.to_string())
    });
}

/// Waits until nobody accepts on this address.
#[track_caller]
fn wait_for_no_listener(at: SocketAddr) {
    until(&format!("nobody accepts on {at}"), || {
        Connection::try_open(at).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
}

/// The endpoint at the address, which is the only one.
#[track_caller]
fn expect_served(at: SocketAddr, endpoint: &Endpoint) {
    assert_eq!(Connection::open(at).greeting(), endpoint.address());
}

/// An API server with one ready endpoint of `web` and the Service, and a proxy that serves it.
fn with_web(endpoint: &Endpoint, change: impl FnOnce(&mut Value)) -> (ApiServer, Proxy, SocketAddr) {
    let (api, at) = (ApiServer::start(), own_address(PORT));
    put(&api, &Slice::ready("web-1", [endpoint]));
    let mut web = service("web", PORT, "00:00:00");
    change(&mut web);
    api.put(&web);
    let proxy = serving(&api, at).start();
    wait_for_listener(&proxy, at);
    (api, proxy, at)
}

/// A Service's listener appears with it and vanishes with it; its flows stay. Another Service of the same name is
/// served anew.
#[test]
fn listener_comes_and_goes_with_its_service() {
    let endpoint = Endpoint::greeting();
    let (api, at) = (ApiServer::start(), own_address(PORT));
    put(&api, &Slice::ready("web-1", [&endpoint]));
    let proxy = serving(&api, at).start();
    assert_eq!(proxy.status().listeners, []);
    for made in ["00:00:00", "01:00:00"] {
        api.put(&service("web", PORT, made));
        wait_for_listener(&proxy, at);
        let mut flow = Connection::open(at);
        assert_eq!(flow.greeting(), endpoint.address());
        api.remove(SERVICES, "default", "web");
        wait_for_no_listener(at);
        flow.exchange(b"still here");
    }
}

/// A port that moves: the old one closes, the new one opens, and flows stay.
#[test]
fn moved_port_is_followed() {
    let endpoint = Endpoint::greeting();
    let (api, proxy, at) = with_web(&endpoint, |_| {});
    let mut flow = Connection::open(at);
    flow.greeting();
    api.edit(SERVICES, "default", "web", |web| web["spec"]["ports"][0]["port"] = json!(PORT + 1));
    let next = SocketAddr::new(at.ip(), PORT + 1);
    wait_for_listener(&proxy, next);
    expect_served(next, &endpoint);
    wait_for_no_listener(at);
    flow.exchange(b"still here");
}

/// A24: a Service of another class, of none, or of another type is somebody else's: no listener, and not a word is
/// written about it.
#[test]
fn services_of_others_are_left_alone() {
    let endpoint = Endpoint::greeting();
    let (api, at) = (ApiServer::start(), own_address(PORT));
    put(&api, &Slice::ready("web-1", [&endpoint]));
    let changes: [fn(&mut Value); 3] = [
        |spec| spec["loadBalancerClass"] = json!("example.com/other"),
        |spec| spec["loadBalancerClass"] = Value::Null,
        |spec| spec["type"] = json!("ClusterIP"),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut other = service(&format!("other-{number}"), PORT + number as u16, "00:00:00");
        change(&mut other["spec"]);
        api.put(&other);
    }
    let proxy = serving(&api, at).start();
    api.put(&service("web", PORT, "01:00:00"));
    wait_for_listener(&proxy, at);
    expect_served(at, &endpoint);
    assert_eq!(proxy.status().listeners.len(), 1);
    let writes = api.calls().into_iter().filter(|call| call.writes(SERVICES));
    assert!(writes.into_iter().all(|call| call.name() == "web"));
}

/// A22: loadBalancerSourceRanges: each family on its own, blanks around, 0.0.0.0/0, and what is no range.
#[test]
fn source_ranges_let_in_whom_they_name() {
    let endpoint = Endpoint::greeting();
    let (api, _proxy, at) = with_web(&endpoint, |_| {});
    let set = |ranges: &[&str]| {
        api.edit(SERVICES, "default", "web", |web| web["spec"]["loadBalancerSourceRanges"] = json!(ranges));
    };
    let is_let_in = || {
        let Ok(client) = Connection::try_open(at) else { return false };
        std::io::Read::read(&mut client.stream(), &mut [0; 1]).is_ok_and(|count| count == 1)
    };
    let becomes = |wanted: bool, ranges: &[&str]| {
        set(ranges);
        until(&format!("{ranges:?} are in force"), || is_let_in() == wanted);
    };
    becomes(false, &["192.0.2.0/24"]);
    becomes(true, &["192.0.2.0/24", " 127.0.0.0/8 "]);
    becomes(false, &["192.0.2.0/24", "::/0"]);
    becomes(true, &["0.0.0.0/0", "::1/128"]);
    becomes(false, &["no range"]);
    becomes(true, &["no range", "127.0.0.0/8"]);
    let mut flow = Connection::open(at);
    flow.greeting();
    becomes(false, &["192.0.2.0/24"]);
    flow.exchange(b"still here");
    // As kube-proxy has it: ranges of the other family alone are no limit.
    becomes(true, &["::1/128"]);
    becomes(false, &["192.0.2.0/24"]);
    becomes(true, &[]);
}

/// Annotations are settings of the Service's own; one that is none is left out, and the others count.
#[test]
fn annotations_are_settings_of_the_service() {
    let endpoint = Endpoint::greeting();
    let (api, proxy, at) = with_web(&endpoint, |_| {});
    let terminating = || endpoint.in_slice().terminating();
    put(&api, &Slice::named("web-1").with_port(endpoint.address().port()).with(terminating()));
    proxy.wait_for_eligible(0);
    Connection::expect_refused(Connection::try_open(at));
    let annotations = json!({
        "tidegate.io/whenNoneReady": "servingTerminating", "tidegate.io/policy": "no policy",
        "tidegate.io/noField": "1", "example.com/whenNoneReady": "refuse",
    });
    api.edit(SERVICES, "default", "web", |web| web["metadata"]["annotations"] = annotations);
    proxy.wait_for_eligible(1);
    expect_served(at, &endpoint);
    api.edit(SERVICES, "default", "web", |web| web["metadata"]["annotations"] = json!({}));
    proxy.wait_for_eligible(0);
}

/// `sessionAffinity: ClientIP` of the Service.
#[test]
fn session_affinity_is_the_services() {
    let endpoints = Endpoint::greeting_group(4);
    let (api, at) = (ApiServer::start(), own_address(PORT));
    put(&api, &Slice::ready("web-1", &endpoints));
    let mut web = service("web", PORT, "00:00:00");
    web["spec"]["sessionAffinity"] = json!("ClientIP");
    api.put(&web);
    let proxy = serving(&api, at).start();
    wait_for_listener(&proxy, at);
    let first = Connection::open(at).greeting();
    let flows: Vec<_> = (0..12).map(|_| Connection::open(at)).collect();
    assert!(flows.into_iter().all(|mut flow| flow.greeting() == first));
}

/// A23: externalTrafficPolicy Local: only endpoints of this node take flows; where they all terminate, nobody does
/// unless the Service says otherwise, and endpoints elsewhere are none of its business.
#[test]
fn local_policy_stays_on_the_node() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy, at) = with_web(&endpoints[0], |web| {
        web["spec"]["externalTrafficPolicy"] = json!("Local");
    });
    let publish = |here: fn(SliceEndpoint) -> SliceEndpoint| {
        let slice = Slice::named("web-1").with_port(endpoints[0].address().port());
        let mut slice =
            slice.with(here(endpoints[0].in_slice())).with(endpoints[1].in_slice().ready()).json();
        slice["endpoints"][0]["nodeName"] = json!("node-1");
        slice["endpoints"][1]["nodeName"] = json!("node-2");
        api.put(&slice);
    };
    let health = || {
        let answer = proxy.get("/healthz/services/default/web");
        let said: Value = serde_json::from_str(&answer.body).expect("JSON");
        (answer.status, said["localEndpoints"].as_u64())
    };
    publish(SliceEndpoint::ready);
    proxy.wait_for_eligible_to_be([&endpoints[0]]);
    assert_eq!(health(), (200, Some(1)));
    let mut flow = Connection::open(at);
    assert_eq!(flow.greeting(), endpoints[0].address());
    publish(SliceEndpoint::terminating);
    proxy.wait_for_eligible(0);
    Connection::expect_refused(Connection::try_open(at));
    flow.exchange(b"still here");
    assert_eq!(health(), (503, Some(0)));
    let annotations = json!({"tidegate.io/whenNoneReady": "servingTerminating"});
    api.edit(SERVICES, "default", "web", |web| web["metadata"]["annotations"] = annotations);
    proxy.wait_for_eligible_to_be([&endpoints[0]]);
    assert_eq!(health(), (503, Some(0)), "a load balancer in front is to send clients elsewhere");
    expect_served(at, &endpoints[0]);

    // Another port without endpoints, a Service of the same name elsewhere, and one that has gone while flows are left.
    publish(SliceEndpoint::ready);
    api.edit(SERVICES, "default", "web", |web| {
        let more = json!({"name": "more", "protocol": "TCP", "port": PORT + 1});
        web["spec"]["ports"].as_array_mut().expect("a list").push(more);
    });
    wait_for_listener(&proxy, SocketAddr::new(at.ip(), PORT + 1));
    until("the endpoint counts again", || health() == (200, Some(1)));
    assert_eq!(proxy.get("/healthz/services/edge/web").status, 404);
    api.remove(SERVICES, "default", "web");
    wait_for_no_listener(at);
    flow.exchange(b"still here");
    assert_eq!(health().0, 404);
}

/// A25: a node that shuts down says so before its endpoints do: they take no new flows from then on, and their flows
/// stay. A node that comes back does, too.
#[test]
fn endpoints_of_a_node_that_leaves_are_drained_early() {
    let endpoints = Endpoint::greeting_group(2);
    let (api, proxy, at) = with_web(&endpoints[0], |_| {});
    let node = |name: &str, status: &str, message: &str| {
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": status, "message": message}]},
        })
    };
    api.put(&node("node-1", "True", ""));
    api.put(&node("node-2", "True", ""));
    let mut slice = Slice::ready("web-1", &endpoints).json();
    slice["endpoints"][0]["nodeName"] = json!("node-1");
    slice["endpoints"][1]["nodeName"] = json!("node-2");
    api.put(&slice);
    proxy.wait_for_eligible_to_be(&endpoints);
    let mut flows: Vec<_> = (0..12).map(|_| Connection::open(at)).collect();
    assert!(flows.iter_mut().any(|flow| flow.greeting() == endpoints[1].address()));
    api.put(&node("node-2", "False", "node is shutting down"));
    proxy.wait_for_eligible_to_be([&endpoints[0]]);
    expect_served(at, &endpoints[0]);
    let drain = || proxy.endpoint(&endpoints[1]).expect("it is there").drain;
    until("it is drained, and it is said why", || {
        drain().is_some_and(|drain| drain.why.contains("node node-2"))
    });
    assert!(drain().is_some_and(|drain| drain.flows_left > 0));
    // Unless that would leave none.
    api.put(&node("node-1", "False", "node is shutting down"));
    proxy.wait_for_eligible_to_be(&endpoints);
    api.put(&node("node-1", "True", ""));
    api.put(&node("node-2", "True", ""));
    proxy.wait_for_eligible_to_be(&endpoints);
    until("the drain is undone", || drain().is_none());
    api.put(&node("node-2", "False", "node is shutting down"));
    drop(flows);
    until("its flows have ended, and that is on record", || {
        let audit: tidegate_admin::api::Audit = proxy.get("/v1/audit").json();
        audit.records.iter().any(|record| {
            record.endpoint == endpoints[1].address().to_string()
                && record.why.contains("node node-2")
                && (record.ended.is_some(), record.undone) == (true, false)
                && record.broke_nothing()
        })
    });
}

/// B3: the API server goes away: Services are served as they were, and what happened meanwhile is in force afterwards.
#[test]
fn outage_leaves_services_served() {
    let endpoint = Endpoint::greeting();
    let (api, proxy, at) = with_web(&endpoint, |_| {});
    api.go_away();
    until("the status says so", || super::trouble(&proxy).is_some());
    expect_served(at, &endpoint);
    api.edit(SERVICES, "default", "web", |web| web["spec"]["ports"][0]["port"] = json!(PORT + 1));
    api.come_back();
    wait_for_listener(&proxy, SocketAddr::new(at.ip(), PORT + 1));
    wait_for_no_listener(at);
}

/// A port that somebody else has is tried again, and served once it is free.
#[test]
fn port_in_use_is_tried_again() {
    let endpoint = Endpoint::greeting();
    let (api, at) = (ApiServer::start(), own_address(PORT));
    let other = Endpoint::on(at).unwrap();
    put(&api, &Slice::ready("web-1", [&endpoint]));
    api.put(&service("web", PORT, "00:00:00"));
    api.put(&service("free", PORT + 1, "00:00:00"));
    let proxy = serving(&api, at).start();
    wait_for_listener(&proxy, SocketAddr::new(at.ip(), PORT + 1));
    assert!(
        !proxy
            .status()
            .listeners
            .iter()
            .any(|listener| listener.accepting && listener.address == at.to_string())
    );
    drop(other);
    wait_for_listener(&proxy, at);
    expect_served(at, &endpoint);
}
