//! Settings that a Service gives of itself, as annotations `tidegate.io/FIELD`: the same names and words as in the file,
//! with a dot where the file has a map.

use tidegate_core::{DrainDeadline, OnRemoval, Policy, ServiceSettings, WhenNoneReady};

use crate::{
    deadline::Window,
    leaf::{Leaf, Scalar},
    percent::Percent,
    timespan::{Delay, Timeout, TimeoutOrNone},
    values::Whole,
    words::one_of,
};

/// The fields that an annotation may give.
pub const ANNOTATIONS: [&str; 13] = [
    "connectTimeout",
    "drain.deadline",
    "drain.margin",
    "drain.maxPerSecond",
    "drain.quiet",
    "drain.window",
    "idleTimeout",
    "maxLifetime",
    "maxLifetimeJitter",
    "onRemoval",
    "policy",
    "rebalance",
    "whenNoneReady",
];

/// Puts an annotation's value into settings.
///
/// # Errors
///
/// What is wrong with the field or its value, in words; the settings are as before.
pub fn annotate(settings: &mut ServiceSettings, field: &str, text: &str) -> Result<(), String> {
    let text = text.trim();
    let scalar = Scalar::Text(text.to_owned());
    let drain = &mut settings.drain;
    match field {
        "policy" => settings.policy = Policy::read(&scalar)?,
        "whenNoneReady" => settings.when_none_ready = WhenNoneReady::read(&scalar)?,
        "onRemoval" => settings.on_removal = OnRemoval::read(&scalar)?,
        "idleTimeout" => settings.idle_timeout = TimeoutOrNone::read(&scalar)?.0,
        "connectTimeout" => {
            settings.connect_timeout = Timeout::read(&scalar)?.0.unwrap_or(settings.connect_timeout);
        }
        "drain.deadline" => drain.deadline = DrainDeadline::read(&scalar)?,
        "drain.margin" => drain.margin = Delay::read(&scalar)?.0.unwrap_or(drain.margin),
        "drain.window" => drain.window = Window::read(&scalar)?.0,
        "drain.quiet" => drain.quiet = Timeout::read(&scalar)?.0.unwrap_or(drain.quiet),
        "drain.maxPerSecond" => drain.max_per_second = Whole::<1, 1_000_000>::read(&plain(text))?.0,
        "maxLifetime" => settings.lifetime.max = TimeoutOrNone::read(&scalar)?.0,
        "maxLifetimeJitter" => settings.lifetime.jitter = Percent::<50>::read(&scalar)?.0,
        "rebalance" => {
            let is_on = bool::read(&plain(text))?;
            settings.rebalance = is_on.then(|| settings.rebalance.unwrap_or_default());
        }
        _ => {
            let words: Vec<_> = ANNOTATIONS.iter().map(|word| format!("`{word}`")).collect();
            return Err(format!("unknown field `{field}`: expected {}", one_of(&words)));
        }
    }
    Ok(())
}

/// A text as the file would have it without quotes: an annotation is always a text.
fn plain(text: &str) -> Scalar {
    match text {
        "true" => Scalar::Bool(true),
        "false" => Scalar::Bool(false),
        _ => text.parse().map_or_else(|_| Scalar::Text(text.to_owned()), Scalar::Integer),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_core::{DrainSettings, LifetimeSettings, RebalanceSettings};

    use super::*;

    #[test]
    fn every_field_is_read_as_in_the_file() {
        let mut settings = ServiceSettings::default();
        let given = [
            ("policy", "maglev"),
            ("whenNoneReady", " servingTerminating "),
            ("onRemoval", "close"),
            ("idleTimeout", "1h"),
            ("connectTimeout", "250ms"),
            ("drain.deadline", "pod"),
            ("drain.margin", "0s"),
            ("drain.window", "30s"),
            ("drain.quiet", "1s"),
            ("drain.maxPerSecond", "50"),
            ("maxLifetime", "8h"),
            ("maxLifetimeJitter", "25%"),
            ("rebalance", "true"),
        ];
        for (field, text) in given {
            assert!(ANNOTATIONS.contains(&field));
            annotate(&mut settings, field, text).expect(field);
        }
        assert_eq!(given.len(), ANNOTATIONS.len(), "each of them");
        let expected = ServiceSettings {
            policy: Policy::Maglev,
            when_none_ready: WhenNoneReady::ServingTerminating,
            on_removal: OnRemoval::Close,
            idle_timeout: Some(Duration::from_secs(3600)),
            connect_timeout: Duration::from_millis(250),
            drain: DrainSettings {
                deadline: DrainDeadline::Pod,
                margin: Duration::ZERO,
                window: Some(Duration::from_secs(30)),
                quiet: Duration::from_secs(1),
                max_per_second: 50,
            },
            lifetime: LifetimeSettings { max: Some(Duration::from_secs(8 * 3600)), jitter: 25 },
            rebalance: Some(RebalanceSettings::default()),
            ..ServiceSettings::default()
        };
        assert_eq!(settings, expected);
        for (field, text) in [
            ("idleTimeout", "none"),
            ("maxLifetime", "none"),
            ("drain.deadline", "90s"),
            ("drain.window", "auto"),
            ("rebalance", "false"),
        ] {
            annotate(&mut settings, field, text).expect(field);
        }
        assert_eq!((settings.idle_timeout, settings.lifetime.max, settings.rebalance), (None, None, None));
        assert_eq!(settings.drain.deadline, DrainDeadline::After(Duration::from_secs(90)));
        assert_eq!(settings.drain.window, None);
    }

    #[test]
    fn what_is_wrong_is_said_and_changes_nothing() {
        let mut settings = ServiceSettings::default();
        for (field, text) in [
            ("policy", "fastest"),
            ("idleTimeout", "5"),
            ("connectTimeout", "none"),
            ("drain.deadline", "-5s"),
            ("drain.deadline", "0s"),
            ("drain.deadline", "9999999h"),
            ("drain.margin", "none"),
            ("drain.maxPerSecond", "0"),
            ("drain.maxPerSecond", "many"),
            ("maxLifetimeJitter", "60%"),
            ("rebalance", "yes"),
            ("polcy", "maglev"),
            ("drain", "pod"),
        ] {
            let error = annotate(&mut settings, field, text).expect_err(text);
            let names = if error.starts_with("unknown") { field } else { text };
            assert!(error.contains(&format!("`{names}`")), "{error}");
        }
        assert_eq!(settings, ServiceSettings::default());
    }
}
