//! From an EndpointSlice object (discovery.k8s.io/v1) to what the table needs.
//!
//! What the API server would never store makes the object invalid: a missing name, more endpoints than it allows.
//! What it may store but no flow can use is left out and counted: a port without a number, a host name for an
//! address. Fields that are not known here are ignored, so that objects of newer servers are read.

use std::{net::IpAddr, sync::Arc};

use serde::Deserialize;
use serde_json::Value;
use tidegate_core::{Conditions, PortName, ServiceName, Slice, SliceEndpoint, SliceName, SlicePort};

/// The API server's limit on endpoints in one slice.
pub const MAX_ENDPOINTS: usize = 1000;
/// The API server's limit on ports in one slice.
pub const MAX_PORTS: usize = 100;

/// The label that joins a slice to its Service (S1).
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Why an object is not an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{slice}{message}")]
pub struct InvalidSlice {
    slice: String,
    message: String,
}

impl InvalidSlice {
    fn new(message: impl Into<String>) -> Self {
        Self { slice: String::new(), message: message.into() }
    }

    fn of(name: &SliceName, message: impl Into<String>) -> Self {
        Self { slice: format!("EndpointSlice {name}: "), message: message.into() }
    }
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    generation: Option<i64>,
    labels: Option<Value>,
}

#[derive(Deserialize)]
struct Port {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    addresses: Option<Vec<String>>,
    conditions: Option<EndpointConditions>,
    target_ref: Option<TargetRef>,
    node_name: Option<String>,
    zone: Option<String>,
    hints: Option<Hints>,
}

#[derive(Default, Deserialize)]
struct EndpointConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize)]
struct TargetRef {
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    for_zones: Option<Vec<Hint>>,
    for_nodes: Option<Vec<Hint>>,
}

#[derive(Deserialize)]
struct Hint {
    name: String,
}

/// What the addresses of a slice are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AddressType {
    Ipv4,
    Ipv6,
    Fqdn,
}

/// The slice that an object describes. `kind` and `apiVersion` are not looked at: the items of a list lack them.
///
/// # Errors
///
/// [`InvalidSlice`] where the object lacks what every EndpointSlice has, or is not of its shape.
pub fn from_json(object: &Value) -> Result<Slice, InvalidSlice> {
    let Value::Object(fields) = object else {
        return Err(InvalidSlice::new("an EndpointSlice is a map of fields"));
    };
    let metadata = match fields.get("metadata") {
        None | Some(Value::Null) => {
            return Err(InvalidSlice::new("`metadata` is missing: add `metadata.name`"));
        }
        Some(metadata) => Metadata::deserialize(metadata)
            .map_err(|error| InvalidSlice::new(format!("`metadata` is not as expected: {error}")))?,
    };
    let name = metadata.name.filter(|name| !name.is_empty());
    let name = SliceName {
        name: name
            .ok_or_else(|| InvalidSlice::new("`metadata.name` is missing: give the slice a name"))?
            .into(),
        namespace: text(metadata.namespace).unwrap_or_else(|| Arc::from("default")),
    };
    let address_type = match fields.get("addressType").and_then(Value::as_str) {
        Some("IPv4") => AddressType::Ipv4,
        Some("IPv6") => AddressType::Ipv6,
        Some("FQDN") => AddressType::Fqdn,
        None | Some("") => {
            return Err(InvalidSlice::of(&name, "`addressType` is missing: expected IPv4, IPv6 or FQDN"));
        }
        Some(other) => {
            let message = format!("`addressType` is {other:?}: expected IPv4, IPv6 or FQDN");
            return Err(InvalidSlice::of(&name, message));
        }
    };
    let service = metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(SERVICE_LABEL)?.as_str())
        .filter(|service| !service.is_empty())
        .map(|service| ServiceName::new(Arc::clone(&name.namespace), service));
    let Some(endpoints) = fields.get("endpoints") else {
        let message = "`endpoints` is missing: to say that there are none, write `endpoints: []`";
        return Err(InvalidSlice::of(&name, message));
    };
    let generation = metadata.generation.and_then(|generation| u64::try_from(generation).ok()).unwrap_or(0);
    let (ports, ignored_ports) = ports(fields.get("ports"), &name)?;
    let (endpoints, ignored_endpoints) = endpoints_of(endpoints, address_type, &name)?;
    Ok(Slice {
        service,
        generation,
        ports,
        endpoints,
        ignored_ports,
        ignored_endpoints,
        is_fqdn: address_type == AddressType::Fqdn,
        name,
    })
}

