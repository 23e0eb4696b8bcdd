//! What has to agree: rights with their document, the pod with what SECURITY.md says, labels and names with each other.
//! What the configuration says of it is in `configuration`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use serde_json::{Value, json};

use crate::{
    manifests::{at, documents, kustomize, object, read, root},
    rights::Rights,
};

pub(super) fn pod(objects: &[Value]) -> &Value {
    at(object(objects, "DaemonSet tidegate"), "/spec/template/spec")
}

pub(super) fn container(objects: &[Value]) -> &Value {
    let containers = at(pod(objects), "/containers").as_array().expect("a list");
    assert_eq!(containers.len(), 1);
    &containers[0]
}

/// The rows of the table of rights in deploy/README.md.
fn documented() -> BTreeSet<[String; 4]> {
    let text = read("README.md");
    let bare = |cell: &str| cell.trim().replace('`', "");
    let mut documented = BTreeSet::new();
    for row in
        text.lines().filter(|line| line.starts_with("| cluster |") || line.starts_with("| namespace |"))
    {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(bare).collect();
        let [place, group, resources, verbs, reason] = cells.as_slice() else { panic!("a row: {row}") };
        assert!(!reason.is_empty(), "{row}");
        let group = if group == "core" { "" } else { group };
        for resource in resources.split(", ") {
            for verb in verbs.split(", ") {
                documented.insert([place, group, resource, verb].map(str::to_owned));
            }
        }
    }
    documented
}

#[test]
fn rights_are_those_that_the_document_gives_a_reason_for() {
    let Some(objects) = kustomize("kubernetes") else { return };
    let rights = Rights::of(&objects);
    assert_eq!(rights, Rights::of_the_deployment(), "kustomize takes the rules as they are written");
    let granted: BTreeSet<_> = rights.iter().cloned().collect();
    assert_eq!(granted, documented(), "deploy/README.md has a table of what each rule is for");
    for [place, group, resource, verb] in &granted {
        assert!([group, resource, verb].iter().all(|word| !word.contains('*')), "{group} {resource} {verb}");
        assert!(resource != "secrets" && resource != "configmaps", "{resource} holds what is others'");
        let reads = ["get", "list", "watch"].contains(&verb.as_str());
        let writes = [
            ("cluster", "services/status", "patch"),
            ("cluster", "services/status", "update"),
            ("cluster", "events", "create"),
            ("cluster", "events", "patch"),
            ("namespace", "leases", "create"),
            ("namespace", "leases", "update"),
        ];
        assert!(reads || writes.contains(&(place, resource, verb)), "{place} {resource} {verb}");
    }
    let namespace = at(object(&objects, "DaemonSet tidegate"), "/metadata/namespace");
    for binding in ["ClusterRoleBinding tidegate", "RoleBinding tidegate"] {
        let subjects = at(object(&objects, binding), "/subjects");
        let account = json!([{"kind": "ServiceAccount", "name": "tidegate", "namespace": namespace}]);
        assert_eq!(*subjects, account, "{binding}");
    }
    assert_eq!(pod(&objects)["serviceAccountName"], "tidegate");
    assert_eq!(object(&objects, "ServiceAccount tidegate")["automountServiceAccountToken"], false);
}

/// The right to read pods is apart, for the same account, and says what the document does.
#[test]
fn pods_are_read_only_where_that_is_added() {
    let Some(objects) = kustomize("pod-deadlines") else { return };
    let [get, watch] = ["get", "watch"].map(|verb| ["cluster", "", "pods", verb].map(str::to_owned));
    let added: BTreeSet<_> = Rights::of(&objects).iter().cloned().collect();
    assert_eq!(added, BTreeSet::from([get.clone(), watch.clone()]));
    let base = Rights::of_the_deployment();
    assert!(base.iter().all(|right| ![&get, &watch].contains(&right)), "not in the base");
    let all: BTreeSet<_> = base.iter().cloned().chain(added).collect();
    assert_eq!(Rights::with_pod_deadlines().iter().cloned().collect::<BTreeSet<_>>(), all);
    let binding = object(&objects, "ClusterRoleBinding tidegate-pod-deadlines");
    let account = json!([{"kind": "ServiceAccount", "name": "tidegate", "namespace": "tidegate-system"}]);
    assert_eq!(*at(binding, "/subjects"), account);
    assert!(read("README.md").contains("kubectl apply -k deploy/pod-deadlines"));
}

