//! The chart: with its defaults it is the base, each value has an effect, and each is in the document.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    manifests::{Case, documents, helm, kustomize, kustomize_overlay, object, read, title},
    rights::Rights,
};

use super::{differences, objects};

/// Objects by title, with the configuration inside the ConfigMap as a value: how it is written does not count, nor in
/// which order volumes are.
fn by_title(objects: Vec<Value>) -> Value {
    let mut titled = Map::new();
    for mut object in objects {
        if let Some(text) = object.pointer_mut("/data/tidegate.yaml") {
            *text = documents(text.as_str().expect("text")).remove(0);
        }
        // A patch may put a volume anywhere; nothing goes by their order.
        if let Some(Value::Array(volumes)) = object.pointer_mut("/spec/template/spec/volumes") {
            volumes.sort_by_key(|volume| volume["name"].to_string());
        }
        let before = titled.insert(title(&object), object);
        assert!(before.is_none(), "two objects of one name: {before:?}");
    }
    titled.into()
}

fn with(values: Value) -> Case<'static> {
    Case { name: "tidegate", namespace: "default", values }
}

fn one(case: Case<'_>) -> Option<Result<Vec<Value>, String>> {
    helm(&[case]).map(|mut rendered| rendered.cases.remove(0))
}

#[test]
fn the_chart_with_its_defaults_is_the_base() {
    let Some(rendered) = helm(&[with(json!({}))]) else { return };
    assert!(rendered.faults.is_empty(), "{:?}", rendered.faults);
    let chart = by_title(rendered.cases.into_iter().next().expect("one").expect("it renders"));
    let Some(base) = kustomize("kubernetes") else { return };
    let found = differences(&by_title(base), &chart);
    assert!(found.is_empty(), "the base and the chart differ:\n{}\n", found.join("\n"));
}

#[test]
fn the_charts_right_to_read_pods_is_the_one_in_pod_deadlines() {
    let Some(rendered) = one(with(json!({"podDeadlines": {"enabled": true}}))) else { return };
    assert_eq!(Rights::of(&rendered.expect("it renders")), Rights::with_pod_deadlines());
}

#[test]
fn the_charts_pod_monitor_is_the_one_in_observability() {
    let Some(rendered) = one(with(json!({"podMonitor": {"enabled": true}}))) else { return };
    let rendered = rendered.expect("it renders");
    let Some(observability) = kustomize("observability") else { return };
    let title = "PodMonitor tidegate";
    let found = differences(object(&observability, title), object(&rendered, title));
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Without a handoff the chart is the base with the component.
#[test]
fn the_chart_without_a_handoff_is_the_component() {
    let Some(rendered) = one(with(json!({"handoff": {"enabled": false}}))) else { return };
    let chart = by_title(rendered.expect("it renders"));
    let Some(overlay) = kustomize_overlay(&["kubernetes"], &["no-handoff"]) else { return };
    let found = differences(&by_title(overlay), &chart);
    assert!(found.is_empty(), "the component and the chart differ:\n{}\n", found.join("\n"));
}

/// With a gate the chart is the overlay, and both are off by default.
#[test]
fn the_chart_with_a_gate_is_the_overlay() {
    let Some(rendered) = one(with(json!({"gate": {"enabled": true}}))) else { return };
    let chart = by_title(rendered.expect("it renders"));
    let Some(overlay) = kustomize("gate") else { return };
    let found = differences(&by_title(overlay), &chart);
    assert!(found.is_empty(), "the overlay and the chart differ:\n{}\n", found.join("\n"));
}

/// The leaves of the values by path; an empty list or map is one.
fn leaves(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                // A dot in a key stays apart from those of the path.
                let key = key.replace('.', "\\.");
                leaves(&if path.is_empty() { key } else { format!("{path}.{key}") }, value, found);
            }
        }
        _ => {
            found.insert(path.to_owned(), value.clone());
        }
    }
}

fn defaults() -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    leaves("", &documents(&read("helm/values.yaml"))[0], &mut found);
    found
}

/// Another value of the same type.
fn another(value: &Value) -> Value {
    match value {
        Value::Bool(value) => json!(!value),
        Value::Number(value) => json!(value.as_u64().expect("no value is negative") + 1),
        // Ports stay ports: addresses end with one.
        Value::String(value) if value.ends_with("01") || value.ends_with("02") => {
            json!(format!("{}3", &value[..value.len() - 1]))
        }
        Value::String(value) => json!(format!("{value}x")),
        Value::Array(_) => json!([{"name": "another"}]),
        Value::Object(_) => json!({"another": "one"}),
        Value::Null => panic!("a value has no type"),
    }
}

/// Values with one leaf in them.
fn values_with(path: &str, leaf: Value) -> Value {
    let hidden = path.replace("\\.", "\u{0}");
    hidden.rsplit('.').fold(leaf, |value, key| json!({ key.replace('\u{0}', "."): value }))
}

