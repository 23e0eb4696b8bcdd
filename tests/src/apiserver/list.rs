//! Lists and where a watch begins: what a resourceVersion, a match, a limit and a continue token mean.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    call::Call,
    form::Form,
    resource::Target,
    selector::Selector,
    shared::State,
    status::Refusal,
    store::Key,
    stream::{Running, Watch, bookmark, line},
};

/// A list, or a page of one. `older` makes it the state at that revision whatever was asked for.
pub(super) fn list(
    state: &State,
    target: &Target,
    call: &Call,
    form: Form,
    older: Option<u64>,
) -> Result<Value, Refusal> {
    let store = &state.store;
    let selector = Selector::parse(call.parameter("labelSelector"), call.parameter("fieldSelector"))?;
    let limit = number(call, "limit")?.filter(|limit| *limit > 0);
    let token = call.parameter("continue");
    let (asked, matching) = (call.parameter("resourceVersion"), call.parameter("resourceVersionMatch"));
    let asked = if asked.is_empty() { None } else { Some(revision(asked)?) };
    if asked.is_none() && !matching.is_empty() && token.is_empty() {
        let fault = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
        return Err(list_options(fault));
    }
    let (at, after) = if token.is_empty() {
        let at = match (older, asked) {
            (Some(older), _) => older,
            (None, Some(asked)) if asked > store.revision() => {
                return Err(Refusal::too_large(asked, store.revision()));
            }
            (None, Some(asked)) if matching == "Exact" => asked,
            _ => store.revision(),
        };
        (at, None)
    } else {
        if asked.is_some_and(|asked| asked > 0) {
            return Err(Refusal::new(400, "specifying resource version is not allowed when using continue"));
        }
        let (at, after) = read_token(token).ok_or_else(|| Refusal::new(400, "continue key is not valid"))?;
        (at, Some(after))
    };
    if at < store.compacted() {
        let what = if after.is_some() {
            "The provided continue parameter is too old to display a consistent list result. You can start a new \
             list without the continue parameter."
        } else {
            "The resourceVersion for the provided list is too old."
        };
        return Err(Refusal::new(410, what));
    }
    // What the watch cache answers is whole, whatever the limit.
    let limit = limit.filter(|_| asked != Some(0));
    let mut selected: Vec<_> = store
        .list_at(at, target.resource, target.namespace.as_deref())
        .into_iter()
        .filter(|(_, object)| selector.matches(object))
        .filter(|(key, _)| after.as_ref().is_none_or(|after| place(key) > *after))
        .collect();
    let mut metadata = json!({"resourceVersion": at.to_string()});
    if let Some(limit) =
        limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| selected.len() > *limit)
    {
        let left = selected.len() - limit;
        selected.truncate(limit);
        let (last, _) = selected.last().expect("a limit is not 0");
        metadata["continue"] = json!(token_of(at, last));
        if call.parameter("labelSelector").is_empty() && call.parameter("fieldSelector").is_empty() {
            metadata["remainingItemCount"] = json!(left);
        }
    }
    let (kind, api_version) = form.list(target.resource.kind, target.resource.api_version());
    let items: Vec<_> = selected.into_iter().map(|(_, object)| item(&object, form)).collect();
    Ok(json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items}))
}

/// A watch, and the server's end of it.
pub(super) fn watch(
    state: &State,
    target: &Target,
    call: &Call,
    form: Form,
) -> Result<(Watch, Running), Refusal> {
    let store = &state.store;
    let mut fields = call.parameter("fieldSelector").to_owned();
    if let Some(name) = &target.name {
        fields = format!("metadata.name={name}");
    }
    let selector = Selector::parse(call.parameter("labelSelector"), &fields)?;
    let asked = call.parameter("resourceVersion");
    let asked = if asked.is_empty() { 0 } else { revision(asked)? };
    let has_initial = initial_events(state, call)?;
    if has_initial && asked > store.revision() {
        return Err(Refusal::too_large(asked, store.revision()));
    }
    let resource = target.resource;
    let (mut first, mut is_over, mut cursor) = (Vec::new(), false, asked);
    if has_initial || (asked == 0 && call.parameter("sendInitialEvents").is_empty()) {
        cursor = store.revision();
        let objects = store.list(resource, target.namespace.as_deref());
        let selected = objects.iter().filter(|(_, object)| selector.matches(object));
        first.extend(selected.map(|(_, object)| line("ADDED", &form.present((**object).clone()))));
        if has_initial {
            first.push(bookmark(resource, cursor, form, true));
        }
    } else if asked == 0 {
        cursor = store.revision();
    } else if asked < store.compacted() {
        let refusal = Refusal::too_old(asked, store.compacted());
        first.push(line("ERROR", &refusal.object()));
        is_over = true;
    }
    let (sender, tells) = mpsc::unbounded_channel();
    let seconds = number(call, "timeoutSeconds")?.unwrap_or(1800);
    let is_wanted = call.parameter("allowWatchBookmarks");
    let watch = Watch {
        resource,
        namespace: target.namespace.clone(),
        selector,
        form,
        cursor,
        first,
        is_over,
        // A watch from a state that was not reached is silent.
        has_bookmarks: (is_wanted == "true" || is_wanted == "1") && cursor <= store.revision(),
        timeout: Duration::from_secs(seconds),
        tells,
    };
    Ok((watch, Running { resource, tells: sender }))
}

fn initial_events(state: &State, call: &Call) -> Result<bool, Refusal> {
    let asked = call.parameter("sendInitialEvents");
    if asked.is_empty() {
        return Ok(false);
    }
    if !state.has_watch_list {
        let what = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        return Err(list_options(&format!("sendInitialEvents: Forbidden: {what}")));
    }
    if call.parameter("resourceVersionMatch") != "NotOlderThan" {
        let what = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return Err(list_options(&format!("resourceVersionMatch: Forbidden: {what}")));
    }
    Ok(asked == "true" || asked == "1")
}

fn list_options(fault: &str) -> Refusal {
    Refusal::new(422, format!("ListOptions.meta.k8s.io \"\" is invalid: {fault}"))
}

/// An item of a list lacks kind and version: the list has them.
fn item(object: &Arc<Value>, form: Form) -> Value {
    let mut object = form.present((**object).clone());
    if let (Form::Whole, Some(fields)) = (form, object.as_object_mut()) {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

fn revision(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::malformed(text))
}

fn number(call: &Call, name: &str) -> Result<Option<u64>, Refusal> {
    let text = call.parameter(name);
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |_| Refusal::new(400, format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"));
    text.parse().map(Some).map_err(bad)
}

fn place(key: &Key) -> (String, String) {
    (key.namespace.clone(), key.name.clone())
}

fn token_of(revision: u64, last: &Key) -> String {
    format!("{revision}/{}/{}", last.namespace, last.name)
}

fn read_token(token: &str) -> Option<(u64, (String, String))> {
    let mut parts = token.split('/');
    let revision = parts.next()?.parse().ok()?;
    Some((revision, (parts.next()?.to_owned(), parts.next()?.to_owned())))
}
