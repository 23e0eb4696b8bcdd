//! The group `cluster`: the binary against a real API server, with endpoints that the test serves itself.
//!
//! It runs where TIDEGATE_E2E_KUBECONFIG names a kubeconfig, and then every test either passes or fails. The user of the
//! kubeconfig may read nodes, make and delete namespaces, and in them Services, EndpointSlices, Leases and Events;
//! everything happens in a namespace of the test's own, which is deleted at the end. No pod is needed: slices are written by hand. The API
//! server does not take loopback addresses in slices, so endpoints are served on an address of this host's; one that the
//! proxy can reach is enough, and the proxy runs here. TIDEGATE_E2E_ADDRESS names it where the one of the default route
//! is not wanted.

mod api;
mod services;

use std::{
    env,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::PathBuf,
};

use serde_json::{Value, json};
use tidegate_tests::support::{Endpoint, Proxy, greet_and_echo, skipped, until};

use crate::setup;
use api::RealApi;

/// What names the kubeconfig.
pub(crate) const KUBECONFIG: &str = "TIDEGATE_E2E_KUBECONFIG";
const ADDRESS: &str = "TIDEGATE_E2E_ADDRESS";

/// A namespace of the test's own; none where the group does not run.
struct Place {
    api: RealApi,
    kubeconfig: PathBuf,
    namespace: String,
}

impl Place {
    #[track_caller]
    fn make() -> Option<Self> {
        let Some(kubeconfig) = env::var_os(KUBECONFIG).filter(|path| !path.is_empty()) else {
            skipped(&format!("{KUBECONFIG} does not name a kubeconfig"));
            return None;
        };
        let kubeconfig = PathBuf::from(kubeconfig);
        let api = RealApi::connect(&kubeconfig);
        let made = api.create(
            "/api/v1/namespaces",
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "tidegate-e2e-"}}),
        );
        let namespace = made["metadata"]["name"].as_str().expect("a namespace has a name").to_owned();
        Some(Self { api, kubeconfig, namespace })
    }

    /// The path of a collection in the namespace.
    fn path(&self, of: &str) -> String {
        let group = if of == "services" { "/api/v1" } else { "/apis/discovery.k8s.io/v1" };
        format!("{group}/namespaces/{}/{of}", self.namespace)
    }

    fn slice_path(&self, name: &str) -> String {
        format!("{}/{name}", self.path("endpointslices"))
    }

    /// A Service without a selector, whose slices nobody but the test writes.
    fn create_service(&self) {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"ports": [{"name": "http", "port": 80}]},
        });
        self.api.create(&self.path("services"), &service);
    }

    /// A slice of `web` with one endpoint, ready.
    fn create_slice(&self, name: &str, endpoint: SocketAddr) {
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "labels": {
                    "kubernetes.io/service-name": "web",
                    "endpointslice.kubernetes.io/managed-by": "tidegate-e2e",
                },
            },
            "addressType": if endpoint.is_ipv4() { "IPv4" } else { "IPv6" },
            "ports": [{"name": "http", "protocol": "TCP", "port": endpoint.port()}],
            "endpoints": [line(endpoint.ip(), [true, true, false])],
        });
        self.api.create(&self.path("endpointslices"), &slice);
    }

    /// Changes the conditions (ready, serving, terminating) of a slice's endpoint.
    fn set_conditions(&self, slice: &str, endpoint: SocketAddr, conditions: [bool; 3]) {
        self.api.merge(&self.slice_path(slice), &json!({"endpoints": [line(endpoint.ip(), conditions)]}));
    }

    /// A proxy that follows this namespace, with the listener `web` for the Service.
    #[track_caller]
    fn proxy(&self) -> Proxy {
        let source = json!({"kubernetes": {"kubeconfig": self.kubeconfig, "namespaces": [self.namespace]}});
        let setup = setup().config(|config| {
            config.set("source", source);
            config.listener("web", "127.0.0.1:0", &format!("{}/web", self.namespace));
        });
        setup.start()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.api.delete(&format!("/api/v1/namespaces/{}", self.namespace));
    }
}

