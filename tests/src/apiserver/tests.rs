//! The double itself, asked over its socket.

mod client;
mod faults;
mod lists;
mod recorded;
mod watches;
mod writes;

use serde_json::{Value, json};

use super::{ApiServer, ENDPOINT_SLICES};
use client::Client;

const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
const WEB: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// A slice of the Service `web` with one address.
fn slice(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [{"addresses": [address]}],
    })
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80}]},
    })
}

/// A server with so many slices, and a client of it.
fn with_slices(count: usize) -> (ApiServer, Client) {
    let server = ApiServer::start();
    for number in 0..count {
        server.put(&slice(&format!("web-{number}"), &format!("10.0.0.{number}")));
    }
    let client = Client::of(&server);
    (server, client)
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("a list has items");
    items.iter().map(|item| item["metadata"]["name"].as_str().expect("it has a name").to_owned()).collect()
}

/// What is in a watch's line: its type, and its object's name.
fn told(line: &Value) -> (&str, &str) {
    let name = line["object"]["metadata"]["name"].as_str().unwrap_or_default();
    (line["type"].as_str().expect("a line has a type"), name)
}

#[test]
fn a_path_names_an_object_or_nothing() {
    let (_server, client) = with_slices(1);
    assert_eq!(client.get(&format!("{WEB}/web-0")).json()["metadata"]["name"], "web-0");
    assert_eq!(client.get(&format!("{SLICES}/web-0")).status, 404);
    assert_eq!(client.get("/apis/discovery.k8s.io/v1/nothings").status, 404);
    assert_eq!(client.get("/api/v1/namespaces/default").json()["status"]["phase"], "Active");
    assert_eq!(client.get("/version").json()["major"], "1");
    let missing = client.get(&format!("{WEB}/web-9"));
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json()["reason"], "NotFound");
    let message = "endpointslices.discovery.k8s.io \"web-9\" not found";
    assert_eq!(missing.json()["message"], message);
}

#[test]
fn requests_are_recorded() {
    let (server, client) = with_slices(1);
    client.get(&format!("{SLICES}?limit=5&labelSelector=a%3Db"));
    let call = server.wait_for_call("a list", |call| call.is(super::Verb::List, ENDPOINT_SLICES));
    assert_eq!((call.method.as_str(), call.path.as_str(), call.status), ("GET", SLICES, 200));
    assert_eq!((call.parameter("limit"), call.parameter("labelSelector")), ("5", "a=b"));
    assert_eq!(call.user_agent, "the-test/1");
}

#[test]
fn tokens_are_asked_for_and_can_change() {
    let (server, mut client) = with_slices(1);
    server.accept_tokens(&["one"]);
    assert_eq!(client.get(SLICES).status, 401);
    client.token = Some("one".into());
    assert_eq!(client.get(SLICES).status, 200);
    server.accept_tokens(&["two"]);
    assert_eq!(client.get(SLICES).json()["reason"], "Unauthorized");
}

#[test]
fn a_kubeconfig_leads_here() {
    let (server, _) = with_slices(0);
    let directory = tempfile::tempdir().expect("a directory");
    let path = server.write_kubeconfig(directory.path());
    let config: Value = serde_json::from_str(&std::fs::read_to_string(path).expect("it is written"))
        .expect("JSON is YAML, and here it is JSON");
    assert_eq!(config["clusters"][0]["cluster"]["server"], format!("http://{}", server.address()));
}
