use std::{fs, path::Path};

use super::quoted;
use crate::parse;

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)).unwrap()
}

#[test]
fn every_default_is_filled_in() {
    let loaded = parse(&example("standalone.yaml"), "/etc/tidegate/tidegate.yaml").unwrap();
    insta::assert_snapshot!(loaded.configuration.explain());
}

#[test]
fn every_field_is_explained() {
    let loaded = parse(&example("full.yaml"), "/etc/tidegate/tidegate.yaml").unwrap();
    insta::assert_snapshot!(loaded.configuration.explain());
}

#[test]
fn an_explained_configuration_reads_back_as_itself() {
    for name in ["standalone.yaml", "edge-fixed.yaml", "full.yaml", "kubernetes.yaml"] {
        let configuration = parse(&example(name), "/etc/tidegate/tidegate.yaml").unwrap().configuration;
        let explained = configuration.explain();
        let again = parse(&explained, "/elsewhere.yaml").unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(again.configuration, configuration, "{name}");
        assert_eq!(again.configuration.explain(), explained, "{name}");
    }
}

#[test]
fn texts_that_yaml_would_take_for_something_else_are_quoted() {
    for (text, expected) in [
        ("web", "web"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("/var/lib", "/var/lib"),
        ("unix:/run/a.sock", "unix:/run/a.sock"),
        ("[::1]:80", "\"[::1]:80\""),
        ("80", "\"80\""),
        ("no", "\"no\""),
        ("Null", "\"Null\""),
        ("1e3", "\"1e3\""),
        ("-", "\"-\""),
        ("a b", "\"a b\""),
        ("a: b", "\"a: b\""),
        ("a:", "\"a:\""),
        ("~", "\"~\""),
        ("", "\"\""),
        ("tab\t\"", "\"tab\\t\\\"\""),
    ] {
        assert_eq!(quoted(text), expected);
    }
}
