//! What is in `deploy`: manifests, chart, observability.
//!
//! No cluster is needed. What `kubectl` and Helm would send is made by them (`tools`), read as Kubernetes' own types
//! (`objects`), and judged: rights, labels and what the pod may (`base`), ports and times that follow from the
//! configuration (`configuration`), the chart against the base (`chart`), queries against the metrics that exist
//! (`observability`). Not decided here: whether a real cluster takes them; deploy/README.md has the commands for one.

mod base;
mod chart;
mod configuration;
mod objects;
mod observability;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in a folder of the repository")
}

/// A file of `deploy` as text.
fn read(path: &str) -> String {
    let path = root().join("deploy").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML text; empty ones are left out, as a template makes them.
fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// Every file below `deploy` with this extension, relative to it. Not the templates: they are no YAML yet.
fn files(extension: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder can be read") {
            let path = entry.expect("a folder can be read").path();
            if path.ends_with("templates") {
                continue;
            }
            if path.is_dir() {
                walk(&path, extension, found);
            } else if path.extension().is_some_and(|end| end == extension) {
                found.push(path);
            }
        }
    }
    let deploy = root().join("deploy");
    let mut found = Vec::new();
    walk(&deploy, extension, &mut found);
    found.sort();
    found.iter().map(|path| path.strip_prefix(&deploy).expect("it is below").to_owned()).collect()
}

/// A value at a path such as `/spec/template`; fails where there is none.
#[track_caller]
fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    object.pointer(path).unwrap_or_else(|| panic!("no {path} in {object:#}"))
}

/// `Kind name` of an object.
fn title(object: &Value) -> String {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or("?").to_owned();
    format!("{} {}", text("/kind"), text("/metadata/name"))
}

/// The one object with this title.
#[track_caller]
fn object<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| title(object) == wanted);
    let first = found.next().unwrap_or_else(|| panic!("there is no {wanted}"));
    assert!(found.next().is_none(), "there is more than one {wanted}");
    first
}

/// Where two values differ, path by path.
fn differences(left: &Value, right: &Value) -> Vec<String> {
    fn walk(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
        match (left, right) {
            (Value::Object(left), Value::Object(right)) => {
                for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
                    let (left, right) = (left.get(key), right.get(key));
                    let (left, right) = (left.unwrap_or(&Value::Null), right.unwrap_or(&Value::Null));
                    walk(&format!("{path}/{key}"), left, right, found);
                }
            }
            (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
                for (index, (left, right)) in left.iter().zip(right).enumerate() {
                    walk(&format!("{path}/{index}"), left, right, found);
                }
            }
            _ if left == right => {}
            _ => found.push(format!("{path}: {left} and {right}")),
        }
    }
    let mut found = Vec::new();
    walk("", left, right, &mut found);
    found
}
