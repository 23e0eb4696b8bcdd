//! Every object is read as Kubernetes' own type and written again; what is not the same afterwards is a field that
//! Kubernetes does not know, and would have dropped without a word.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::{ConfigMap, Namespace, Service, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{differences, files};
use crate::manifests::{at, documents, kustomize, kustomize_overlay, object, read, title};

/// What is no type of Kubernetes, as far as it is used here. Unknown fields are errors.
mod others {
    use super::{BTreeMap, Deserialize, Serialize, Value};

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Kustomization {
        api_version: String,
        kind: String,
        namespace: String,
        resources: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        config_map_generator: Vec<Generator>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        labels: Vec<Labels>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        patches: Vec<BTreeMap<String, String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        images: Option<Vec<BTreeMap<String, String>>>,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct Component {
        api_version: String,
        kind: String,
        patches: Vec<BTreeMap<String, String>>,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Generator {
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        behavior: Option<String>,
        files: Vec<String>,
        options: BTreeMap<String, Value>,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Labels {
        pairs: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        include_selectors: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        include_templates: Option<bool>,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Metadata {
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        labels: Option<BTreeMap<String, String>>,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct PodMonitor {
        api_version: String,
        kind: String,
        metadata: Metadata,
        spec: PodMonitorSpec,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct PodMonitorSpec {
        selector: BTreeMap<String, BTreeMap<String, String>>,
        pod_metrics_endpoints: Vec<MetricsEndpoint>,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct MetricsEndpoint {
        path: String,
        interval: String,
        relabelings: Vec<Relabeling>,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Relabeling {
        action: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        source_labels: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        target_label: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        regex: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        replacement: Option<String>,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    pub(super) struct PrometheusRule {
        api_version: String,
        kind: String,
        metadata: Metadata,
        spec: RuleSpec,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct RuleSpec {
        groups: Vec<RuleGroup>,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct RuleGroup {
        name: String,
        rules: Vec<Rule>,
    }

    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Rule {
        alert: String,
        expr: String,
        #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
        lasts: Option<String>,
        labels: BTreeMap<String, String>,
        annotations: BTreeMap<String, String>,
    }
}

fn again<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(object.clone())?)
}

/// Reads an object as its type and writes it again.
fn read_and_written(object: &Value) -> Result<Value, String> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let written = match (text("apiVersion"), text("kind")) {
        ("v1", "ConfigMap") => again::<ConfigMap>(object),
        ("v1", "Namespace") => again::<Namespace>(object),
        ("v1", "Service") => again::<Service>(object),
        ("v1", "ServiceAccount") => again::<ServiceAccount>(object),
        ("apps/v1", "DaemonSet") => again::<DaemonSet>(object),
        ("apps/v1", "Deployment") => again::<Deployment>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => again::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => again::<ClusterRoleBinding>(object),
        ("rbac.authorization.k8s.io/v1", "Role") => again::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => again::<RoleBinding>(object),
        ("kustomize.config.k8s.io/v1beta1", "Kustomization") => again::<others::Kustomization>(object),
        ("kustomize.config.k8s.io/v1alpha1", "Component") => again::<others::Component>(object),
        ("monitoring.coreos.com/v1", "PodMonitor") => again::<others::PodMonitor>(object),
        ("monitoring.coreos.com/v1", "PrometheusRule") => again::<others::PrometheusRule>(object),
        (version, kind) => return Err(format!("nothing here is of {version} {kind}: add it to this test")),
    };
    written.map_err(|error| error.to_string())
}

/// What Kubernetes would not take of these objects, or would drop.
pub(super) fn faults<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    let fault = |object: &Value| match read_and_written(object) {
        Err(error) => vec![format!("{}: {error}", title(object))],
        Ok(written) => {
            let lost = differences(object, &written).into_iter();
            lost.map(|what| format!("{}: {what} after it was read and written", title(object))).collect()
        }
    };
    objects.into_iter().flat_map(fault).collect()
}

/// These are no manifests: the proxy's own configuration, and what Helm reads.
const NO_MANIFESTS: [&str; 4] =
    ["kubernetes/tidegate.yaml", "gate/tidegate.yaml", "helm/Chart.yaml", "helm/values.yaml"];

#[test]
fn every_manifest_is_what_kubernetes_reads() {
    let mut count = 0;
    let mut found = Vec::new();
    for path in files("yaml") {
        let name = path.to_str().expect("a name is UTF-8");
        if NO_MANIFESTS.contains(&name) {
            continue;
        }
        let objects = documents(&read(name));
        assert!(!objects.is_empty(), "{name} has no object");
        count += objects.len();
        found.extend(faults(&objects).iter().map(|fault| format!("{name}: {fault}")));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    assert!(count > 10, "only {count} objects: was a folder forgotten?");
}

#[test]
fn what_kustomize_makes_is_what_kubernetes_reads() {
    for folder in ["kubernetes", "gate", "observability", "pod-deadlines"] {
        let Some(objects) = kustomize(folder) else { return };
        let found = faults(&objects);
        assert!(found.is_empty(), "{folder}:\n{}\n", found.join("\n"));
    }
}

/// The overlays and the component go together in one overlay of somebody's own; each has its effect, and no object is
/// there twice.
#[test]
fn overlays_go_together() {
    let resources = ["gate", "pod-deadlines", "observability"];
    let Some(objects) = kustomize_overlay(&resources, &["no-handoff"]) else { return };
    let found = faults(&objects);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    let titles: BTreeSet<_> = objects.iter().map(title).collect();
    assert_eq!(titles.len(), objects.len());
    for expected in
        ["ClusterRole tidegate-pod-deadlines", "PodMonitor tidegate", "ConfigMap tidegate-dashboard"]
    {
        assert!(titles.contains(expected), "{expected} is not among {titles:?}");
    }
    let daemon_set = object(&objects, "DaemonSet tidegate");
    assert_eq!(*at(daemon_set, "/spec/updateStrategy/rollingUpdate/maxSurge"), 0);
    let volumes = at(daemon_set, "/spec/template/spec/volumes").as_array().expect("a list");
    let names: Vec<_> = volumes.iter().map(|volume| volume["name"].as_str().expect("a name")).collect();
    assert_eq!(
        BTreeSet::from(["configuration", "node", "peers", "pod", "state"]),
        names.into_iter().collect()
    );
}

/// The test itself: an unknown field is seen, and so is a value of the wrong type.
#[test]
fn a_misspelt_field_is_seen() {
    let Some(objects) = kustomize("kubernetes") else { return };
    let daemon_set = object(&objects, "DaemonSet tidegate");
    let mut misspelt = daemon_set.clone();
    misspelt["spec"]["template"]["spec"]["hostNetwrok"] = true.into();
    assert_eq!(
        faults([&misspelt]),
        ["DaemonSet tidegate: /spec/template/spec/hostNetwrok: true and null after it was read and written"]
    );
    let mut wrong = daemon_set.clone();
    wrong["spec"]["minReadySeconds"] = "10".into();
    assert_eq!(faults([&wrong]).len(), 1);
}
