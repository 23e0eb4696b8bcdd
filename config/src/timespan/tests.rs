use proptest::prelude::*;

use super::*;

#[test]
fn reads_units_once_and_in_order() {
    let cases = [
        ("250ms", Some(250)),
        ("2s", Some(2_000)),
        ("1m30s", Some(90_000)),
        ("3h", Some(10_800_000)),
        ("1h1m1s1ms", Some(3_661_001)),
        ("0s", Some(0)),
        ("90s", Some(90_000)),
        ("", None),
        ("5", None),
        ("s", None),
        ("1s1m", None),
        ("1s1s", None),
        ("1.5s", None),
        ("-1s", None),
        ("1 s", None),
        ("1d", None),
        ("99999999999999999999s", None),
        ("9999999999999999h", None),
        ("1\u{0663}s", None),
    ];
    for (text, millis) in cases {
        assert_eq!(parse(text), millis, "{text}");
    }
}

#[test]
fn a_number_without_a_unit_says_so() {
    let error = Timeout::read(&Scalar::Integer(5)).unwrap_err();
    assert!(error.starts_with("`5` lacks a unit"), "{error}");
}

#[test]
fn bounds_are_kept() {
    let text = |text: &str| Scalar::Text(text.to_owned());
    assert!(Timeout::read(&text("0s")).is_err());
    assert!(Delay::read(&text("0s")).is_ok());
    assert!(Timeout::read(&text("none")).is_err());
    assert_eq!(TimeoutOrNone::read(&text("none")), Ok(Timespan(None)));
    assert!(KeepaliveSeconds::read(&text("1500ms")).is_err());
    assert!(KeepaliveSeconds::read(&text("32767s")).is_ok());
    assert!(KeepaliveSeconds::read(&text("32768s")).is_err());
    assert!(AffinityTimeout::read(&text("24h")).is_ok());
    assert!(AffinityTimeout::read(&text("86401s")).is_err());
    assert!(Timeout::read(&text("2147483647ms")).is_ok());
    assert!(Timeout::read(&text("2147483648ms")).is_err());
}

proptest! {
    #[test]
    fn what_is_displayed_reads_back(millis in 0..=MAX_MILLIS) {
        prop_assert_eq!(parse(&display(Duration::from_millis(millis))), Some(millis));
    }

    #[test]
    fn any_text_is_read_without_panic(text in "\\PC{0,20}") {
        let _ = parse(&text);
    }
}