#[test]
fn every_value_changes_something() {
    let defaults = defaults();
    assert!(defaults.len() > 40, "{defaults:?}");
    // What is off by default has an effect when it is on.
    let optional = ["podMonitor", "gate"];
    let mut cases = vec![with(json!({}))];
    cases.extend(optional.map(|block| with(json!({ block: {"enabled": true} }))));
    for (path, value) in &defaults {
        let mut values = values_with(path, another(value));
        for block in optional {
            if path.starts_with(&format!("{block}.")) && *path != format!("{block}.enabled") {
                values[block]["enabled"] = true.into();
            }
        }
        cases.push(with(values));
    }
    let Some(rendered) = helm(&cases) else { return };
    let mut answers = rendered.cases.into_iter().map(|case| case.map(by_title));
    let base = answers.next().expect("the first").expect("it renders");
    let with_optional = optional.map(|_| answers.next().expect("one each").expect("it renders"));
    let mut faults = Vec::new();
    for (path, answer) in defaults.keys().zip(answers) {
        match answer {
            Err(error) => faults.push(format!("{path}: {error}")),
            Ok(objects) if objects == base || with_optional.contains(&objects) => {
                if !optional.iter().any(|block| *path == format!("{block}.enabled")) {
                    faults.push(format!("{path} changes nothing"));
                }
            }
            Ok(_) => {}
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_value_is_in_the_document() {
    let text = read("README.md");
    let mut documented = BTreeMap::new();
    for row in text.lines().skip_while(|line| !line.starts_with("| value |")).skip(2) {
        let Some(row) = row.strip_prefix("| ") else { break };
        let cells: Vec<_> =
            row.trim_end_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect();
        let [path, value, meaning] = cells.as_slice() else { panic!("a row: {row}") };
        assert!(!meaning.is_empty(), "{row}");
        documented.insert(path.clone(), value.clone());
    }
    // A value that Kubernetes explains is one row, with its default as it is written in YAML's flow style.
    let whole = documents(&read("helm/values.yaml")).remove(0);
    let mut faults = Vec::new();
    for (path, written) in &documented {
        let pointer = format!("/{}", path.replace('.', "/"));
        let Some(value) = whole.pointer(&pointer) else {
            faults.push(format!("there is no value {path}"));
            continue;
        };
        let read: Value = serde_saphyr::from_str(written).unwrap_or_else(|error| panic!("{path}: {error}"));
        if read != *value {
            faults.push(format!("{path} is {value} and not {written}"));
        }
    }
    for path in defaults().keys() {
        let is_covered = documented.keys().any(|row| path == row || path.starts_with(&format!("{row}.")));
        if !is_covered {
            faults.push(format!("{path} is not in the table"));
        }
    }
    assert!(faults.is_empty(), "deploy/README.md:\n{}\n", faults.join("\n"));
}

/// What an operator would set stays what Kubernetes reads, and stays consistent.
#[test]
fn other_values_make_manifests_too() {
    // Nobody binds it: what a manifest says of ports has to follow from the configuration.
    const PORT: u16 = 9910;
    let values = json!({
        "image": {"repository": "registry.example/tidegate", "tag": "2"},
        "imagePullSecrets": [{"name": "registry"}],
        "namespace": {"name": ""},
        "commonLabels": {"team": "edge"},
        "serviceAccount": {"annotations": {"example/role": "edge"}},
        "configuration": {
            "admin": {"address": "unix:/run/tidegate/node/admin.sock"},
            "metrics": {"address": format!("[::]:{PORT}")},
        },
        "shutdown": {"delaySeconds": 5, "graceSeconds": 0, "marginSeconds": 10},
        "log": {"filter": "debug"},
        "podAnnotations": {"example/note": "yes"},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "edge", "operator": "Exists"}]}],
        }}},
        "env": [{"name": "TIDEGATE_LOG", "value": "info"}],
        "podMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
    });
    let Some(rendered) = one(Case { name: "edge", namespace: "lb", values }) else { return };
    let objects = rendered.expect("it renders");
    let found = objects::faults(&objects);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    assert!(objects.iter().all(|object| object["kind"] != "Namespace"), "the release's own is there already");
    for object in &objects {
        let name = object["metadata"]["name"].as_str().expect("a name");
        assert_eq!(name, "edge-tidegate");
        if !object["kind"].as_str().expect("a kind").starts_with("Cluster") {
            assert_eq!(object["metadata"]["namespace"], "lb", "{name}");
        }
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/instance"], "edge");
        assert_eq!(object["metadata"]["labels"]["team"], "edge");
    }
    let daemon_set = object(&objects, "DaemonSet edge-tidegate");
    let pod = &daemon_set["spec"]["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 15);
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "registry.example/tidegate:2");
    let volumes = pod["volumes"].as_array().expect("a list");
    let node = volumes.iter().find(|volume| volume["name"] == "node").expect("where pods of a node meet");
    assert_eq!(node["hostPath"]["path"], "/run/tidegate-pods/lb/edge-tidegate", "two releases do not meet");
    assert_eq!(object(&objects, "Service edge-tidegate")["spec"]["ports"][0]["port"], PORT);
    let monitor = &object(&objects, "PodMonitor edge-tidegate")["spec"]["podMetricsEndpoints"][0];
    assert_eq!(monitor["relabelings"][0]["replacement"], format!("$1:{PORT}"));
}

#[test]
fn values_that_nobody_reads_are_refused() {
    for (values, word) in [
        (json!({"imagee": {"tag": "2"}}), "imagee"),
        (json!({"image": {"tagg": "2"}}), "tagg"),
        (json!({"shutdown": {"graceSeconds": "10m"}}), "graceSeconds"),
        (json!({"shutdown": {"marginSeconds": 0}}), "marginSeconds"),
        (json!({"configuration": {"shutdown": {"grace": "1m"}}}), "configuration"),
        (json!({"configuration": {"handoff": {"socket": "/tmp/handoff.sock"}}}), "socket"),
        (json!({"handoff": {"hostPath": "run"}}), "hostPath"),
        (
            json!({"configuration": {"admin": {"address": "unix:/var/lib/tidegate/a.sock"}}}),
            "/run/tidegate/node/",
        ),
    ] {
        let Some(rendered) = one(with(values)) else { return };
        let error = rendered.expect_err(word);
        assert!(error.contains(word), "{error}");
    }
}
