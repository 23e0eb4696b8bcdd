//! An Event (events.k8s.io/v1): what is said of an object, to whoever looks at that object.
//!
//! Decided here: how one is written, and which answers mean that there is nobody left to tell. Not decided here: what is
//! said, when, and how often it is tried.

use std::time::SystemTime;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    api::{Api, Deed, Failure, Resource},
    status::ErrorCause,
};

const EVENTS: Resource = Resource { group: "events.k8s.io", version: "v1", plural: "events" };
const CONTROLLER: &str = "tidegate.io/tidegate";
/// The longest note and the longest name of an instance that the API server takes, in bytes.
const NOTE: usize = 1_024;
const INSTANCE: usize = 128;

/// What is said of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    /// Who says it.
    pub(crate) instance: &'a str,
    /// Of what it is said: kind, namespace, name and uid. All are of the core group.
    pub(crate) regarding: [&'a str; 4],
    /// What is being done, in one word.
    pub(crate) action: &'a str,
    /// What happened, in one word.
    pub(crate) reason: &'a str,
    /// Somebody should look at it.
    pub(crate) is_warning: bool,
    /// In a sentence.
    pub(crate) note: &'a str,
    /// When it happened.
    pub(crate) at: SystemTime,
}

impl Event<'_> {
    /// Writes it, unless an Event with this number is there already: so it may be tried again. False where the object, or
    /// its namespace, has gone.
    pub(crate) async fn write(&self, api: &Api, number: u64) -> Result<bool, Failure> {
        let [_, namespace, ..] = self.regarding;
        let path = EVENTS.path(Some(namespace));
        let deed = Deed { verb: "create", resource: EVENTS.plural, group: EVENTS.group };
        match api.ask("POST", &path, Some(("application/json", self.body(number))), deed).await {
            Err(failure) if failure.code == Some(409) => Ok(true),
            Err(failure) if failure.code == Some(404) || failure.cause == ErrorCause::Ending => Ok(false),
            other => other.map(|_| true),
        }
    }

    fn body(&self, number: u64) -> Value {
        let Self { instance, regarding: [kind, namespace, name, uid], action, reason, .. } = self;
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "name": format!("tidegate-{number:016x}"), "namespace": namespace },
            "eventTime": micro_time(self.at),
            "reportingController": CONTROLLER,
            "reportingInstance": cut(instance, INSTANCE),
            "action": action,
            "reason": reason,
            "type": if self.is_warning { "Warning" } else { "Normal" },
            "note": cut(self.note, NOTE),
            "regarding": { "apiVersion": "v1", "kind": kind, "namespace": namespace, "name": name, "uid": uid },
        })
    }
}

/// As much of a text as fits into so many bytes.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// A moment as Kubernetes' MicroTime.
pub(crate) fn micro_time(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn an_event_is_on_its_object_and_not_longer_than_the_server_takes() {
        let (note, instance) = ("ä".repeat(NOTE), "i".repeat(253));
        let event = Event {
            instance: &instance,
            regarding: ["Pod", "default", "web-0", "uid-1"],
            action: "Drain",
            reason: "DrainEnded",
            is_warning: true,
            note: &note,
            at: UNIX_EPOCH + Duration::from_micros(1_500_001),
        };
        let body = event.body(0xab);
        assert_eq!(body["metadata"], json!({"name": "tidegate-00000000000000ab", "namespace": "default"}));
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web-0", "uid": "uid-1"});
        assert_eq!(body["regarding"], pod);
        assert_eq!(body["note"].as_str().map(str::len), Some(NOTE));
        assert_eq!(body["reportingInstance"].as_str().map(str::len), Some(INSTANCE));
        assert_eq!(body["eventTime"], "1970-01-01T00:00:01.500001Z");
        assert_eq!((&body["type"], &body["reason"]), (&json!("Warning"), &json!("DrainEnded")));
        assert_eq!(Event { note: "äh", ..event }.body(0)["note"], "äh");
    }
}
