//! Which kinds of objects there are, and what a path means.

use serde_json::{Value, json};

/// A kind of object, and where it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// Its API group; empty for the core group.
    pub group: &'static str,
    /// The group's version.
    pub version: &'static str,
    /// Its name in paths.
    pub plural: &'static str,
    /// Its name in objects.
    pub kind: &'static str,
    /// Its objects are in namespaces.
    pub namespaced: bool,
}

/// EndpointSlices.
pub const ENDPOINT_SLICES: Resource =
    Resource::new("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true);
/// Services.
pub const SERVICES: Resource = Resource::new("", "v1", "services", "Service", true);
/// Nodes.
pub const NODES: Resource = Resource::new("", "v1", "nodes", "Node", false);
/// Pods.
pub const PODS: Resource = Resource::new("", "v1", "pods", "Pod", true);
/// Namespaces.
pub const NAMESPACES: Resource = Resource::new("", "v1", "namespaces", "Namespace", false);
/// Leases.
pub const LEASES: Resource = Resource::new("coordination.k8s.io", "v1", "leases", "Lease", true);
/// Events of the core group.
pub const EVENTS: Resource = Resource::new("", "v1", "events", "Event", true);
/// Events of the events group: the same objects as those of the core group, which this double keeps apart.
pub const NEW_EVENTS: Resource = Resource::new("events.k8s.io", "v1", "events", "Event", true);

/// All of them.
pub const RESOURCES: [Resource; 8] =
    [ENDPOINT_SLICES, SERVICES, NODES, PODS, NAMESPACES, LEASES, EVENTS, NEW_EVENTS];

impl Resource {
    const fn new(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
        namespaced: bool,
    ) -> Self {
        Self { group, version, plural, kind, namespaced }
    }

    /// The resource of this kind of object.
    pub fn of(object: &Value) -> Option<Self> {
        let (version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
        RESOURCES.into_iter().find(|known| known.api_version() == version && known.kind == kind)
    }

    /// Group and version as an object has them.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The name as errors have it.
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.into() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The kind as validation errors have it.
    pub(super) fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.into() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// An object of this kind that says nothing but a resourceVersion, with the fields that the Go type always writes.
    pub(super) fn bookmark(&self, revision: u64) -> Value {
        let mut object = json!({
            "kind": self.kind,
            "apiVersion": self.api_version(),
            "metadata": {"resourceVersion": revision.to_string()},
        });
        let more = match self.plural {
            "endpointslices" => json!({"addressType": "", "endpoints": null, "ports": null}),
            "services" => json!({"spec": {}, "status": {"loadBalancer": {}}}),
            "pods" => json!({"spec": {"containers": null}, "status": {}}),
            "nodes" | "namespaces" => json!({"spec": {}, "status": {}}),
            "leases" => json!({"spec": {}}),
            _ => json!({}),
        };
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
        }
        object
    }

    /// A change of the object's `status` goes through the subresource alone.
    pub(super) fn has_status(&self) -> bool {
        matches!(self.plural, "services" | "nodes" | "pods" | "namespaces")
    }
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kind of object.
    pub resource: Resource,
    /// The namespace; none for all of them, and for what is in none.
    pub namespace: Option<String>,
    /// The object; none for the collection.
    pub name: Option<String>,
    /// A part of the object, such as `status`.
    pub subresource: Option<String>,
}

impl Target {
    /// Reads a path.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let is_plural = |word: &str| RESOURCES.iter().any(|known| known.plural == word && known.namespaced);
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if rest.first().is_some_and(|word| is_plural(word)) => {
                (Some((*namespace).to_owned()), rest)
            }
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (plural, None, None),
            [plural, name] => (plural, Some(*name), None),
            [plural, name, subresource] => (plural, Some(*name), Some(*subresource)),
            _ => return None,
        };
        let resource = RESOURCES
            .into_iter()
            .find(|known| known.group == group && known.version == version && known.plural == *plural)?;
        // One object of a namespace's is found in its namespace alone.
        (name.is_none() || resource.namespaced == namespace.is_some()).then(|| Self {
            resource,
            namespace,
            name: name.map(Into::into),
            subresource: subresource.map(Into::into),
        })
    }
}
