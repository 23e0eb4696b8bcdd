//! Services of a class of the test's own: served, with a status, one port for one of them, and written by one instance.

use std::net::{IpAddr, SocketAddr, TcpListener};

use serde_json::{Value, json};
use tidegate_tests::support::{Connection, Proxy, until};

use super::{Place, line, own_address, served};
use crate::setup;

impl Place {
    /// A class that only this test's instances serve.
    fn class(&self) -> String {
        format!("tidegate.io/{}", self.namespace)
    }

    fn create_balanced(&self, name: &str, port: u16) {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": self.class(),
                "allocateLoadBalancerNodePorts": false,
                "ports": [{"name": "http", "port": port}],
            },
        });
        self.api.create(&self.path("services"), &service);
    }

    /// Says that an instance is ready on this node, as its headless Service would.
    fn create_instances(&self, node: &str) {
        let mut endpoint = line(own_address(), [true, true, false]);
        endpoint["nodeName"] = json!(node);
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "tidegate-0", "labels": {"kubernetes.io/service-name": "tidegate"}},
            "addressType": "IPv4",
            "ports": [{"name": "metrics", "protocol": "TCP", "port": 9902}],
            "endpoints": [endpoint],
        });
        self.api.create(&self.path("endpointslices"), &slice);
    }

    /// An instance that serves the class at this address.
    #[track_caller]
    fn instance(&self, pod: &str, address: IpAddr) -> Proxy {
        let source = json!({"kubernetes": {
            "kubeconfig": self.kubeconfig,
            "namespaces": [self.namespace],
            "loadBalancerClass": self.class(),
            "addresses": [address],
        }});
        let setup = setup().environment("POD_NAMESPACE", &self.namespace).environment("POD_NAME", pod);
        let setup = setup.config(|config| {
            config.set("source", source);
            config.set("listeners", json!([]));
        });
        setup.start()
    }

    /// `status.loadBalancer.ingress` of a Service.
    fn ingress(&self, name: &str) -> Value {
        let service = self.api.get(&format!("{}/{name}", self.path("services")));
        service["status"]["loadBalancer"]["ingress"].clone()
    }

    fn holder(&self) -> Value {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/tidegate", self.namespace);
        self.api.get(&path)["spec"]["holderIdentity"].clone()
    }

    /// A node that is Ready and may be a target, and the address that a status names it by.
    #[track_caller]
    fn target(&self) -> (String, String) {
        let nodes = self.api.get("/api/v1/nodes");
        let found = nodes["items"].as_array().into_iter().flatten().find_map(|node| {
            let ready = json!({"type": "Ready", "status": "True"});
            let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            let is_ready =
                conditions.any(|it| it["type"] == ready["type"] && it["status"] == ready["status"]);
            let labels = &node["metadata"]["labels"];
            let is_excluded = !labels["node.kubernetes.io/exclude-from-external-load-balancers"].is_null();
            let address = |kind: &str| {
                let mut all = node["status"]["addresses"].as_array().into_iter().flatten();
                let is_v4 = |it: &&Value| it["address"].as_str().is_some_and(|ip| ip.contains('.'));
                Some(all.find(|it| it["type"] == kind && is_v4(it))?["address"].as_str()?.to_owned())
            };
            let address = address("ExternalIP").or_else(|| address("InternalIP"))?;
            let name = node["metadata"]["name"].as_str()?.to_owned();
            (is_ready && !is_excluded).then_some((name, address))
        });
        found.expect("the cluster has a node that is Ready, is not excluded and has an IPv4 address")
    }
}

/// A Service is served at its port and gets its status; of two that want one port the older keeps it, and the other's
/// status says so; the instance that wrote is killed, and another one goes on.
#[test]
fn services_are_served_and_their_status_is_written() {
    let Some(place) = Place::make() else { return };
    let (node, address) = place.target();
    let endpoint = served();
    // A number that is free at this moment.
    let port = TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap().port();
    place.create_balanced("web", port);
    place.create_slice("web-0", endpoint.address());
    place.create_instances(&node);
    let first = place.instance("first", own_address());
    let at = SocketAddr::new(own_address(), port);
    until("the Service is served", || first.status().listeners.iter().any(|listener| listener.accepting));
    let mut flow = Connection::open(at);
    assert_eq!(flow.greeting(), endpoint.address());
    until("the status names the node", || place.ingress("web")[0]["ip"] == address.as_str());
    assert_eq!(place.ingress("web")[0]["ipMode"], "Proxy");
    assert_eq!(place.holder(), "first");

    // Where both are of one second the name decides.
    place.create_balanced("web-later", port);
    until("the status says that the port is taken", || {
        place.ingress("web-later")[0]["ports"][0]["error"] == "PortConflict"
    });
    assert!(place.ingress("web")[0]["ports"].is_null());
    flow.exchange(b"still here");

    let second = place.instance("second", "127.0.0.1".parse().unwrap());
    drop(first);
    place.api.delete(&format!("{}/web", place.path("services")));
    until("the second one writes", || place.holder() == "second");
    until("the other Service has the port", || {
        let ingress = place.ingress("web-later");
        ingress[0]["ip"] == address.as_str() && ingress[0]["ports"].is_null()
    });
    drop(second);
}
