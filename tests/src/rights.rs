//! What the proxy's service account may do in a cluster, and whether that is enough for what it asked for.
//!
//! The double of the API server does not authorize. A test that ran the real binary against it compares here what was
//! asked with the rules of `deploy/kubernetes/rbac.yaml`: a right that is missing would show in a real cluster alone.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::apiserver::{Call, Verb};

/// The namespace of the manifests.
const NAMESPACE: &str = "tidegate-system";

/// Rules of a ClusterRole and of a Role, one verb of one resource each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights(BTreeSet<[String; 4]>);

impl Rights {
    /// The rules in `deploy/kubernetes/rbac.yaml`.
    pub fn of_the_deployment() -> Self {
        Self::read("kubernetes/rbac.yaml")
    }

    fn read(path: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("it is YAML");
        Self::of(&objects)
    }

    /// The same with those in `deploy/pod-deadlines/rbac.yaml`.
    pub fn with_pod_deadlines() -> Self {
        let Self(mut rights) = Self::of_the_deployment();
        rights.extend(Self::read("pod-deadlines/rbac.yaml").0);
        Self(rights)
    }

    /// The rules among these objects.
    pub fn of(objects: &[Value]) -> Self {
        let mut rights = BTreeSet::new();
        for (kind, place) in [("ClusterRole", "cluster"), ("Role", "namespace")] {
            let roles = objects.iter().filter(|object| object["kind"] == kind);
            for rule in roles.flat_map(|role| role["rules"].as_array().expect("a role has rules")) {
                let fields: BTreeSet<_> =
                    rule.as_object().expect("a rule").keys().map(String::as_str).collect();
                assert_eq!(fields, BTreeSet::from(["apiGroups", "resources", "verbs"]));
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        for verb in texts(&rule["verbs"]) {
                            rights.insert([place, group, resource, verb].map(str::to_owned));
                        }
                    }
                }
            }
        }
        Self(rights)
    }

    /// Each as where (cluster or namespace), API group, resource, verb.
    pub fn iter(&self) -> impl Iterator<Item = &[String; 4]> {
        self.0.iter()
    }

    /// What of these requests is not granted, in words, each kind once.
    pub fn missing<'a>(&self, calls: impl IntoIterator<Item = &'a Call>) -> BTreeSet<String> {
        calls.into_iter().filter_map(|call| self.judge(call)).collect()
    }

    fn judge(&self, call: &Call) -> Option<String> {
        // What names no object (versions, discovery) is granted to every account by Kubernetes itself.
        let target = call.target.as_ref()?;
        let verb = match call.verb {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::Other => return Some(format!("{} {}", call.method, call.path)),
        };
        let part = target.subresource.iter().map(|part| format!("/{part}"));
        let resource: String = [target.resource.plural.to_owned()].into_iter().chain(part).collect();
        let group = target.resource.group;
        let holds = |place: &str| self.0.contains(&[place, group, &resource, verb].map(str::to_owned));
        let is_own = target.namespace.as_deref() == Some(NAMESPACE);
        let is_granted = holds("cluster") || (is_own && holds("namespace"));
        (!is_granted).then(|| {
            let place = target.namespace.as_deref().unwrap_or("all namespaces");
            format!("{verb} {resource} of {group:?} in {place}")
        })
    }
}

fn texts(value: &Value) -> BTreeSet<&str> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}
