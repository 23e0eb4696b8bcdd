//! The objects, every change of them, and what they were at an earlier resourceVersion.
//!
//! Decided here: what a write does to resourceVersion, uid, generation and timestamps, and which writes are refused. Not
//! decided here: how a patch becomes an object ([`super::patch`]), what a request looks like ([`super::route`]).

use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::SystemTime};

use serde_json::{Map, Value, json};
use tidegate_control::clock::rfc3339;

use super::{NAMESPACES, Resource, apply::Owners, status::Refusal};

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) resource: Resource,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// A write, as watches tell it.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) key: Key,
    /// What the object became; for a deletion what it last was, under the deletion's resourceVersion.
    pub(super) object: Arc<Value>,
    pub(super) deleted: bool,
    pub(super) previous: Option<Arc<Value>>,
}

/// Everything that is stored.
#[derive(Debug)]
pub(super) struct Store {
    revision: u64,
    compacted: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    pub(super) owners: BTreeMap<Key, Owners>,
    log: Vec<Change>,
    made: u64,
}

impl Key {
    pub(super) fn new(resource: Resource, namespace: &str, name: &str) -> Self {
        let namespace = if resource.namespaced { namespace } else { "" };
        Self { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Where an object says that it is.
    pub(super) fn of(object: &Value) -> Option<Self> {
        let resource = Resource::of(object)?;
        let metadata = &object["metadata"];
        Some(Self::new(
            resource,
            metadata["namespace"].as_str().unwrap_or("default"),
            metadata["name"].as_str()?,
        ))
    }
}

impl Default for Store {
    fn default() -> Self {
        let mut store = Self {
            // Nobody may take a revision for an index.
            revision: 100,
            compacted: 0,
            objects: BTreeMap::new(),
            owners: BTreeMap::new(),
            log: Vec::new(),
            made: 0,
        };
        for name in ["default", "kube-system", "kube-node-lease"] {
            let object = json!({"metadata": {"name": name}, "status": {"phase": "Active"}});
            store.put(Key::new(NAMESPACES, "", name), object);
        }
        store
    }
}

impl Store {
    /// The resourceVersion of the newest state.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The oldest revision from which a watch can begin.
    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// From here on nobody is told what was before; watches that run are.
    pub(super) fn compact(&mut self) {
        self.revision += 1;
        self.compacted = self.revision;
    }

    /// Makes the state newer without changing an object, as writes of what nobody looks at do.
    pub(super) fn advance(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    /// The object.
    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// The objects of a kind in one namespace, or in all of them, as they are.
    pub(super) fn list(&self, resource: Resource, namespace: Option<&str>) -> Vec<(Key, Arc<Value>)> {
        let from = Key::new(resource, namespace.unwrap_or_default(), "");
        self.objects
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(|(key, _)| key.resource == resource)
            .filter(|(key, _)| namespace.is_none_or(|wanted| key.namespace == wanted))
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect()
    }

    /// The same as they were at a revision that is not forgotten.
    pub(super) fn list_at(
        &self,
        revision: u64,
        resource: Resource,
        namespace: Option<&str>,
    ) -> Vec<(Key, Arc<Value>)> {
        let mut objects: BTreeMap<_, _> = self.list(resource, namespace).into_iter().collect();
        let is_wanted =
            |key: &Key| key.resource == resource && namespace.is_none_or(|wanted| key.namespace == wanted);
        for change in self.log.iter().rev().take_while(|change| change.revision > revision) {
            if is_wanted(&change.key) {
                match &change.previous {
                    Some(object) => objects.insert(change.key.clone(), Arc::clone(object)),
                    None => objects.remove(&change.key),
                };
            }
        }
        objects.into_iter().collect()
    }

    /// The changes after a revision.
    pub(super) fn since(&self, revision: u64) -> &[Change] {
        let first = self.log.partition_point(|change| change.revision <= revision);
        &self.log[first..]
    }

    /// Writes an object whatever is there, as it is but for what the server keeps.
    pub(super) fn put(&mut self, key: Key, object: Value) -> Arc<Value> {
        let known = self.objects.get(&key).cloned();
        let stamped = self.stamped(&key, object, known.as_deref());
        match known {
            Some(known) if is_same(&known, &stamped) => known,
            _ => self.commit(key, stamped),
        }
    }

    /// Creates an object.
    pub(super) fn create(
        &mut self,
        resource: Resource,
        namespace: &str,
        mut object: Value,
    ) -> Result<Arc<Value>, Refusal> {
        let name = match (object["metadata"]["name"].as_str(), object["metadata"]["generateName"].as_str()) {
            (Some(name), _) if !name.is_empty() => name.to_owned(),
            (_, Some(begin)) => {
                self.made += 1;
                format!("{begin}{:05}", self.made)
            }
            _ => {
                return Err(Refusal::invalid(
                    resource,
                    "",
                    "metadata.name: Required value: name or generateName is required",
                ));
            }
        };
        let stated = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
        if resource.namespaced && stated != namespace {
            let message =
                "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Refusal::new(400, message));
        }
        if resource.namespaced && !self.objects.contains_key(&Key::new(NAMESPACES, "", namespace)) {
            return Err(Refusal::not_found(NAMESPACES, namespace));
        }
        let key = Key::new(resource, namespace, &name);
        if self.objects.contains_key(&key) {
            return Err(Refusal::already_exists(resource, &name));
        }
        object["metadata"]["name"] = json!(name);
        let stamped = self.stamped(&key, object, None);
        Ok(self.commit(key, stamped))
    }

    /// Replaces an object, or its status alone.
    pub(super) fn update(
        &mut self,
        key: &Key,
        object: &Value,
        is_status: bool,
    ) -> Result<Arc<Value>, Refusal> {
        let known =
            self.objects.get(key).cloned().ok_or_else(|| Refusal::not_found(key.resource, &key.name))?;
        let seen = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if seen.is_empty() && key.resource.plural == "leases" {
            let fault = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
            return Err(Refusal::invalid(key.resource, &key.name, fault));
        }
        if !seen.is_empty() && known["metadata"]["resourceVersion"] != seen {
            return Err(Refusal::conflict(key.resource, &key.name));
        }
        let uid = &object["metadata"]["uid"];
        if uid.is_string() && *uid != known["metadata"]["uid"] {
            return Err(Refusal::conflict(key.resource, &key.name));
        }
        let mut next = if is_status { (*known).clone() } else { object.clone() };
        if is_status {
            next["status"] = object["status"].clone();
        } else if key.resource.has_status() {
            next["status"] = known["status"].clone();
        }
        let next = self.stamped(key, next, Some(&known));
        if is_same(&known, &next) {
            return Ok(known);
        }
        if is_without_finalizers(&next) && next["metadata"]["deletionTimestamp"].is_string() {
            return Ok(self.remove(key).unwrap_or(known));
        }
        Ok(self.commit(key.clone(), next))
    }

    /// Deletes an object; one with finalizers is marked, and goes with the last of them.
    pub(super) fn delete(&mut self, key: &Key) -> Result<Arc<Value>, Refusal> {
        let known =
            self.objects.get(key).cloned().ok_or_else(|| Refusal::not_found(key.resource, &key.name))?;
        if is_without_finalizers(&known) {
            self.remove(key);
            if key.resource == NAMESPACES {
                let inside: Vec<_> =
                    self.objects.keys().filter(|inside| inside.namespace == key.name).cloned().collect();
                for key in inside {
                    self.remove(&key);
                }
            }
            return Ok(known);
        }
        if known["metadata"]["deletionTimestamp"].is_string() {
            return Ok(known);
        }
        let mut next = (*known).clone();
        next["metadata"]["deletionTimestamp"] = json!(timestamp());
        next["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        Ok(self.commit(key.clone(), next))
    }

    /// Takes an object out at once, whatever holds it.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let mut last = (*self.objects.get(key).cloned()?).clone();
        self.revision += 1;
        last["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        Some(self.record(key.clone(), last, true))
    }

    /// Does what a recorded line of a watch says, under the resourceVersion that it had.
    pub(super) fn replay(&mut self, object: Value, deleted: bool) {
        let key = Key::of(&object).expect("a recorded object says what it is");
        let revision = revision_of(&object).expect("a recorded object has a resourceVersion");
        self.revision = revision.max(self.revision + 1);
        self.record(key, object, deleted);
    }

    fn commit(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.record(key, object, false)
    }

    fn record(&mut self, key: Key, object: Value, deleted: bool) -> Arc<Value> {
        let object = Arc::new(object);
        let previous = if deleted {
            self.owners.remove(&key);
            self.objects.remove(&key)
        } else {
            self.objects.insert(key.clone(), Arc::clone(&object))
        };
        let change = Change { revision: self.revision, key, object: Arc::clone(&object), deleted, previous };
        self.log.push(change);
        object
    }

    /// The object with what the server itself keeps in it.
    fn stamped(&mut self, key: &Key, object: Value, known: Option<&Value>) -> Value {
        let mut fields = match object {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        fields.insert("kind".into(), json!(key.resource.kind));
        fields.insert("apiVersion".into(), json!(key.resource.api_version()));
        let mut object = Value::Object(fields);
        if object["metadata"].is_null() {
            object["metadata"] = json!({});
        }
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(key.name);
        if key.resource.namespaced {
            metadata["namespace"] = json!(key.namespace);
        }
        for field in ["uid", "creationTimestamp"] {
            if metadata[field].is_null() {
                metadata[field] = known.map_or(Value::Null, |known| known["metadata"][field].clone());
            }
        }
        if metadata["uid"].is_null() {
            self.made += 1;
            metadata["uid"] = json!(format!("00000000-0000-4000-8000-{:012}", self.made));
        }
        fill(metadata, "creationTimestamp", json!(timestamp()));
        default(key, &mut object);
        if key.resource.plural == "endpointslices" {
            let before = known.and_then(|known| known["metadata"]["generation"].as_u64()).unwrap_or_default();
            let is_unchanged = known.is_some_and(|known| {
                ["endpoints", "ports", "addressType"].iter().all(|field| known[*field] == object[*field])
            });
            object["metadata"]["generation"] = json!(if is_unchanged { before } else { before + 1 });
        }
        object
    }
}

/// What the server fills in where a client says nothing.
fn default(key: &Key, object: &mut Value) {
    match key.resource.plural {
        "services" => {
            fill(&mut object["spec"], "type", json!("ClusterIP"));
            fill(&mut object["spec"], "sessionAffinity", json!("None"));
            for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
                fill(port, "protocol", json!("TCP"));
                let number = port["port"].clone();
                fill(port, "targetPort", number);
            }
            if matches!(object["spec"]["type"].as_str(), Some("LoadBalancer" | "NodePort")) {
                fill(&mut object["spec"], "externalTrafficPolicy", json!("Cluster"));
            }
            fill(&mut object["status"], "loadBalancer", json!({}));
        }
        "endpointslices" => {
            for port in object["ports"].as_array_mut().into_iter().flatten() {
                fill(port, "protocol", json!("TCP"));
                fill(port, "name", json!(""));
            }
        }
        "namespaces" => fill(&mut object["status"], "phase", json!("Active")),
        _ => {}
    }
}

fn fill(object: &mut Value, field: &str, value: Value) {
    if object[field].is_null() {
        object[field] = value;
    }
}

/// The resourceVersion that an object has.
pub(super) fn revision_of(object: &Value) -> Option<u64> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

/// Nothing differs; a write that changes nothing makes no new resourceVersion.
fn is_same(known: &Value, next: &Value) -> bool {
    fn differs(known: &Value, next: &Value, besides: &[&str]) -> bool {
        let (Some(known), Some(next)) = (known.as_object(), next.as_object()) else { return known != next };
        let of = |one: &Map<String, Value>, other: &Map<String, Value>| {
            one.iter().any(|(field, value)| {
                !besides.contains(&field.as_str()) && other.get(field).is_none_or(|other| other != value)
            })
        };
        of(known, next) || of(next, known)
    }
    !differs(known, next, &["metadata"])
        && !differs(&known["metadata"], &next["metadata"], &["resourceVersion", "generation"])
}

fn is_without_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
}

/// Wall time in whole seconds, as metadata has it.
pub(super) fn timestamp() -> String {
    format!("{}Z", &rfc3339(SystemTime::now())[.."2000-01-01T00:00:00".len()])
}
