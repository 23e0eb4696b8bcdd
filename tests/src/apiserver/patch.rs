//! What a patch makes of an object: merge patches, and strategic ones as far as lists are merged by `type`.

use serde_json::Value;

/// A merge patch (RFC 7396): null removes, objects merge, everything else replaces.
pub(super) fn merge(object: &mut Value, patch: &Value) {
    apply(object, patch, false);
}

/// A strategic merge patch: as a merge patch, but `conditions` are merged by their `type`.
pub(super) fn strategic(object: &mut Value, patch: &Value) {
    apply(object, patch, true);
}

fn apply(object: &mut Value, patch: &Value, is_strategic: bool) {
    let Value::Object(fields) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(serde_json::Map::new());
    }
    for (field, value) in fields {
        if value.is_null() {
            object.as_object_mut().expect("it was made one").remove(field);
        } else if let (true, "conditions", Some(items)) = (is_strategic, field.as_str(), value.as_array()) {
            merge_by_type(&mut object[field], items);
        } else {
            apply(&mut object[field], value, is_strategic);
        }
    }
}

fn merge_by_type(list: &mut Value, items: &[Value]) {
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let known = list.as_array_mut().expect("it was made one");
    for item in items {
        match known.iter_mut().find(|known| known["type"] == item["type"]) {
            Some(known) => apply(known, item, true),
            None => known.push(item.clone()),
        }
    }
}
