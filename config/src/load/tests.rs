use super::*;

fn example(name: &str) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    load(path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_example_is_valid_and_has_no_warning() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(example(&name).warnings, [], "{name}");
            names.push(name);
        }
    }
    names.sort();
    assert_eq!(names, ["edge-fixed.yaml", "full.yaml", "kubernetes.yaml", "standalone.yaml"]);
}

#[test]
fn what_the_standalone_example_means() {
    let loaded = example("standalone.yaml");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/endpoints");
    assert_eq!(loaded.configuration.source, Some(crate::Source::EndpointSliceDirectory(directory)));
    let configs = loaded.configuration.service_configs();
    assert_eq!(configs.len(), 1);
    assert_eq!(configs[0].port.to_string(), "default/web:http");
    assert_eq!(configs[0].settings, tidegate_core::ServiceSettings::default());
    assert_eq!(configs[0].fixed, None);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = load("/nonexistent/tidegate.yaml").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the configuration /nonexistent/tidegate.yaml: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let error = parse(&" ".repeat(MAX_FILE_BYTES + 1), "a.yaml").unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { .. }), "{error}");
    assert!(matches!(load("/dev/zero").unwrap_err(), LoadError::TooLarge { .. }));
}

#[test]
fn a_small_file_cannot_grow_when_it_is_read() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    assert!(parse(&bomb, "a.yaml").is_err());
    assert!(parse(&"[".repeat(100_000), "a.yaml").is_err());
    assert!(parse(&"{a: ".repeat(100_000), "a.yaml").is_err());
}

#[test]
fn the_nearest_word_is_near() {
    assert_eq!(nearest("adress", &["name", "address"]), Some("address"));
    assert_eq!(nearest("IDLETIMEOUT", &["idleTimeout"]), Some("idleTimeout"));
    assert_eq!(nearest("x", &["name", "address"]), None);
    assert_eq!(distance("kitten", "sitting"), 3);
}

mod fuzz {
    use proptest::prelude::*;

    use super::*;

    /// Texts near to a configuration, which get further than random ones.
    fn near() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            "[a-z0-9:./\\[\\]{}&*\"' -]{0,12}",
            Just("none".to_owned()),
            Just("auto".to_owned()),
            Just("{}".to_owned()),
            Just("[]".to_owned()),
            Just("2s".to_owned()),
            Just("127.0.0.1:80".to_owned()),
            Just("default/web".to_owned()),
            "[0-9]{1,30}",
        ];
        let line = (
            prop::sample::select(vec!["", "- ", "  ", "    "]),
            prop::sample::select(vec![
                "apiVersion",
                "kind",
                "listeners",
                "services",
                "defaults",
                "name",
                "address",
                "service",
                "keepalive",
                "idle",
                "endpoints",
                "weight",
                "workers",
                "admin",
                "policy",
                "affinity",
                "clientIP",
                "timeout",
            ]),
            value,
        );
        prop::collection::vec(line, 0..12).prop_map(|lines| {
            let head = "apiVersion: tidegate.io/v1alpha1\nkind: ProxyConfiguration\nsource: \
                        {endpointSliceDirectory: e}\nlisteners: [{name: a, address: \"127.0.0.1:1\", service: a/b}]\n";
            lines.iter().fold(head.to_owned(), |text, (indent, key, value)| format!("{text}{indent}{key}: {value}\n"))
        })
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz_parse(&bytes);
        }

        #[test]
        fn any_text_has_an_answer(text in "\\PC{0,200}") {
            fuzz_parse(text.as_bytes());
        }

        #[test]
        fn anything_near_a_configuration_has_an_answer(text in near()) {
            fuzz_parse(text.as_bytes());
        }

        #[test]
        fn an_example_with_one_byte_changed_has_an_answer(at in 0..5000_usize, byte in any::<u8>()) {
            let mut bytes = include_bytes!("../../examples/full.yaml").to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            fuzz_parse(&bytes);
        }
    }
}
