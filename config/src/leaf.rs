//! Single values of the file, read without giving up at the first bad one.
//!
//! A [`Field`] keeps either its value or what is wrong with it, and where it stands, so that all bad values of a
//! file are reported together. What a value may be is the business of its type ([`Leaf`]), which also tells the
//! JSON schema.

use std::{borrow::Cow, fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;
use tidegate_core::{OnRemoval, Policy, ServiceName, WhenNoneReady};

use crate::configuration::AdminAddress;

/// Where a value stands in the file; both count from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// A part of the file with its place.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        let place = Place { line: spanned.referenced.line(), column: spanned.referenced.column() };
        Ok(Self { value: spanned.value, place })
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A value, or what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Field<T> {
    pub(crate) read: Result<T, String>,
    pub(crate) place: Place,
}

impl<'de, T: Leaf> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Located { value, place } = Located::<Scalar>::deserialize(deserializer)?;
        Ok(Self { read: T::read(&value), place })
    }
}

impl<T: Leaf> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::describe()
    }
}

/// A kind of single value.
pub(crate) trait Leaf: Sized {
    /// The value, or a sentence that says what is wrong and what was expected.
    fn read(scalar: &Scalar) -> Result<Self, String>;
    /// The same for a JSON schema.
    fn describe() -> Schema;
}

/// A value as YAML has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List,
    Map,
}

impl Scalar {
    /// "`x` is not ...", for the values that can be shown.
    pub(crate) fn is_not(&self, expected: &str) -> String {
        format!("{self} is not {expected}")
    }

    fn text(&self, expected: &str) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Bool(_) | Self::Integer(_) | Self::Float(_) => {
                Err(format!("{}; in quotes it would be a text", self.is_not(expected)))
            }
            Self::Null | Self::List | Self::Map => Err(self.is_not(expected)),
        }
    }

    fn parse<T: FromStr>(&self, expected: &str) -> Result<T, String> {
        self.text(expected)?.parse().map_err(|_| self.is_not(expected))
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("an empty value"),
            Self::Bool(value) => write!(f, "`{value}`"),
            Self::Integer(value) => write!(f, "`{value}`"),
            Self::Float(value) => write!(f, "`{value}`"),
            // An input may hold a text of megabytes; its beginning is enough to find it.
            Self::Text(text) => match text.char_indices().nth(80) {
                Some((end, _)) => write!(f, "`{}...`", &text[..end]),
                None => write!(f, "`{text}`"),
            },
            Self::List => f.write_str("a list"),
            Self::Map => f.write_str("a map"),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }
    fn visit_none<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(value.into()))
    }
    fn visit_i128<E>(self, value: i128) -> Result<Scalar, E> {
        Ok(Scalar::Integer(value))
    }
    fn visit_u128<E>(self, value: u128) -> Result<Scalar, E> {
        Ok(i128::try_from(value).map_or(Scalar::Float(value as f64), Scalar::Integer))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Float(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::List)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Map)
    }
}

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

/// A set of words, each with what it means.
pub(crate) trait Words: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self, &'static str)];

    /// The word for this value.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value, _)| *value == self).map_or("", |(word, _, _)| word)
    }
}

impl<T: Words> Leaf for T {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        let found = match scalar {
            Scalar::Text(text) => T::WORDS.iter().find(|(word, _, _)| word == text),
            _ => None,
        };
        found.map(|(_, value, _)| *value).ok_or_else(|| {
            let words: Vec<_> = T::WORDS.iter().map(|(word, _, _)| format!("`{word}`")).collect();
            scalar.is_not(&one_of(&words))
        })
    }

    fn describe() -> Schema {
        let words: Vec<_> = T::WORDS
            .iter()
            .map(|(word, _, meaning)| json_schema!({ "const": word, "description": meaning }))
            .collect();
        json_schema!({ "type": "string", "oneOf": words })
    }
}

/// "`a`", "`a` or `b`", "one of `a`, `b`, `c`".
pub(crate) fn one_of(words: &[String]) -> String {
    match words {
        [a] => a.clone(),
        [a, b] => format!("{a} or {b}"),
        _ => format!("one of {}", words.join(", ")),
    }
}

/// The one apiVersion there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ApiVersion;

impl Words for ApiVersion {
    const WORDS: &'static [(&'static str, Self, &'static str)] =
        &[("tidegate.io/v1alpha1", Self, "The only version there is.")];
}

/// The one kind there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind;

impl Words for Kind {
    const WORDS: &'static [(&'static str, Self, &'static str)] =
        &[("ProxyConfiguration", Self, "The only kind there is.")];
}

impl Words for Policy {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("leastFlows", Self::LeastFlows, "Of two endpoints at random, the one with fewer flows per weight."),
        ("roundRobin", Self::RoundRobin, "One endpoint after the other, by weight."),
        ("random", Self::Random, "At random, by weight."),
        ("maglev", Self::Maglev, "By the client's address, with little change when endpoints come and go."),
    ];
}

impl Words for WhenNoneReady {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("refuse", Self::Refuse, "A new flow is refused at once."),
        (
            "servingTerminating",
            Self::ServingTerminating,
            "A new flow goes to an endpoint that is serving and terminating, if there is one.",
        ),
    ];
}

impl Words for OnRemoval {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("keep", Self::Keep, "Its flows end by themselves, or when the kernel finds their end dead."),
        ("close", Self::Close, "Its flows are closed."),
    ];
}

/// Which flows get a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlowLogMode {
    Off,
    Sampled,
    All,
}

impl Words for FlowLogMode {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("off", Self::Off, "No flow gets a log line."),
        ("sampled", Self::Sampled, "One flow of every `sampleEvery` gets a log line."),
        ("all", Self::All, "Every flow gets a log line when it ends."),
    ];
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
