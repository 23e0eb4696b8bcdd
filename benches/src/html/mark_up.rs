//! Texts and numbers as they may stand in the page.

/// A text as content or as an attribute's value. What comes from outside (versions, faults, a command line) may hold
/// anything; control characters, which no XML may have, are shown as the replacement character.
pub(super) fn text(raw: &str) -> String {
    let mut escaped = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A number with the three or four digits that count; thousands are grouped.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        x if x >= 1000.0 => grouped(value.round()),
        x if x >= 100.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.1}"),
        x if x >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0
            && digit.is_ascii_digit()
            && (digits.len() - at).is_multiple_of(3)
            && digits.as_bytes()[at - 1] != b'-'
        {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hostile_is_left_in_a_text() {
        assert_eq!(
            text("<a href=\"x\">'&\u{1b}[0m\u{0}\n"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;\u{fffd}[0m\u{fffd}\n"
        );
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        let shown = [0.2964, 1.234, 41.06, 412.3, 1234.4, 125_655.4, 1e6].map(number);
        assert_eq!(shown, ["0.296", "1.23", "41.1", "412", "1,234", "125,655", "1,000,000"]);
    }
}