fn line(address: IpAddr, [ready, serving, terminating]: [bool; 3]) -> Value {
    json!({
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
    })
}

/// An endpoint on an address that the API server takes.
#[track_caller]
fn served() -> Endpoint {
    let address = match env::var(ADDRESS) {
        Ok(address) => address.parse().unwrap_or_else(|error| panic!("{ADDRESS}={address}: {error}")),
        Err(_) => own_address(),
    };
    let endpoint = Endpoint::on(SocketAddr::new(address, 0));
    endpoint.unwrap_or_else(|error| panic!("cannot listen on {address}: {error}")).serve(greet_and_echo)
}

/// The address that this host would speak to others from. No packet is sent for it.
#[track_caller]
fn own_address() -> IpAddr {
    let found = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect(("198.51.100.1", 9))?;
        Ok(socket.local_addr()?.ip())
    });
    match found {
        Ok(address) if !address.is_loopback() && !address.is_unspecified() => address,
        found => panic!("this host has no address but loopback ({found:?}): name one with {ADDRESS}"),
    }
}

/// New flows go to ready endpoints, as the API server has them; a change of a slice is in force soon, and flows stay.
#[test]
fn slices_route_new_flows() {
    let Some(place) = Place::make() else { return };
    let endpoints = [served(), served()];
    place.create_service();
    place.create_slice("web-0", endpoints[0].address());
    let proxy = place.proxy();
    proxy.wait_for_eligible_to_be([&endpoints[0]]);
    proxy.expect_all_on(&endpoints[0]);
    let (mut old, _) = proxy.connect_greeted();

    place.create_slice("web-1", endpoints[1].address());
    proxy.wait_for_eligible_to_be(&endpoints);
    assert_eq!(proxy.spread(16).len(), 2);
    place.set_conditions("web-0", endpoints[0].address(), [false, false, false]);
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    proxy.expect_all_on(&endpoints[1]);
    old.exchange(b"still here");
    place.api.delete(&place.slice_path("web-1"));
    proxy.wait_for_eligible(0);
    proxy.expect_refusal();
    place.set_conditions("web-0", endpoints[0].address(), [true, true, false]);
    proxy.wait_for_eligible_to_be([&endpoints[0]]);
    old.exchange(b"still here");
}

/// A terminating endpoint drains: no new flow, the old one stays until its own end, and then the drain is over.
#[test]
fn terminating_endpoint_drains() {
    let Some(place) = Place::make() else { return };
    let endpoints = [served(), served()];
    place.create_service();
    place.create_slice("web-0", endpoints[0].address());
    let proxy = place.proxy();
    proxy.wait_for_eligible_to_be([&endpoints[0]]);
    let (mut old, _) = proxy.connect_greeted();
    place.create_slice("web-1", endpoints[1].address());
    proxy.wait_for_eligible_to_be(&endpoints);
    place.set_conditions("web-0", endpoints[0].address(), [false, true, true]);
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    proxy.expect_all_on(&endpoints[1]);
    let row = proxy.endpoint(&endpoints[0]).expect("it is in the slice");
    assert_eq!((row.flows, row.drain.is_some()), (1, true));
    old.exchange(b"still here");
    // It is gone from all slices, and its flow is not.
    place.api.delete(&place.slice_path("web-0"));
    until("it is gone from the slices", || {
        proxy.endpoint(&endpoints[0]).is_some_and(|row| row.conditions.is_none())
    });
    old.exchange(b"still here");
    drop(old);
    until("it has drained", || proxy.endpoint(&endpoints[0]).is_none_or(|row| row.flows == 0));
    proxy.wait_for_no_flows();
}

/// A proxy that starts when everything is there routes its first client.
#[test]
fn first_client_is_routed() {
    let Some(place) = Place::make() else { return };
    let endpoint = served();
    place.create_service();
    place.create_slice("web-0", endpoint.address());
    for _ in 0..3 {
        let proxy = place.proxy();
        assert_eq!(proxy.connect_greeted().1, endpoint.address());
        assert_eq!(proxy.terminated("no_endpoint", "pick"), 0);
    }
}
