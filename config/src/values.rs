//! Numbers, names, addresses and paths.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use schemars::{Schema, json_schema};
use tidegate_core::ServiceName;

use crate::{
    configuration::AdminAddress,
    leaf::{Leaf, Scalar},
};

/// A whole number of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: u32, const MAX: u32>(pub(crate) u32);

impl<const MIN: u32, const MAX: u32> Leaf for Whole<MIN, MAX> {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Integer(value) => u32::try_from(*value).ok().filter(|value| (MIN..=MAX).contains(value)),
            _ => None,
        }
        .map(Self)
        .ok_or_else(|| scalar.is_not(&format!("a whole number from {MIN} to {MAX}")))
    }

    fn describe() -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl Leaf for bool {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Bool(value) => Ok(*value),
            _ => Err(scalar.is_not("`true` or `false`")),
        }
    }

    fn describe() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

/// `auto` or how many workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerCount(pub(crate) Option<u16>);

impl Leaf for WorkerCount {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) if text == "auto" => Ok(Self(None)),
            Scalar::Integer(count @ 1..=1024) => Ok(Self(Some(*count as u16))),
            _ => Err(scalar.is_not("`auto` or a whole number from 1 to 1024")),
        }
    }

    fn describe() -> Schema {
        json_schema!({ "oneOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": 1024 }] })
    }
}

/// The form of an address, for messages.
const SOCKET_ADDRESS: &str =
    "an IP address with a port: expected, for example, `127.0.0.1:8080` or `\"[::1]:8080\"`";

impl Leaf for SocketAddr {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        scalar.parse(SOCKET_ADDRESS)
    }

    fn describe() -> Schema {
        json_schema!({ "type": "string", "examples": ["127.0.0.1:8080", "[::1]:8080"] })
    }
}

impl Leaf for AdminAddress {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        const EXPECTED: &str = "an admin address: expected an IP address with a port, for example \
                                `127.0.0.1:9901`, or a Unix socket as `unix:/path`";
        let text = scalar.text(EXPECTED)?;
        match text.strip_prefix("unix:") {
            Some("") => Err(scalar.is_not(EXPECTED)),
            Some(path) => Ok(Self::Unix(path_from(path, scalar)?.0)),
            None => scalar.parse(EXPECTED).map(Self::Tcp),
        }
    }

    fn describe() -> Schema {
        json_schema!({ "type": "string", "examples": ["127.0.0.1:9901", "unix:/run/tidegate/admin.sock"] })
    }
}

impl Leaf for ServiceName {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        const EXPECTED: &str = "a service: expected `namespace/name`";
        scalar.text(EXPECTED)?.parse().map_err(|error: tidegate_core::name::InvalidName| error.to_string())
    }

    fn describe() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
        })
    }
}

impl Leaf for IpAddr {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        scalar.parse("an IP address: expected, for example, `192.0.2.1` or `\"2001:db8::1\"`")
    }

    fn describe() -> Schema {
        json_schema!({ "type": "string", "examples": ["192.0.2.1", "2001:db8::1"] })
    }
}

/// A class of load balancer, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassName(pub(crate) Option<String>);

impl Leaf for ClassName {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        const EXPECTED: &str = "a class: expected a name such as `tidegate.io/tidegate`, or `none`";
        let text = scalar.text(EXPECTED)?;
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
        match text {
            "none" => Ok(Self(None)),
            text if (1..=317).contains(&text.len()) && text.bytes().all(is_fine) => {
                Ok(Self(Some(text.to_owned())))
            }
            _ => Err(scalar.is_not(EXPECTED)),
        }
    }

    fn describe() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-zA-Z0-9._/-]{1,317}$" })
    }
}

/// The name of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Namespace(pub(crate) String);

impl Leaf for Namespace {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        const EXPECTED: &str = "a namespace: expected a-z, 0-9 and `-`, at most 63";
        let text = scalar.text(EXPECTED)?;
        // A Service's name begins with its namespace, and has the same rule.
        match format!("{text}/x").parse::<ServiceName>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(scalar.is_not(EXPECTED)),
        }
    }

    fn describe() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" })
    }
}

/// The name of a Service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortText(pub(crate) String);

impl Leaf for PortText {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        const EXPECTED: &str = "the name of a port: expected what the slices call it, such as `http` (a-z, 0-9 and `-`, at \
                                most 63); its number comes from the slices";
        let Scalar::Text(text) = scalar else { return Err(scalar.is_not(EXPECTED)) };
        let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let has_letter = text.bytes().any(|byte| byte.is_ascii_lowercase());
        if (1..=63).contains(&text.len()) && text.bytes().all(is_fine) && has_letter {
            Ok(Self(text.to_owned()))
        } else {
            Err(scalar.is_not(EXPECTED))
        }
    }

    fn describe() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9-]*[a-z][a-z0-9-]*$", "maxLength": 63 })
    }
}

/// A path, not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) PathBuf);

fn path_from(text: &str, scalar: &Scalar) -> Result<FilePath, String> {
    match text {
        "" => Err("an empty text is not a path".to_owned()),
        text if text.contains('\0') => Err(scalar.is_not("a path: it holds a NUL byte")),
        text => Ok(FilePath(PathBuf::from(text))),
    }
}

impl Leaf for FilePath {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        path_from(scalar.text("a path")?, scalar)
    }

    fn describe() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// A name that appears in logs and metric labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) String);

impl Leaf for Name {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        const EXPECTED: &str = "a name: expected 1 to 253 of a-z, A-Z, 0-9, `.`, `_` and `-`";
        let text = scalar.text(EXPECTED)?;
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=253).contains(&text.len()) && text.bytes().all(is_fine) {
            Ok(Self(text.to_owned()))
        } else {
            Err(scalar.is_not(EXPECTED))
        }
    }

    fn describe() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-zA-Z0-9._-]{1,253}$" })
    }
}
