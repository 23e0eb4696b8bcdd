//! Which differences count.

use super::*;

fn counts(compiler: &str, pick: u64, trip: u64) -> Expected {
    let group = |tolerance_percent, name: &str, count| Group {
        tolerance_percent,
        counts: BTreeMap::from([(name.to_owned(), count)]),
    };
    let made_with = MadeWith {
        compiler: compiler.into(),
        target: "any".into(),
        libc: "any".into(),
        valgrind: "any".into(),
    };
    Expected { made_with, core: group(5, "pick", pick), relay: group(10, "trip", trip) }
}

#[test]
fn a_count_may_be_off_by_its_groups_tolerance_and_no_more() {
    let expected = counts("rustc 1", 100, 1000);
    for (pick, trip, good) in [
        (100, 1000, true),
        (105, 1100, true),
        (95, 900, true),
        (106, 1000, false),
        (94, 1000, false),
        (100, 1101, false),
    ] {
        let comparison = expected.compare(&counts("rustc 1", pick, trip));
        assert_eq!(comparison.is_good(), good, "{comparison}");
        assert_eq!(comparison.to_string().contains("OFF"), !good, "{comparison}");
    }
}

#[test]
fn another_compiler_binds_nothing_and_says_so() {
    let comparison = counts("rustc 1", 100, 1000).compare(&counts("rustc 2", 200, 1000));
    assert!(comparison.is_good());
    let text = comparison.to_string();
    assert!(text.contains("does not bind") && text.contains("rustc 1") && text.contains("rustc 2"), "{text}");
}

#[test]
fn an_operation_that_only_one_side_has_is_off() {
    let expected = counts("rustc 1", 100, 1000);
    let mut counted = counts("rustc 1", 100, 1000);
    counted.core.counts.insert("new".into(), 1);
    assert!(!expected.compare(&counted).is_good());
    assert!(!counted.compare(&expected).is_good());
}

#[test]
fn the_committed_file_is_what_update_writes() {
    let expected = Expected::read().unwrap();
    let text = format!("{HEADER}{}", toml::to_string(&expected).unwrap());
    assert_eq!(fs::read_to_string(path()).unwrap(), text, "write the file with `update`");
}
