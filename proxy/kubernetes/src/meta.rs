//! What every object and every list has: a name, a version, and how they are read without the rest.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::intern::Intern;

/// An object's namespace (empty where it has none) and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The part of an object's metadata that every kind needs.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata<'a> {
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) namespace: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) resource_version: Cow<'a, str>,
}

/// An object, read as far as its metadata.
#[derive(Deserialize)]
pub(crate) struct Bare<'a> {
    #[serde(borrow)]
    pub(crate) metadata: Metadata<'a>,
}

impl Metadata<'_> {
    pub(crate) fn key(&self, intern: &mut Intern) -> Option<Key> {
        let name = (!self.name.is_empty()).then(|| Arc::from(&*self.name))?;
        Some(Key { namespace: intern.get(&self.namespace), name })
    }
}

/// A page of a list; its items are read one by one, so that a bad one spoils no other.
#[derive(Deserialize)]
pub(crate) struct Page<'a> {
    #[serde(default)]
    pub(crate) metadata: PageMetadata,
    #[serde(borrow, default)]
    pub(crate) items: Option<Vec<&'a RawValue>>,
}

/// A list's own metadata.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PageMetadata {
    pub(crate) resource_version: Option<String>,
    #[serde(rename = "continue")]
    pub(crate) next: Option<String>,
}

/// A line of a watch.
#[derive(Deserialize)]
pub(crate) struct WatchLine<'a> {
    #[serde(rename = "type", borrow)]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) object: &'a RawValue,
}

/// What the server says instead of an object.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) message: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) code: Option<u16>,
    details: Option<Details>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    causes: Option<Vec<Cause>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cause {
    reason: Option<String>,
}

impl Status {
    /// It is said because the namespace is being deleted.
    pub(crate) fn namespace_ends(&self) -> bool {
        let causes = self.details.iter().flat_map(|details| details.causes.iter().flatten());
        causes.into_iter().any(|cause| cause.reason.as_deref() == Some("NamespaceTerminating"))
    }
}

/// A version as a number. Versions of one kind can be compared since Kubernetes says so (KEP-5504), and always were
/// numbers of etcd before; another store's text is not compared at all.
pub(crate) fn number(version: &str) -> Option<u64> {
    version.parse().ok()
}
