//! The file's shape as a JSON schema, for editors and other checkers.

use schemars::generate::SchemaSettings;

use crate::document::Document;

/// The JSON schema of a configuration file, as `config/schema.json` holds it.
pub fn schema() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Document>();
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
