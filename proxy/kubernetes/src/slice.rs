//! From an EndpointSlice object (discovery.k8s.io/v1) to what the table needs, and nothing else of it kept.
//!
//! What no flow can use is left out and counted: a port without a number, a host name for an address. Fields that are
//! not known here are ignored, so that objects of newer servers are read.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use serde::Deserialize;
use tidegate_core::{Conditions, ServiceName, Slice, SliceEndpoint, SliceName, SlicePort};

use crate::{follow::Read, intern::Intern, meta::Key};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    address_type: Cow<'a, str>,
    #[serde(borrow, default)]
    endpoints: Option<Vec<Endpoint<'a>>>,
    #[serde(borrow, default)]
    ports: Option<Vec<Port<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    generation: Option<u64>,
    #[serde(borrow)]
    labels: Option<Labels<'a>>,
    #[serde(borrow)]
    annotations: Option<Annotations<'a>>,
}

/// The label that joins a slice to its Service (S1).
#[derive(Deserialize)]
struct Labels<'a> {
    #[serde(rename = "kubernetes.io/service-name", borrow, default)]
    service: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(rename = "endpoints.kubernetes.io/last-change-trigger-time", borrow, default)]
    trigger: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Port<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    protocol: Option<Cow<'a, str>>,
    #[serde(default)]
    port: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint<'a> {
    #[serde(borrow, default)]
    addresses: Option<Vec<Cow<'a, str>>>,
    #[serde(default)]
    conditions: Option<EndpointConditions>,
    #[serde(borrow, default)]
    target_ref: Option<TargetRef<'a>>,
    #[serde(borrow, default)]
    node_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    zone: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    hints: Option<Hints<'a>>,
}

#[derive(Deserialize, Default)]
struct EndpointConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize)]
struct TargetRef<'a> {
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    uid: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints<'a> {
    #[serde(borrow, default)]
    for_zones: Option<Vec<Hint<'a>>>,
    #[serde(borrow, default)]
    for_nodes: Option<Vec<Hint<'a>>>,
}

#[derive(Deserialize)]
struct Hint<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// A slice, and when what it says began to change, as the server's annotation has it.
pub(crate) struct Trimmed {
    pub(crate) slice: Slice,
    pub(crate) trigger: Option<String>,
}

/// A slice from its JSON.
///
/// # Errors
///
/// Why it is none, in words.
pub(crate) fn read(json: &str, intern: &mut Intern) -> Result<Read<Trimmed>, String> {
    let object: Object<'_> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let metadata = object.metadata;
    if metadata.name.is_empty() {
        return Err("it has no name".to_owned());
    }
    let key = Key { namespace: intern.get(&metadata.namespace), name: (*metadata.name).into() };
    let family = match &*object.address_type {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        "FQDN" => None,
        other => return Err(format!("its addressType is {other:?}: expected IPv4, IPv6 or FQDN")),
    };
    let service = metadata
        .labels
        .map(|labels| labels.service)
        .filter(|service| !service.is_empty())
        .map(|service| ServiceName::new(Arc::clone(&key.namespace), intern.get(&service)));
    let all_ports = object.ports.unwrap_or_default();
    let ports: Vec<_> = all_ports.iter().filter_map(|port| usable_port(port, intern)).collect();
    let all_endpoints = object.endpoints.unwrap_or_default();
    let mut endpoints = Vec::with_capacity(all_endpoints.len());
    endpoints
        .extend(all_endpoints.iter().filter_map(|endpoint| usable(endpoint, family, &key.namespace, intern)));
    endpoints.shrink_to_fit();
    let left_out = |all: usize, used: usize| u32::try_from(all - used).unwrap_or(u32::MAX);
    let slice = Slice {
        name: SliceName { namespace: Arc::clone(&key.namespace), name: Arc::clone(&key.name) },
        service,
        generation: metadata.generation.unwrap_or_default(),
        ignored_ports: left_out(all_ports.len(), ports.len()),
        ignored_endpoints: left_out(all_endpoints.len(), endpoints.len()),
        ports,
        endpoints,
        is_fqdn: family.is_none(),
    };
    let trigger = metadata.annotations.map(|annotations| annotations.trigger.into_owned());
    let trigger = trigger.filter(|trigger| !trigger.is_empty());
    Ok(Read { key, version: metadata.resource_version.into_owned(), object: Trimmed { slice, trigger } })
}

/// The family of a slice's addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// A TCP port with a number (S5).
fn usable_port(port: &Port<'_>, intern: &mut Intern) -> Option<SlicePort> {
    let is_tcp = port.protocol.as_deref().is_none_or(|protocol| protocol.is_empty() || protocol == "TCP");
    let number = u16::try_from(port.port?).ok().filter(|number| *number > 0)?;
    is_tcp.then(|| SlicePort { name: intern.get(port.name.as_deref().unwrap_or_default()), number })
}

/// An endpoint whose first address (S6) a flow can be connected to and is of the slice's family.
fn usable(
    endpoint: &Endpoint<'_>,
    family: Option<Family>,
    namespace: &str,
    intern: &mut Intern,
) -> Option<SliceEndpoint> {
    let address: IpAddr = endpoint.addresses.as_ref()?.first()?.parse().ok()?;
    let is_of_family = match address.to_canonical() {
        IpAddr::V4(_) => family == Some(Family::V4) && address.is_ipv4(),
        IpAddr::V6(_) => family == Some(Family::V6),
    };
    if !is_of_family || address.is_unspecified() || address.is_multicast() {
        return None;
    }
    let EndpointConditions { ready, serving, terminating } =
        endpoint.conditions.as_ref().map(|it| EndpointConditions { ..*it }).unwrap_or_default();
    let target = endpoint.target_ref.as_ref();
    let pod_name = target.and_then(|target| {
        let name = there(target.name.as_deref())?;
        let namespace = there(target.namespace.as_deref()).unwrap_or(namespace);
        Some(Arc::from(format!("{namespace}/{name}")))
    });
    let mut names = |hints: Option<&Vec<Hint<'_>>>| -> Vec<Arc<str>> {
        hints.into_iter().flatten().map(|hint| intern.get(&hint.name)).collect()
    };
    let hints = endpoint.hints.as_ref();
    let zone_hints = names(hints.and_then(|hints| hints.for_zones.as_ref()));
    let node_hints = names(hints.and_then(|hints| hints.for_nodes.as_ref()));
    Some(SliceEndpoint {
        address,
        conditions: Conditions::from_api(ready, serving, terminating),
        pod_uid: target.and_then(|target| there(target.uid.as_deref())).map(Arc::from),
        pod_name,
        node: there(endpoint.node_name.as_deref()).map(|node| intern.get(node)),
        zone: there(endpoint.zone.as_deref()).map(|zone| intern.get(zone)),
        zone_hints,
        node_hints,
    })
}

/// A text that is there: Kubernetes writes an absent one as an empty one in places.
fn there(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
