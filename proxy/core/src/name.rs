//! Names as Kubernetes has them: services, their ports, slices.

use alloc::{format, string::String, sync::Arc};
use core::{fmt, str::FromStr};

/// A Service: its namespace and its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    namespace: Arc<str>,
    name: Arc<str>,
}

/// The name of a port within a Service; empty where the Service has one unnamed port.
pub type PortName = Arc<str>;

impl ServiceName {
    /// A name from parts that are known to be valid (they came from an API server or from [`FromStr`]).
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name within the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidName(String);

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for InvalidName {}

impl FromStr for ServiceName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let Some((namespace, name)) = text.split_once('/') else {
            return Err(InvalidName(format!("`{text}` is not a service: expected namespace/name")));
        };
        for part in [namespace, name] {
            if !is_label(part) {
                return Err(InvalidName(format!(
                    "`{text}` is not a service: `{part}` is not a DNS label (a-z, 0-9 and `-`, at most 63)"
                )));
            }
        }
        Ok(Self::new(namespace, name))
    }
}

/// RFC 1123 label, which is what Kubernetes asks of namespaces and Services.
fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    !bytes.is_empty()
        && bytes.len() <= 63
        && bytes.iter().all(inner)
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

/// What a listener sends flows to: a Service and one of its ports.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    /// The Service.
    pub service: ServiceName,
    /// The port's name; `None` means "the only port it has".
    pub port: Option<PortName>,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port.as_deref() {
            Some(port) if !port.is_empty() => write!(f, "{}:{port}", self.service),
            _ => write!(f, "{}", self.service),
        }
    }
}

impl fmt::Debug for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An EndpointSlice object: its namespace and its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceName {
    /// The namespace, which is also the Service's.
    pub namespace: Arc<str>,
    /// The object's name.
    pub name: Arc<str>,
}

impl fmt::Display for SliceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for SliceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
