//! What is in `deploy`: manifests, chart, observability.
//!
//! No cluster is needed. What `kubectl` and Helm would send is made by them (`manifests`), read as Kubernetes' own types
//! (`objects`), and judged: rights, labels and what the pod may (`base`), ports and times that follow from the
//! configuration (`configuration`), what two pods of a node need (`handoff`), the chart against the base (`chart`), queries
//! against the metrics that exist (`observability`). What the binary has to say to them is tested in `tests/it/deploy`.
//! Not decided here: whether a real cluster takes them; deploy/README.md has the commands for one.

mod base;
mod chart;
mod configuration;
mod handoff;
mod objects;
mod observability;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::manifests::root;

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
