//! Settings that a Service gives of itself, as annotations `tidegate.io/FIELD`: the same names and words as in the file.

use tidegate_core::{OnRemoval, Policy, ServiceSettings, WhenNoneReady};

use crate::{
    leaf::{Leaf, Scalar},
    timespan::{Timeout, TimeoutOrNone},
    words::one_of,
};

/// The fields that an annotation may give.
pub const ANNOTATIONS: [&str; 5] = ["connectTimeout", "idleTimeout", "onRemoval", "policy", "whenNoneReady"];

/// Puts an annotation's value into settings.
///
/// # Errors
///
/// What is wrong with the field or its value, in words; the settings are as before.
pub fn annotate(settings: &mut ServiceSettings, field: &str, text: &str) -> Result<(), String> {
    let scalar = Scalar::Text(text.trim().to_owned());
    match field {
        "policy" => settings.policy = Policy::read(&scalar)?,
        "whenNoneReady" => settings.when_none_ready = WhenNoneReady::read(&scalar)?,
        "onRemoval" => settings.on_removal = OnRemoval::read(&scalar)?,
        "idleTimeout" => settings.idle_timeout = TimeoutOrNone::read(&scalar)?.0,
        "connectTimeout" => {
            if let Some(timeout) = Timeout::read(&scalar)?.0 {
                settings.connect_timeout = timeout;
            }
        }
        _ => {
            let words: Vec<_> = ANNOTATIONS.iter().map(|word| format!("`{word}`")).collect();
            return Err(format!("unknown field `{field}`: expected {}", one_of(&words)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_field_is_read_as_in_the_file() {
        let mut settings = ServiceSettings::default();
        for (field, text) in [
            ("policy", "maglev"),
            ("whenNoneReady", " servingTerminating "),
            ("onRemoval", "close"),
            ("idleTimeout", "1h"),
            ("connectTimeout", "250ms"),
        ] {
            assert!(ANNOTATIONS.contains(&field));
            annotate(&mut settings, field, text).expect(field);
        }
        let expected = ServiceSettings {
            policy: Policy::Maglev,
            when_none_ready: WhenNoneReady::ServingTerminating,
            on_removal: OnRemoval::Close,
            idle_timeout: Some(Duration::from_secs(3600)),
            connect_timeout: Duration::from_millis(250),
            ..ServiceSettings::default()
        };
        assert_eq!(settings, expected);
        annotate(&mut settings, "idleTimeout", "none").expect("none is a value");
        assert_eq!(settings.idle_timeout, None);
    }

    #[test]
    fn what_is_wrong_is_said_and_changes_nothing() {
        let mut settings = ServiceSettings::default();
        for (field, text) in
            [("policy", "fastest"), ("idleTimeout", "5"), ("connectTimeout", "none"), ("polcy", "maglev")]
        {
            let error = annotate(&mut settings, field, text).expect_err(text);
            assert!(error.contains(if field == "polcy" { field } else { text }), "{error}");
        }
        assert_eq!(settings, ServiceSettings::default());
    }
}
