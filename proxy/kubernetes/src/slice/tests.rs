use std::{fs, path::Path};

use serde_json::{Value, json};

use super::*;

fn slice(object: &Value) -> Slice {
    read(&object.to_string(), &mut Intern::default()).map(|read| read.object.slice).expect("a slice")
}

/// Every object of every recording, list items and watch lines alike.
fn recorded() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let mut objects = Vec::new();
    for entry in fs::read_dir(&folder).expect("the recordings") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.contains("list") && name.ends_with(".json") {
            let list: Value = serde_json::from_slice(&fs::read(&path).expect("a list")).expect("JSON");
            objects.extend(list["items"].as_array().into_iter().flatten().cloned());
        } else if name.ends_with(".jsonl") && !name.contains("timeline") {
            let text = fs::read_to_string(&path).expect("a watch");
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            let objects_of =
                |line: Value| line["object"]["metadata"]["name"].is_string().then(|| line["object"].clone());
            objects.extend(lines.filter_map(objects_of));
        }
    }
    objects
}

#[test]
fn recorded_objects_mean_the_same_as_in_a_file() {
    let recorded = recorded();
    assert!(recorded.len() > 100, "only {} objects are recorded", recorded.len());
    for object in &recorded {
        let from_file = tidegate_files::slice::from_json(object).expect("a slice");
        assert_eq!(slice(object), from_file, "{object}");
    }
}

/// A1, A2, A3.
#[test]
fn absent_conditions_have_their_defaults() {
    let conditions = |conditions: Value| {
        let slice = slice(&json!({
            "metadata": {"name": "a"}, "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": conditions}],
        }));
        slice.endpoints.first().expect("an endpoint").conditions
    };
    assert_eq!(conditions(Value::Null), Conditions { ready: true, serving: true, terminating: false });
    assert_eq!(
        conditions(json!({"ready": false})),
        Conditions { ready: false, serving: false, terminating: false }
    );
    assert_eq!(
        conditions(json!({"ready": true, "terminating": true})),
        Conditions { ready: true, serving: true, terminating: true }
    );
}

/// A12, A13.
#[test]
fn what_no_flow_can_use_is_left_out_and_counted() {
    let slice = slice(&json!({
        "metadata": {"name": "a", "namespace": "n", "labels": null, "newField": [1, {"x": 2}]},
        "addressType": "IPv4",
        "ports": [{"port": null}, {"port": 0}, {"port": 70000}, {"port": 53, "protocol": "UDP"}, {"port": 80, "name": null}],
        "endpoints": [
            {"addresses": []}, {"addresses": null}, {"addresses": ["host.example"]}, {"addresses": ["::1"]},
            {"addresses": ["0.0.0.0"]}, {"addresses": ["10.0.0.1"], "newField": {}},
        ],
        "newTopLevel": true,
    }));
    assert_eq!((slice.ignored_ports, slice.ports.len()), (4, 1));
    assert_eq!((slice.ignored_endpoints, slice.endpoints.len()), (5, 1));
    assert_eq!(slice.service, None);
    let placeholder = self::slice(&json!({
        "metadata": {"name": "a"}, "addressType": "IPv4", "ports": null, "endpoints": null,
    }));
    assert!(placeholder.endpoints.is_empty() && placeholder.ignored_endpoints == 0);
}

#[test]
fn what_is_no_slice_is_said() {
    let why = |object: Value| match read(&object.to_string(), &mut Intern::default()) {
        Ok(_) => panic!("{object} is a slice"),
        Err(why) => why,
    };
    assert_eq!(why(json!({"metadata": {}, "addressType": "IPv4"})), "it has no name");
    let odd = why(json!({"metadata": {"name": "a"}, "addressType": "MAC"}));
    assert_eq!(odd, "its addressType is \"MAC\": expected IPv4, IPv6 or FQDN");
    let odd = why(json!({"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": 7}));
    assert!(odd.contains("invalid type: integer `7`, expected a sequence"), "{odd}");
}

#[test]
fn nodes_and_zones_are_kept_once() {
    let endpoint = |address: &str| json!({"addresses": [address], "nodeName": "node-1", "zone": "zone-a", "hints": {"forZones": [{"name": "zone-a"}]}});
    let slice = slice(&json!({
        "metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": [endpoint("10.0.0.1"), endpoint("10.0.0.2")],
    }));
    let [one, two] = slice.endpoints.as_slice() else { panic!("two endpoints") };
    assert!(one.node.as_ref().zip(two.node.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b)));
    assert!(one.zone.as_ref().zip(two.zone_hints.first()).is_some_and(|(a, b)| Arc::ptr_eq(a, b)));
}
