//! Refusals: `Status` objects as the API server words them.

use serde_json::{Value, json};

use super::Resource;

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

impl Refusal {
    /// A refusal with this code, and the reason that goes with it.
    pub(super) fn new(code: u16, message: impl Into<String>) -> Self {
        let reason = match code {
            400 => "BadRequest",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            405 => "MethodNotAllowed",
            409 => "Conflict",
            410 => "Expired",
            415 => "UnsupportedMediaType",
            422 => "Invalid",
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "",
        };
        Self { code, reason, message: message.into(), details: None }
    }

    fn because(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }

    fn with(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    fn about(self, resource: Resource, name: &str) -> Self {
        self.with(json!({"name": name, "group": resource.group, "kind": resource.plural}))
    }

    /// There is no such object.
    pub(super) fn not_found(resource: Resource, name: &str) -> Self {
        Self::new(404, format!("{} \"{name}\" not found", resource.qualified())).about(resource, name)
    }

    /// An object of this name is there already.
    pub(super) fn already_exists(resource: Resource, name: &str) -> Self {
        Self::new(409, format!("{} \"{name}\" already exists", resource.qualified()))
            .because("AlreadyExists")
            .about(resource, name)
    }

    /// The object is another than the writer has seen.
    pub(super) fn conflict(resource: Resource, name: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please apply your changes \
             to the latest version and try again",
            resource.qualified()
        );
        Self::new(409, message).about(resource, name)
    }

    /// Fields that somebody else applied.
    pub(super) fn field_conflict(manager: &str, fields: &[String]) -> Self {
        let causes: Vec<_> = fields
            .iter()
            .map(|field| {
                let message = format!("conflict with \"{manager}\"");
                json!({"reason": "FieldManagerConflict", "message": message, "field": field})
            })
            .collect();
        let message = format!(
            "Apply failed with {} conflict(s) with \"{manager}\": {}",
            fields.len(),
            fields.join(", ")
        );
        Self::new(409, message).with(json!({"causes": causes}))
    }

    /// The object breaks a rule.
    pub(super) fn invalid(resource: Resource, name: &str, fault: &str) -> Self {
        let message = format!("{} \"{name}\" is invalid: {fault}", resource.qualified_kind());
        Self::new(422, message).about(resource, name)
    }

    /// A watch from before what is remembered.
    pub(super) fn too_old(revision: u64, oldest: u64) -> Self {
        Self::new(410, format!("too old resource version: {revision} ({oldest})"))
    }

    /// A list that asks for a state that was not reached.
    pub(super) fn too_large(revision: u64, current: u64) -> Self {
        Self::new(504, format!("Too large resource version: {revision}, current: {current}")).with(json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }))
    }

    /// A resourceVersion that is no number.
    pub(super) fn malformed(revision: &str) -> Self {
        let what = format!(
            "resourceVersion: Invalid value: \"{revision}\": strconv.ParseUint: parsing \"{revision}\": invalid syntax"
        );
        Self::new(500, what)
    }

    /// The object.
    pub(super) fn object(&self) -> Value {
        let mut object = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        });
        if !self.reason.is_empty() {
            object["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            object["details"] = details.clone();
        }
        object["code"] = json!(self.code);
        object
    }
}
