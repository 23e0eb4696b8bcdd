//! What a request does: reads, watches and writes, as the API server answers them.

use serde_json::{Value, json};

use super::{
    Resource, apply,
    call::{Call, Verb},
    form::Form,
    list::{list, watch},
    patch,
    resource::Target,
    shared::State,
    status::Refusal,
    store::Key,
    stream::Watch,
    validate,
};

/// An answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// A status and an object.
    Object(u16, Value),
    /// A stream.
    Watch(Box<Watch>),
}

/// Answers a request; `older` makes a list that of an earlier revision.
pub(super) fn answer(
    state: &mut State,
    call: &Call,
    form: Form,
    older: Option<u64>,
) -> Result<Answer, Refusal> {
    let Some(target) = &call.target else { return other(call) };
    if target.subresource.as_deref().is_some_and(|part| part != "status") {
        return Err(Refusal::new(404, "the server could not find the requested resource"));
    }
    if call.verb == Verb::Watch {
        let (watch, running) = watch(state, target, call, form)?;
        state.streams.push(running);
        return Ok(Answer::Watch(Box::new(watch)));
    }
    let answer = match (&target.name, call.verb) {
        (None, Verb::List) => (200, list(state, target, call, form, older)?),
        (None, Verb::Create) => (201, create(state, target, call)?),
        (None, Verb::Delete) => (200, delete_all(state, target)),
        (Some(name), verb) => {
            let key = Key::new(target.resource, target.namespace.as_deref().unwrap_or_default(), name);
            let is_status = target.subresource.is_some();
            match verb {
                Verb::Get => (200, form.present(found(state, &key)?)),
                Verb::Update => (200, update(state, &key, call, is_status)?),
                Verb::Patch => change(state, &key, call, is_status)?,
                Verb::Delete => (200, delete(state, &key, call)?),
                _ => return Err(not_allowed()),
            }
        }
        _ => return Err(not_allowed()),
    };
    Ok(Answer::Object(answer.0, answer.1))
}

fn not_allowed() -> Refusal {
    Refusal::new(405, "the server does not allow this method on the requested resource")
}

/// What is no object.
fn other(call: &Call) -> Result<Answer, Refusal> {
    let object = match (call.method.as_str(), call.path.as_str()) {
        ("GET", "/version") => json!({"major": "1", "minor": "36", "gitVersion": "v1.36.2"}),
        ("GET", "/livez" | "/readyz" | "/healthz") => json!("ok"),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") => {
            let mut review = call.body.clone();
            review["status"] = json!({"allowed": true});
            return Ok(Answer::Object(201, review));
        }
        _ => return Err(Refusal::new(404, "the server could not find the requested resource")),
    };
    Ok(Answer::Object(200, object))
}

fn found(state: &State, key: &Key) -> Result<Value, Refusal> {
    let object = state.store.get(key).ok_or_else(|| Refusal::not_found(key.resource, &key.name))?;
    Ok((**object).clone())
}

/// Who writes, for the ownership of fields.
fn manager(call: &Call) -> &str {
    match call.parameter("fieldManager") {
        "" => call.user_agent.split('/').next().unwrap_or_default(),
        manager => manager,
    }
}

fn create(state: &mut State, target: &Target, call: &Call) -> Result<Value, Refusal> {
    let mut object = body(target.resource, call)?;
    if target.resource.has_status()
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("status");
    }
    let namespace = target.namespace.as_deref().unwrap_or_default();
    if target.resource.namespaced {
        let metadata = &mut object["metadata"];
        if metadata["namespace"].is_null() {
            metadata["namespace"] = json!(namespace);
        }
    }
    validate::check(target.resource, object["metadata"]["name"].as_str().unwrap_or_default(), &object)?;
    let created = state.store.create(target.resource, namespace, object)?;
    let key = Key::of(&created).expect("what was created is complete");
    apply::note(state.store.owners.entry(key).or_default(), &Value::Null, &created, manager(call));
    Ok((*created).clone())
}

fn update(state: &mut State, key: &Key, call: &Call, is_status: bool) -> Result<Value, Refusal> {
    let object = body(key.resource, call)?;
    if object["metadata"]["name"].as_str().is_some_and(|name| name != key.name) {
        let message = "the name of the object does not match the name on the URL";
        return Err(Refusal::new(400, message));
    }
    write(state, key, &object, is_status, manager(call))
}

