//! The recorded watches of a real control plane (tests/fixtures), to be listed and replayed by the double.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use serde_json::{Value, json};

/// A list, and the lines of the watch that followed it.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The list's resourceVersion.
    pub revision: u64,
    /// The list's objects, with kind and apiVersion as a watch has them.
    pub items: Vec<Value>,
    /// The watch's lines.
    pub lines: Vec<Value>,
}

/// A file of the fixtures.
pub fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Recording {
    /// The recording of this name, of EndpointSlices.
    pub fn load(name: &str) -> Self {
        let list = match name {
            "rollout" => "endpointslice-list.json".to_owned(),
            name => format!("endpointslice-{name}-list.json"),
        };
        let list: Value = serde_json::from_str(&fixture(&list)).expect("a list is JSON");
        let revision = list["metadata"]["resourceVersion"].as_str().expect("a list has a resourceVersion");
        let mut items = list["items"].as_array().expect("a list has items").clone();
        for item in &mut items {
            item["kind"] = json!("EndpointSlice");
            item["apiVersion"] = list["apiVersion"].clone();
        }
        let lines = fixture(&format!("endpointslice-{name}.jsonl"));
        let lines = lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        Self { revision: revision.parse().expect("it is a number"), items, lines }
    }

    /// Leaves out all but one Service's slices.
    pub fn of_service(mut self, service: &str) -> Self {
        let is_wanted = |object: &Value| {
            let name = &object["metadata"]["labels"]["kubernetes.io/service-name"];
            *name == service || object["metadata"]["name"].is_null()
        };
        self.items.retain(is_wanted);
        self.lines.retain(|line| is_wanted(&line["object"]));
        self
    }

    /// Every address with its port, in the order in which they appear.
    pub fn endpoints(&self) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        let objects = self.items.iter().chain(self.lines.iter().map(|line| &line["object"]));
        for object in objects {
            for address in addresses(object) {
                for port in ports(object) {
                    let endpoint = SocketAddr::new(address, port);
                    if !found.contains(&endpoint) {
                        found.push(endpoint);
                    }
                }
            }
        }
        found
    }

    /// Moves every endpoint to an address that the test serves. A slice has its ports for all its endpoints: endpoints
    /// that had one port must have one again.
    pub fn moved(mut self, to: &BTreeMap<SocketAddr, SocketAddr>) -> Self {
        let objects = self.items.iter_mut().chain(self.lines.iter_mut().map(|line| &mut line["object"]));
        for object in objects {
            let old: Vec<u16> = ports(object);
            for endpoint in object["endpoints"].as_array_mut().into_iter().flatten() {
                let address: IpAddr = parse(&endpoint["addresses"][0]);
                let port = old.first().expect("endpoints have a port");
                endpoint["addresses"][0] = json!(to[&SocketAddr::new(address, *port)].ip());
            }
            for port in object["ports"].as_array_mut().into_iter().flatten() {
                let number = port["port"].as_u64();
                let moved = to.iter().find(|(from, _)| Some(u64::from(from.port())) == number);
                if let Some((_, moved)) = moved {
                    port["port"] = json!(moved.port());
                }
            }
        }
        self
    }
}

fn addresses(object: &Value) -> Vec<IpAddr> {
    let endpoints = object["endpoints"].as_array().into_iter().flatten();
    endpoints.map(|endpoint| parse(&endpoint["addresses"][0])).collect()
}

fn ports(object: &Value) -> Vec<u16> {
    let ports = object["ports"].as_array().into_iter().flatten();
    ports.filter_map(|port| u16::try_from(port["port"].as_u64()?).ok()).collect()
}

fn parse(address: &Value) -> IpAddr {
    address.as_str().and_then(|text| text.parse().ok()).expect("a recorded address is one")
}
