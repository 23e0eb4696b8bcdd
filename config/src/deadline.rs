//! When a drain's flows are brought to their end: a duration, or one of a few words.

use std::time::Duration;

use schemars::{Schema, json_schema};
use tidegate_core::DrainDeadline;

use crate::{
    leaf::{Leaf, Scalar},
    timespan::{Timeout, Timespan, display},
};

const TIME: &str = "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

impl Leaf for DrainDeadline {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) if text == "none" => Ok(Self::None),
            Scalar::Text(text) if text == "pod" => Ok(Self::Pod),
            _ => match Timeout::read(scalar) {
                Ok(Timespan(Some(time))) => Ok(Self::After(time)),
                Ok(_) | Err(_) => Err(scalar.is_not(
                    "a drain's deadline: expected `none`, `pod`, or a time with a unit such as `90s` or `10m`",
                )),
            },
        }
    }

    fn describe() -> Schema {
        json_schema!({
            "type": "string",
            "oneOf": [
                { "const": "none", "description": "Flows end by themselves." },
                { "const": "pod", "description": "When the pod is killed, less the margin." },
                { "pattern": TIME, "minLength": 2, "description": "So long after the drain began." }
            ]
        })
    }
}

/// How the file says a deadline.
pub(crate) fn deadline_text(deadline: DrainDeadline) -> String {
    match deadline {
        DrainDeadline::None => "none".to_owned(),
        DrainDeadline::Pod => "pod".to_owned(),
        DrainDeadline::After(time) => display(time),
    }
}

/// How long before the deadline shedding begins; `auto` for the last half of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window(pub(crate) Option<Duration>);

impl Leaf for Window {
    fn read(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) if text == "auto" => Ok(Self(None)),
            _ => match Timeout::read(scalar) {
                Ok(Timespan(Some(time))) => Ok(Self(Some(time))),
                Ok(_) | Err(_) => {
                    Err(scalar.is_not("a window: expected `auto` or a time with a unit such as `30s`"))
                }
            },
        }
    }

    fn describe() -> Schema {
        json_schema!({
            "type": "string",
            "oneOf": [
                { "const": "auto", "description": "The last half of the time that the drain has." },
                { "pattern": TIME, "minLength": 2 }
            ]
        })
    }
}

/// How the file says a window.
pub(crate) fn window_text(window: Option<Duration>) -> String {
    window.map_or_else(|| "auto".to_owned(), display)
}