#[test]
fn the_pod_has_the_nodes_network_and_little_else() {
    let Some(objects) = kustomize("kubernetes") else { return };
    let pod = pod(&objects);
    assert_eq!(pod["hostNetwork"], true);
    for other in ["hostPID", "hostIPC", "initContainers", "ephemeralContainers"] {
        assert!(pod.get(other).is_none(), "{other}");
    }
    assert_eq!(*at(pod, "/securityContext/seccompProfile"), json!({"type": "RuntimeDefault"}));
    let container = container(&objects);
    assert!(container.get("ports").is_none(), "under hostNetwork they become host ports");
    assert_eq!(
        container["securityContext"],
        json!({
            "runAsUser": 0, "runAsGroup": 0, "privileged": false, "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        })
    );
    let volumes = at(pod, "/volumes").as_array().expect("a list");
    let of_the_node: Vec<_> = volumes.iter().filter_map(|volume| volume.get("hostPath")).collect();
    let meeting = json!({"path": "/run/tidegate-pods/tidegate-system/tidegate", "type": "DirectoryOrCreate"});
    assert_eq!(of_the_node, [&meeting], "of the node's files it has the directory where its pods meet");
    assert!(at(container, "/resources/requests/cpu").is_string());
    assert!(at(container, "/resources/requests/memory").is_string());
    assert!(at(container, "/resources").get("limits").is_none(), "a limit cuts flows or slows them");
    let namespace = object(&objects, "Namespace tidegate-system");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
}

#[test]
fn instances_find_each_other_by_the_headless_service() {
    let Some(objects) = kustomize("kubernetes") else { return };
    let service = object(&objects, "Service tidegate");
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert!(service["spec"].get("publishNotReadyAddresses").is_none(), "only ready ones are to be found");
    let daemon_set = object(&objects, "DaemonSet tidegate");
    let labels = at(daemon_set, "/spec/template/metadata/labels").as_object().expect("a map");
    for (place, selector) in [
        ("the Service", at(service, "/spec/selector")),
        ("the DaemonSet", at(daemon_set, "/spec/selector/matchLabels")),
    ] {
        let selector = selector.as_object().expect("a map");
        assert_eq!(selector.len(), 2, "{place} selects by {selector:?}");
        assert!(selector.iter().all(|(key, value)| labels.get(key) == Some(value)), "{place}: {selector:?}");
        assert!(!selector.contains_key("app.kubernetes.io/version"), "a selector cannot change");
    }
}

/// What would look like protection and have no effect is left out; deploy/README.md says why.
#[test]
fn nothing_is_there_that_would_have_no_effect() {
    let Some(objects) = kustomize("kubernetes") else { return };
    let kinds: BTreeSet<_> = objects.iter().map(|object| object["kind"].as_str().expect("a kind")).collect();
    for idle in ["NetworkPolicy", "PodDisruptionBudget"] {
        assert!(!kinds.contains(idle));
        assert!(read("README.md").contains(idle), "deploy/README.md says why there is no {idle}");
    }
}

#[test]
fn versions_are_the_workspaces() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("it can be read");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let version = manifest["workspace"]["package"]["version"].as_str().expect("a text");
    let toolchain = manifest["workspace"]["package"]["rust-version"].as_str().expect("a text");
    for folder in ["kubernetes", "observability", "pod-deadlines"] {
        let Some(objects) = kustomize(folder) else { return };
        for object in &objects {
            assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/version"], version, "{object:#}");
        }
        if folder == "kubernetes" {
            assert_eq!(container(&objects)["image"], format!("tidegate:{version}"));
        }
    }
    let chart = &documents(&read("helm/Chart.yaml"))[0];
    assert_eq!((&chart["version"], &chart["appVersion"]), (&version.into(), &version.into()));
    assert!(
        read("Containerfile").contains(&format!("ARG RUST={toolchain}\n")),
        "the Containerfile's toolchain"
    );
}

/// Where the examples' listeners are: a Service's port is a port of every node, next to the proxy's own.
#[test]
fn examples_are_of_the_class_and_stay_off_the_proxys_ports() {
    let Some(objects) = kustomize("kubernetes") else { return };
    let text = at(object(&objects, "ConfigMap tidegate"), "/data/tidegate.yaml").as_str().expect("text");
    let class = at(&documents(text)[0], "/source/kubernetes/loadBalancerClass").clone();
    let own: Vec<SocketAddr> = ["/admin/address", "/metrics/address"]
        .map(|path| at(&documents(text)[0], path).as_str().expect("text").parse().expect("an address"))
        .into();
    let mut seen = BTreeMap::new();
    for example in documents(&read("kubernetes/examples/web.yaml")) {
        if example["kind"] == "Service" {
            assert_eq!(example["spec"]["type"], "LoadBalancer");
            assert_eq!(example["spec"]["loadBalancerClass"], class);
            for port in at(&example, "/spec/ports").as_array().expect("a list") {
                let number = port["port"].as_u64().expect("a number");
                assert!(own.iter().all(|own| u64::from(own.port()) != number));
                seen.insert(number, port["name"].clone());
            }
        }
    }
    assert!(!seen.is_empty());
}
