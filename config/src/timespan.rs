//! Durations as text with a unit: "250ms", "2s", "1m30s", "3h", and "none" where a field allows it.

use std::{fmt::Write as _, time::Duration};

use schemars::{Schema, json_schema};

use crate::leaf::{Leaf, Scalar};

/// Milliseconds that fit the kernel's and the timers' signed 32 bits; a little under 25 days.
pub(crate) const MAX_MILLIS: u64 = (1 << 31) - 1;

/// How long something may take.
pub(crate) type Timeout = Timespan<1, MAX_MILLIS, false, false>;
/// How long something may take; `none` for ever.
pub(crate) type TimeoutOrNone = Timespan<1, MAX_MILLIS, false, true>;
/// How long something is put off; `0s` for not at all.
pub(crate) type Delay = Timespan<0, MAX_MILLIS, false, false>;
/// How long something is put off; `0s` for not at all, `none` for ever.
pub(crate) type DelayOrNone = Timespan<0, MAX_MILLIS, false, true>;
/// What the kernel takes as a number of seconds of 16 bits.
pub(crate) type KeepaliveSeconds = Timespan<1_000, 32_767_000, true, false>;
/// What Kubernetes takes as the timeout of a ClientIP affinity.
pub(crate) type AffinityTimeout = Timespan<1_000, 86_400_000, true, true>;

/// A duration within bounds in milliseconds, perhaps whole seconds only, perhaps `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timespan<const MIN: u64, const MAX: u64, const WHOLE: bool, const NONE: bool>(
    pub(crate) Option<Duration>,
);

impl<const MIN: u64, const MAX: u64, const WHOLE: bool, const NONE: bool> Timespan<MIN, MAX, WHOLE, NONE> {
    fn expected() -> String {
        let seconds = if WHOLE { " whole seconds" } else { "" };
        let none = if NONE { ", or `none`" } else { "" };
        format!(
            "a time with a unit (ms, s, m, h), such as `{}`,{seconds} from {} to {}{none}",
            if WHOLE { "1m30s" } else { "250ms` or `1m30s" },
            display(Duration::from_millis(MIN)),
            display(Duration::from_millis(MAX)),
        )
    }
}

impl<const MIN: u64, const MAX: u64, const WHOLE: bool, const NONE: bool> Leaf
    for Timespan<MIN, MAX, WHOLE, NONE>
{
    fn read(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) if NONE && text == "none" => return Ok(Self(None)),
            Scalar::Text(text) => {
                let in_range = parse(text)
                    .filter(|millis| (MIN..=MAX).contains(millis) && (!WHOLE || millis % 1_000 == 0));
                if let Some(millis) = in_range {
                    return Ok(Self(Some(Duration::from_millis(millis))));
                }
            }
            Scalar::Integer(value) if *value >= 0 => {
                return Err(format!("`{value}` lacks a unit: expected {}", Self::expected()));
            }
            _ => {}
        }
        Err(scalar.is_not(&format!("a duration: expected {}", Self::expected())))
    }

    fn describe() -> Schema {
        let pattern = if NONE {
            "^(none|([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$"
        } else {
            "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"
        };
        json_schema!({ "type": "string", "minLength": 2, "pattern": pattern })
    }
}

/// A duration as the file says one: "250ms", "1m30s". `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse(text).map(Duration::from_millis)
}

/// Milliseconds of a text such as "1m30s": each unit at most once, from the largest to the smallest.
fn parse(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut rest = text;
    let mut units = &UNITS[..];
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let at = units.iter().position(|(unit, _)| *unit == &after[..end])?;
        total = total.checked_add(number.checked_mul(units[at].1)?)?;
        units = &units[at + 1..];
        rest = &after[end..];
    }
    (!text.is_empty()).then_some(total)
}

/// The shortest text that [`parse`] reads as this duration.
pub(crate) fn display(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (number, unit) in [
        (millis / 3_600_000, "h"),
        (millis / 60_000 % 60, "m"),
        (millis / 1_000 % 60, "s"),
        (millis % 1_000, "ms"),
    ] {
        if number > 0 {
            let _ = write!(text, "{number}{unit}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The same with `none`.
pub(crate) fn display_or_none(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "none".to_owned(), display)
}

#[cfg(test)]
mod tests;
