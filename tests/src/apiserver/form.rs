//! How objects are shown: whole, or their metadata alone.

use serde_json::{Value, json};

/// What a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Objects as they are.
    Whole,
    /// Their metadata, as `PartialObjectMetadata`.
    Metadata,
}

impl Form {
    /// What an `accept` header asks for.
    pub(super) fn accepted(header: &str) -> Self {
        if header.contains("as=PartialObjectMetadata") { Self::Metadata } else { Self::Whole }
    }

    /// An object in this form.
    pub(super) fn present(self, object: Value) -> Value {
        match self {
            Self::Whole => object,
            Self::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            }),
        }
    }

    /// Kind and version of a list in this form.
    pub(super) fn list(self, kind: &str, api_version: String) -> (String, String) {
        match self {
            Self::Whole => (format!("{kind}List"), api_version),
            Self::Metadata => ("PartialObjectMetadataList".into(), "meta.k8s.io/v1".into()),
        }
    }
}