/// The entries of a list that may be absent or null, each of its type.
fn entries<'a, T: Deserialize<'a>>(
    list: Option<&'a Value>,
    field: &str,
    limit: usize,
    slice: &SliceName,
) -> Result<Vec<T>, InvalidSlice> {
    let list = match list {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(InvalidSlice::of(slice, format!("`{field}` is not a list"))),
    };
    if list.len() > limit {
        let message = format!(
            "{} {field} are more than the {limit} that Kubernetes allows: split them into several slices",
            list.len()
        );
        return Err(InvalidSlice::of(slice, message));
    }
    let entry = |(index, value): (usize, &'a Value)| {
        T::deserialize(value).map_err(|error| {
            InvalidSlice::of(slice, format!("`{field}[{index}]` is not as expected: {error}"))
        })
    };
    list.iter().enumerate().map(entry).collect()
}

/// The TCP ports with a number (S5), and how many others there are.
fn ports(list: Option<&Value>, slice: &SliceName) -> Result<(Vec<SlicePort>, u32), InvalidSlice> {
    let mut ports = Vec::new();
    let mut ignored = 0;
    for port in entries::<Port>(list, "ports", MAX_PORTS, slice)? {
        let is_tcp = port.protocol.as_deref().is_none_or(|protocol| protocol.is_empty() || protocol == "TCP");
        let number = port.port.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
        match number {
            Some(number) if is_tcp => {
                ports.push(SlicePort { name: PortName::from(port.name.unwrap_or_default()), number });
            }
            _ => ignored += 1,
        }
    }
    Ok((ports, ignored))
}

/// The endpoints with a usable first address (S6), and how many others there are.
fn endpoints_of(
    list: &Value,
    address_type: AddressType,
    slice: &SliceName,
) -> Result<(Vec<SliceEndpoint>, u32), InvalidSlice> {
    let mut endpoints = Vec::new();
    let mut ignored = 0;
    for endpoint in entries::<Endpoint>(Some(list), "endpoints", MAX_ENDPOINTS, slice)? {
        let first = endpoint.addresses.as_ref().and_then(|addresses| addresses.first());
        match first.and_then(|address| usable(address, address_type)) {
            Some(address) => endpoints.push(translate(endpoint, address, slice)),
            None => ignored += 1,
        }
    }
    Ok((endpoints, ignored))
}

/// The address, if a flow can be connected to it and it is of the slice's family.
fn usable(address: &str, address_type: AddressType) -> Option<IpAddr> {
    let address: IpAddr = address.parse().ok()?;
    let is_of_type = match address.to_canonical() {
        IpAddr::V4(_) => address_type == AddressType::Ipv4 && address.is_ipv4(),
        IpAddr::V6(_) => address_type == AddressType::Ipv6,
    };
    (is_of_type && !address.is_unspecified() && !address.is_multicast()).then_some(address)
}

fn translate(endpoint: Endpoint, address: IpAddr, slice: &SliceName) -> SliceEndpoint {
    let EndpointConditions { ready, serving, terminating } = endpoint.conditions.unwrap_or_default();
    let (pod_uid, pod_name) = match endpoint.target_ref {
        None => (None, None),
        Some(target) => {
            let namespace = target.namespace.filter(|namespace| !namespace.is_empty());
            let namespace = namespace.as_deref().unwrap_or(&slice.namespace);
            let name = target.name.filter(|name| !name.is_empty());
            (text(target.uid), name.map(|name| Arc::from(format!("{namespace}/{name}"))))
        }
    };
    let (zone_hints, node_hints) =
        endpoint.hints.map_or((None, None), |hints| (hints.for_zones, hints.for_nodes));
    let names = |hints: Option<Vec<Hint>>| hints.into_iter().flatten().map(|hint| hint.name.into()).collect();
    SliceEndpoint {
        address,
        conditions: Conditions::from_api(ready, serving, terminating),
        pod_uid,
        pod_name,
        node: text(endpoint.node_name),
        zone: text(endpoint.zone),
        zone_hints: names(zone_hints),
        node_hints: names(node_hints),
    }
}

/// A text that is there: Kubernetes writes an absent one as an empty one in places.
fn text(text: Option<String>) -> Option<Arc<str>> {
    text.filter(|text| !text.is_empty()).map(Arc::from)
}

#[cfg(test)]
mod tests;
