//! The file's shape as a JSON schema, for editors and other checkers.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::document::Document;

/// The JSON schema of a configuration file, as `config/schema.json` holds it.
pub fn schema() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Document>();
    let mut schema = schema.to_value();
    unwrap_lines(&mut schema);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// A doc comment's lines are as long as source lines; an editor breaks them by its own width.
fn unwrap_lines(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(description)) = fields.get_mut("description") {
                *description = description.replace('\n', " ");
            }
            fields.values_mut().for_each(unwrap_lines);
        }
        Value::Array(items) => items.iter_mut().for_each(unwrap_lines),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