/// Checks and stores, and takes note of who did.
fn write(state: &mut State, key: &Key, object: &Value, is_status: bool, by: &str) -> Result<Value, Refusal> {
    let before = found(state, key)?;
    let mut whole = object.clone();
    if is_status {
        whole = before.clone();
        whole["status"] = object["status"].clone();
    }
    validate::check(key.resource, &key.name, &whole)?;
    let after = state.store.update(key, object, is_status)?;
    apply::note(state.store.owners.entry(key.clone()).or_default(), &before, &after, by);
    Ok((*after).clone())
}

fn change(state: &mut State, key: &Key, call: &Call, is_status: bool) -> Result<(u16, Value), Refusal> {
    let kind = call.content_type.split(';').next().unwrap_or_default();
    if kind == "application/apply-patch+yaml" {
        return applied(state, key, call, is_status);
    }
    let mut object = found(state, key)?;
    match kind {
        "application/merge-patch+json" => patch::merge(&mut object, &call.body),
        "application/strategic-merge-patch+json" => patch::strategic(&mut object, &call.body),
        _ => {
            let what = "the body of the request was in an unknown format - accepted media types include: \
                        application/merge-patch+json, application/strategic-merge-patch+json, \
                        application/apply-patch+yaml";
            return Err(Refusal::new(415, what));
        }
    }
    Ok((200, write(state, key, &object, is_status, manager(call))?))
}

fn applied(state: &mut State, key: &Key, call: &Call, is_status: bool) -> Result<(u16, Value), Refusal> {
    let by = call.parameter("fieldManager");
    if by.is_empty() {
        return Err(Refusal::new(
            400,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value",
        ));
    }
    let owner = format!("{by}/{}", if is_status { "apply status" } else { "apply" });
    let mut config = body(key.resource, call)?;
    if let Some(fields) = config.as_object_mut() {
        let is_part = |field: &str| is_status == (field == "status") || !key.resource.has_status();
        fields.retain(|field, _| is_part(field));
    }
    if state.store.get(key).is_none() {
        if is_status {
            return Err(Refusal::not_found(key.resource, &key.name));
        }
        validate::check(key.resource, &key.name, &config)?;
        config["metadata"]["name"] = json!(key.name);
        let created = state.store.create(key.resource, &key.namespace, config.clone())?;
        let mut scratch = (*created).clone();
        let owners = state.store.owners.entry(key.clone()).or_default();
        let _ = apply::apply(&mut scratch, owners, &config, owner, true);
        return Ok((201, (*created).clone()));
    }
    let before = found(state, key)?;
    let mut object = before.clone();
    let mut owners = state.store.owners.get(key).cloned().unwrap_or_default();
    let is_forced = call.parameter("force") == "true";
    apply::apply(&mut object, &mut owners, &config, owner, is_forced)
        .map_err(|(other, fields)| Refusal::field_conflict(&other, &fields))?;
    validate::check(key.resource, &key.name, &object)?;
    let after = state.store.update(key, &object, is_status)?;
    state.store.owners.insert(key.clone(), owners);
    Ok((200, (*after).clone()))
}

fn delete(state: &mut State, key: &Key, call: &Call) -> Result<Value, Refusal> {
    let known = found(state, key)?;
    let preconditions = &call.body["preconditions"];
    for field in ["uid", "resourceVersion"] {
        if preconditions[field].is_string() && preconditions[field] != known["metadata"][field] {
            return Err(Refusal::conflict(key.resource, &key.name));
        }
    }
    let deleted = state.store.delete(key)?;
    if deleted["metadata"]["deletionTimestamp"].is_string() {
        return Ok((*deleted).clone());
    }
    let details = json!({
        "name": key.name,
        "group": key.resource.group,
        "kind": key.resource.plural,
        "uid": deleted["metadata"]["uid"],
    });
    Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}))
}

fn delete_all(state: &mut State, target: &Target) -> Value {
    let keys = state.store.list(target.resource, target.namespace.as_deref());
    for (key, _) in keys {
        // They were listed under the same lock.
        let _ = state.store.delete(&key);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
}

/// The request's object, of the kind that its path names.
fn body(resource: Resource, call: &Call) -> Result<Value, Refusal> {
    let mut object = call.body.clone();
    if !object.is_object() {
        return Err(Refusal::new(400, "the request's body is no object"));
    }
    for (field, wanted) in [("kind", resource.kind.to_owned()), ("apiVersion", resource.api_version())] {
        if object[field].is_null() {
            object[field] = json!(wanted);
        } else if object[field] != wanted {
            let message = format!(
                "the {field} in the data ({}) does not match the expected one ({wanted})",
                object[field]
            );
            return Err(Refusal::new(400, message));
        }
    }
    Ok(object)
}
