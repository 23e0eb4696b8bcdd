//! EndpointSlice files, as they are meant to be written: beside, then renamed.

use std::{
    fs,
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::Endpoint;

/// The directory that a proxy follows.
#[derive(Debug)]
pub struct SliceDirectory {
    path: PathBuf,
}

/// An EndpointSlice; of `default/web` with the port `http` where nothing else is said.
#[derive(Clone, Debug)]
pub struct Slice {
    name: String,
    service: Option<String>,
    address_type: String,
    ports: Vec<Value>,
    endpoints: Vec<SliceEndpoint>,
}

/// An endpoint as a slice describes it; without conditions where nothing else is said.
#[derive(Clone, Debug)]
pub struct SliceEndpoint {
    addresses: Vec<String>,
    conditions: [Option<bool>; 3],
    pod: Option<(String, String)>,
    zone_hint: Option<String>,
}

impl SliceDirectory {
    /// The directory at this path, made where it is missing.
    pub fn new(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a slice into a file of its own; a file of that name is replaced.
    pub fn write(&self, slice: &Slice) {
        self.write_text(&format!("{}.json", slice.name), &slice.json().to_string());
    }

    /// Replaces a file by this text.
    pub fn write_text(&self, file: &str, text: &str) {
        replace_file(&self.path.join(file), text);
    }

    /// Removes a slice's file.
    pub fn remove(&self, slice: &str) {
        fs::remove_file(self.path.join(format!("{slice}.json"))).unwrap();
    }
}

/// Writes beside, in a directory that nobody follows, and renames.
pub fn replace_file(path: &Path, text: &str) {
    let beside = path.parent().and_then(Path::parent).expect("a file in a directory of the test's");
    let mut file = tempfile::NamedTempFile::new_in(beside).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.persist(path).unwrap();
}

impl Slice {
    /// A slice without endpoints and ports.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            service: Some("web".to_owned()),
            address_type: "IPv4".to_owned(),
            ports: Vec::new(),
            endpoints: Vec::new(),
        }
    }

    /// A slice with these endpoints, ready, and their port.
    pub fn ready<'a>(name: &str, endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Self {
        endpoints.into_iter().fold(Self::named(name), |slice, endpoint| {
            slice.with_port(endpoint.address().port()).with(endpoint.in_slice().ready())
        })
    }

    /// Of another service, in the same namespace.
    pub fn of_service(mut self, service: &str) -> Self {
        self.service = Some(service.to_owned());
        self
    }

    /// Without the label that names the Service.
    pub fn unlabelled(mut self) -> Self {
        self.service = None;
        self
    }

    /// Of another address type than IPv4.
    pub fn of_type(mut self, address_type: &str) -> Self {
        self.address_type = address_type.to_owned();
        self
    }

    /// With the port `http` of this number, once.
    pub fn with_port(self, number: u16) -> Self {
        let port = json!({"name": "http", "protocol": "TCP", "port": number});
        if self.ports.contains(&port) { self } else { self.with_raw_port(port) }
    }

    /// With a port just as it is written.
    pub fn with_raw_port(mut self, port: Value) -> Self {
        self.ports.push(port);
        self
    }

    /// With an endpoint.
    pub fn with(mut self, endpoint: SliceEndpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// The object.
    pub fn json(&self) -> Value {
        let labels: Map<String, Value> = self
            .service
            .iter()
            .map(|service| ("kubernetes.io/service-name".to_owned(), json!(service)))
            .collect();
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": self.name, "namespace": "default", "labels": labels},
            "addressType": self.address_type,
            "ports": self.ports,
            "endpoints": self.endpoints.iter().map(SliceEndpoint::json).collect::<Vec<_>>(),
        })
    }
}

impl SliceEndpoint {
    /// An endpoint at this address.
    pub fn at(address: IpAddr) -> Self {
        Self::at_text(&address.to_string())
    }

    /// An endpoint at what may not be an address.
    pub fn at_text(address: &str) -> Self {
        Self { addresses: vec![address.to_owned()], conditions: [None; 3], pod: None, zone_hint: None }
    }

    /// ready, serving and terminating, just as they are written.
    pub fn conditions(mut self, conditions: [Option<bool>; 3]) -> Self {
        self.conditions = conditions;
        self
    }

    /// Ready.
    pub fn ready(self) -> Self {
        self.conditions([Some(true), Some(true), Some(false)])
    }

    /// Its readiness probe fails.
    pub fn not_ready(self) -> Self {
        self.conditions([Some(false), Some(false), Some(false)])
    }

    /// Its pod is about to end and still answers its readiness probe.
    pub fn terminating(self) -> Self {
        self.conditions([Some(false), Some(true), Some(true)])
    }

    /// Its pod is about to end and does not answer its readiness probe any more.
    pub fn terminating_not_serving(self) -> Self {
        self.conditions([Some(false), Some(false), Some(true)])
    }

    /// Its pod.
    pub fn pod(mut self, name: &str, uid: &str) -> Self {
        self.pod = Some((name.to_owned(), uid.to_owned()));
        self
    }

    /// Meant for clients of this zone.
    pub fn for_zone(mut self, zone: &str) -> Self {
        self.zone_hint = Some(zone.to_owned());
        self
    }

    fn json(&self) -> Value {
        let mut object = json!({"addresses": self.addresses});
        let words = ["ready", "serving", "terminating"];
        let conditions: Map<String, Value> = words
            .iter()
            .zip(self.conditions)
            .filter_map(|(word, condition)| Some(((*word).to_owned(), json!(condition?))))
            .collect();
        if !conditions.is_empty() {
            object["conditions"] = conditions.into();
        }
        if let Some((name, uid)) = &self.pod {
            object["targetRef"] = json!({"kind": "Pod", "namespace": "default", "name": name, "uid": uid});
        }
        if let Some(zone) = &self.zone_hint {
            object["hints"] = json!({"forZones": [{"name": zone}]});
        }
        object
    }
}
