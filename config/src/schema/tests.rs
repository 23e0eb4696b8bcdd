use std::{env, fs, path::Path};

use super::schema;

/// `UPDATE_EXPECT=1` writes the file anew.
#[test]
fn the_schema_in_the_repository_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.json");
    let current = schema();
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    // The order of the keys depends on features of serde_json that other crates of a build may turn on.
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    assert!(
        value(&stored) == value(&current),
        "config/schema.json is out of date: run the test with UPDATE_EXPECT=1"
    );
}

/// The schema is what teaches in an editor: each field says what it is.
#[test]
fn every_field_is_described() {
    fn walk(value: &serde_json::Value, at: &str, undescribed: &mut Vec<String>) {
        if let Some(properties) = value.get("properties").and_then(|it| it.as_object()) {
            for (name, property) in properties {
                if property.get("description").is_none() {
                    undescribed.push(format!("{at}.{name}"));
                }
                assert_ne!(property.get("default"), Some(&serde_json::Value::Null), "{at}.{name}");
                walk(property, &format!("{at}.{name}"), undescribed);
            }
        }
        for (name, definition) in value.get("$defs").and_then(|it| it.as_object()).into_iter().flatten() {
            walk(definition, name, undescribed);
        }
    }
    let schema = serde_json::from_str(&schema()).unwrap();
    let mut undescribed = Vec::new();
    walk(&schema, "", &mut undescribed);
    assert_eq!(undescribed, Vec::<String>::new());
}

/// The README's tables have every field that there is.
#[test]
fn every_field_is_in_the_readme() {
    fn walk(root: &serde_json::Value, block: &serde_json::Value, at: &str, leaves: &mut Vec<String>) {
        for (name, property) in block["properties"].as_object().into_iter().flatten() {
            let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            let is_list = property.get("items").is_some();
            let text = property.to_string();
            let blocks: Vec<_> = text
                .match_indices("#/$defs/")
                .map(|(start, it)| text[start + it.len()..].split('"').next().unwrap())
                .collect();
            match blocks.as_slice() {
                [] => leaves.push(at),
                blocks => {
                    let at = if is_list { format!("{at}[]") } else { at };
                    for name in blocks {
                        walk(root, &root["$defs"][name], &at, leaves);
                    }
                }
            }
        }
    }
    let schema = serde_json::from_str(&schema()).unwrap();
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mut leaves = Vec::new();
    walk(&schema, &schema, "", &mut leaves);
    assert!(leaves.len() > 40, "{leaves:?}");
    // Settings have a table of their own, which speaks of `defaults` and `services` at once.
    let is_there = |field: &String| {
        let setting = field.strip_prefix("defaults.").or(field.strip_prefix("services[].")).unwrap_or(field);
        readme.contains(&format!("| `{field}` |")) || readme.contains(&format!("| `{setting}` |"))
    };
    let missing: Vec<_> = leaves.iter().filter(|field| !is_there(field)).collect();
    assert!(missing.is_empty(), "config/README.md lacks {missing:?}");
}
