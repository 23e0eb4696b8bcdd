use super::*;
use crate::tables::progress::tests::drain;

/// What is drawn, without its colours.
fn lines(width: usize) -> Vec<String> {
    let drain = drain();
    let it = Seen { instance: "", at: "2027-01-15T08:00:30.000Z", drain: &drain };
    let Row { name, bar, counts, more } = row(&it, width);
    let bar = format!("{INDENT}{} {counts}", "#".repeat(bar));
    name.lines().map(str::to_owned).chain([bar]).chain(more).collect()
}

#[test]
fn a_drain_on_a_wide_terminal() {
    assert_eq!(
        lines(119),
        [
            "default/web:http 10.0.0.2:80 (default/web-1)  operator ada",
            "  ######################################## 12 of 20 flows left, 3 shed",
            "  drains for 30s, deadline in 30s, 83% idle, 1.2 MB/s, oldest 5m, ends in 12s to 30s, 2 to be cut",
        ]
    );
}

/// Whatever the width, no line is longer, and nothing is left out.
#[test]
fn a_drain_fits_any_terminal() {
    assert_eq!(
        lines(39),
        [
            "default/web:http 10.0.0.2:80",
            "  (default/web-1)  operator ada",
            "  ######### 12 of 20 flows left, 3 shed",
            "  drains for 30s, deadline in 30s, 83%",
            "  idle, 1.2 MB/s, oldest 5m, ends in",
            "  12s to 30s, 2 to be cut",
        ]
    );
    let words = |lines: &[String]| lines.join("").replace([' ', '#'], "");
    let all = words(&lines(119));
    for width in NARROWEST - 1..200 {
        let lines = lines(width);
        assert!(lines.iter().all(|line| line.trim_end().chars().count() <= width), "{width}: {lines:#?}");
        assert_eq!(words(&lines), all, "{width}");
    }
}

#[test]
fn the_summary_names_who_cannot_be_asked() {
    let drain = drain();
    let seen = [Seen { instance: "this", at: "", drain: &drain }];
    let silent = BTreeMap::from([("10.0.0.9:9903".to_owned(), "late".to_owned())]);
    let at = "2027-01-15T08:00:30.000Z";
    assert_eq!(
        summary(&seen, at, &silent),
        "08:00:30  1 drain, 12 flows left; cannot be asked: 10.0.0.9:9903"
    );
    assert_eq!(summary(&[], at, &BTreeMap::new()), "08:00:30  no drain is on");
}

/// Every template that is used is one.
#[test]
fn styles_are_drawn() {
    for color in ["green", "yellow"] {
        let template = format!("{{prefix}}\n{INDENT}{{bar:17.{color}}} {{msg}}");
        assert!(ProgressStyle::with_template(&template).is_ok());
    }
    assert!(ProgressStyle::with_template("{msg}").is_ok());
}
