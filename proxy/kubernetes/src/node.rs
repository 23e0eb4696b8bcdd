//! Of a Node, what matters to flows and listeners: its zone, its addresses, whether it is ready, whether it is leaving.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{follow::Read, intern::Intern, meta::Key};

/// A node as far as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// `topology.kubernetes.io/zone`.
    pub(crate) zone: Option<Arc<str>>,
    /// Its condition Ready is True.
    pub(crate) ready: bool,
    /// It is going away, and why: its endpoints go with it although their slices do not say so yet.
    pub(crate) leaving: Option<Leaving>,
    /// External load balancers are to leave it out.
    pub(crate) excluded: bool,
    /// `InternalIP`.
    pub(crate) internal: Vec<IpAddr>,
    /// `ExternalIP`.
    pub(crate) external: Vec<IpAddr>,
}

/// Why a node is going away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// The kubelet says that the machine shuts down.
    ShuttingDown,
    /// The Node object is being deleted.
    Deleted,
    /// The cluster autoscaler is about to remove it.
    ScaledDown,
}

const ZONE: &str = "topology.kubernetes.io/zone";
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const SCALED_DOWN: &str = "ToBeDeletedByClusterAutoscaler";

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    spec: Spec<'a>,
    #[serde(borrow, default)]
    status: Status<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
    #[serde(borrow)]
    deletion_timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    labels: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec<'a> {
    #[serde(borrow)]
    taints: Option<Vec<Taint<'a>>>,
}

#[derive(Deserialize)]
struct Taint<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status<'a> {
    #[serde(borrow)]
    conditions: Option<Vec<Condition<'a>>>,
    #[serde(borrow)]
    addresses: Option<Vec<Address<'a>>>,
}

#[derive(Deserialize)]
struct Condition<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Address<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    address: Cow<'a, str>,
}

/// A node from its JSON.
///
/// # Errors
///
/// Why it is none, in words.
pub(crate) fn read(json: &str, intern: &mut Intern) -> Result<Read<Node>, String> {
    let Object { metadata, spec, status } = serde_json::from_str(json).map_err(|error| error.to_string())?;
    if metadata.name.is_empty() {
        return Err("it has no name".to_owned());
    }
    let labels = metadata.labels.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let readiness = conditions.iter().find(|condition| condition.kind == "Ready");
    let addresses = status.addresses.unwrap_or_default();
    let of_kind = |kind: &str| {
        let addresses = addresses.iter().filter(|address| address.kind == kind);
        addresses.filter_map(|address| address.address.parse().ok()).collect()
    };
    let is_deleted = metadata.deletion_timestamp.is_some();
    let is_scaled_down = spec.taints.unwrap_or_default().iter().any(|taint| taint.key == SCALED_DOWN);
    // The kubelet's own words; nothing else in the API says it.
    let is_shutting_down = readiness
        .is_some_and(|ready| ready.status == "False" && ready.message.contains("node is shutting down"));
    let leaving = match (is_shutting_down, is_deleted, is_scaled_down) {
        (true, ..) => Some(Leaving::ShuttingDown),
        (_, true, _) => Some(Leaving::Deleted),
        (.., true) => Some(Leaving::ScaledDown),
        _ => None,
    };
    let node = Node {
        zone: labels.get(ZONE).filter(|zone| !zone.is_empty()).map(|zone| intern.get(zone)),
        ready: readiness.is_some_and(|ready| ready.status == "True"),
        leaving,
        excluded: labels.contains_key(EXCLUDED),
        internal: of_kind("InternalIP"),
        external: of_kind("ExternalIP"),
    };
    let key = Key { namespace: intern.get(""), name: intern.get(&metadata.name) };
    Ok(Read { key, version: metadata.resource_version.into_owned(), object: node })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(object: &Value) -> Node {
        read(&object.to_string(), &mut Intern::default()).expect("a node").object
    }

    #[test]
    fn zone_addresses_and_readiness_are_kept() {
        let node = node(&json!({
            "metadata": {"name": "n", "labels": {ZONE: "zone-a", EXCLUDED: ""}, "managedFields": [{}]},
            "status": {
                "conditions": [{"type": "Ready", "status": "True", "message": "kubelet is posting ready status"}],
                "addresses": [
                    {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "fd00::1"},
                    {"type": "ExternalIP", "address": "203.0.113.1"}, {"type": "Hostname", "address": "n"},
                ],
            },
        }));
        assert_eq!(node.zone.as_deref(), Some("zone-a"));
        assert!(node.ready && node.excluded && node.leaving.is_none());
        assert_eq!(node.internal.len(), 2);
        assert_eq!(node.external, ["203.0.113.1".parse::<IpAddr>().expect("an address")]);
    }

    /// A25.
    #[test]
    fn three_things_say_that_a_node_is_leaving() {
        let shutting_down = json!({"metadata": {"name": "n"}, "status": {"conditions": [
            {"type": "Ready", "status": "False", "message": "node is shutting down"}]}});
        let deleted = json!({"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let scaled_down = json!({"metadata": {"name": "n"}, "spec": {"taints": [
            {"key": SCALED_DOWN, "value": "1", "effect": "NoSchedule"}]}});
        let lost = json!({"metadata": {"name": "n", "deletionTimestamp": null}, "status": {"conditions": [
            {"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}]}});
        let back = json!({"metadata": {"name": "n"}, "status": {"conditions": [
            {"type": "Ready", "status": "True", "message": "node is shutting down"}]}});
        assert_eq!(node(&shutting_down).leaving, Some(Leaving::ShuttingDown));
        assert_eq!(node(&deleted).leaving, Some(Leaving::Deleted));
        assert_eq!(node(&scaled_down).leaving, Some(Leaving::ScaledDown));
        assert_eq!(node(&lost).leaving, None);
        assert_eq!(node(&back).leaving, None);
    }
}
