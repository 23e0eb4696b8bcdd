//! Server-side apply: who owns which field, and what an applied configuration makes of an object.
//!
//! Maps are merged field by field and `conditions` by their `type`; every other list is one value, as
//! `status.loadBalancer.ingress` is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Each manager's fields. A manager that applies and one that updates are two, even under one name.
pub(super) type Owners = BTreeMap<String, BTreeSet<Path>>;

/// Where a value is.
pub(super) type Path = Vec<Step>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Field(String),
    /// The item of a list with this `type`.
    Item(String),
}

/// Fields that are the server's.
const KEPT: [&str; 7] =
    ["name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"];

/// Applies a configuration; fails with who owns what it contradicts. One who applies an object and its status is two
/// managers, so `manager` says which.
pub(super) fn apply(
    object: &mut Value,
    owners: &mut Owners,
    config: &Value,
    manager: String,
    force: bool,
) -> Result<(), (String, Vec<String>)> {
    let mut wanted = leaves(config);
    // An empty map says that there is one, and nothing of what is in it.
    wanted.retain(|path, value| !(is_empty(value) && find(object, path).is_some_and(Value::is_object)));
    for (other, owned) in owners.iter_mut().filter(|(other, _)| **other != manager) {
        let disputed: Vec<_> = owned
            .iter()
            .filter(|path| wanted.contains_key(*path) && find(object, path) != wanted.get(*path))
            .cloned()
            .collect();
        if !disputed.is_empty() && !force {
            let name = other.rsplit_once('/').map_or(other.as_str(), |(name, _)| name).to_owned();
            return Err((name, disputed.iter().map(|path| text(path)).collect()));
        }
        owned.retain(|path| !disputed.contains(path));
    }
    let before = owners.remove(&manager).unwrap_or_default();
    for path in before.iter().filter(|path| !wanted.contains_key(*path)) {
        if !owners.values().any(|owned| owned.contains(path)) {
            remove(object, path);
        }
    }
    for (path, value) in &wanted {
        set(object, path, value.clone());
    }
    owners.insert(manager, wanted.into_keys().collect());
    Ok(())
}

/// Takes note of a plain write: what it changed belongs to who wrote it.
pub(super) fn note(owners: &mut Owners, before: &Value, after: &Value, manager: &str) {
    let (before, after) = (leaves(before), leaves(after));
    let changed: BTreeSet<_> = after
        .iter()
        .filter(|(path, value)| before.get(*path) != Some(value))
        .map(|(path, _)| path.clone())
        .collect();
    for owned in owners.values_mut() {
        owned.retain(|path| after.contains_key(path) && !changed.contains(path));
    }
    owners.entry(format!("{manager}/update")).or_default().extend(changed);
}

fn leaves(object: &Value) -> BTreeMap<Path, Value> {
    fn walk(value: &Value, path: &mut Path, found: &mut BTreeMap<Path, Value>) {
        let is_by_type = path.last() == Some(&Step::Field("conditions".into()));
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (field, value) in fields {
                    let is_metadata = *path == [Step::Field("metadata".into())];
                    let is_head = path.is_empty() && (field == "kind" || field == "apiVersion");
                    if is_head || (is_metadata && KEPT.contains(&field.as_str())) {
                        continue;
                    }
                    path.push(Step::Field(field.clone()));
                    walk(value, path, found);
                    path.pop();
                }
            }
            Value::Array(items) if is_by_type && !items.is_empty() => {
                for item in items {
                    path.push(Step::Item(item["type"].as_str().unwrap_or_default().to_owned()));
                    walk(item, path, found);
                    path.pop();
                }
            }
            value => {
                found.insert(path.clone(), value.clone());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(object, &mut Vec::new(), &mut found);
    found
}

fn find<'a>(object: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| match step {
        Step::Field(field) => value.get(field),
        Step::Item(of) => value.as_array()?.iter().find(|item| item["type"] == *of),
    })
}

fn set(object: &mut Value, path: &[Step], new: Value) {
    let slot = path.iter().fold(object, |value, step| match step {
        Step::Field(field) => {
            if !value.is_object() {
                *value = Value::Object(serde_json::Map::new());
            }
            &mut value[field]
        }
        Step::Item(of) => {
            if !value.is_array() {
                *value = Value::Array(Vec::new());
            }
            let items = value.as_array_mut().expect("it was made one");
            let at = items.iter().position(|item| item["type"] == *of).unwrap_or_else(|| {
                items.push(Value::Null);
                items.len() - 1
            });
            &mut items[at]
        }
    });
    *slot = new;
}

/// Takes a value out, and what is empty without it.
fn remove(object: &mut Value, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (step, object) {
        (Step::Field(field), Value::Object(fields)) => {
            if let Some(inner) = fields.get_mut(field) {
                remove(inner, rest);
                if rest.is_empty() || is_empty(inner) {
                    fields.remove(field);
                }
            }
        }
        (Step::Item(of), Value::Array(items)) => {
            if let Some(at) = items.iter().position(|item| item["type"] == *of) {
                remove(&mut items[at], rest);
                if rest.is_empty() || is_empty(&items[at]) {
                    items.remove(at);
                }
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn text(path: &[Step]) -> String {
    path.iter()
        .map(|step| match step {
            Step::Field(field) => format!(".{field}"),
            Step::Item(of) => format!("[type=\"{of}\"]"),
        })
        .collect()
}
