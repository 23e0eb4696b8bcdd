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
    assert!(stored == current, "config/schema.json is out of date: run the test with UPDATE_EXPECT=1");
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
