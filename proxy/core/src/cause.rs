//! Why an endpoint is drained: who wants it, and the object that says so.
//!
//! Decided here: the kinds, and the words for people. Which of them hold for an endpoint is `table::drain`'s business.

use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;

use crate::name::SliceName;

/// Who wants a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainCause {
    /// The slice says that the endpoint is terminating; `None` for an endpoint that is in none.
    Slice(Option<SliceName>),
    /// The node that it runs on is going away.
    Node(Arc<str>),
    /// An operator asked, by this name.
    Operator(String),
    /// The pod, as namespace/name, waits at a gate though its slice calls it ready.
    Gate(Option<Arc<str>>),
    /// It went from all slices without having been terminating; this one had it last.
    Removal(Option<SliceName>),
}

/// All that want one drain. There is at least one, unless another process told of none that is known here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainCauses(Vec<DrainCause>);

impl DrainCause {
    /// Its kind in one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Slice(_) => "slice",
            Self::Node(_) => "node",
            Self::Operator(_) => "operator",
            Self::Gate(_) => "gate",
            Self::Removal(_) => "removal",
        }
    }

    /// The object: a slice or a pod as namespace/name, a node's or an operator's name. `None` where it has none.
    pub fn object(&self) -> Option<String> {
        match self {
            Self::Slice(slice) | Self::Removal(slice) => {
                slice.as_ref().map(alloc::string::ToString::to_string)
            }
            Self::Node(name) => Some(String::from(&**name)),
            Self::Operator(name) => Some(name.clone()),
            Self::Gate(pod) => pod.as_deref().map(String::from),
        }
    }

    /// What [`DrainCause::kind`] and [`DrainCause::object`] say; `None` for a kind that is not known here.
    pub fn of(kind: &str, object: Option<&str>) -> Option<Self> {
        let slice = || {
            let (namespace, name) = object?.split_once('/')?;
            Some(SliceName { namespace: namespace.into(), name: name.into() })
        };
        Some(match kind {
            "slice" => Self::Slice(slice()),
            "node" => Self::Node(object?.into()),
            "operator" => Self::Operator(object?.into()),
            "gate" => Self::Gate(object.map(Into::into)),
            "removal" => Self::Removal(slice()),
            _ => return None,
        })
    }
}

impl fmt::Display for DrainCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slice(Some(slice)) => write!(f, "slice {slice} says terminating"),
            Self::Slice(None) => f.write_str("terminating"),
            Self::Node(name) => write!(f, "node {name} is leaving"),
            Self::Operator(name) => write!(f, "operator {name}"),
            Self::Gate(_) => f.write_str("gate"),
            Self::Removal(_) => f.write_str("gone from all slices without having been terminating"),
        }
    }
}

impl DrainCauses {
    /// Each of them.
    pub fn iter(&self) -> core::slice::Iter<'_, DrainCause> {
        self.0.iter()
    }

    /// The same, where somebody wants it.
    pub(crate) fn if_any(self) -> Option<Self> {
        (!self.is_empty()).then_some(self)
    }

    /// Nobody wants it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<DrainCause> for DrainCauses {
    fn from_iter<I: IntoIterator<Item = DrainCause>>(causes: I) -> Self {
        Self(causes.into_iter().collect())
    }
}

impl From<DrainCause> for DrainCauses {
    fn from(cause: DrainCause) -> Self {
        Self(Vec::from([cause]))
    }
}

/// In words, with commas between.
impl fmt::Display for DrainCauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("unknown");
        }
        for (place, cause) in self.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            cause.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    fn all() -> [DrainCause; 7] {
        let slice = SliceName { namespace: "default".into(), name: "web-1".into() };
        [
            DrainCause::Slice(Some(slice.clone())),
            DrainCause::Slice(None),
            DrainCause::Node("node-1".into()),
            DrainCause::Operator("ada, of operations".into()),
            DrainCause::Gate(Some("default/web-0".into())),
            DrainCause::Gate(None),
            DrainCause::Removal(Some(slice)),
        ]
    }

    /// What one process tells another of a cause is the cause.
    #[test]
    fn a_cause_is_its_kind_and_its_object() {
        for cause in all() {
            assert_eq!(DrainCause::of(cause.kind(), cause.object().as_deref()), Some(cause));
        }
        assert_eq!(DrainCause::of("weather", Some("rain")), None);
    }

    #[test]
    fn causes_in_words() {
        let causes: DrainCauses = all().into_iter().step_by(2).collect();
        assert_eq!(
            causes.to_string(),
            "slice default/web-1 says terminating, node node-1 is leaving, gate, \
             gone from all slices without having been terminating"
        );
        assert_eq!(DrainCauses::default().to_string(), "unknown");
    }
}
