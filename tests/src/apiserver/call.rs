//! Requests as they came, and which of them a test means.

use std::{collections::BTreeMap, time::Instant};

use serde_json::Value;

use super::{Resource, resource::Target};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// A collection.
    List,
    /// A stream of changes.
    Watch,
    /// A new object.
    Create,
    /// A whole object, or its whole status.
    Update,
    /// A patch of any kind.
    Patch,
    /// The end of an object, or of a collection.
    Delete,
    /// Something that is no object: versions, probes, discovery.
    Other,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it was read.
    pub at: Instant,
    /// What it asks for.
    pub verb: Verb,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query's parameters.
    pub query: BTreeMap<String, String>,
    /// What the path names; none where that is no object.
    pub target: Option<Target>,
    /// `user-agent`.
    pub user_agent: String,
    /// `authorization`.
    pub authorization: String,
    /// `content-type`.
    pub content_type: String,
    /// The body; null where there is none.
    pub body: Value,
    /// The status that it was answered with; 0 for no answer.
    pub status: u16,
}

impl Call {
    /// What it asks for, by its method and what it names.
    pub(super) fn verb_of(method: &str, target: Option<&Target>, query: &BTreeMap<String, String>) -> Verb {
        let Some(target) = target else { return Verb::Other };
        let is_watch = query.get("watch").is_some_and(|value| value != "0" && value != "false");
        match (method, &target.name) {
            ("GET", _) if is_watch => Verb::Watch,
            ("GET", None) => Verb::List,
            ("GET", Some(_)) => Verb::Get,
            ("POST", _) => Verb::Create,
            ("PUT", _) => Verb::Update,
            ("PATCH", _) => Verb::Patch,
            ("DELETE", _) => Verb::Delete,
            _ => Verb::Other,
        }
    }

    /// A parameter of the query; empty where it is not there.
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// It asks for this, of this kind of object.
    pub fn is(&self, verb: Verb, resource: Resource) -> bool {
        self.verb == verb && self.target.as_ref().is_some_and(|target| target.resource == resource)
    }

    /// It writes this kind of object, in whichever way.
    pub fn writes(&self, resource: Resource) -> bool {
        [Verb::Create, Verb::Update, Verb::Patch, Verb::Delete].iter().any(|verb| self.is(*verb, resource))
    }

    /// It names this part of an object.
    pub fn is_of_subresource(&self, subresource: &str) -> bool {
        self.target.as_ref().is_some_and(|target| target.subresource.as_deref() == Some(subresource))
    }

    /// The name of the object; empty for a collection.
    pub fn name(&self) -> &str {
        self.target.as_ref().and_then(|target| target.name.as_deref()).unwrap_or_default()
    }
}

/// Which requests a fault is for.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    verb: Option<Verb>,
    resource: Option<Resource>,
    namespace: Option<String>,
    subresource: Option<String>,
    is_continued: bool,
}

impl Calls {
    /// Every request.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those that ask for this, of this kind of object.
    pub fn of(verb: Verb, resource: Resource) -> Self {
        Self { verb: Some(verb), resource: Some(resource), ..Self::default() }
    }

    /// All of this kind of object.
    pub fn about(resource: Resource) -> Self {
        Self { resource: Some(resource), ..Self::default() }
    }

    /// Only those in this namespace.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Only those of this part of an object.
    pub fn subresource(mut self, subresource: &str) -> Self {
        self.subresource = Some(subresource.to_owned());
        self
    }

    /// Only those that go on with a list.
    pub fn continued(mut self) -> Self {
        self.is_continued = true;
        self
    }

    /// The request is one of those.
    pub fn include(&self, call: &Call) -> bool {
        let target = call.target.as_ref();
        self.verb.is_none_or(|verb| call.verb == verb)
            && self.resource.is_none_or(|resource| target.is_some_and(|target| target.resource == resource))
            && self
                .namespace
                .as_deref()
                .is_none_or(|wanted| target.is_some_and(|target| target.namespace.as_deref() == Some(wanted)))
            && self.subresource.as_deref().is_none_or(|wanted| {
                target.is_some_and(|target| target.subresource.as_deref() == Some(wanted))
            })
            && (!self.is_continued || !call.parameter("continue").is_empty())
    }
}
