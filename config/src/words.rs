//! Values that are one of a few words.

use schemars::{Schema, json_schema};
use tidegate_core::{OnRemoval, Policy, WhenNoneReady};

use crate::{
    configuration::Afterwards,
    leaf::{Leaf, Scalar},
};

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
        ("deadline", Self::Deadline, "Its flows are drained, like those of a terminating endpoint."),
        ("close", Self::Close, "Its flows are closed."),
    ];
}

impl Words for Afterwards {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("exit", Self::Exit, "It ends."),
        (
            "park",
            Self::Park,
            "It closes everything and waits for SIGTERM: for a container that would be started again if it ended.",
        ),
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
